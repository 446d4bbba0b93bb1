"""What a network states of itself; a config may give it by the same names."""

FACTS = {
    "channels": int,
    "num_frames": int,
    "resolution": int,
    "size_factor": int,
    "num_classes": int,
    "vector_dim": int,
    "context_dim": int,
    "concat_channels": int,
    "takes_images": bool,
    "takes_unit_times": bool,
    "takes_any_shape": bool,
    "is_causal": bool,
}
"""Attribute of a network -> the type of its value."""
