"""Ranges of the numbers in a config that hold wherever a name occurs."""

import os
from collections.abc import Callable

MOST = 2**53
"""Whole numbers up to here are floats too; a count beyond it is a slip of the keyboard."""
MOST_WORKERS = max(128, 8 * (os.cpu_count() or 1))
"""Loader processes of one loader; each is a copy of the training process."""

AT_LEAST_1 = (
    "batch_size eval_batch_size num_frames num_steps frame_stride accumulate_grad_batches num_nodes num_train_steps "
    "update_every_n_steps num_train_clips num_val_clips num_test_clips num_classes width depth num_blocks heads "
    "head_dim embedding_dim patch_size"
)
AT_LEAST_0 = "weight_decay gradient_clip_val min_steps images_per_video"
RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda x: x > 0, "above 0"),
    "num_workers": (lambda x: 0 <= x <= MOST_WORKERS, f"from 0 to {MOST_WORKERS}"),
    "resolution": (lambda x: 1 <= x <= 2**15, "from 1 to 32768"),
    "seed_everything": (lambda x: 0 <= x < 2**32, "from 0 to 4294967295"),
    "guidance_rescale": (lambda x: 0 <= x <= 1, "from 0 to 1"),
    "threshold_quantile": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "min_snr_gamma": (lambda x: x > 0, "above 0"),
    "fps": (lambda x: x > 0, "above 0"),
    "max_steps": (lambda x: 1 <= x <= MOST or x == -1, f"from 1 to {MOST}, or -1 for no limit"),
    "devices": (lambda x: x >= 1 or x == -1, "1 or above, or -1 for all"),
    "num_sanity_val_steps": (lambda x: x >= 0 or x == -1, "0 or above, or -1 for all"),
    **dict.fromkeys(AT_LEAST_0.split(), (lambda x: x >= 0, "0 or above")),
    **dict.fromkeys(AT_LEAST_1.split(), (lambda x: 1 <= x <= MOST, "1 or above")),
}
"""Numbers with a range that holds wherever the name occurs."""
