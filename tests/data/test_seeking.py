"""Windows of files of every kind against linear decoding, cut streams, and what the proof of a seek keeps."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from video_corpus import (
    KINDS,
    X264,
    copied,
    copy,
    encode,
    from_second_key,
    h264,
    h264_open,
    hevc_open,
    later,
    mpeg2,
    palette_avi,
)
from videodiff.data import FolderSource, VideoDataModule, video_probe, video_read
from videodiff.data.entries import find_videos
from videodiff.data.prepare import Settings, check, prepare
from videodiff.data.prepared_source import prepared_source
from videodiff.data.video_io import BadVideoError, VideoInfo, probe, read_clip, read_frames
from videodiff.data.video_proof import COUNT, FrameSums, checksum, share

WAYS = ["seek", "first frame, then seek", "from the beginning"]
h264_closed = partial(h264, options=X264)


def linear(path: Path) -> list[torch.Tensor]:
    """All whole frames of one decode from the beginning, with nothing of the reader's."""
    frames: list[av.VideoFrame] = []
    with av.open(str(path)) as container:
        try:
            for packet in container.demux(video=0):
                frames += packet.decode()
        except av.error.FFmpegError:  # cut short: what the decoder still holds is whole
            frames += container.streams.video[0].codec_context.decode(None)
    whole = [frame.reformat(format="rgb24", threads=1) for frame in frames if not frame.is_corrupt]
    return [torch.from_numpy(frame.to_ndarray()) for frame in whole]


def way_of(info: VideoInfo) -> str:
    return "count" if info.sums.order == COUNT else WAYS[info.sums.way]


@pytest.mark.parametrize("kind", KINDS)
def test_every_window_equals_linear_decoding(tmp_path, kind):
    suffix, make, way = KINDS[kind]
    make(tmp_path / f"a{suffix}")
    frames, info = linear(tmp_path / f"a{suffix}"), probe(tmp_path / f"a{suffix}")
    assert info.num_frames == len(frames)
    for start in range(0, len(frames), 1 if len(frames) < 100 else 29):
        for length, stride in ((1, 1), (4, 1), (4, 2), (4, 4)):
            end = start + (length - 1) * stride + 1
            if end <= len(frames):
                expected = torch.stack(frames[start:end:stride])
                assert torch.equal(read_clip(info, start, length, stride), expected), (start, length, stride)
    assert way_of(info) == way
    assert info.lacking() is None


# --- streams that were cut


mpeg4 = partial(encode, codec="mpeg4", options={"g": "12", "bf": "0"})
# What is cut, suffix of the whole and of the cut file, the first packet from the second key frame on
CUTS: dict[str, tuple[Callable[[Path], None], str, str, int]] = {
    "HEVC, open GOP": (hevc_open, ".mp4", ".mkv", 0),
    "HEVC in a stream": (hevc_open, ".ts", ".ts", -5),
    "H.264, open GOP": (h264_open, ".mkv", ".mkv", 0),
    "H.264 in a stream": (h264_open, ".ts", ".ts", 0),
    "H.264 in a stream, between key frames": (h264_closed, ".ts", ".ts", -5),
    "MPEG-2 in a stream": (mpeg2, ".mkv", ".ts", -5),
    "MPEG-2, program stream": (mpeg2, ".mkv", ".mpg", -5),
    "MPEG-4": (mpeg4, ".avi", ".avi", -5),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_stream_begins_with_its_first_whole_frame(tmp_path, name):
    make, whole, cut, offset = CUTS[name]
    source, path = tmp_path / f"a{whole}", tmp_path / f"b{cut}"
    make(source)
    copy(source, path, partial(from_second_key, offset))
    frames, info = linear(source)[12:], probe(path)
    source.unlink()
    assert info.num_frames == len(frames)
    assert info.lead > 0
    for start in range(len(frames) - 3):
        assert torch.equal(read_clip(info, start, 2, 3)[0], frames[start]), start
    (line,) = check(str(tmp_path), Settings(size=16, layout="videos")).lines
    assert (line["status"], line["frames"]) == ("ok", len(frames))
    assert f"the first {info.lead} refer to frames that were cut off" in line["message"]


def test_frames_that_a_cut_left_without_stamps_are_left_out(tmp_path):
    """Cut by packets into Matroska near its time 0, where what is shown before the key frame gets no stamp."""

    def near_0(packets: list[av.Packet]) -> list[av.Packet]:
        kept = from_second_key(0, packets)
        return later(0.03 - float(kept[0].pts * kept[0].time_base), kept)

    source, path = tmp_path / "a.mp4", tmp_path / "b.mkv"
    hevc_open(source)
    copy(source, path, near_0, mux_options={"avoid_negative_ts": "disabled"})
    with av.open(str(path)) as file:
        assert None in [packet.pts for packet in file.demux(video=0) if packet.size]
    frames, info = linear(path), probe(path)
    assert (info.num_frames, info.lead) == (len(frames), 3)
    for start in range(len(frames) - 3):
        assert torch.equal(read_clip(info, start, 2, 3)[0], frames[start]), start
    assert "the first 3 refer to frames that were cut off" in str(info.lacking())


def test_a_cut_packet_without_a_stamp_at_the_end_does_not_cost_the_video(tmp_path, monkeypatch):
    h264(tmp_path / "a.mp4")
    stamps = [*range(9), 10, None]  # a frame is missing, and the last packet is half there
    packets = [
        SimpleNamespace(
            pts=stamp, dts=stamp, size=1, is_keyframe=not stamp, is_corrupt=stamp is None, is_discard=False
        )
        for stamp in stamps
    ]
    packets[-1].is_keyframe = False
    monkeypatch.setattr(video_probe, "packets_of", lambda *_: packets)
    info = probe(tmp_path / "a.mp4")
    assert (info.num_frames, info.tail, list(info.pts)) == (10, 1, stamps[:10])


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".mkv", h264_closed), (".ts", h264_closed), (".flv", h264_closed), (".mpg", mpeg2),
        (".mp4", partial(h264_closed, mux_options={"movflags": "faststart"})),
        (".avi", partial(encode, codec="mjpeg", pixels="yuvj420p")),
    ],
)  # fmt: skip
def test_a_file_without_its_end_keeps_what_decodes(tmp_path, suffix, make):
    path = tmp_path / f"a{suffix}"
    make(path)
    whole, data = len(linear(path)), path.read_bytes()
    path.write_bytes(data[: int(0.7 * len(data))])
    frames = linear(path)
    report = check(str(tmp_path), Settings(size=16, layout="videos"))
    (line,) = report.lines
    assert line["status"] == "ok"
    assert 10 <= line["frames"] < whole
    info = probe(path)
    for start in range(line["frames"] - 1):
        assert torch.equal(read_clip(info, start, 2), torch.stack(frames[start : start + 2])), start
    assert any("1 video with missing frames or leaps in time" in note for note in report.notes) == bool(
        line["message"]
    )


def test_damage_in_the_middle_leaves_a_file_out_and_names_the_frame(tmp_path):
    h264_closed(tmp_path / "a.mkv")
    damaged = bytearray((tmp_path / "a.mkv").read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 400] = bytes(400)
    (tmp_path / "a.mkv").write_bytes(damaged)
    (line,) = check(str(tmp_path), Settings(size=16, layout="videos")).lines
    assert line["reason"] == "damaged"
    assert line["message"] == "a.mkv: frame 12 is missing or damaged, and more than 3 come after it"
    info = probe(tmp_path / "a.mkv")
    with pytest.raises(BadVideoError, match="frame 12 is damaged"):
        read_clip(info, 10, 4)
    assert read_clip(info, 0, 12).shape == (12, 48, 64, 3)


def trimmed(at: float, keeps_all: bool, packets: list[av.Packet]) -> list[av.Packet]:
    """Begin at a time in seconds by an edit list: from the key frame before it, or from the first frame."""
    keys = [n for n, p in enumerate(packets) if p.is_keyframe and p.pts * p.time_base <= at]
    kept = packets if keeps_all else packets[keys[-1] :]
    for packet in kept:
        shift = round(at / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
    return kept


@pytest.mark.parametrize("keeps_all", [False, True])
def test_a_trimmed_clip_lacks_nothing(tmp_path, keeps_all):
    make = partial(h264, options=X264, num_frames=48)
    source = tmp_path / "whole.mp4"
    make(source)
    change = partial(trimmed, 0.8, keeps_all)
    copy(source, tmp_path / "a.mov", change, mux_options={"avoid_negative_ts": "disabled"})
    frames = linear(source)
    source.unlink()
    folder = FolderSource(str(tmp_path), find_videos(tmp_path), 1, 16)
    assert folder.num_frames(0) == 28
    assert folder.shortened == []
    info = folder.infos[0]
    for start in (0, 9, 24):
        assert torch.equal(read_clip(info, start, 4), torch.stack(frames[20 + start : 24 + start]))


def test_a_run_notes_cut_videos(tmp_path):
    copied(tmp_path / "a.mkv", hevc_open, ".mp4", change=partial(from_second_key, 0))
    module = VideoDataModule(root=str(tmp_path), num_frames=4, resolution=16, num_workers=0, val_fraction=0)
    module.setup("fit")
    lines = [line for line in module.report() if line.startswith("train")]
    expected = "a.mkv: 14 of 17 frames, the first 3 refer to frames that were cut off"
    assert len(lines) == 1
    assert lines[0].endswith(expected)


# --- preparing


@pytest.mark.parametrize("make", [palette_avi, KINDS["MPEG-4, packed B-frames"][1]])
def test_prepare_reads_in_one_pass_whatever_a_seek_would_give(tmp_path, monkeypatch, make):
    (tmp_path / "raw").mkdir()
    make(tmp_path / "raw/a.avi")
    frames = linear(tmp_path / "raw/a.avi")
    monkeypatch.setattr("videodiff.data.prepare.examine.BLOCK_FRAMES", 5)
    report = prepare(
        str(tmp_path / "raw"), str(tmp_path / "out"), Settings(size=16, form="packed", val_fraction=0)
    )
    assert [line["frames"] for line in report.lines] == [len(frames)]
    packed = np.fromfile(tmp_path / "out/train.u8", np.uint8).reshape(-1, 16, 16, 3)
    resized = read_clip(tmp_path / "raw/a.avi", 0, len(frames), resolution=16)
    assert np.array_equal(packed, resized.numpy())
    assert packed.reshape(len(packed), -1).std(1).min() > 0  # no frame is black


# --- what the proof keeps


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """Numbers of the frames that decoding from the beginning comes by, in order."""
    met: list[int] = []
    in_order = video_read.in_order

    def counted(info: VideoInfo):
        for number, frame in in_order(info):
            met.append(number)
            yield number, frame

    monkeypatch.setattr(video_read, "in_order", counted)
    return met


def test_a_file_is_decoded_from_its_beginning_only_until_it_is_known(tmp_path, decoded):
    h264_closed(tmp_path / "a.mkv")
    info = probe(tmp_path / "a.mkv")
    read_clip(info, 3, 2)
    assert decoded == list(range(5))
    decoded.clear()
    read_clip(info, 20, 2)
    assert decoded == list(range(info.num_frames))  # the second time to its end
    decoded.clear()
    for start in range(info.num_frames - 1):
        read_clip(info, start, 2)
    assert decoded == []


@pytest.mark.parametrize("form", ["video", "shards"])
def test_seeking_in_prepared_files_is_compared_where_they_are_written_and_not_by_readers(
    tmp_path, monkeypatch, form
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "raw").mkdir()
    h264_closed(tmp_path / "raw/a.mkv")
    out = str(tmp_path / "out")
    report = prepare(str(tmp_path / "raw"), out, Settings(size=32, form=form, val_fraction=0))
    at = report.lines[0]["out"]
    assert at["seeks"] is True
    written = Path(out, at["file"]).read_bytes()[at.get("offset", 0) :][: at["bytes"]]
    (tmp_path / "a.mp4").write_bytes(written)
    frames, source = linear(tmp_path / "a.mp4"), prepared_source(out, "train", 4, 32)
    monkeypatch.setattr(FrameSums, "record", None)  # no reader makes a checksum
    for start in range(len(frames) - 3):
        assert torch.equal(source.read(0, start, 4, 1), torch.stack(frames[start : start + 4])), start


def test_a_prepared_file_of_other_bytes_has_to_show_it_again(tmp_path):
    (tmp_path / "raw").mkdir()
    h264_closed(tmp_path / "raw/a.mkv")
    out = str(tmp_path / "out")
    prepare(str(tmp_path / "raw"), out, Settings(size=32, form="video", val_fraction=0))
    with open(find_videos(out)[0].path, "ab") as file:
        file.write(bytes(8))
    assert not prepared_source(out, "train", 4, 32).infos[0].shown


@pytest.mark.parametrize("kind", KINDS)
def test_only_files_that_seeking_gives_back_whole_are_taken_for_such(tmp_path, kind):
    suffix, make, way = KINDS[kind]
    make(tmp_path / f"a{suffix}")
    assert way == WAYS[0] or not video_read.shows_seeks(str(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("kind", ["H.264, open GOP", "raw, palette in the header", "MPEG-4, packed B-frames",
                                  "QuickTime Animation, all called key"])  # fmt: skip
def test_windows_of_a_long_file_come_from_two_key_frames_that_agree(tmp_path, monkeypatch, decoded, kind):
    suffix, make, way = KINDS[kind]
    make(tmp_path / f"a{suffix}")
    frames, info = linear(tmp_path / f"a{suffix}"), probe(tmp_path / f"a{suffix}")
    monkeypatch.setattr(video_read, "LINEAR_PIXELS", 4 * 48 * 64)
    for start in (24, 25, 13, 20, 0, 5):
        assert torch.equal(read_frames(info, [start]), frames[start][None]), start
    assert way_of(info) == way
    if way in WAYS[:2]:
        assert max(decoded) < 24  # the second key frame and what follows, and the windows near the beginning


def test_pixels_that_a_seek_would_spoil_are_seen_in_the_checksum(tmp_path):
    """Whatever the layout of the planes: one value more in the last visible row and column is another checksum."""
    for name in ("yuv420p", "nv12", "gray", "rgb24", "bgr0", "yuv420p10le", "yuyv422", "pal8"):
        frames = []
        for value in (0, 0, 1):
            frame = av.VideoFrame(33, 17, name)
            for number, plane in enumerate(frame.planes):
                data = np.random.default_rng(len(frames)).integers(0, 255, plane.buffer_size).astype(np.uint8)
                if plane.line_size and number == 0:
                    data = data.reshape(-1, plane.line_size)
                    data[:, : plane.line_size // 2] = 7  # what is shown, at least
                    bits = frame.format.padded_bits_per_pixel
                    visible = 33 * bits // 8 if len(frame.planes) == 1 else 33 * (1 + ("10" in name))
                    data[:, :visible] = 7
                    data[-1, visible - 1] = value
                else:
                    data[:] = 9
                plane.update(data.tobytes())
            frames.append(checksum(frame))
        assert frames[0] == frames[1], name  # row ends do not count
        assert frames[0] != frames[2], name


def fill(sums: FrameSums) -> None:
    sums.record(2, 77)


def test_forked_workers_share_what_they_prove():
    mine, other = FrameSums(4), FrameSums(3)
    share([mine, other, mine])
    child = multiprocessing.get_context("fork").Process(target=fill, args=(mine,))
    child.start()
    child.join()
    assert mine.agree([2], [77])
    assert not mine.know([1, 2])
    assert not other.begun
