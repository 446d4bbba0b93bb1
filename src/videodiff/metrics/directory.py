"""The directory of metrics: name, direction, unit and one sentence on each.

Whatever a command writes is in it; tables, page, terminal, documentation and the mark of the best ask it and nothing
else. It imports nothing heavy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["lower", "higher", "real", "none"]

ARROWS = {"lower": "↓", "higher": "↑", "real": "≈", "none": ""}
WORDS = {
    "lower": "lower is better",
    "higher": "higher is better",
    "real": "closer to the real clips' value is better",
    "none": "neither way is better",
}
SHARE = (0.0, 1.0)


@dataclass(frozen=True)
class MetricInfo:
    """The description of a metric for readers.

    Args:
        name: by which results hold it.
        label: for the head of a column.
        better: which way; ``real`` is towards the value of the real clips (the floor).
        says: one sentence on what it measures and what it misses.
        unit: of its values; empty for a plain number.
        within: bounds of its values, where they are known.
    """

    name: str
    label: str
    better: Direction
    says: str
    unit: str = ""
    within: tuple[float, float] | None = None

    @property
    def arrow(self) -> str:
        """Of the direction."""
        return ARROWS[self.better]

    @property
    def explanation(self) -> str:
        """The sentence, the unit and which way is better."""
        unit = f" In {self.unit}." if self.unit else ""
        return f"{self.says}{unit} {WORDS[self.better].capitalize()}."


METRICS: dict[str, MetricInfo] = {
    info.name: info
    for info in (
        # Distances of whole sets of clips. Where several were measured, the first is the one that a protocol is about.
        MetricInfo(
            "fvd", "FVD", "lower",
            "Fréchet distance of I3D features (Unterthiner et al. 2018). Biased upwards by about 1/clips: compare at "
            "equal counts only. Sees single frames more than motion.",
        ),
        MetricInfo(
            "evaluator_fd", "evaluator-FD", "lower",
            "Fréchet distance of the features of a small classifier trained on the built-in clips; not FVD.",
        ),
        MetricInfo(
            "rand_fd", "rand-FD", "lower",
            "Fréchet distance of the features of a fixed random network, in units of the real clips' spread; not FVD.",
        ),
        MetricInfo(
            "kvd", "KVD", "lower",
            "Kernel distance (cubic polynomial) of I3D features; unbiased, so it can fall below 0.",
        ),
        MetricInfo(
            "fvd_inf", "FVD∞", "lower",
            "FVD extrapolated to infinitely many clips: without the bias of the count, but with a wider spread.",
        ),
        # Scores of the generated clips alone; the number of splits is added to the name.
        MetricInfo(
            "evaluator_is", "evaluator IS", "higher",
            "Inception score of the built-in classifier: clips that are clear, and of many classes. Never looks at "
            "real clips.",
        ),
        MetricInfo(
            "is_k400", "IS (I3D)", "higher", "Inception score over the 400 classes of I3D; a stand-in for that of C3D."
        ),
        MetricInfo("is", "IS", "higher", "Inception score of C3D, as published for UCF-101 (Saito et al. 2020)."),
        MetricInfo(
            "class_accuracy", "class accuracy", "higher",
            "Share of clips that the evaluator reads as the class they were told.", within=SHARE,
        ),
        MetricInfo(
            "named_digit", "named digit", "higher",
            "Share of clips in which the evaluator reads the digit that their caption names.", within=SHARE,
        ),
        MetricInfo(
            "named_colour", "named colour", "higher",
            "Share of clips whose clouds have the colour that their caption names, as the evaluator reads the weather.",
            within=SHARE,
        ),
        MetricInfo(
            "named_direction", "named direction", "higher",
            "Share of clips that set out in the direction that their caption names: of eight for digits that do not "
            "bounce within 3 frames, left or right for clouds.", within=SHARE,
        ),
        MetricInfo(
            "named_all", "all that is named", "higher",
            "Share of clips that show both, the digit (or the colour) and the direction that their caption names.",
            within=SHARE,
        ),
        MetricInfo(
            "text_similarity", "text similarity", "higher",
            "Cosine of CLIP's vectors of a clip's words and of its frames, mean over the frames. Sees no motion, and a "
            "value means something only beside that of real clips with their own captions.", within=(-1.0, 1.0),
        ),
        MetricInfo(
            "frame_consistency", "frame consistency", "real",
            "Cosine of CLIP's vectors of successive frames, mean over the clip; 1 for a frozen clip.",
            within=(-1.0, 1.0),
        ),
        MetricInfo(
            "diversity", "diversity", "real",
            "Variance of the features within clips that were told the same class, digit or colour, as a share of that "
            "of the real clips. Says nothing of quality: noise is diverse.",
        ),
        # Reconstructions beside their clips, or predicted frames beside the true ones.
        MetricInfo(
            "psnr", "PSNR", "higher", "Peak signal-to-noise ratio of reconstructions, or of predicted frames.", "dB"
        ),
        MetricInfo(
            "ssim", "SSIM", "higher",
            "Structural similarity of reconstructions, or of predicted frames (Wang et al. 2004), at most 1.",
            within=(-1.0, 1.0),
        ),
        MetricInfo(
            "lpips", "LPIPS", "lower",
            "Perceptual distance of reconstructions, or of predicted frames (Zhang et al. 2018).",
        ),
        # Exact figures of the built-in sets.
        MetricInfo(
            "digit_present", "digit present", "higher", "Share of frames that show one compact digit, 0 to 1.",
            within=SHARE,
        ),
        MetricInfo(
            "digit_residual", "path residual", "lower",
            "Distance of the digit from the best-fitting straight path with reflections.", "pixels",
        ),
        MetricInfo(
            "digit_speed", "speed", "real", "Speed along the digit's path; 0 without a digit.", "pixels per frame"
        ),
        MetricInfo(
            "digit_speed_in_range", "speed in range", "higher", "Share of clips at a speed that occurs in real ones.",
            within=SHARE,
        ),
        MetricInfo(
            "digit_identity", "identity", "higher", "Share of frames that read as the same digit as their clip.",
            within=SHARE,
        ),
        MetricInfo("cloud_drift_x", "drift x", "real", "Mean drift of the sky to the right.", "pixels per frame"),
        MetricInfo("cloud_drift_y", "drift y", "real", "Mean drift of the sky downwards.", "pixels per frame"),
        MetricInfo(
            "cloud_spread", "drift spread", "lower", "Unevenness of the drift over time.", "pixels per frame"
        ),
        MetricInfo("cloud_speed", "speed", "real", "Speed of the drift.", "pixels per frame"),
        MetricInfo(
            "cloud_drift_in_range", "drift in range", "higher",
            "Share of clips that drift evenly at a speed that occurs in real ones.", within=SHARE,
        ),
        MetricInfo(
            "cloud_horizon", "horizon", "higher", "Share of columns and frames with dark ground of its height.",
            within=SHARE,
        ),
        MetricInfo(
            "cloud_horizon_error", "horizon error", "lower", "Wobble of the horizon over time.", "pixels"
        ),
        # Statistics of frames along long video.
        MetricInfo("frame_brightness", "brightness", "none", "Mean of the frames, 0 to 255.", "grey levels"),
        MetricInfo("frame_contrast", "contrast", "none", "Standard deviation within a frame.", "grey levels"),
        MetricInfo("frame_detail", "detail", "none", "Mean difference of neighbouring pixels.", "grey levels"),
        MetricInfo("frame_change", "change", "none", "Mean difference of neighbouring frames.", "grey levels"),
    )
}  # fmt: skip

DISTANCES = ("fvd", "evaluator_fd", "rand_fd", "kvd")
# Whether a clip shows what it was told in words: first each thing that captions name, then all at once, and by CLIP.
NAMED = ("named_digit", "named_colour", "named_direction")
OF_WORDS = (*NAMED, "named_all", "text_similarity")
# Which metric stands on the axis of a plot, if several are there.
HEADLINES = (*DISTANCES, "digit_residual", "cloud_spread")


def metric_info(name: str) -> MetricInfo:
    """The description of a metric; an unknown one has its name and no direction.

    Names that the classes of this room make for networks of the user's own (``frechet_NETWORK``, ``lpips_TRUNK``,
    ``is_splits10``, ``r_fvd``) are read as what they are made of.
    """
    if name in METRICS:
        return METRICS[name]
    if best := re.fullmatch(r"(psnr|ssim|lpips)_best(\d+)", name):
        mean = METRICS[best[1]]
        says = f"{mean.label} of the best of {best[2]} draws of each clip."
        return replace(mean, name=name, label=f"{mean.label}, best of {best[2]}", says=says)
    if splits := re.fullmatch(r"(.+)_splits(\d+)", name):
        kind = METRICS.get(splits[1])
        base = kind or (METRICS["is"] if name.startswith("is_") else None)
        if base is not None:
            parts = f"{splits[2]} part{'' if splits[2] == '1' else 's'}"
            says = f"{base.says} Mean over {parts}; it grows with the size of a part."
            return replace(base, name=name, label=base.label if kind else name, says=says)
    if name.startswith("r_") and (base := metric_info(name[2:])).better != "none":
        return replace(
            base,
            name=name,
            label=f"R-{base.label}",
            says=f"{base.label} between clips and their reconstructions.",
        )
    if (base := METRICS.get(name.split("_")[0])) is not None and base.name in ("psnr", "lpips"):
        return replace(base, name=name, label=name)
    if name.endswith(("_fd", "_fvd", "_error", "_loss")) or name.startswith(
        ("frechet", "kernel", "cd_fvd", "frame_fid")
    ):
        return MetricInfo(name, name, "lower", "A distance from the real clips; 0 is best.")
    return MetricInfo(name, name, "none", "This metric has no description.")


def better(name: str) -> Direction:
    """Which way a metric is better; ``real`` is towards the value of the real clips, its floor."""
    return metric_info(name).better


def headline(names: list[str]) -> str | None:
    """The metric that plots show: the first known of :data:`HEADLINES`, else the first with a direction."""
    known = [name for name in HEADLINES if name in names]
    directed = [name for name in names if better(name) in ("lower", "higher")]
    return next(iter([*known, *directed]), None)
