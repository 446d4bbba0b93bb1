"""Protocols: named and hashed descriptions of how a number is measured, and when two may share a column.

A Fréchet distance depends on a dozen switches that papers rarely name all of: which pixels reach the network, which
clips are taken from a video, how many, and how the covariance is divided. A :class:`Protocol` holds them all, its hash
changes with any of them, and every result carries it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Network = Literal["i3d", "evaluator", "random"]

# Switches that decide which pixels reach the network, and so its features; the others only use features again.
FEATURE_SWITCHES = (
    "network", "eps", "resize", "rounding", "frames", "stride", "fps", "subsample", "clips_per_video", "window",
    "order", "split", "given", "context", "draws",
)  # fmt: skip
# Switches that came after results were stored: at their default they enter no hash, so that stored hashes hold.
LATER = ("fps", "given", "draws", "best_of", "context")
# Switches that the label of a protocol tells; one that changes only these keeps its name.
TOLD = ("frames", "given", "draws", "best_of", "context")
# By which name records, hashes and older command lines hold a switch that has another one here.
STORED_AS = {"num_generated": "num_fake"}
CHOICES: dict[str, tuple[str, ...]] = {
    "network": ("i3d", "evaluator", "random"),
    "resize": ("bilinear", "crop", "tf1"),
    "rounding": ("round", "truncate"),
    "order": ("listing", "shuffled"),
    "window": ("random", "start"),
    "split": ("train", "val", "test"),
    "inception": ("k400", "c3d", "evaluator", "none"),
    "context": ("counted", "excluded", "truth"),
}


@dataclass(frozen=True)
class Protocol:
    """Everything that decides a number except the data and the model.

    Args:
        name: of the protocol; one that was changed is ``custom``.
        network: whose features are compared.
        eps: of the network's batch norms (I3D; the published graph has 1e-3).
        resize: how frames reach 224x224: ``bilinear`` (both sides independently, half-pixel, no antialias), ``crop``
            (short side, then centre crop), ``tf1`` (corner-origin bilinear of TensorFlow 1).
        rounding: of generated pixels in [-1, 1] to 0..255.
        ddof: the covariance is divided by N - ddof.
        num_real: real clips wanted.
        num_generated: generated clips wanted.
        frames: of a clip, before `subsample`.
        stride: distance between the frames of a real clip in its video; generated clips are taken as they come.
        fps: frames per second at which real videos are read, `stride` counting ticks of that clock; None is every
            frame.
        subsample: every how-manieth frame of a clip the network sees.
        clips_per_video: real clips taken from one video.
        window: where they begin: at a random frame or at the start.
        order: real videos in the order of their listing, or shuffled by the seed.
        split: of the real clips; ``train`` is what the model is trained on (for UCF-101 that may be train and test).
        inception: network of the inception score: I3D's 400 classes (``is_k400``), C3D (``is``), the evaluator's.
        inception_splits: parts over which the score is averaged; the score grows with their size.
        inception_shuffle: seed of the order before splitting, or None.
        given: first frames of every real clip that the model is given and continues (a prediction); 0 generates clips
            from noise.
        draws: continuations of each real clip; the distance is over all of them.
        best_of: PSNR, SSIM and LPIPS also of the best of the first so many draws, each by itself; 1 is the mean alone.
        context: the given frames of a continuation are ``counted`` as the model returns them, ``excluded`` on both
            sides, or the ``truth`` is counted in their place.
        base: the protocol that a custom one changes.

    Short videos are discarded and counted. Distances are computed in float64, also where the code a protocol is taken
    from uses float32: that is an error of that code (up to 0.07), not a convention.

    Raises:
        ValueError: for a value that no run could use.
    """

    name: str
    network: Network = "i3d"
    eps: float = 1e-3
    resize: Literal["bilinear", "crop", "tf1"] = "bilinear"
    rounding: Literal["round", "truncate"] = "round"
    ddof: int = 0
    num_real: int = 2048
    num_generated: int = 2048
    frames: int = 16
    stride: int = 1
    fps: float | None = None
    subsample: int = 1
    clips_per_video: int = 1
    window: Literal["random", "start"] = "random"
    order: Literal["listing", "shuffled"] = "listing"
    split: Literal["train", "val", "test"] = "train"
    inception: Literal["k400", "c3d", "evaluator", "none"] = "k400"
    inception_splits: int = 1
    inception_shuffle: int | None = None
    given: int = 0
    draws: int = 1
    best_of: int = 1
    context: Literal["counted", "excluded", "truth"] = "counted"
    base: str | None = None

    def __post_init__(self) -> None:
        for switch, allowed in CHOICES.items():
            if getattr(self, switch) not in allowed:
                raise ValueError(
                    f"protocol {self.name}: {switch} must be one of {', '.join(allowed)}, "
                    f"got {getattr(self, switch)!r}"
                )
        at_least = {
            "num_real": 2, "num_generated": 2, "frames": 1, "stride": 1, "subsample": 1, "clips_per_video": 1,
            "inception_splits": 1, "ddof": 0, "given": 0, "draws": 1, "best_of": 1,
        }  # fmt: skip
        for switch, least in at_least.items():
            if getattr(self, switch) < least:
                raise ValueError(
                    f"protocol {self.name}: {switch} must be at least {least}, got {getattr(self, switch)}"
                )
        if self.ddof > 1:
            raise ValueError(f"protocol {self.name}: ddof must be 0 or 1, got {self.ddof}")
        if not 0 < self.eps < 1:
            raise ValueError(f"protocol {self.name}: eps must lie between 0 and 1, got {self.eps}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(f"protocol {self.name}: fps must be above 0, got {self.fps}")
        self._check_prediction()

    def _check_prediction(self) -> None:
        if self.given >= self.frames:
            raise ValueError(
                f"protocol {self.name}: given must be below frames, or nothing is predicted; got {self.given} of "
                f"{self.frames}"
            )
        if self.best_of > self.draws:
            raise ValueError(
                f"protocol {self.name}: best_of must be at most draws, got {self.best_of} of {self.draws}"
            )
        if not self.is_prediction:
            if (self.draws, self.context) != (1, "counted"):
                switch = "draws" if self.draws != 1 else "context"
                raise ValueError(
                    f"protocol {self.name}: {switch} {getattr(self, switch)} needs given frames, e.g. given=4"
                )
        elif self.subsample != 1:
            raise ValueError(
                f"protocol {self.name}: a prediction is compared frame by frame, got subsample {self.subsample}; "
                "leave it out"
            )
        elif self.num_generated != self.num_real * self.draws:
            raise ValueError(
                f"protocol {self.name}: each of the {self.num_real} real clips is continued in {self.draws} draws, so "
                f"num_generated must be {self.num_real * self.draws}, got {self.num_generated}; leave it out"
            )

    @property
    def span(self) -> int:
        """Frames of a video that a real clip reaches over."""
        return (self.frames - 1) * self.stride + 1

    @property
    def is_prediction(self) -> bool:
        """Whether clips are continued from frames of real ones."""
        return self.given > 0

    @property
    def first_seen(self) -> int:
        """Frames at the start of a clip that the network does not see."""
        return self.given if self.context == "excluded" else 0

    @property
    def seen_frames(self) -> int:
        """Frames of a clip that the network sees."""
        return -(-(self.frames - self.first_seen) // self.subsample)

    def seen(self, clips: Tensor) -> Tensor:
        """The frames of clips ``[B, T, H, W, 3]`` that the network sees."""
        return clips[:, self.first_seen :: self.subsample]

    @property
    def label(self) -> str:
        """Name for files and columns: the name, with what it changes of :data:`TOLD`, and a custom one's hash."""
        name = f"custom_{self.hash[:6]}" if self.name == "custom" else self.name
        name += "" if self.frames == 16 else f"_{self.frames}f"
        own = PROTOCOLS.get(self.name) or PROTOCOLS.get(self.base or "")
        for switch in TOLD[1:] if own is not None and self.is_prediction else ():
            value = getattr(self, switch)
            if value != getattr(own, switch):
                name += f"_{value}" if switch == "context" else f"_{switch.replace('_', '')}{value}"
        return name if self.subsample == 1 else f"{name}_subsample{self.subsample}f"

    @property
    def switches(self) -> dict[str, Any]:
        """Every switch by name, without the names the protocol goes by."""
        return {k: v for k, v in asdict(self).items() if k not in ("name", "base")}

    @property
    def feature_key(self) -> tuple[Any, ...]:
        """Equal for protocols that give the network the same pixels."""
        return tuple(getattr(self, switch) for switch in FEATURE_SWITCHES)

    @property
    def hash(self) -> str:
        """Hex digest of every switch; two protocols with one hash measure the same under two names."""
        text = json.dumps(as_hashed(self.switches), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def record(self, network_sha256: str | None = None) -> dict[str, Any]:
        """What a result says of its protocol; the network's checksum belongs to it."""
        return {"name": self.name, "base": self.base, "hash": self.hash, **stored(self.switches),
                "short_videos": "discard", "network_sha256": network_sha256}  # fmt: skip

    def changed(self, **switches: Any) -> Protocol:
        """A protocol with other switches: its label names those of :data:`TOLD`, any other makes it ``custom``.

        A prediction generates as many clips as its real ones have draws.
        """
        changes = {k: v for k, v in switches.items() if getattr(self, k) != v}
        named = {} if set(changes) <= {*TOLD} else {"name": "custom", "base": self.base or self.name}
        if "num_generated" not in switches and changes.get("given", self.given):
            draws, real = (changes.get(k, getattr(self, k)) for k in ("draws", "num_real"))
            changes["num_generated"] = draws * real
        return replace(self, **{**({} if self.name == "custom" else named), **changes})


def as_hashed(switches: Mapping[str, Any]) -> dict[str, Any]:
    """The switches that enter a hash: those that came later only where they are not at their default."""
    defaults = {f.name: f.default for f in fields(Protocol)}
    return stored({k: v for k, v in switches.items() if k not in LATER or v != defaults[k]})


def stored(switches: Mapping[str, Any]) -> dict[str, Any]:
    """Switches by the names that records hold."""
    return {STORED_AS.get(name, name): value for name, value in switches.items()}


def read_switches(record: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The switches of a stored record, those that it is too old to have filled up.

    Args:
        record: of a protocol, or the switches of a reference.
        data: facts of the data beside it: before `fps` was a switch, real clips were read as the data said.
    """
    filled = {f.name: f.default for f in fields(Protocol) if f.name in LATER} | {"fps": data.get("fps")}
    return {
        **filled,
        **{name: record[held] for name, held in STORED_AS.items() if held in record},
        **{name: value for name, value in record.items() if name not in STORED_AS.values()},
    }


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        # Skorokhodov et al. 2022; universome/stylegan-v:src/metrics/{metric_main,metric_utils}.py (fvd2048_16f,
        # fvd2048_128f) and src/metrics/frechet_video_distance.py. Generated pixels are floor(127.5 x + 128), which is
        # rounding. One random window of each of the first 2048 videos that are long enough; the training data, which
        # for UCF-101 are train and test (the author in issue 30 of that repository).
        Protocol("styleganv"),
        # Unterthiner et al. 2018; google-research/google-research:frechet_video_distance/frechet_video_distance.py and
        # tensorflow/gan:tensorflow_gan/python/eval/classifier_metrics.py: TensorFlow 1's resize, unbiased covariance.
        # The count is the caller's there; 2048 as everywhere else.
        Protocol("tf_original", resize="tf1", ddof=1),
        # wilson1yan/VideoGPT:videogpt/fvd: short side to 224 and centre crop, batch norm with PyTorch's default eps.
        Protocol("videogpt", eps=1e-5, resize="crop", rounding="truncate", ddof=1, order="shuffled"),
        # sihyun-yu/PVDM:evals/eval.py, evals/fvd: VideoGPT's network; one window per video, shuffled.
        Protocol("pvdm", eps=1e-5, resize="crop", rounding="truncate", ddof=1, order="shuffled"),
        # YingqingHe/LVDM:scripts/eval_cal_fvd_kvd.py, scripts/fvd_utils: both sides resized independently. Its
        # tables hold the mean of ten such numbers with fresh clips: ten seeds.
        Protocol("lvdm", eps=1e-5, rounding="truncate", ddof=1, order="shuffled"),
        # SongweiGe/TATS:tats/fvd/fvd.py; inception score of C3D over 10,000 clips in its tables for UCF-101.
        Protocol("tats", eps=1e-5, rounding="truncate", ddof=1, order="shuffled"),
        # Ho et al. 2022: FVD of the original code; for UCF-101 the inception score of C3D as in
        # pfnet-research/tgan2:tgan2/evaluations/inception_score.py, one split over 10,000 clips.
        Protocol("vdm", resize="tf1", ddof=1, num_real=10_000, num_generated=10_000, order="shuffled", inception="c3d"),
        # Ho et al. 2022, section 4.2: one frame of BAIR is given, 15 are predicted; 100 draws of each of 256 test
        # clips against these 256. The best draw is that of papers on stochastic prediction; this one reports none.
        Protocol(
            "vdm_bair", resize="tf1", ddof=1, num_real=256, num_generated=25_600, split="test", given=1, draws=100,
            best_of=100, context="truth",
        ),
        # The same paper: 5 frames of Kinetics-600 are given and 11 predicted, 50,000 clips.
        Protocol(
            "vdm_kinetics600", resize="tf1", ddof=1, num_real=50_000, num_generated=50_000, order="shuffled",
            split="test", given=5, context="truth",
        ),
        # sihyun-yu/digan:src/scripts/compute_fvd_kvd.py: its tables hold the mean of ten trials
        # with fresh real clips: ten seeds.
        Protocol("digan", eps=1e-5, resize="crop", rounding="truncate", ddof=1, order="shuffled"),
        # Vchitect/Latte:tools/calc_metrics_for_dataset.py is StyleGAN-V's; its data keep every third frame
        # (configs/*/*_train.yaml: frame_interval 3), which no stride-1 number compares to.
        Protocol("latte", stride=3),
        # Ours, for the built-in data: a small classifier trained on them, beside exact figures. Never called FVD.
        Protocol(
            "evaluator", network="evaluator", num_real=512, num_generated=512, split="test", inception="evaluator"
        ),
        # Ours, for any data where no weights are at hand: a fixed random network (rand-FD). Never called FVD.
        Protocol("random", network="random", num_real=512, num_generated=512, split="test", inception="none"),
    )
}  # fmt: skip


def get_protocol(text: str, **switches: Any) -> Protocol:
    """The protocol that ``name[:frames][:switch=value...]`` means; keyword switches come last.

    ``styleganv``, ``styleganv:128``, ``styleganv:eps=1e-5:resize=crop``; ``custom:eps=1e-5`` changes ``styleganv``.

    Raises:
        ValueError: for an unknown name or switch, or a value that is none, with those that exist.
    """
    name, *words = text.split(":")
    if name not in (*PROTOCOLS, "custom"):
        raise ValueError(f"no protocol {name!r}; there are {', '.join(PROTOCOLS)} and custom")
    found: dict[str, Any] = {}
    for word in words:
        switch, equals, value = word.partition("=")
        if not equals:
            switch, value = "frames", word
        switch = next((now for now, before in STORED_AS.items() if before == switch), switch)
        found[switch] = _parse(name, switch, value)
    protocol = PROTOCOLS["styleganv" if name == "custom" else name]
    found.update(switches)
    if name == "custom":
        protocol = replace(protocol, name="custom", base="styleganv")
    return protocol.changed(**found)


def _parse(name: str, switch: str, value: str) -> Any:
    known = {f.name: f.default for f in fields(Protocol) if f.name not in ("name", "base")}
    if switch not in known:
        raise ValueError(f"protocol {name} has no switch {switch!r}; there are {', '.join(known)}")
    if switch in CHOICES:
        return value
    if switch in ("inception_shuffle", "fps") and value in ("none", "null"):
        return None
    try:
        return float(value) if switch in ("eps", "fps") else int(value)
    except ValueError:
        kind = "a number" if switch in ("eps", "fps") else "a whole number"
        raise ValueError(f"protocol {name}: {switch} must be {kind}, got {value!r}") from None


def differences(a: Protocol, b: Protocol) -> list[tuple[str, Any, Any]]:
    """The switches at which two protocols differ, with both values."""
    left, right = a.switches, b.switches
    return [(switch, left[switch], right[switch]) for switch in left if left[switch] != right[switch]]
