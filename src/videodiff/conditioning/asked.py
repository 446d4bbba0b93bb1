"""Builds a request from the plain values of its flags: the given frames, their positions, the length of the video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from videodiff.conditioning import request
from videodiff.conditioning.places import continued, length_for, places
from videodiff.conditioning.request import Generated, Request, loaded
from videodiff.conditioning.source import whole_source
from videodiff.say import counted
from videodiff.words import shortened

if TYPE_CHECKING:
    from torch import Tensor


KINDS = {
    "condition": "given frames",
    "low_resolution": "a low-resolution video",
    "init_video": "a source video",
    "mask": "a mask",
    "actions": "actions of a file",
}


def request_of(conditions: Mapping[str, Any], generated: Generated, num_frames: int | None = None) -> Request:
    """What is asked of one video, or of videos that take classes in turn; its ``num_frames`` is the length.

    Args:
        conditions: name of a flag -> plain value, as the command line has read it.
        generated: what the model generates.
        num_frames: length of the video, where the caller decides it.

    Raises:
        ValueError: where nothing of the video would be new, positions and frames do not fit, or a file cannot be read.
    """
    found, clip = loaded(conditions, generated), generated.video_shape[1]
    length = num_frames or found.pop("num_frames", None)
    whole = whole_source(found, length, clip)
    length = whole.get("num_frames", length)
    found |= {**whole, "num_frames": length}
    words, frames = found.pop("positions", None), found.pop("frames", None)
    if frames is None:
        if words is not None:
            raise ValueError("--condition_frames needs --condition FILE")
        low = found.get("low_resolution")
        found["num_frames"] = length or (clip if low is None else low.shape[2])
        return request.Request(**found)
    positions, chosen, length = place_frames(words, frames.shape[2], length, clip)
    if length == len(positions):
        raise ValueError(
            f"all {length} frames of the video would be given by {conditions['condition']}; ask for more with "
            "--frames, or say which are given with --condition_frames"
        )
    return request.Request(
        **{**found, "num_frames": length}, frames=frames[:, :, chosen], positions=positions
    )


def continuation(
    conditions: Mapping[str, Any],
    generated: Generated,
    clips: Tensor,
    indices: Sequence[int],
    given_frames: Callable[[int], int],
    check_given: Callable[[int, int], None],
) -> Request:
    """The request for clips that are continued from their own first frames.

    Args:
        conditions: as for :func:`request_of`; ``condition_frames`` says how many of the clips' own frames are known.
        generated: what the model generates.
        clips: ``[B, 3, T, H, W]`` in [-1, 1].
        indices: of the clips, ``B``.
        given_frames: length of a clip -> how many of its frames are known where nobody says it.
        check_given: (how many are known, length of a clip) -> refuses what the model cannot be given.

    Raises:
        ValueError: for frames of another video, or known ones that are not the first.
    """
    length = conditions.get("frames") or clips.shape[2]
    if length > clips.shape[2]:
        raise ValueError(
            f"--frames {length}: the clips to predict have {clips.shape[2]} frames; give them more with "
            f"--data.num_frames {length}"
        )
    check_own_frames({"condition": conditions.get("condition")})
    steered = [
        name for name in ("init_video", "strength", "mask", "keep_frames") if conditions.get(name) is not None
    ]
    if steered:
        raise ValueError(
            f"--{steered[0]}: every clip is predicted from its own first frames; steer a video with videodiff generate"
        )
    words = conditions.get("condition_frames")
    if words is None:
        count = given_frames(length)
    else:
        positions, _, _ = place_frames(words, length, length, generated.video_shape[1])
        count = len(positions)
        if positions != tuple(range(count)) or count == length:
            raise ValueError(
                f"known frames {words}: predicted frames follow the given ones; give 0:N, N below {length} (--given N)"
            )
        check_given(count, length)
    found = loaded(
        {k: v for k, v in conditions.items() if k not in ("condition_frames", "frames")}, generated
    )
    asked = request.Request(**found, num_frames=length).of_videos(indices)
    return request.Request(**{**vars(asked), "frames": clips[:, :, :count], "positions": tuple(range(count))})


def check_own_frames(conditions: Mapping[str, Any]) -> None:
    """Refuse given frames for clips that are continued from their own.

    Raises:
        ValueError: in one line.
    """
    for name in ("condition", "condition_frames"):
        if conditions.get(name) is not None:
            how_many = "--condition_frames 0:N" if name == "condition" else "given=N of the protocol"
            raise ValueError(
                f"--{name}: every clip is predicted from its own first frames; say how many with {how_many}"
            )


def conditioned_on(
    conditions: Mapping[str, Any],
    has_labels: bool,
    given: int = 0,
    has_actions: bool = False,
    has_captions: bool = False,
) -> str:
    """In words, what kind of condition generated clips had; scores of two kinds mean two things.

    Args:
        conditions: name of a flag -> plain value.
        has_labels: whether clips have the classes of real ones where no flag says otherwise.
        given: first frames of real clips that they continue.
        has_actions: whether clips have the actions of real ones where no flag says otherwise.
        has_captions: whether clips have the captions of real ones where no flag says otherwise.
    """
    kinds = ["classes of the real clips"] if has_labels and "class_id" not in conditions else []
    for name, value in conditions.items():
        if name == "class_id":
            one = isinstance(value, int)
            kinds.append(f"class {value}" if one else "no class" if value == "none" else f"classes {value}")
        elif name in ("prompt", "negative_prompt"):
            kinds.append(in_words(name.replace("_", " "), value))
        elif name in ("strength", "keep_frames"):
            kinds.append(f"{name.replace('_', ' ')} {value}")
        elif name not in ("frames", "guidance", "condition_frames", "resample", "known_pixels"):
            kinds.append(KINDS.get(name, name))
    if has_actions and "actions" not in conditions:
        kinds.append("actions of the real clips")
    if has_captions and "prompt" not in conditions:
        kinds.append("captions of the real clips")
    if given:
        kinds.append(f"the first {counted(given, 'frame')} of the real clips")
    if conditions.get("guidance") == 0 and kinds:  # the unconditional estimate alone
        return f"{', '.join(kinds)}, at guidance 0" if given or "condition" in conditions else "nothing"
    return ", ".join(kinds) or "nothing"


def in_words(kind: str, value: str | Sequence[str]) -> str:
    """What clips were told, for records: the prompt, or how many there are."""
    texts = [value] if isinstance(value, str) else value
    return f"{kind} {shortened(texts[0])!r}" if len(texts) == 1 else f"{len(texts)} {kind}s"


def place_frames(
    words: str | None, count: int, length: int | None, clip: int
) -> tuple[tuple[int, ...], list[int], int]:
    """Positions of the known frames, which of the file's frames they are, and the length of the video.

    ``words`` are positions in the new video, see :func:`places`. A file with exactly as many frames as positions gives
    them in order; a longer one gives the frame at each position.

    Without a ``length`` the video has as many frames as a clip, or, where the known ones reach as far, a clip more.
    Without ``words`` all frames of the file are known, and a ``length`` of no more than them is refused.
    """
    if words is None:
        length = length or continued(count, clip)
        if length <= count:
            raise ValueError(
                f"--frames {length}: {count} frames are already given; ask for more than those, or say which are given "
                f"with --condition_frames (the first {max(length // 2, 1)}: 0:{max(length // 2, 1)})"
            )
        return tuple(range(count)), list(range(count)), length
    length = length or length_for(words, count, clip)
    positions = places(words, length)
    if count == len(positions):
        return positions, list(range(count)), length
    if positions[-1] < count:
        return positions, list(positions), length
    raise ValueError(
        f"--condition_frames {words} asks for {counted(len(positions), 'frame')} up to position {positions[-1]}, "
        f"but {count} are given"
    )
