"""Two endless sets of generated clips with exact ground truth: bouncing digits and drifting clouds.

Clip `index` of a split is a function of ``(seed, split, index)`` alone (``numpy.random.default_rng``). The digits are
those of the UCI repository (Alpaydin & Kaynak 1998, CC BY 4.0; credit in ``digits.txt``).
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videodiff.data.captions import HeldOut
from videodiff.data.clip_cache import ClipCache
from videodiff.data.clips import ClipSource
from videodiff.data.scenes import CloudScene, DigitScene, Flight, Scene, bounce
from videodiff.frame_size import FrameSize, Resolution

SPLIT_IDS = {"train": 0, "val": 1, "test": 2}
SPLIT_SIZES = {"train": 4096, "val": 512, "test": 2048}
TRAIN_DIGITS = 1437  # images 0..1436 for train and val, the rest (other hands) for test
SEARCHED = 100  # times as many clips are looked through as are wanted of those that are held out
CACHE_BYTES = 512 * 2**20
WEATHERS = ["blue sky", "fair", "overcast", "sunset"]
COVERAGE = (0.15, 0.45, 0.85, 0.50)
# RGB in [0, 1] by weather: top of the sky, bottom of the sky, cloud
SKY_TOP = np.array([[0.16, 0.38, 0.78], [0.25, 0.48, 0.82], [0.52, 0.57, 0.63], [0.22, 0.20, 0.42]])
SKY_BOTTOM = np.array([[0.60, 0.78, 0.95], [0.68, 0.82, 0.94], [0.70, 0.73, 0.76], [0.96, 0.58, 0.32]])
CLOUD = np.array([[1.00, 1.00, 1.00], [0.97, 0.97, 0.98], [0.80, 0.81, 0.83], [0.98, 0.72, 0.62]])
GROUND = np.array([0.07, 0.09, 0.07])


@cache
def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1797 carried digits: images fp32 ``[1797, 8, 8]`` in [0, 1] and labels ``[1797]``."""
    with np.load(Path(__file__).with_name("digits.npz")) as archive:
        return archive["images"].astype(np.float32) / 16, archive["labels"].astype(np.int64)


class GeneratedSource(ClipSource):
    """Base of the two sets: numbered videos, endless in time, each a function of a key.

    Args:
        split: train, val or test.
        size: number of clips.
        num_frames: frames that a clip spans.
        resolution: height and width of a frame in pixels, one number for a square; at least 16. Speeds and the size of
            a digit go by the shorter one.
        seed: of the whole set.

        held_out: words by which clips are chosen: those of the first `size` that do not hold them at any time; or the
            first `size` that hold them from their first frame on, where no size is given those of the usual one.

    Attributes:
        is_captioned: whether clips come with the captions of their scenes; set by whoever wants them.

    Raises:
        ValueError: for a resolution or a seed out of its range, or words that no clip holds.
    """

    key_offset = 0
    is_captioned = False

    def __init__(
        self,
        split: str,
        size: int | None,
        num_frames: int,
        resolution: Resolution,
        seed: int = 0,
        held_out: HeldOut | None = None,
    ) -> None:
        self.frame_size = FrameSize.of(resolution)
        if min(self.frame_size) < 16:
            least = FrameSize(*(max(16, side) for side in self.frame_size))
            raise ValueError(
                f"resolution of the built-in sets must be at least 16, got {self.frame_size}; the nearest is {least}"
            )
        if seed < 0:
            raise ValueError(f"seed of the built-in sets must not be negative, got {seed}")
        self.split, self.size = split, SPLIT_SIZES[split] if size is None else size
        self.held_out, self.searched = held_out, self.size * (1 if size is None else SEARCHED)
        self.span, self.resolution, self.seed = num_frames, self.frame_size.written, seed
        self.unit = min(self.frame_size)  # the shorter side, in pixels

    @staticmethod
    @abstractmethod
    def vocabulary() -> set[str]:
        """Texts that hold all words of its captions."""

    @abstractmethod
    def scene_by(self, rng: np.random.Generator) -> Scene:
        """What happens in the clip of a generator."""

    @cached_property
    def numbers(self) -> Sequence[int]:
        """Of the clips, in their order: what their generators are made from."""
        if self.held_out is None:
            return range(self.size)
        if not self.held_out.is_wanted:
            kept = [number for number in range(self.size) if not self._is_held_out(number)]
        else:
            every = filter(self._is_held_out, range(self.searched))
            kept = list(itertools.islice(every, self.size))
        if not kept:
            raise ValueError(
                f"data.held_out_words {'; '.join(self.held_out.texts)!r} leave no {self.split} clip: "
                + (
                    f"none of {SEARCHED * self.size} holds them"
                    if self.held_out.is_wanted
                    else "all hold them"
                )
            )
        return kept

    def _is_held_out(self, number: int) -> bool:
        assert self.held_out is not None
        scene, stride = self.scene_by(self._rng(number)), self.held_out.stride
        wanted = self.held_out.is_wanted
        return self.held_out.holds(
            scene.captions(0, 2, stride) if wanted else scene.every_caption(self.span, stride)
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def num_frames(self, index: int) -> int:
        return self.span

    @property
    def has_captions(self) -> bool:
        return self.is_captioned

    def name(self, index: int) -> str:
        return f"{type(self).__name__} {self.split} {self.numbers[index]}"

    def scene(self, index: int) -> Scene:
        return self.scene_by(self.rng(index))

    def rng(self, index: int) -> np.random.Generator:
        """The generator of clip `index`."""
        return self._rng(self.numbers[index])

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLIT_IDS[self.split] + self.key_offset, number])

    def first_draws(self, low: int, end: int) -> tuple[int, ...]:
        """The first integer in [low, end) that each clip's generator gives."""
        key = self.seed, SPLIT_IDS[self.split] + self.key_offset
        draws = first_draws(key, low, end, self.numbers[-1] + 1)
        return draws if self.held_out is None else tuple(draws[number] for number in self.numbers)


@lru_cache(
    maxsize=64
)  # every set of one seed and split asks for the same, and a generator takes its time to be made
def first_draws(key: tuple[int, int], low: int, end: int, count: int) -> tuple[int, ...]:
    """The first integer in [low, end) of the generators ``(*key, 0)``, ``(*key, 1)``, ..."""
    return tuple(int(np.random.default_rng([*key, index]).integers(low, end)) for index in range(count))


@dataclass(frozen=True)
class DigitPath(Flight):
    """How one digit flies, and the number of its picture."""

    image: int


class BouncingDigits(GeneratedSource):
    """Handwritten digits that fly straight and bounce off the walls; the label is the (first) digit.

    Args:
        num_digits: digits in a clip, combined by their maximum.
    """

    class_names = [str(digit) for digit in range(10)]

    def __init__(
        self,
        split: str,
        size: int | None,
        num_frames: int,
        resolution: Resolution,
        seed: int = 0,
        held_out: HeldOut | None = None,
        num_digits: int = 1,
    ) -> None:
        super().__init__(split, size, num_frames, resolution, seed, held_out)
        self.num_digits = num_digits
        self.side = round(7 / 16 * self.unit)
        images, _ = load_digits()
        enlarged = F.interpolate(
            torch.from_numpy(images)[:, None], (self.side, self.side), mode="bilinear", antialias=True
        )
        self.sprites = enlarged[:, 0].numpy()
        digits = load_digits()[1]
        self.labels = [int(digits[image]) for image in self.first_draws(*self.images)]

    @property
    def images(self) -> tuple[int, int]:
        """The first picture that this split may show, and the first behind the last."""
        return (TRAIN_DIGITS, len(self.sprites)) if self.split == "test" else (0, TRAIN_DIGITS)

    @property
    def room(self) -> np.ndarray:
        """How far a digit's upper left corner can move, ``(x, y)`` in pixels."""
        return np.array([self.frame_size.width - self.side, self.frame_size.height - self.side])

    def paths(self, index: int) -> list[DigitPath]:
        """The ground truth of clip `index`, one path for each digit."""
        return self._paths(self.rng(index))

    def _paths(self, rng: np.random.Generator) -> list[DigitPath]:
        paths = []
        for _ in range(self.num_digits):
            image = int(rng.integers(*self.images))  # before all else: the labels are read off it alone
            start = rng.uniform(0, self.room)
            angle = rng.uniform(0, 2 * np.pi)
            speed = rng.uniform(0.5, 2.0) * self.unit / 32
            velocity = speed * np.array([np.cos(angle), np.sin(angle)])
            paths.append(DigitPath(int(load_digits()[1][image]), start, velocity, image))
        return paths

    @staticmethod
    def vocabulary() -> set[str]:
        return DigitScene.vocabulary()

    def scene_by(self, rng: np.random.Generator) -> Scene:
        return DigitScene(self._paths(rng), self.room)

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        time = start + stride * np.arange(num_frames)
        (height, width), side = self.frame_size, self.side
        canvas = np.zeros((num_frames, height, width), np.float32)
        for path in self.paths(index):
            layer = np.zeros((num_frames, height + 1, width + 1), np.float32)
            sprite = self.sprites[path.image]
            for frame, (x, y) in zip(layer, bounce(path.start, path.velocity, time, self.room), strict=True):
                left, top = int(x), int(y)
                right_share, low_share = np.float32(x - left), np.float32(y - top)
                for dy, share_y in ((0, 1 - low_share), (1, low_share)):
                    for dx, share_x in ((0, 1 - right_share), (1, right_share)):
                        part = frame[top + dy : top + dy + side, left + dx : left + dx + side]
                        part += (share_y * share_x) * sprite
            np.maximum(canvas, layer[:, :height, :width], out=canvas)
        gray = torch.from_numpy((255 * canvas + 0.5).clip(0, 255).astype(np.uint8))
        return gray[..., None].repeat(1, 1, 1, 3)


@dataclass(frozen=True)
class Sky:
    """The ground truth of a clip of clouds: weather 0..3, drift ``(x, y)`` in pixels per frame, share of cloud."""

    weather: int
    velocity: np.ndarray
    coverage: float


class DriftingClouds(GeneratedSource):
    """A cloud layer that drifts and slowly changes its shape over a fixed horizon; the label is the weather.

    Finished clips are kept as uint8 in memory that forked loader workers share, up to 512 MiB.
    """

    key_offset = 10
    class_names = WEATHERS

    def __init__(
        self,
        split: str,
        size: int | None,
        num_frames: int,
        resolution: Resolution,
        seed: int = 0,
        held_out: HeldOut | None = None,
    ) -> None:
        super().__init__(split, size, num_frames, resolution, seed, held_out)
        self.labels = list(self.first_draws(0, len(WEATHERS)))
        self.cache = ClipCache(len(self), CACHE_BYTES)

    def sky(self, index: int) -> Sky:
        """The ground truth of clip `index`."""
        return self._sky(self.rng(index))

    def _sky(self, rng: np.random.Generator) -> Sky:
        weather = int(rng.integers(len(WEATHERS)))  # before all else: the labels are read off it alone
        speed = rng.uniform(0.3, 1.5) * self.unit / 32
        angle = rng.uniform(0, 2 * np.pi)
        velocity = speed * np.array([np.cos(angle), 0.35 * np.sin(angle)])
        coverage = float(np.clip(COVERAGE[weather] + rng.normal(0, 0.06), 0.03, 0.97))
        return Sky(weather, velocity, coverage)

    @staticmethod
    def vocabulary() -> set[str]:
        return CloudScene.vocabulary()

    def scene_by(self, rng: np.random.Generator) -> Scene:
        sky = self._sky(rng)
        return CloudScene(sky.weather, sky.velocity, self.unit)

    def expect(self, num_frames: int, stride: int) -> None:
        self.cache.claim((0, stride, (num_frames, *self.frame_size, 3)))

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        time = start + stride * np.arange(num_frames)
        key = (start, stride, (num_frames, *self.frame_size, 3))
        return self.cache.get(index, key, lambda: self._draw(index, time))

    def _draw(self, index: int, time: np.ndarray) -> np.ndarray:
        rng, (rows, columns) = self.rng(index), self.frame_size
        sky = self._sky(rng)
        fields = self._fields(rng, sky.velocity, np.concatenate([[0], time]))
        first, fields = fields[0], fields[1:]
        threshold, std = np.quantile(first, 1 - sky.coverage), first.std()
        height = (fields - threshold) / std  # [T, H, W]
        density = 1 / (1 + np.exp(-height / 0.35))
        shading = 0.78 + 0.22 * np.clip(height / 2, -1, 1)
        down = np.linspace(0, 1, rows)[:, None, None]
        tint = rng.normal(0, 0.03, 3)
        air = (1 - down) * SKY_TOP[sky.weather] + down * SKY_BOTTOM[sky.weather] + tint  # [H, 1, 3]
        cloud = shading[..., None] * CLOUD[sky.weather]
        picture = air + density[..., None] * (cloud - air)
        points = np.linspace(0, columns - 1, 8)
        horizon = np.interp(np.arange(columns), points, rng.uniform(0.80, 0.90, 8) * rows)
        ground = np.clip(np.arange(rows)[:, None] + 1 - horizon, 0, 1)[
            ..., None
        ]  # share of ground in a pixel
        picture = picture + ground * (GROUND - picture)
        return (255 * picture.clip(0, 1) + 0.5).astype(np.uint8)

    def _fields(self, rng: np.random.Generator, velocity: np.ndarray, time: np.ndarray) -> np.ndarray:
        """The cloud field ``[T, H, W]``: a window of a periodic one of twice the size, moved in Fourier space.

        Waves are counted over twice the shorter side, so that clouds look alike in frames of any proportions.
        """
        side, (height, width) = 2 * self.unit, self.frame_size
        kx = np.fft.fftfreq(2 * width, 1 / side)[None, :]
        ky = np.fft.fftfreq(2 * height, 1 / side)[:, None]
        radius = np.hypot(kx, ky)
        beta = rng.uniform(1.7, 2.0)
        amplitude = np.where((radius > 0) & (radius <= 0.35 * side), np.maximum(radius, 1) ** -beta, 0)
        phase = rng.uniform(0, 2 * np.pi, (2 * height, 2 * width))
        rate = rng.normal(0, 0.012, phase.shape) * np.sqrt(radius)
        rate = rate - 2 * np.pi * (kx * velocity[0] + ky * velocity[1]) / side
        modes = amplitude * np.exp(1j * (phase + time[:, None, None] * rate))
        return np.fft.ifft2(modes).real[:, :height, :width]
