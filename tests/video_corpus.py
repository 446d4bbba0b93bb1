"""Small video files of every kind that a seek has been seen to spoil, made with PyAV alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

SIDES = 48, 64  # height and width


def scene(num_frames: int, height: int = SIDES[0], width: int = SIDES[1]) -> np.ndarray:
    """Fixed grain, a box that moves, and a band at the bottom that brightens: uint8 ``[T, H, W, 3]``."""
    grain = np.random.default_rng(0).integers(0, 120, (height, width, 3))
    frames = []
    for t in range(num_frames):
        frame = grain.copy()
        frame[8:24, (3 * t) % (width - 16) :][:, :16] = (240, 40 + 2 * t % 160, 90)
        frame[-8:] = (20 + 5 * t) % 235
        frames.append(frame)
    return np.asarray(frames, np.uint8)


def encode(
    path: Path,
    codec: str,
    pixels: str = "yuv420p",
    num_frames: int = 26,
    options: dict[str, str] | None = None,
    container: str | None = None,
    mux_options: dict[str, str] | None = None,
) -> None:
    """The scene through one encoder."""
    with av.open(str(path), "w", format=container, options=mux_options or {}) as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *SIDES, pixels
        stream.codec_context.thread_count = 1
        for picture in scene(num_frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))


def copy(
    source: Path,
    path: Path,
    change: Callable[[list[av.Packet]], Iterable[av.Packet]],
    container: str | None = None,
    mux_options: dict[str, str] | None = None,
) -> None:
    """The packets of a file in another, after a change, without encoding them again."""
    with (
        av.open(str(source)) as file,
        av.open(str(path), "w", format=container, options=mux_options or {}) as output,
    ):
        video = file.streams.video[0]
        stream = output.add_stream_from_template(video)
        for packet in change([packet for packet in file.demux(video) if packet.size]):
            packet.stream = stream
            output.mux(packet)


def later(seconds: float, packets: list[av.Packet]) -> list[av.Packet]:
    for packet in packets:
        shift = round(seconds / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
    return packets


def from_second_key(offset: int, packets: list[av.Packet]) -> list[av.Packet]:
    """Cut as a recorder does that copies packets: some packets before or after the second key frame."""
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    return packets[keys[1] + offset :]


def all_key(packets: list[av.Packet]) -> list[av.Packet]:
    for packet in packets:
        packet.is_keyframe = True
    return packets


def palette_avi(path: Path, num_frames: int = 26) -> None:
    """Raw frames of 8-bit indices; the palette comes once, with the header."""
    height, width = SIDES
    table = np.zeros((256, 4), np.uint8)
    table[:, :3] = np.random.default_rng(1).integers(0, 256, (256, 3))
    table[:, 3] = 255
    with av.open(str(path), "w") as output:
        stream = output.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        for t, picture in enumerate(scene(num_frames)):
            frame = av.VideoFrame(width, height, "pal8")
            rows = np.zeros((height, frame.planes[0].line_size), np.uint8)
            rows[:, :width] = picture[..., 0]
            frame.planes[0].update(rows.tobytes())
            frame.planes[1].update(table.tobytes())
            frame.pts = t
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


START = b"\x00\x00\x01"  # of every MPEG-4 part


def mpeg4(num_frames: int, max_b_frames: int) -> tuple[list[tuple[bytes, int, bool]], bytes]:
    """Bytes, display time and key flag of MPEG-4 packets in coding order; the header."""
    codec = av.CodecContext.create("mpeg4", "w")
    codec.height, codec.width, codec.pix_fmt = *SIDES, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, 25), Fraction(25)
    codec.max_b_frames, codec.gop_size, codec.thread_count = max_b_frames, 12, 1
    codec.options = {
        "flags": "+bitexact",
        "qmin": "2",
        "qmax": "6",
        "sc_threshold": "1000000000",
        "b_strategy": "0",
    }
    packets = []
    for t, picture in enumerate(scene(num_frames)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = t, Fraction(1, 25)
        packets += codec.encode(frame)
    packets += codec.encode(None)
    return [(bytes(p), p.pts, p.is_keyframe) for p in packets], codec.extradata or b""


def write_chunks(path: Path, chunks: list[tuple[bytes, bool]], header: bytes, tag: str) -> None:
    with av.open(str(path), "w", format="avi") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.height, stream.width = SIDES
        stream.codec_context.codec_tag = tag
        if header:
            stream.codec_context.extradata = header
        for number, (data, is_key) in enumerate(chunks):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.duration = stream, number, number, 1
            packet.time_base, packet.is_keyframe = Fraction(1, 25), is_key
            output.mux(packet)


def with_user_data(data: bytes, header: bytes, text: bytes) -> bytes:
    """An MPEG-4 key frame that names the encoder that is said to have made it."""
    whole = data if START + b"\x20" in data[:40] else header + data
    at = whole.index(START + b"\xb6")
    return whole[:at] + START + b"\xb2" + text + b"\x00" + whole[at:]


def packed_avi(path: Path, num_frames: int = 27) -> None:
    """As DivX 5 wrote it: a P and the B before it in one chunk, then an empty frame where the P would be shown."""
    packets, header = mpeg4(num_frames, max_b_frames=1)
    empty = START + b"\xb6" + bytes([0b01010000, 0b11001111])
    chunks: list[tuple[bytes, bool]] = []
    while packets:
        data, shown, is_key = packets.pop(0)
        data = with_user_data(data, header, b"DivX503b1393p") if is_key else data
        if packets and packets[0][1] < shown:
            chunks += [(data + packets.pop(0)[0], is_key), (empty, False)]
        else:
            chunks.append((data, is_key))
    write_chunks(path, chunks, header, "DX50")


def named_once_avi(path: Path, num_frames: int = 26) -> None:
    """Only the first frame says that Xvid made it, which decides how all are decoded."""
    packets, header = mpeg4(num_frames, max_b_frames=0)
    chunks = [
        (with_user_data(data, header, b"XviD0046") if number == 0 else data, is_key)
        for number, (data, _, is_key) in enumerate(packets)
    ]
    write_chunks(path, chunks, b"", "DIVX")


def copied(path: Path, first: Callable[[Path], None], suffix: str, **how: object) -> None:
    source = path.with_suffix(f".source{suffix}")
    first(source)
    copy(source, path, **how)  # type: ignore[arg-type]
    source.unlink()


X264 = {"g": "12", "bf": "3", "x264-params": "b-adapt=0:scenecut=0"}
X265 = "keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0:open-gop=1:log-level=none"
h264 = partial(encode, codec="libx264")
h264_open = partial(h264, options={**X264, "x264-params": "open-gop=1:b-adapt=0:scenecut=0"})
h264_interlaced = partial(
    h264, options={**X264, "flags": "+ildct+ilme", "x264-params": "interlaced=1:b-adapt=0:scenecut=0"}
)
hevc_open = partial(encode, codec="libx265", options={"x265-params": X265})
mpeg2 = partial(encode, codec="mpeg2video", options={"g": "12", "bf": "2"})
animation = partial(encode, codec="qtrle", pixels="rgb24", options={"g": "12"})
vp9 = partial(
    encode,
    codec="libvpx-vp9",
    options={"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"},
)
wrapped = partial(
    copied, first=partial(h264, options=X264), suffix=".mp4", change=partial(later, 2**33 / 90000 - 2.2)
)
called_key = partial(copied, first=animation, suffix=".mov", change=all_key)

# What it is -> suffix, how to make it, and how the reader is to come to its windows
KINDS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "HEVC, open GOP": (".mp4", hevc_open, "seek"),
    "H.264, open GOP": (".mkv", h264_open, "seek"),
    "H.264, interlaced": (".mkv", h264_interlaced, "seek"),
    "H.264, refreshed in columns": (
        ".mkv", partial(h264, options={"x264-params": "intra-refresh=1:keyint=12"}), "seek"
    ),
    "H.264, every 3rd a key frame": (".mp4", partial(h264, options={"g": "3", "bf": "1"}), "seek"),
    "H.264, every 250th a key frame": (
        ".mp4", partial(h264, options={"g": "250", "bf": "3", "x264-params": "scenecut=0"}, num_frames=260), "seek"
    ),
    "H.264, stream with a wrapped clock": (".ts", wrapped, "seek"),
    "MPEG-2, program stream": (".mpg", mpeg2, "seek"),
    "MPEG-4, B-frames": (".avi", partial(encode, codec="mpeg4", options={"g": "12", "bf": "2"}), "seek"),
    "MPEG-4, packed B-frames": (".avi", packed_avi, "count"),
    "MPEG-4, encoder named once": (".avi", named_once_avi, "first frame, then seek"),
    "MJPEG": (".avi", partial(encode, codec="mjpeg", pixels="yuvj420p"), "seek"),
    "VP8": (".webm", partial(encode, codec="libvpx", options={"g": "12"}), "seek"),
    "VP9, alternate references": (".webm", vp9, "seek"),
    "AV1": (".mkv", partial(encode, codec="libsvtav1", options={"g": "12", "preset": "12"}), "seek"),
    "GIF": (".gif", partial(encode, codec="gif", pixels="rgb8"), "seek"),
    "APNG": (".apng", partial(encode, codec="apng", pixels="rgb24"), "seek"),
    "QuickTime Animation": (".mov", animation, "seek"),
    "QuickTime Animation, all called key": (".mov", called_key, "from the beginning"),
    "raw, palette in the header": (".avi", palette_avi, "first frame, then seek"),
    "FFV1 that refers back": (
        ".mkv", partial(encode, codec="ffv1", pixels="bgr0", options={"g": "12", "context": "1"}), "seek"
    ),
}  # fmt: skip
