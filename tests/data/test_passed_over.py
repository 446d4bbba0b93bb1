"""What of a folder is not read is counted and named where the data are listed, not after training."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from videodiff.cli import main
from videodiff.data import VideoDataModule
from videodiff.data.entries import scan
from videodiff.data.layouts import list_videos
from videodiff.data.selection import stored_layout
from videodiff.data.video_io import probe, read_frames, write_lossless
from videodiff.evaluation.folders import Folder


def touch(root: Path, *names: str) -> None:
    """Files that are listed and never opened."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * (number + 1))


def clip(num_frames: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, 16, 16, 3), dtype=torch.uint8, generator=generator)


def encode(path: Path, codec: str, container: str, num_frames: int = 20) -> None:
    """A moving box on a ground that grows brighter, two groups of pictures or more."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25, options={"g": "8"})
        stream.width, stream.height = (720, 576) if codec == "dvvideo" else (176, 144)
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            picture = np.full((stream.height, stream.width, 3), 10 * number, np.uint8)
            picture[8:40, 4 * number : 4 * number + 40] = (250, 40, 90)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("suffix", "codec", "container"),
    [("wmv", "wmv2", "asf"), ("asf", "mpeg4", "asf"), ("3gp", "h263", "3gp"), ("3g2", "mpeg4", "3g2"),
     ("MTS", "libx264", "mpegts"), ("m2t", "mpeg2video", "mpegts"), ("y4m", "wrapped_avframe", "yuv4mpegpipe"),
     ("vob", "mpeg2video", "vob"), ("qt", "libx264", "mov"), ("divx", "mpeg4", "avi"), ("f4v", "libx264", "f4v"),
     ("nut", "libx264", "nut"), ("mxf", "mpeg2video", "mxf"), ("dv", "dvvideo", "dv"),
     ("m2v", "mpeg2video", "mpeg2video"), ("h264", "libx264", "h264"), ("ivf", "libvpx-vp9", "ivf"),
     ("mk3d", "libx264", "matroska"), ("wtv", "mpeg2video", "wtv")],
)  # fmt: skip
def test_a_suffix_that_is_listed_is_read_frame_by_frame(tmp_path, suffix, codec, container):
    path = tmp_path / f"a.{suffix}"
    encode(path, codec, container)
    info = probe(path)
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        stream.thread_type = "NONE"
        frames = [f.reformat(format="rgb24", threads=1).to_ndarray() for f in opened.decode(stream)]
    assert info.num_frames == len(frames) == 20
    for start in (0, 7, 13):
        assert np.array_equal(read_frames(info, range(start, start + 5)).numpy(), frames[start : start + 5])
    assert [entry.path for entry in list_videos(tmp_path, "videos").splits["train"]] == [str(path)]


def test_a_stream_without_a_container_is_read_under_its_own_suffix_only(tmp_path):
    encode(tmp_path / "a.h264", "libx264", "h264")
    (tmp_path / "a.h264").rename(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be read as video"):
        probe(tmp_path / "a.mp4")


def test_files_of_other_suffixes_are_counted_and_named(tmp_path):
    touch(
        tmp_path, "a.mp4", "b.mp4", "x.rmvb", "deep/y.RMVB", "z.swf", "clip", "notes.txt", "LICENSE", "a.json"
    )
    (tmp_path / "gone.mkv").symlink_to(tmp_path / "nowhere.mkv")
    lost, note = list_videos(tmp_path).notes
    assert lost.startswith("1 link leads to nothing and cannot be read: gone.mkv ")
    assert note.startswith("4 files passed over: 2 .rmvb, ")
    assert "1 .swf" in note
    assert "1 without a suffix, " in note
    assert " (read are " in note
    assert " mp4 " in note
    (tmp_path / "only").mkdir()
    (tmp_path / "deep/y.RMVB").rename(tmp_path / "only/y.rmvb")
    for layout in ("auto", "videos"):
        with pytest.raises(FileNotFoundError, match=r"passed over: 1 \.rmvb \(read are"):
            list_videos(tmp_path / "only", layout)


@pytest.mark.parametrize(
    ("layout", "said"),
    [("videos", "2 folders of images passed over"), ("frames", "1 video file passed over")],
)
def test_the_other_kind_of_video_in_a_folder_is_named(tmp_path, layout, said):
    write_lossless(tmp_path / "a.mkv", clip())
    for folder in ("f", "g"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            Image.new("RGB", (16, 16), (number,) * 3).save(tmp_path / folder / f"{number}.png")
    assert any(note.startswith(said) for note in list_videos(tmp_path, layout).notes)


def test_one_clip_in_two_encodings_stays_on_one_side_of_a_split(tmp_path):
    touch(tmp_path, *(f"{i}.{suffix}" for i in range(30) for suffix in ("mp4", "webm")), "alone.mp4")
    listing = list_videos(tmp_path)
    sides = [{Path(e.relative).stem for e in listing.splits[split]} for split in ("train", "val")]
    assert sides[1]
    assert not sides[0] & sides[1]
    assert any(note.startswith("30 clips lie in more than one encoding") for note in listing.notes)


def test_clips_that_may_lie_in_two_given_splits_are_named(tmp_path):
    touch(tmp_path, "train/a.mp4", "train/b.mp4", "train/0.mp4", "val/a.webm", "val/0.mp4")
    (tmp_path / "val/b.mp4").write_bytes((tmp_path / "train/b.mp4").read_bytes())
    (note,) = list_videos(tmp_path).notes
    assert note.startswith("2 videos of train may also be in val")
    assert "train/a.mp4" in note
    assert "val/a.webm" in note


def test_evaluate_counts_a_clip_in_two_encodings_once(tmp_path):
    for number in range(3):
        write_lossless(tmp_path / f"s{number}.mkv", clip(seed=number))
        Image.fromarray(clip(seed=number).numpy()[0]).save(tmp_path / f"s{number}.gif")
    touch(tmp_path, "w.rmvb")
    folder = Folder(tmp_path)
    assert [entry.relative for entry in folder.entries] == ["s0.mkv", "s1.mkv", "s2.mkv"]
    assert any("s0.gif and s0.mkv" in note for note in folder.notes)
    assert any(note.startswith("1 file passed over: 1 .rmvb") for note in folder.notes)


def test_what_is_left_out_stands_at_the_head_of_a_run(tmp_path):
    for number in range(4):
        write_lossless(tmp_path / f"{number}.mkv", clip(4 + number))
    touch(tmp_path, "broken.mp4", "x.rmvb")
    module = VideoDataModule(root=str(tmp_path), num_frames=5, resolution=16, num_workers=0, val_fraction=0)
    module.setup("fit")
    head = module.describe()
    assert any("1 file passed over: 1 .rmvb" in line for line in head)
    assert any("train: 1 video left out, too short" in line and "0.mkv" in line for line in head)
    assert any("train: 1 video left out, unreadable" in line for line in head)


def test_prepare_check_names_what_it_passes_over(tmp_path, capsys):
    write_lossless(tmp_path / "v/a.mkv", clip())
    touch(tmp_path, "v/x.rmvb")
    assert main(["prepare", str(tmp_path / "v"), "--check", "--workers", "0"]) == 0
    assert "1 file passed over: 1 .rmvb" in capsys.readouterr().out
    (tmp_path / "v/a.mkv").unlink()
    assert main(["prepare", str(tmp_path / "v"), "--check", "--workers", "0"]) == 2
    assert "passed over: 1 .rmvb" in capsys.readouterr().err


def farm(folder, good=2):
    """A folder with files, and links to nothing, to themselves and to the folder they lie in."""
    touch(folder, *(f"v{k}.mp4" for k in range(good)))
    for k in range(good, 2 * good):
        (folder / f"v{k}.mp4").symlink_to(f"/no/such/disk/v{k}.mp4")
    (folder / "deep").mkdir()
    (folder / "deep/more").symlink_to("/no/such/disk/more")
    (folder / "round.mp4").symlink_to("round.mp4")
    (folder / "train").symlink_to("train")
    (folder / "self").symlink_to(".")


def test_links_that_lead_nowhere_are_counted_and_named(tmp_path):
    farm(tmp_path)
    found = list_videos(tmp_path)
    assert {Path(e.path).name for entries in found.splits.values() for e in entries} == {"v0.mp4", "v1.mp4"}
    assert found.notes == [
        "5 links lead to nothing and cannot be read: deep/more, round.mp4, train, ... (is the disk they point to "
        "mounted?)"
    ]
    (tmp_path / "none").mkdir()
    (tmp_path / "none/a.mp4").symlink_to("/no/such/disk/a.mp4")
    with pytest.raises(
        FileNotFoundError, match=r"no videos .*; 1 link leads to nothing and cannot be read: a\.mp4"
    ):
        list_videos(tmp_path / "none")


def test_a_frame_that_is_a_link_to_nothing_is_left_out(tmp_path):
    touch(tmp_path, "clip/000.png", "clip/001.png")
    (tmp_path / "clip/002.png").symlink_to("/no/such/disk/002.png")
    tree = scan(tmp_path)
    assert tree.folders[0].frames == ("000.png", "001.png")
    assert tree.dangling == ["clip/002.png"]


def test_a_link_that_leads_in_a_circle_is_no_hindrance_where_the_layout_is_told(tmp_path):
    farm(tmp_path)
    assert stored_layout(str(tmp_path)) is None
    touch(tmp_path / "val", "s0.tar")
    assert stored_layout(str(tmp_path)) == "shards"
