"""What each metric is called, which way is better, and what it says in one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from videodiff.comparison.best import DISTANCES, Direction

ARROWS = {"lower": "↓", "higher": "↑", "real": "≈", "none": ""}
WORDS = {
    "lower": "lower is better",
    "higher": "higher is better",
    "real": "closer to the real clips' value is better",
    "none": "neither way is better",
}


@dataclass(frozen=True)
class MetricInfo:
    """How a reader meets a metric.

    Args:
        label: for the head of a column.
        better: which way; ``real`` is towards the value of the real clips (the floor).
        says: one sentence on what it measures and what it misses.
    """

    label: str
    better: Direction
    says: str

    @property
    def arrow(self) -> str:
        """Of the direction."""
        return ARROWS[self.better]


KNOWN: dict[str, MetricInfo] = {
    "fvd": MetricInfo(
        "FVD",
        "lower",
        "Fréchet distance of I3D features (Unterthiner et al. 2018). Biased upwards by about 1/clips: compare at equal "
        "counts only. Sees single frames more than motion.",
    ),
    "fvd_inf": MetricInfo(
        "FVD∞", "lower", "FVD extrapolated to endless clips, without the bias of the count; of wider spread."
    ),
    "kvd": MetricInfo(
        "KVD", "lower", "Kernel distance (cubic polynomial) of I3D features; unbiased, so it can fall below 0."
    ),
    "evaluator_fd": MetricInfo(
        "evaluator FD",
        "lower",
        "Fréchet distance of the features of a small classifier trained on the built-in clips; not FVD.",
    ),
    "rand_fd": MetricInfo(
        "rand-FD",
        "lower",
        "Fréchet distance of the features of a fixed random network, in units of the real clips' spread; not FVD.",
    ),
    "evaluator_is": MetricInfo(
        "evaluator IS",
        "higher",
        "Inception score of the built-in classifier: clips that are clear, and of many classes. Never looks at real "
        "clips.",
    ),
    "is_k400": MetricInfo(
        "IS (I3D)", "higher", "Inception score over the 400 classes of I3D; a stand-in for that of C3D."
    ),
    "is": MetricInfo("IS", "higher", "Inception score of C3D, as published for UCF-101 (Saito et al. 2020)."),
    "psnr": MetricInfo("PSNR", "higher", "Peak signal-to-noise ratio of reconstructions, in dB."),
    "ssim": MetricInfo("SSIM", "higher", "Structural similarity of reconstructions (Wang et al. 2004), at most 1."),
    "lpips": MetricInfo("LPIPS", "lower", "Perceptual distance of reconstructions (Zhang et al. 2018)."),
    "mse": MetricInfo("MSE", "lower", "Mean squared error of reconstructions."),
    "mae": MetricInfo("MAE", "lower", "Mean absolute error of reconstructions."),
    "digit_present": MetricInfo("digit present", "higher", "Share of frames that show one compact digit, 0 to 1."),
    "digit_residual": MetricInfo(
        "path residual",
        "lower",
        "Distance of the digit from the best straight, reflected path, in pixels: does it fly as it must?",
    ),
    "digit_speed": MetricInfo("speed", "real", "Pixels per frame along the digit's path; 0 where there is none."),
    "digit_speed_in_range": MetricInfo("speed in range", "higher", "Share of clips with a speed that real ones have."),
    "digit_identity": MetricInfo("identity", "higher", "Share of frames that read as the same digit as their clip."),
    "cloud_drift_x": MetricInfo("drift x", "real", "Mean drift of the sky to the right, pixels per frame."),
    "cloud_drift_y": MetricInfo("drift y", "real", "Mean drift of the sky downwards, pixels per frame."),
    "cloud_spread": MetricInfo("drift spread", "lower", "Unevenness of the drift over time, pixels per frame."),
    "cloud_speed": MetricInfo("speed", "real", "Speed of the drift, pixels per frame."),
    "cloud_drift_in_range": MetricInfo(
        "drift in range", "higher", "Share of clips that drift evenly at a speed that real ones have."
    ),
    "cloud_horizon": MetricInfo("horizon", "higher", "Share of columns and frames with dark ground of its height."),
    "cloud_horizon_error": MetricInfo("horizon error", "lower", "Wobble of the horizon over time, in pixels."),
    "frame_brightness": MetricInfo("brightness", "none", "Mean grey level of the frames, 0 to 255."),
    "frame_contrast": MetricInfo("contrast", "none", "Standard deviation of grey levels within a frame."),
    "frame_detail": MetricInfo("detail", "none", "Mean difference of neighbouring pixels, in grey levels."),
    "frame_change": MetricInfo("change", "none", "Mean difference of neighbouring frames, in grey levels."),
}  # fmt: skip
RECONSTRUCTION_PREFIX = ("r_", "recon_", "reconstruction_")
# Which metric stands on the axis of a plot, if several are there.
HEADLINES = (*DISTANCES, "digit_residual", "cloud_spread")


def metric_info(name: str) -> MetricInfo:
    """What is known of a metric; of an unknown one its name, and no direction."""
    splits = re.fullmatch(r"(.+)_splits(\d+)", name)
    if splits and splits[1] in KNOWN:
        info = KNOWN[splits[1]]
        parts = (
            f" Mean over {splits[2]} part{'' if splits[2] == '1' else 's'}; it grows with the size of a part."
        )
        return MetricInfo(info.label, info.better, info.says + parts)
    if name in KNOWN:
        return KNOWN[name]
    for prefix in RECONSTRUCTION_PREFIX:
        inner = name.removeprefix(prefix)
        if inner != name and (inner in KNOWN or inner.endswith("fd") or inner.startswith("frechet")):
            base = metric_info(inner)
            label = f"R-{base.label}"
            return MetricInfo(label, base.better, f"{base.label} between clips and their reconstructions.")
    if name.endswith(("_fd", "_fvd", "_error", "_loss")) or name.startswith(("frechet", "kernel", "cd_fvd")):
        return MetricInfo(name, "lower", "A distance from the real clips; 0 is best.")
    return MetricInfo(name, "none", "No description of this metric is at hand.")


def headline(names: list[str]) -> str | None:
    """The metric that plots show: the first known of :data:`HEADLINES`, else the first with a direction."""
    known = [name for name in HEADLINES if name in names]
    directed = [name for name in names if metric_info(name).better in ("lower", "higher")]
    return next(iter([*known, *directed]), None)
