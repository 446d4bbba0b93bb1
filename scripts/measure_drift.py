"""How long video drifts: figures against time, for every way of drawing it, with and without noise and guidance.

    OMP_NUM_THREADS=1 python scripts/measure_drift.py runs/lvdm_digits --num_videos 16 --frames 256 --steps 20/10 \
        --out docs/pictures/lvdm_drift

Draws long videos of one run of LVDM or DiffusionForcing on the built-in digits, with the same seed for every setting
(ways and noise on given frames; orders of noise levels and guidance by history), cuts them into windows along time and
measures each window by what must hold at any time: there is a digit, it is still the digit of the first window, it
flies straight, it is as bright as digits are, and the windows of a time are distributed as real ones are
(evaluator-FD). Real videos of the same length are measured beside them. Writes OUT.json and OUT.svg.

Windows of a video are not independent: intervals (95 %) draw, or leave out, whole videos. With few videos evaluator-FD
is far above its limit; the real videos' curve has the same count and is what to compare with.
"""

from __future__ import annotations

import argparse
import copy
import html
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from videodiff.checkpoints import load_run
from videodiff.cli.commands.generate import steps
from videodiff.conditioning import Forcing
from videodiff.data import BouncingDigits
from videodiff.data.pixels import to_uint8
from videodiff.metrics import frechet_interval, mean_interval
from videodiff.metrics.features import EvaluatorFeatures
from videodiff.metrics.motion import digit_motion
from videodiff.models.forcing import by_history
from videodiff.sampling import Autoregressive, Rolling

WINDOW = 16  # frames of a measured clip
COLOURS = ("#777777", "#1f6fb2", "#d1495b", "#3a7d44", "#8e6c8a")
PANELS = {
    "present": "frames with a digit",
    "kept": "windows with the first digit",
    "residual": "distance from a straight path, pixels",
    "brightness": "mean brightness, 0 to 255",
    "evaluator_fd": "evaluator-FD",
}


class Setting(Protocol):
    """One way to draw a long video, ``long_video``, and what it is varied by, ``name`` in the legend."""

    @property
    def long_video(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def guidance(self) -> float: ...
    def apply(self, model: Any) -> None:
        """Change the model to it."""


@dataclass(frozen=True)
class OfLVDM:
    """One way in which LVDM draws a long video.

    Attributes:
        long_video: autoregressive or hierarchical.
        given_noise: time that given frames are noised to.
        guidance: scale; 1 is none.
    """

    long_video: str
    given_noise: float
    guidance: float

    @property
    def name(self) -> str:
        """What the legend says beside the way."""
        return f"noise {self.given_noise:g}, guidance {self.guidance:g}"

    def apply(self, model: Any) -> None:
        """Change the model to it."""
        model.long_video, model.given_noise = self.long_video, self.given_noise


@dataclass(frozen=True)
class OfForcing:
    """One order of noise levels in which a model of diffusion forcing draws a long video.

    Attributes:
        long_video: full, pyramid or sequential.
        stabilise: time that finished units are shown at.
        history: weight of guidance by history; 1 is none.
        guidance: scale of that by class; 1 is none.
    """

    long_video: Literal["full", "pyramid", "sequential"]
    stabilise: float
    history: float
    guidance: float = 1.0

    @property
    def name(self) -> str:
        """What the legend says beside the order."""
        return f"shown at {self.stabilise:g}, history {self.history:g}"

    def apply(self, model: Any) -> None:
        """Change the model to it."""
        forcing, overlap = model.conditioner(Forcing), model.plan.overlap
        model.plan = (
            Autoregressive(overlap) if self.long_video == "full" else Rolling(overlap, self.long_video)
        )
        forcing.stabilise, forcing.histories = self.stabilise, by_history(self.history, 0.0)


SETTINGS: tuple[Setting, ...] = tuple(
    OfLVDM(way, noise, guidance)
    for way in ("autoregressive", "hierarchical")
    for noise, guidance in ((0.0, 1.0), (0.1, 1.0), (0.0, 1.1), (0.1, 1.1))
)
OF_FORCING: tuple[Setting, ...] = tuple(
    OfForcing(order, stabilise, history)
    for order in ("full", "pyramid", "sequential")
    for stabilise, history in ((0.0, 1.0), (0.02, 1.0), (0.02, 1.5))
)


def draw(
    model: Any, setting: Setting, num_videos: int, frames: int, counts: tuple[int, int | None]
) -> Tensor:
    """Videos uint8 ``[N, T, H, W, 3]``; the same seed, hence the same first window, for every setting."""
    setting.apply(model)
    first, later = copy.deepcopy(model.sampler), copy.deepcopy(model.sampler)
    first.num_steps, later.num_steps = counts[0], counts[1] or counts[0]
    latent = model.generate_latent(
        num_videos, frames, sampler=first, later_sampler=later, guidance_scale=setting.guidance
    )
    return torch.cat(
        [to_uint8(p).permute(0, 2, 3, 4, 1).cpu() for p in model.decode_frames(latent, frames)], 1
    )


def real_videos(split: str, num_videos: int, frames: int, side: int) -> Tensor:
    """Videos of the built-in digits, uint8 ``[N, T, H, W, 3]``."""
    source = BouncingDigits(split, num_videos, frames, side)
    return torch.stack([source.read(i, 0, frames, 1) for i in range(num_videos)])


def figures(videos: Tensor, extractor: EvaluatorFeatures) -> dict[str, np.ndarray]:
    """Figures of every window, each ``[N, K]`` for K windows a video, and features ``[N, K, 128]``.

    ``kept`` is 1 where a window reads as the digit of its video's first window, else 0; it is 0 throughout for a video
    that begins without a digit.
    """
    count = videos.shape[1] // WINDOW
    clips = videos[:, : count * WINDOW].unflatten(1, (count, WINDOW)).flatten(0, 1)
    motion = {name: values.reshape(-1, count) for name, values in digit_motion(clips).items()}
    digit = motion.pop("digit")
    motion["kept"] = ((digit == digit[:, :1]) & (digit >= 0)).astype(np.float64)
    motion["brightness"] = np.stack([v.float().mean().item() for v in clips]).reshape(-1, count)
    features = torch.cat([extractor(part) for part in clips.split(64)])
    motion["features"] = features.double().numpy().reshape(len(videos), count, -1)
    return motion


def curves(
    measured: dict[str, np.ndarray], real: np.ndarray, per_bin: int
) -> dict[str, list[dict[str, float]]]:
    """Mean (evaluator-FD: distance) and interval of every figure for each stretch of time.

    Args:
        measured: of :func:`figures`.
        real: features of the reference ``[M, 128]``, held fixed.
        per_bin: windows of one video in a stretch.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for name, values in measured.items():
        label = "evaluator_fd" if name == "features" else name
        found[label] = []
        for start in range(0, values.shape[1], per_bin):
            part = values[:, start : start + per_bin]
            per_video, part = part.shape[1], part.reshape(-1, *part.shape[2:])
            if name == "features":
                groups = min(20, len(values))
                entry = frechet_interval(
                    real, part, groups=groups, sides="generated", clips_per_video=per_video
                )
            else:
                entry = mean_interval(part, clips_per_video=per_video)
            time = WINDOW * (start + per_video / 2)
            found[label].append({"frame": time, "value": entry.value, "low": entry.low, "high": entry.high})
    return found


# --- the picture --------------------------------------------------------------------------------------------------


def picture(result: dict[str, Any]) -> str:
    """One row of panels per figure, one column per way; a row has one scale. Bars are intervals."""
    ways = list(dict.fromkeys(entry["long_video"] for entry in result["settings"]))
    width, height, names = 430, 150, list(PANELS)
    parts = [f'<rect width="{width * len(ways)}" height="{height * len(names) + 50}" fill="#fff"/>']
    for column, way in enumerate(ways):
        rows = [("real", result["real"])]
        rows += [(e["name"], e["curves"]) for e in result["settings"] if e["long_video"] == way]
        parts.append(text(column * width + 50, 18, f"{way}, by frame", size=14))
        for k, (name, _) in enumerate(rows):
            place = 50 + 75 * (k // 2) + 60 * (k // 2), 32 + 14 * (k % 2)
            parts.append(text(column * width + place[0], place[1], name, COLOURS[k % len(COLOURS)]))
        for row, figure in enumerate(names):
            everything = [p for e in result["settings"] for p in e["curves"][figure]] + result["real"][figure]
            high = max(p["high"] for p in everything) or 1.0
            series = [curve[figure] for _, curve in rows]
            corner = column * width, 50 + row * height
            parts.extend(panel(series, PANELS[figure], corner, (width, height), high, result["frames"]))
    box = f"0 0 {width * len(ways)} {height * len(names) + 50}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif">{"".join(parts)}</svg>\n'


def text(x: float, y: float, words: str, colour: str = "#222", size: int = 11, anchor: str = "start") -> str:
    """A line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}">'
        f"{html.escape(words)}</text>"
    )


def panel(
    series: list[list[dict[str, float]]],
    title: str,
    corner: tuple[int, int],
    size: tuple[int, int],
    high: float,
    frames: int,
) -> list[str]:
    """One diagram from 0 to `high`; curves of a panel stand a pixel or two apart so that bars do not hide."""
    left, top = corner[0] + 50, corner[1] + 22
    across, down = size[0] - 70, size[1] - 42
    parts = [text(left, top - 6, title)]
    for k in range(3):
        y = top + down * (1 - k / 2)
        parts.append(f'<path d="M{left} {y:.1f}H{left + across}" stroke="#ddd"/>')
        parts.append(text(left - 5, y + 4, f"{high * k / 2:.3g}", anchor="end"))
    for k, curve in enumerate(series):
        colour = COLOURS[k % len(COLOURS)]
        points = []
        for p in curve:
            x = left + across * p["frame"] / frames + 2 * k
            y, low, top_end = (top + down * (1 - p[end] / high) for end in ("value", "low", "high"))
            points.append(f"{x:.1f},{y:.1f}")
            parts.append(f'<path d="M{x:.1f} {low:.1f}V{top_end:.1f}" stroke="{colour}" opacity=".45"/>')
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        )
    parts.append(text(left, top + down + 13, "0", size=10))
    parts.append(text(left + across, top + down + 13, str(frames), size=10, anchor="end"))
    return parts


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", help="an LVDM run on bouncing digits: folder, name or checkpoint")
    p.add_argument("--num_videos", type=int, default=16, help="for each setting")
    p.add_argument("--num_real", type=int, default=128, help="real videos of the reference")
    p.add_argument("--frames", type=int, default=256)
    p.add_argument("--bins", type=int, default=8, help="stretches of time")
    p.add_argument("--steps", type=steps, default=(20, 10), metavar="N[/M]", help="as of videodiff generate")
    p.add_argument("--out", type=Path, default=Path("drift"), help="OUT.json and OUT.svg are written")
    return p


def main(argv: list[str] | None = None) -> int:
    """Draw, measure, write."""
    args = parser().parse_args(argv)
    windows = args.frames // WINDOW
    if args.num_videos < 4 or windows < 2 or windows % args.bins:
        raise SystemExit(
            f"4 videos or more, and bins that divide the {windows} windows of {WINDOW} frames; got "
            f"{args.num_videos} videos and {args.bins} bins"
        )
    model = load_run(args.run).eval()
    settings = {"LVDM": SETTINGS, "DiffusionForcing": OF_FORCING}.get(type(model).__name__)
    if settings is None:
        raise SystemExit(
            f"{args.run} is a run of {type(model).__name__}; drift is measured of LVDM and DiffusionForcing"
        )
    warnings.filterwarnings("ignore", "Frechet distance of", UserWarning)
    extractor, side, per_bin = EvaluatorFeatures(), model.video_shape[-1], windows // args.bins
    reference = figures(real_videos("val", args.num_real, args.frames, side), extractor)["features"]
    reference = reference.reshape(-1, reference.shape[-1])
    real = figures(real_videos("train", args.num_videos, args.frames, side), extractor)
    result = {
        "run": args.run, "frames": args.frames, "num_videos": args.num_videos, "num_real": args.num_real,
        "window": WINDOW, "steps": args.steps, "sampler": type(model.sampler).__name__, "torch": torch.__version__,
        "real": curves(real, reference, per_bin), "settings": [],
    }  # fmt: skip
    for setting in settings:
        videos = draw(model, setting, args.num_videos, args.frames, args.steps)
        found = curves(figures(videos, extractor), reference, per_bin)
        shown = {"long_video": setting.long_video, "name": setting.name}
        result["settings"].append({"setting": vars(setting), **shown, "curves": found})
        ends = ", ".join(f"{n} {found[n][0]['value']:.3g} -> {found[n][-1]['value']:.3g}" for n in PANELS)
        print(f"{setting.long_video}, {setting.name}: {ends}", flush=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        args.out.with_suffix(".svg").write_text(picture(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
