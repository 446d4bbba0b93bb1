"""Latents of video of any length: units along axis 2, be they frames, latent frames or whole clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .autoencoder import Autoencoder


class Latents:
    """Video to latent ``[B, C, U, *S]`` and back, by an autoencoder whose latent has a time axis of its own.

    Args:
        autoencoder: of the frames of a unit, and of any number of units.
        video_shape: ``(3, T, H, W)`` of the clip that one call of a network makes.
        unit_frames: frames of the video in one unit.
    """

    sees_context = True
    """Whether the network's latent holds units that are known beside those that it makes."""
    takes_images = True
    """Whether a still image has a unit of its own, so that images may be learnt with clips."""
    overlap_frames = 0
    """Frames that neighbouring clips have in common; only where a clip is a unit."""

    def __init__(
        self, autoencoder: Autoencoder, video_shape: tuple[int, int, int, int], unit_frames: int
    ) -> None:
        self.autoencoder, self.video_shape, self.unit_frames = autoencoder, video_shape, unit_frames

    @property
    def clip_units(self) -> int:
        """Units of a clip."""
        return self.units(self.video_shape[1])

    def units(self, num_frames: int) -> int:
        """Units that a video of ``num_frames`` frames has, or begins."""
        return -(-num_frames // self.unit_frames)

    def frames(self, units: int) -> int:
        """Frames of a video of so many units."""
        return units * self.unit_frames

    def whole(self, num_frames: int) -> int:
        """The most frames of whole units among so many."""
        return num_frames // self.unit_frames * self.unit_frames

    def shape(self, units: int) -> tuple[int, ...]:
        """``(C, U, *S)`` of so many units."""
        channels, _, *space = self.autoencoder.latent_shape(self.video_shape)
        return (channels, units, *space)

    def network_shape(self, units: int) -> tuple[int, ...]:
        """``(C, *S)`` of so many units as the network sees them; here it has the axis of units too."""
        return self.shape(units)

    def of_network(self, x: Tensor) -> Tensor:
        """What a network makes, ``[B, *network_shape]``, with the axis of units."""
        return x

    def for_network(self, latent: Tensor) -> Tensor:
        """The reverse: units ``[B, C, U, *S]`` as the network sees them."""
        return latent

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Frames that make up whole units, ``[B, 3, T, H, W]`` in [-1, 1] -> ``[B, C, U, *S]``, fp32."""
        return self.autoencoder.encode(video).float()

    def filled(self, video: Tensor, units: int) -> Tensor:
        """Frames ``[B, C, T, H, W]`` of so many units: those of a video, its last one repeated where it ends before."""
        frames = torch.arange(self.frames(units), device=video.device).clamp(max=video.shape[2] - 1)
        return video[:, :, frames]

    def known_places(self, known: Tensor) -> Tensor:
        """Places of a latent that stand for known pixels alone.

        Args:
            known: which pixels are, ``[B, 1, T, H, W]`` bool, of whole units.

        Returns:
            ``[B, 1, U, *S]`` bool.
        """
        return self.autoencoder.known_places(known)

    def encode_images(self, images: Tensor) -> Tensor:
        """Still images ``[B, 3, I, H, W]`` -> a unit of each, ``[B, C, I, *S]``, fp32.

        An image is a video of one frame, or stands still over all frames of a unit that has several.
        """
        stills = images.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # [B I, 3, 1, H, W]
        alone = self.encode(stills.expand(-1, -1, self.frames(1), -1, -1))
        return alone.squeeze(2).unflatten(0, (len(images), -1)).transpose(1, 2)

    def check_windows(self, windows: Sequence[Sequence[int]]) -> None:
        """Refuse windows, each given by the units that it sees and makes, that are not as the clips of training.

        Raises:
            ValueError: in one line.
        """

    def units_at(self, positions: Sequence[int]) -> tuple[int, ...]:
        """The units that known frames at these positions of a video, ascending, make known.

        Raises:
            ValueError: for frames that are not whole units.
        """
        size = self.unit_frames
        units = sorted({p // size for p in positions})
        if set(positions) != {u * size + i for u in units for i in range(size)}:
            raise ValueError(
                f"a latent frame is {size} frames: given frames must be whole groups of {size} (0 to {size - 1}, "
                f"{size} to {2 * size - 1}, ...), got {len(positions)} from {positions[0]} to {positions[-1]}"
            )
        return tuple(units)

    def place(self, frames: Tensor, positions: Sequence[int], latent: Tensor) -> tuple[int, ...]:
        """Write known frames into their places in a latent; neighbouring units are encoded together.

        Args:
            frames: ``[B, 3, n, H, W]``.
            positions: where those lie in the video, ascending.
            latent: ``[B, C, U, *S]``, of the whole video.

        Returns:
            The units that are known now.

        Raises:
            ValueError: for frames that are not whole units.
        """
        units, done = self.units_at(positions), 0
        for run in neighbours(units):
            count = len(run) * self.unit_frames
            latent[:, :, run] = self.encode(frames[:, :, done : done + count])
            done += count
        return units

    @torch.no_grad()
    def stream(self, latent: Tensor, num_frames: int) -> Iterator[Tensor]:
        """The first ``num_frames`` frames of a latent in order, as pieces ``[B, 3, t, H, W]`` fp32 in [-1, 1].

        Memory does not grow with the length.
        """
        done = 0
        for piece in self.pieces(latent):
            piece = piece[:, :, : num_frames - done]
            done += piece.shape[2]
            if piece.shape[2]:
                yield piece
            if done == num_frames:
                return

    def pieces(self, latent: Tensor) -> Iterator[Tensor]:
        """All frames of a latent, as :meth:`stream` cuts them to a length."""
        for piece in self.autoencoder.decode_stream(latent):
            yield piece.clamp(-1, 1).float()


class FrameLatents(Latents):
    """Latents of single frames: pixels, or pictures that an image's autoencoder made. Any frames may be given."""

    def units_at(self, positions: Sequence[int]) -> tuple[int, ...]:
        return tuple(positions)

    def place(self, frames: Tensor, positions: Sequence[int], latent: Tensor) -> tuple[int, ...]:
        latent[:, :, list(positions)] = self.encode(frames)
        return tuple(positions)


class CausalLatents(Latents):
    """Latents of a causal autoencoder: the first unit is the first frame, every further one as many as are in a unit.

    A clip of a network begins with such a first unit, which stands nowhere else in a video: videos are single clips.
    """

    def units(self, num_frames: int) -> int:
        return 1 + -(-(num_frames - 1) // self.unit_frames)

    def frames(self, units: int) -> int:
        return 1 + (units - 1) * self.unit_frames

    def whole(self, num_frames: int) -> int:
        return max(1 + (num_frames - 1) // self.unit_frames * self.unit_frames, 0)

    def check_windows(self, windows: Sequence[Sequence[int]]) -> None:
        if any(min(units) for units in windows):
            most = self.video_shape[1]
            raise ValueError(
                f"this model generates single clips of {most} frames: the first latent frame of a clip is one frame, "
                f"as no later one of a video is; ask for at most {most} (--frames {most})"
            )

    def units_at(self, positions: Sequence[int]) -> tuple[int, ...]:
        """Known frames must be the first 1 + n units: what a latent frame holds depends on the frames before it."""
        count, size = len(positions), self.unit_frames
        if (count - 1) % size or tuple(positions) != tuple(range(count)):
            raise ValueError(
                f"a latent frame depends on those before it: given frames must be the first 1 + n x {size}, got "
                f"{count} from {positions[0]} to {positions[-1]}"
            )
        return tuple(range(self.units(count)))

    def place(self, frames: Tensor, positions: Sequence[int], latent: Tensor) -> tuple[int, ...]:
        units = self.units_at(positions)
        latent[:, :, list(units)] = self.encode(frames)
        return units


class ClipLatents(Latents):
    """Latents of whole clips, ``[B, C, U, N]``, by an autoencoder of one clip whose latent ``[B, C, N]`` has no time.

    The network sees one unit, without the axis. A clip may have its first frames in common with the last of the clip
    before; in the video one fades into the other over these, so that what they show a little differently is no jump.

    Args:
        autoencoder: of one clip.
        overlap_frames: frames that neighbouring clips have in common.

    Raises:
        ValueError: if these are not fewer than a clip's.
    """

    sees_context = takes_images = False

    def __init__(self, autoencoder: Autoencoder, overlap_frames: int = 0) -> None:
        shape = autoencoder.video_shape
        if not 0 <= overlap_frames < shape[1]:
            raise ValueError(f"overlap_frames must lie in 0 ... {shape[1] - 1}, got {overlap_frames}")
        super().__init__(autoencoder, shape, shape[1] - overlap_frames)
        self.overlap_frames = overlap_frames

    def units(self, num_frames: int) -> int:
        return max(-(-(num_frames - self.overlap_frames) // self.unit_frames), 1)

    def frames(self, units: int) -> int:
        return units * self.unit_frames + self.overlap_frames

    def shape(self, units: int) -> tuple[int, ...]:
        channels, tokens = self.autoencoder.latent_shape(self.video_shape)
        return (channels, units, tokens)

    def network_shape(self, units: int) -> tuple[int, ...]:
        channels, _, tokens = self.shape(units)
        return (channels, tokens)

    def of_network(self, x: Tensor) -> Tensor:
        return x.unsqueeze(2)

    def for_network(self, latent: Tensor) -> Tensor:
        return latent.squeeze(2)

    def clips(self, video: Tensor) -> list[Tensor]:
        """The clips that begin and end in a video, ``[B, C, T', H, W]`` -> each ``[B, C, T, H, W]``."""
        return list(video.unfold(2, self.video_shape[1], self.unit_frames).movedim(-1, 3).unbind(2))

    def known_places(self, known: Tensor) -> Tensor:
        return torch.stack([self.autoencoder.known_places(clip) for clip in self.clips(known)], dim=2)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """The clips that begin and end in a video, ``[B, 3, T', H, W]`` -> ``[B, C, U, N]``, in one pass."""
        clips = self.clips(video)
        return self.encode_clips(torch.cat(clips)).unflatten(0, (len(clips), len(video))).permute(1, 2, 0, 3)

    @torch.no_grad()
    def encode_clips(self, clips: Tensor) -> Tensor:
        """Single clips ``[B, 3, T, H, W]`` -> ``[B, C, N]``, fp32."""
        return self.autoencoder.encode(clips).float()

    def decode_clip(self, latent: Tensor) -> Tensor:
        """The clip ``[B, 3, T, H, W]`` in [-1, 1] of one unit ``[B, C, N]``, fp32."""
        return self.autoencoder.decode(latent).clamp(-1, 1).float()

    def units_at(self, positions: Sequence[int]) -> tuple[int, ...]:
        """Known frames must be whole clips from the start: the latent of part of a clip does not exist."""
        size, count = self.video_shape[1], len(positions)
        whole = count >= size and (count - size) % self.unit_frames == 0
        if not whole or tuple(positions) != tuple(range(count)):
            more = f"{size} + n x {self.unit_frames} frames" if self.overlap_frames else f"multiple of {size}"
            raise ValueError(
                f"this model continues whole clips of {size} frames: give frames 0 to {size - 1} (or the first "
                f"{more}), got {count} frames from {positions[0]} to {positions[-1]}"
            )
        return tuple(range((count - size) // self.unit_frames + 1))

    def place(self, frames: Tensor, positions: Sequence[int], latent: Tensor) -> tuple[int, ...]:
        units = self.units_at(positions)
        for unit in units:
            start = unit * self.unit_frames
            latent[:, :, unit] = self.encode_clips(frames[:, :, start : start + self.video_shape[1]])
        return units

    def pieces(self, latent: Tensor) -> Iterator[Tensor]:
        """Clip by clip, each fading into the next over the frames they share."""
        shared, last = self.overlap_frames, latent.shape[2] - 1
        # The weight of the new clip rises in equal steps; neither clip is alone in any shared frame.
        weight = torch.arange(1, shared + 1, device=latent.device).view(-1, 1, 1) / (shared + 1)
        tail = None  # the last shared frames of the clip before
        for unit in range(latent.shape[2]):
            clip = self.decode_clip(latent[:, :, unit])
            if tail is not None:
                faded = torch.lerp(tail, clip[:, :, :shared], weight.to(clip))
                clip = torch.cat([faded, clip[:, :, shared:]], dim=2)
            tail = clip[:, :, clip.shape[2] - shared :] if shared and unit < last else None
            yield clip if unit == last else clip[:, :, : self.unit_frames]


def neighbours(units: Sequence[int]) -> list[list[int]]:
    """Ascending numbers in runs that have no gap."""
    runs: list[list[int]] = []
    for unit in units:
        if runs and unit == runs[-1][-1] + 1:
            runs[-1].append(unit)
        else:
            runs.append([unit])
    return runs
