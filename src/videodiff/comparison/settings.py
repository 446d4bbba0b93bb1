"""The settings of a comparison, and the samplers it may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from videodiff.evaluation.protocol import get_protocol

if TYPE_CHECKING:
    from videodiff.diffusion import Sampler

SAMPLERS = ("ddim", "dpmpp", "ancestral")
AT_LEAST = {"num_clips": 2, "frames": 1, "long_frames": 0, "long_videos": 2, "shown": 0, "batch_size": 1}


@dataclass(frozen=True)
class Settings:
    """Everything that shapes the numbers of a comparison but the runs themselves.

    Args:
        protocol: as :func:`~videodiff.evaluation.protocol.get_protocol` takes it; None chooses: ``evaluator`` for the
            built-in sets, ``styleganv`` where the weights of I3D are found, else ``random``.
        num_clips: clips of each side; None is what the protocol wants.
        samplers: names of :data:`SAMPLERS`; every one is run with every count of `steps`, the first pair first.
        steps: sampler steps.
        frames: of each video; None is the clip that all models draw, or what a published protocol says.
        long_frames: length of the long videos whose drift is measured; 0 = no long videos.
        long_videos: how many of them.
        shown: clips that the page shows of each model.
        seed: of noise, real clips and windows.
        guidance: scale for every model that takes guidance, or several, of which the table shows the first; None is
            each model's own.
        batch_size: videos generated at once; no number but memory and seconds depends on it.
        device: auto, cpu or cuda.
        trusted: further modules whose classes a run may name.
        reference: arguments of :class:`~videodiff.data.VideoDataModule`: the one set of real clips that all runs are
            judged on, however each of them was trained; empty takes the runs' own data, which must be the same then.
        conditions: conditions of every generated video, by the names of the flags (``conditioning/request.py``).
        clip_model: folder of CLIP, for the similarity of words and frames and of successive frames.

    Raises:
        ValueError: for a value out of its range.
    """

    protocol: str | None = None
    num_clips: int | None = None
    samplers: tuple[str, ...] = ("ddim",)
    steps: tuple[int, ...] = (50,)
    frames: int | None = None
    long_frames: int = 0
    long_videos: int = 8
    shown: int = 16
    seed: int = 0
    guidance: float | tuple[float, ...] | None = None
    batch_size: int = 16
    device: str = "auto"
    trusted: tuple[str, ...] = ()
    reference: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    clip_model: str | None = None

    def __post_init__(self) -> None:
        for name, least in AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} must be at least {least}, got {value}")
        if not self.steps or min(self.steps) < 1:
            raise ValueError(f"--steps must be at least 1, got {','.join(map(str, self.steps)) or 'nothing'}")
        for name in ("steps", "samplers"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(
                    f"--{name.removesuffix('s') if name == 'samplers' else name} names one twice"
                )
        for name in self.samplers:
            if name not in SAMPLERS:
                raise ValueError(f"--sampler must be of {', '.join(SAMPLERS)}, got {name!r}")
        for scale in self.scales:
            if scale is not None and scale < 0:
                raise ValueError(f"--guidance must not be negative, got {scale}")
        if len(set(self.scales)) < len(self.scales):
            raise ValueError("--guidance names one scale twice")

    @property
    def scales(self) -> tuple[float | None, ...]:
        """The scales of guidance, in their order; None is each model's own."""
        return self.guidance if isinstance(self.guidance, tuple) else (self.guidance,)

    def record(self) -> dict[str, Any]:
        """What ``results.json`` says of it: all that shapes a number, but for the conditions."""
        left_out = (
            "trusted",
            "batch_size",
            "protocol",
            "conditions",
            "clip_model",  # its weights are named by their hash
            *([] if self.reference else ["reference"]),
        )
        found = asdict(self)
        return {
            f.name: list(value) if isinstance(value := found[f.name], tuple) else value
            for f in fields(self)
            if f.name not in left_out
        }


def make_sampler(name: str, steps: int) -> Sampler:
    """A sampler with its defaults, the same for every model."""
    from videodiff import diffusion

    classes = {
        "ddim": diffusion.DDIMSampler,
        "dpmpp": diffusion.DPMSolverPP2MSampler,
        "ancestral": diffusion.AncestralSampler,
    }
    return classes[name](steps)


def frames_of(settings: Settings) -> int | None:
    """Frames of a clip where settings or protocol say so; None leaves them to the models.

    A published protocol brings its own number, ours (and the default) only a number that is named.
    """
    if settings.frames is not None:
        return settings.frames
    if settings.protocol is None:
        return None
    found = get_protocol(settings.protocol)
    words = settings.protocol.split(":")[1:]
    named = any(word.isdecimal() or word.startswith("frames=") for word in words)
    return found.frames if named or found.network == "i3d" else None
