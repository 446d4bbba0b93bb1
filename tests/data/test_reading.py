"""Reading real and damaged files: every window of every good file, every bad file, the clock, time limits, leaks."""

import json
import os
import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from videodiff.cli import main
from videodiff.data import (
    BadVideoError,
    ClipSource,
    FolderSource,
    VideoDataModule,
    datamodule,
    video_file,
    video_probe,
)
from videodiff.data.entries import find_videos, scan
from videodiff.data.prepare.examine import Job, examine
from videodiff.data.prepare.settings import Settings
from videodiff.data.resize import RULE_NAMES, resize, rule_text
from videodiff.data.video_io import probe, read_clip, read_frames, read_image, read_video, write_lossless
from videodiff.data.wrapped_sources import AtRate, Lengthened, nearest, num_ticks, steady
from videodiff.frame_size import FrameSize

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
needs_assets = pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (real clips) is not set")
DATA = Path(ASSETS or ".") / "data"
READABLE = ("ok", "partial", "damaged")  # of which every frame that decodes must come out right


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def linear(path: Path) -> list[torch.Tensor]:
    """All frames that decode one after the other from the beginning: what every window is compared with."""
    return [picture for _, picture, _ in linear_with_times(path)]


def linear_with_times(path: Path) -> list[tuple[int, torch.Tensor, bool]]:
    """The same, each with its time stamp and whether it is flagged as damaged.

    After a packet that the decoder refuses it starts anew at the next key frame.
    """
    with av.open(str(path), **video_file.TAGS) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        frames, skipping = [], False
        for packet in container.demux(stream):
            if skipping and packet.size and not packet.is_keyframe:
                continue
            skipping = False
            try:
                frames += packet.decode()
            except av.error.FFmpegError:
                frames += stream.codec_context.decode(None)
                stream.codec_context.flush_buffers()
                skipping = True
        return [(frame.pts, upright(frame), frame.is_corrupt) for frame in frames]


def upright(frame: av.VideoFrame) -> torch.Tensor:
    rgb = frame.reformat(format="rgb24", threads=1).to_ndarray()
    return torch.from_numpy(np.rot90(rgb, round(frame.rotation / 90) % 4).copy())


def attempt(read, *args):
    """What a call returns, and what it says if the file is bad."""
    try:
        return read(*args), ""
    except BadVideoError as error:
        return None, str(error)


# --- every good file, every bad file


@needs_assets
@pytest.mark.parametrize(
    "folder", ["plain_mp4", "kinetics_mini/train", "ucf_mini/UCF-101", "actions64/UCF-101"]
)
def test_windows_of_good_files_equal_linear_decoding(folder):
    rng = np.random.default_rng(0)
    for number, path in enumerate(
        sorted(p for p in (DATA / folder).rglob("*") if p.suffix in (".mp4", ".avi"))
    ):
        if number % 6:  # a sixth of them; the slow test takes all
            continue
        check_windows(path, rng, windows=3)


@needs_assets
@pytest.mark.slow
def test_every_window_of_every_good_file_equals_linear_decoding():
    rng = np.random.default_rng(1)
    for path in sorted(p for p in DATA.rglob("*") if p.suffix in video_file.VIDEO_SUFFIXES and p.is_file()):
        if "bad" not in path.parts:
            check_windows(path, rng, windows=8)


def check_windows(path: Path, rng: np.random.Generator, windows: int) -> None:
    info, frames = probe(path), linear(path)
    assert info.num_frames == len(frames), path
    for _ in range(windows):
        stride = int(rng.integers(1, 5))
        length = int(rng.integers(1, 17))
        if (length - 1) * stride >= len(frames):
            length, stride = 1, 1
        start = int(rng.integers(0, len(frames) - (length - 1) * stride))
        expected = torch.stack(frames[start : start + (length - 1) * stride + 1 : stride])
        assert torch.equal(read_clip(info, start, length, stride), expected), (path, start, length, stride)


@needs_assets
def test_every_bad_file_behaves_as_its_manifest_says(capfd):
    """Read right, or refused with one line that names it; never a window that is not what it says."""
    expected = json.loads((DATA / "bad/expected.json").read_text())
    seen = 0
    for name, facts in expected.items():
        path, expect = DATA / "bad" / name, facts["expect"]
        seen += 1
        if path.is_dir():
            check_folder(path, name, expect)
            continue
        info, message = attempt(probe, path)
        if info is None:
            assert expect in ("unopenable", "no_video"), name
            assert name in message
            assert "\n" not in message
            continue
        assert expect in (*READABLE, "skip"), name
        timed = linear_with_times(path)
        assert len(timed) == facts["decoded"] or (len(timed) > facts["decoded"] and "error" in facts), name
        frames = [picture for _, picture, is_damaged in timed if not is_damaged]
        # Where frames are missing in the middle, a time stamp names a frame.
        by_number = frames
        if expect == "damaged":
            by_number = {
                list(info.pts).index(t): picture for t, picture, is_damaged in timed if not is_damaged
            }
        if expect == "ok":
            assert info.num_frames == len(frames), name
        refused = 0
        for start in range(0, info.num_frames, max(1, info.num_frames // 12)):
            length = min(4, info.num_frames - start)
            clip, message = attempt(read_clip, info, start, length)
            if clip is None:
                refused += 1
                assert name in message
                assert "\n" not in message
                assert expect == "damaged", message
            else:
                wanted = torch.stack([by_number[number] for number in range(start, start + length)])
                assert torch.equal(clip, wanted), (name, start)
        assert refused > 0 or info.num_frames == len(frames), name
    assert seen == len(expected) == 59
    listed = {entry.relative for entry in scan(DATA / "bad").videos}
    assert not {name for name, facts in expected.items() if facts["expect"] == "skip"} & listed


def check_folder(path: Path, name: str, expect: str) -> None:
    if expect == "skip":
        return
    (entry,) = find_videos(path)
    source = FolderSource(str(path), [entry], 1, 32)
    for number in range(source.num_frames(0)):
        clip, message = attempt(source.read, 0, number, 1, 1)
        if clip is None:
            assert expect == "damaged"
            assert entry.frames[number] in message
        else:
            assert torch.equal(clip[0], read_image(path / entry.frames[number], 32))


@needs_assets
def test_a_file_that_lacks_frames_its_header_promises_is_told(tmp_path):
    for name in ("header_lies.avi", "truncated_moov_first.mp4", "same_content_1.mp4"):
        (tmp_path / name).write_bytes((DATA / "bad" / name).read_bytes())
    module = VideoDataModule(root=str(tmp_path), num_frames=4, resolution=16, num_workers=0, val_fraction=0)
    module.setup("fit")
    (line,) = [line for line in module.report() if line.startswith("train")]
    assert line.startswith("train: 2 videos with missing frames or leaps in time; the first: ")
    assert "header_lies.avi: 34 of 80 frames, the end was cut off" in line


@needs_assets
def test_a_folder_of_bad_files_trains_and_tells_at_the_end(tmp_path):
    module = VideoDataModule(
        root=str(DATA / "bad"), layout="videos", num_frames=16, resolution=16, num_workers=0, batch_size=4,
        val_fraction=0, max_bad_fraction=0.2,
    )  # fmt: skip
    module.record_folder = str(tmp_path / "run")
    module.setup("fit")
    dataset = module.clips("train")
    for position in range(len(dataset)):
        assert dataset[position]["video"].shape == (16, 16, 16, 3)
    lines = (tmp_path / "run/skipped_videos.jsonl").read_text().splitlines()
    left = {json.loads(line)["path"]: json.loads(line) for line in lines}
    assert {Path(path).name for path in left} >= {
        "audio_only.mp4", "html_error_page.mp4", "text_renamed.mp4", "truncated_no_index.mp4", "zero_byte.mp4",
        "frames_01.mp4", "frames_02.mp4", "frames_15.mp4",
    }  # fmt: skip
    assert all(line["reason"] for line in left.values())
    report = module.report()
    assert any("train: 5 videos left out, unreadable" in line for line in report)
    assert any("train: 3 videos left out, too short" in line for line in report)
    replaced = module.summary()["train"]["replaced"]
    assert (replaced > 0) == (tmp_path / "run/bad_clips.jsonl").exists()


def test_a_run_says_at_its_end_what_was_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for i in range(19):
        write_lossless(tmp_path / f"data/{i}.mkv", noise(6, 16, 16, 3, seed=i))
    (tmp_path / "data/bad.mp4").write_text("no video")
    words = ["fit", "--config", "vdm_digits", "--config", "with/smoke", "--data.root", "data", "--out", "run"]
    assert main([*words, "--data.val_fraction", "0"]) == 0
    last = capsys.readouterr().err.split("done in")[-1]
    assert "data     train: 1 video left out, unreadable; the first: " in last
    assert "bad.mp4" in last
    assert "bad.mp4" in (tmp_path / "run/skipped_videos.jsonl").read_text()


# --- what seeking, skipping and packets must not change


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.mp4", "libx264", {"g": "48", "bf": "3"}), ("b.mp4", "libx264", {"g": "250", "b-pyramid": "normal"}),
     ("a.ts", "libx264", {"g": "12"}), ("a.flv", "libx264", {"g": "12"}),
     ("a.mpg", "mpeg2video", {"g": "12", "bf": "2"}),
     ("a.mov", "mpeg4", {"g": "12", "bf": "2"}), ("a.mkv", "mpeg4", {"g": "30", "bf": "2"}), ("a.gif", "gif", {})],
)  # fmt: skip
def test_frames_left_out_by_the_decoder_change_nothing(tmp_path, name, codec, options):
    with av.open(str(tmp_path / name), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb8" if codec == "gif" else "yuv420p"
        base = np.random.default_rng(0).integers(0, 255, (80, 96, 3), dtype=np.uint8)
        for t in range(70):  # a drifting picture: B frames pay
            picture = np.ascontiguousarray(base[t // 4 : t // 4 + 48, t // 3 : t // 3 + 64])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    info, frames = probe(tmp_path / name), linear(tmp_path / name)
    assert info.num_frames == len(frames) == 70
    for numbers in (
        [0],
        [69],
        [3, 4, 5, 6],
        [40, 41, 42],
        [5, 25, 45, 65],
        [30, 30, 31, 33],
        list(range(70)),
    ):
        expected = torch.stack([frames[n] for n in numbers])
        assert torch.equal(read_frames(info, numbers), expected), numbers
    for wrong in ([3, 2], [-1], [70], []):
        with pytest.raises(ValueError, match="asked, 70 there"):
            read_frames(info, wrong)


def test_a_file_that_was_replaced_after_it_was_probed_is_refused(tmp_path):
    write_lossless(tmp_path / "a.mkv", noise(20, 16, 16, 3))
    info = probe(tmp_path / "a.mkv")
    write_lossless(tmp_path / "a.mkv", noise(20, 16, 16, 3, seed=1), fps=13)
    with pytest.raises(BadVideoError, match=r"a\.mkv: changed since its frames were counted"):
        read_clip(info, 10, 4)


def test_a_file_that_costs_too_much_is_given_up(tmp_path, monkeypatch):
    write_lossless(tmp_path / "a.mkv", noise(20, 16, 16, 3))
    info = probe(tmp_path / "a.mkv")
    monkeypatch.setattr(video_file, "MAX_SECONDS", 0.0)
    for read in (
        lambda: probe(tmp_path / "a.mkv"),
        lambda: read_clip(info, 0, 4),
        lambda: read_video(info.path),
    ):
        with pytest.raises(BadVideoError, match=r"a\.mkv: took more than 0 CPU seconds"):
            read()


class Deadly(ClipSource):
    """The decoder takes the process with it at one video."""

    def __len__(self) -> int:
        return 4

    def num_frames(self, index: int) -> int:
        return 8

    def read(self, index: int, start: int, num_frames: int, stride: int) -> torch.Tensor:
        if index == 2:
            os.kill(os.getpid(), 11)
        return torch.zeros(num_frames, 16, 16, 3, dtype=torch.uint8)

    def name(self, index: int) -> str:
        return f"video{index}.mp4"


def test_a_decoder_that_kills_its_worker_is_told_with_the_video(monkeypatch):
    monkeypatch.setattr(datamodule, "WORKER_TIMEOUT", 20)  # if the signal of the worker's death is missed
    module = VideoDataModule(
        dataset="bouncing_digits", num_frames=4, resolution=16, num_workers=1, batch_size=4
    )
    module.selection.source = lambda split: Deadly()
    with pytest.raises(RuntimeError, match="DataLoader worker") as caught:
        list(zip(range(3), module.train_dataloader(), strict=False))
    module.on_exception(caught.value)
    assert "It was reading video2.mp4" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- resize rules


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_every_rule_is_a_square_and_keeps_flat_pictures(rule):
    flat = torch.full((2, 40, 60, 3), 77, dtype=torch.uint8)
    assert resize(flat, 24, rule).shape == (2, 24, 24, 3)
    shown = slice(4, 20) if rule == "letterbox" else slice(None)
    assert (resize(flat, 24, rule)[:, shown].int() - 77).abs().max() <= 1
    same = noise(2, 24, 24, 3)
    if rule != "squeeze":
        assert torch.equal(resize(same, 24, rule), same)
    assert rule_text(rule)


@pytest.mark.parametrize("size", [(40, 24), (24, 40), (16, 64)])
@pytest.mark.parametrize("rule", RULE_NAMES)
def test_every_rule_gives_any_size_and_knows_no_direction(rule, size):
    """Frames on their side, brought to the size on its side, are the frames brought to the size, on their side."""
    smooth = torch.stack(torch.meshgrid(torch.arange(60), torch.arange(90), indexing="ij"), -1).sum(-1) + 40
    frames = torch.stack([smooth, smooth.flip(1), smooth.flip(0)], -1)[None].to(torch.uint8)  # [1, 60, 90, 3]
    small = resize(frames, size, rule)
    assert small.shape == (1, *size, 3)
    turned = resize(frames.transpose(1, 2), size[::-1], rule).transpose(1, 2)
    assert (small.int() - turned.int()).abs().max() <= 1
    if rule != "squeeze":
        assert torch.equal(resize(small, size, rule), small)
    assert rule_text(rule) != rule_text(rule, FrameSize(*size)) or rule == "letterbox"


@pytest.mark.parametrize(
    ("size", "part"), [((40, 20), (slice(None), slice(30, 60))), ((20, 60), (slice(15, 45), slice(None)))]
)
def test_rules_that_crop_take_the_largest_centred_part_of_the_proportions(size, part):
    frames = noise(1, 60, 90, 3)
    for rule in ("antialias", "bilinear", "lanczos"):
        assert torch.equal(resize(frames, size, rule), resize(frames[:, part[0], part[1]], size, rule))
        narrow = frames[:, :, ::2]  # of pixels twice as wide as high: the same part on the screen
        columns = slice(15, 30) if size[0] > size[1] else slice(None)
        assert torch.equal(
            resize(narrow, size, rule, 2.0), resize(narrow[:, part[0], columns], size, rule, 2.0)
        )


@pytest.mark.parametrize(
    ("size", "inside"), [((40, 24), (16, 24)), ((24, 60), (24, 36)), ((32, 32), (21, 32))]
)
def test_a_letterbox_shows_the_whole_frame_between_black_bars(size, inside):
    frames = noise(2, 60, 90, 3).clamp(min=9)
    boxed = resize(frames, size, "letterbox")
    top, left = ((whole - part) // 2 for whole, part in zip(size, inside, strict=True))
    shown = boxed[:, top : top + inside[0], left : left + inside[1]]
    assert (shown > 0).all()
    assert torch.equal(shown, resize(frames, inside, "letterbox"))
    assert boxed.count_nonzero() == shown.numel()  # all else is black
    wide = resize(frames, size, "letterbox", pixel_aspect=1.5)  # 135 to 60 on the screen
    rows = wide.flatten(2).any(-1)[0].sum()
    assert rows == round(60 * min(size[0] / 60, size[1] / 135))


def test_rules_are_those_of_their_sources():
    picture = noise(1, 48, 64, 3)
    from PIL import Image

    square = Image.fromarray(picture[0, :, 8:56].contiguous().numpy())
    lanczos = torch.from_numpy(np.array(square.resize((16, 16), Image.Resampling.LANCZOS)))
    assert torch.equal(resize(picture, 16, "lanczos")[0], lanczos)
    plain = torch.nn.functional.interpolate(
        picture[:, :, 8:56].permute(0, 3, 1, 2).float(), (16, 16), mode="bilinear", align_corners=False
    )
    assert torch.equal(resize(picture, 16, "bilinear"), plain.round().byte().permute(0, 2, 3, 1))
    assert not torch.equal(resize(picture, 16, "bilinear"), resize(picture, 16, "antialias"))
    half = torch.zeros(1, 20, 60, 3, dtype=torch.uint8)
    half[:, :, :30] = 255
    assert (resize(half, 20, "squeeze")[0, :, :8] > 250).all()  # nothing is cut off
    assert (resize(half, 20, "squeeze")[0, :, 12:] < 5).all()
    with pytest.raises(ValueError, match="resize must be one of antialias"):
        rule_text("nearest")


def test_scaling_in_the_decoder_is_the_mean_over_areas(tmp_path):
    smooth = torch.linspace(20, 220, 64).repeat(48, 1)[None, ..., None].expand(6, 48, 64, 3).to(torch.uint8)
    write_lossless(tmp_path / "a.mkv", smooth)
    clip = read_clip(tmp_path / "a.mkv", 2, 3, resolution=16, rule="decoder")
    assert clip.shape == (3, 16, 16, 3)
    areas = smooth[2:5].float().unfold(1, 3, 3).unfold(2, 3, 3).mean((-1, -2))[:, :, 2:18]
    assert (clip[:, :, 1:15].float() - areas[:, :, 1:15]).abs().max() < 4


# --- the clock, and short videos


def write_uneven(path: Path, ticks: list[int], rate: int = 100) -> None:
    """Frame k, gray of level 8 k, shown at ticks[k] / rate seconds."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=rate)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "bgr0"
        for k, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 8 * k, np.uint8), format="rgb24")
            frame.pts = tick
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def test_the_clock_takes_the_nearest_frame_of_a_variable_rate(tmp_path):
    ticks = [0, 4, 8, 30, 34, 38, 60, 102]
    write_uneven(tmp_path / "a.mkv", ticks)
    source = AtRate(FolderSource(str(tmp_path), find_videos(tmp_path), 1, 16), fps=10.0, needed=8)
    assert source.num_frames(0) == 11  # 0.0 to 1.0 s, of 1.02
    levels = source.read(0, 0, 11, 1)[:, 0, 0, 0] // 8
    expected = [int(np.abs(np.array(ticks) / 100 - k / 10).argmin()) for k in range(11)]
    assert levels.tolist() == expected
    assert (source.read(0, 1, 4, 2)[:, 0, 0, 0] // 8).tolist() == expected[1:8:2]
    with pytest.raises(ValueError, match="has 11 frames at 10 fps, 12 needed"):
        AtRate(source.inner, 10.0, needed=12)


FAR = 10**13  # hundredths of a second: 3169 years
REGULAR = [4 * k for k in range(20)]


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ([*REGULAR[:-1], FAR], "one step"),  # the last stamp is wild
        ([0, *(FAR + t for t in REGULAR[1:])], "one step"),  # the first one is
        ([*REGULAR[:10], *(FAR + t for t in REGULAR[10:])], "one step"),  # it leaps in the middle
        ([t - 10**9 for t in REGULAR], None),  # all lie before zero
        ([t + FAR for t in REGULAR], None),  # all lie far away, evenly
        ([*REGULAR[:10], *(t + 500 for t in REGULAR[10:])], None),  # a pause of five seconds is one
    ],
)
def test_a_wild_time_stamp_is_one_step_of_the_clock_and_is_told(ticks, expected, tmp_path):
    write_uneven(tmp_path / "a.mkv", ticks)
    source = AtRate(FolderSource(str(tmp_path), find_videos(tmp_path), 1, 16), fps=23.0, needed=8)
    paused = ticks[10] - ticks[9] == 504
    assert source.num_frames(0) == (133 if paused else 18)  # ticks in 5.76 s, in 0.76 s
    if not paused:
        expected_frames = nearest(np.arange(20) / 25, np.arange(18) / 23)
        assert (source.read(0, 0, 18, 1)[:, 0, 0, 0] // 8).tolist() == expected_frames
    told = [reason for _, reason in source.shortened]
    assert (len(told) == 1 and expected in told[0]) if expected else told == []
    job = Job(find_videos(tmp_path)[0], "train", None, Settings(16, 4, "packed", fps=23.0))
    line = examine(job, lambda: None)
    assert (line["status"], line["message"]) == ("ok", told[0] if told else None)


def test_a_video_of_still_pictures_on_the_clock_is_left_out_and_named(tmp_path):
    write_uneven(tmp_path / "a.mkv", REGULAR)
    write_uneven(tmp_path / "b.mkv", [k * FAR // 100 for k in range(20)])
    source = AtRate(FolderSource(str(tmp_path), find_videos(tmp_path), 1, 16), fps=25.0, needed=8)
    assert len(source) == 1
    ((path, reason),) = source.skipped
    assert path.endswith("b.mkv")
    assert "more than 100 times" in reason
    assert source.num_unreadable == 1
    job = Job(find_videos(tmp_path)[1], "train", None, Settings(16, 4, "packed", fps=25.0))
    line = examine(job, lambda: None)
    assert (line["status"], line["reason"]) == ("skipped", "damaged")
    assert "more than 100 times" in line["message"]


def test_the_number_of_ticks_is_bounded_by_the_frames_there_are():
    generator = np.random.default_rng(0)
    for _ in range(200):
        size = int(generator.integers(1, 30))
        steps = np.exp(generator.uniform(-5, 30, size)) * (generator.random(size) < 0.8)
        times = np.concatenate([[0.0], np.cumsum(steps)])
        try:
            ticks = num_ticks(steady(times), 24.0)
        except ValueError:
            continue
        assert 1 <= ticks <= 100 * len(times)
        assert len(steady(times)) == len(times)
        assert (np.diff(steady(times)) >= 0).all()


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (None, 0),
        (Fraction(0), 0),
        (Fraction(90_000), 0),
        (Fraction(1, 10**8), 0),
        (Fraction(-25), 0),
        (Fraction(30_000, 1001), 29.97),
        (Fraction(1, 60), 1 / 60),
        (Fraction(1000), 1000),
    ],
)
def test_a_rate_that_no_video_has_is_none(rate, expected):
    stream = SimpleNamespace(average_rate=rate)
    assert video_probe.believable_rate(stream) == pytest.approx(expected, rel=1e-3)


def test_nearest_is_the_argmin_of_the_distance():
    times = np.sort(np.random.default_rng(0).random(40))
    wanted = np.linspace(0, 1, 333)
    assert nearest(times, wanted) == [int(np.abs(times - w).argmin()) for w in wanted]
    assert nearest(np.zeros(1), wanted) == [0] * 333


def test_pictures_have_no_clock(tmp_path):
    from PIL import Image

    (tmp_path / "a").mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16)).save(tmp_path / "a" / f"{i}.png")
    with pytest.raises(ValueError, match="carry no times"):
        VideoDataModule(root=str(tmp_path), num_frames=2, resolution=16, fps=5.0).setup("fit")


@pytest.mark.parametrize(
    ("how", "expected"), [("loop", [0, 2, 4, 1, 3, 0]), ("pad_last", [0, 2, 4, 4, 4, 4])]
)
def test_short_videos_are_looped_or_padded_when_asked(tmp_path, how, expected):
    write_uneven(tmp_path / "a.mkv", [0, 4, 8, 12, 16])
    write_uneven(tmp_path / "b.mkv", list(range(30)))
    source = Lengthened(FolderSource(str(tmp_path), find_videos(tmp_path), 1, 16), 11, how)
    assert [source.num_frames(i) for i in range(2)] == [11, 30]
    assert (source.read(0, 0, 6, 2)[:, 0, 0, 0] // 8).tolist() == expected
    assert torch.equal(source.read(1, 3, 6, 2), source.inner.read(1, 3, 6, 2))
    module = VideoDataModule(
        root=str(tmp_path),
        num_frames=6,
        frame_stride=2,
        resolution=16,
        num_workers=0,
        short_videos=how,
        val_fraction=0,
    )
    module.setup("fit")
    assert len(module.clips("train")) == 2


# --- long runs


@pytest.mark.slow
def test_memory_and_handles_stay_flat_over_2000_opens(tmp_path):
    write_lossless(tmp_path / "a.mkv", noise(24, 64, 64, 3))
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mkv").read_bytes()[:20000] + bytes(20000))

    def opens(count: int) -> None:
        for i in range(count):
            read_clip(tmp_path / "a.mkv", i % 20, 4, resolution=32)
            attempt(read_video, tmp_path / "b.mp4")

    opens(200)
    before, handles = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(os.listdir("/proc/self/fd"))
    opens(2000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB
    assert len(os.listdir("/proc/self/fd")) == handles


REAL = ("plain_mp4/dog.mp4", "bad/start_at_5s.mkv", "bad/vp9.webm", "bad/mjpeg.avi", "bad/interlaced.mpg",
        "bad/starts_mid_gop.ts", "bad/animated.gif", "bad/hevc.mp4", "bad/latin1_metadata.avi",
        "bad/edit_list.mp4")  # fmt: skip
CHILD = """
import sys, time
from pathlib import Path
from videodiff.data.video_io import BadVideoError, probe, read_clip
for path in sorted(Path(sys.argv[1]).iterdir()):
    begun, said = time.thread_time(), "ok"
    try:
        info = probe(path)
        for start in (0, info.num_frames // 2, max(0, info.num_frames - 4)):
            clip = read_clip(info, start, min(4, info.num_frames - start), resolution=32)
            assert clip.shape[1:] == (32, 32, 3)
    except BadVideoError as error:
        said = str(error)
        assert path.name in said and chr(10) not in said, said
    print(path.name, round(time.thread_time() - begun, 2), said, flush=True)
"""


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip, zero, double, swap or remove a part."""
    damaged = bytearray(data)
    a, b = sorted(int(x) for x in rng.integers(0, len(data), 2))
    kind = int(rng.integers(6))
    if kind == 0:
        return bytes(damaged[:b])
    if kind == 1:
        for at in rng.integers(0, len(data), int(rng.integers(1, 200))):
            damaged[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        damaged[a : a + 4096] = bytes(min(4096, len(data) - a))
    elif kind == 3:
        damaged[a:a] = damaged[a : min(b, a + 65536)]
    elif kind == 4:
        damaged[a : a + 512], damaged[b : b + 512] = damaged[b : b + 512], damaged[a : a + 512]
    else:
        del damaged[a : min(b, a + 65536)]
    return bytes(damaged)


@needs_assets
@pytest.mark.slow
def test_a_thousand_mutated_clips_neither_crash_nor_hang(tmp_path):
    """In a child, so that a crash is a failure here and not the end of the session."""
    rng = np.random.default_rng(0)
    originals = [(DATA / name).read_bytes() for name in REAL]
    for i in range(1000):
        suffix = Path(REAL[i % len(REAL)]).suffix
        (tmp_path / f"{i:04d}{suffix}").write_bytes(mutate(originals[i % len(REAL)], rng))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=900, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line[:4].isdigit()]
    assert done.returncode == 0, (done.returncode, lines[-1:], done.stderr[-500:])
    assert len(lines) == 1000
    assert max(float(line.split()[1]) for line in lines) < video_file.MAX_SECONDS
