"""Pictures that are more than 8-bit stills: animations and stacks, floats and 16 bits, uneven folders, masks beside."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from videodiff.cli import main
from videodiff.data import BadVideoError, FolderSource, VideoDataModule
from videodiff.data.entries import find_videos
from videodiff.data.frame_folder import missing
from videodiff.data.layouts import list_videos
from videodiff.data.video_io import read_image
from videodiff.evaluation.folders import Folder


def pictures(count: int = 9, side: int = 16, seed: int = 0) -> np.ndarray:
    """Unlike frames of which each keeps a part of the one before, as animations do."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8), count, 0)
    for number in range(1, count):
        frames[number:, number % side] = rng.integers(0, 256, (side, 3))
    return frames


def animation(path: Path, frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [Image.fromarray(frame) for frame in frames]
    clock = {} if path.suffix == ".tif" else {"duration": 80}
    exact = {"lossless": True} if path.suffix == ".webp" else {}
    images[0].save(path, save_all=True, append_images=images[1:], **clock, **exact)


def stills(folder: Path, frames: np.ndarray, suffix: str = "png", names: list[str] | None = None) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        name = f"{number:03d}" if names is None else names[number]
        Image.fromarray(frame).save(folder / f"{name}.{suffix}")


@pytest.mark.parametrize("suffix", ["webp", "png", "apng", "tif"])
def test_every_window_of_an_animated_picture_equals_the_pictures_it_was_made_of(tmp_path, suffix):
    made = {}
    for number in range(2):
        made[number] = pictures(seed=number)
        target = tmp_path / f"v/{number}.{suffix}"
        animation(target.with_suffix(".png") if suffix == "apng" else target, made[number])
        if suffix == "apng":
            target.with_suffix(".png").rename(target)
    entries = find_videos(tmp_path)
    assert [entry.kind for entry in entries] == ["video", "video"]
    source = FolderSource(str(tmp_path), entries, 4, 16)
    for number, frames in made.items():
        assert source.num_frames(number) == 9
        for start in range(6):
            assert np.array_equal(source.read(number, start, 4, 1).numpy(), frames[start : start + 4])
        assert source.read_frames(number, [1, 1, 5]).shape == (3, 16, 16, 3)
    if suffix != "tif":
        assert source.times(0) == pytest.approx(0.08 * np.arange(9))
    else:
        with pytest.raises(BadVideoError, match="neither time stamps nor a frame rate"):
            source.times(0)


def test_an_animation_among_stills_is_a_video_and_never_a_frame(tmp_path):
    stills(tmp_path / "f", pictures())
    animation(tmp_path / "f/moving.webp", pictures())
    with pytest.raises(ValueError, match=r"could be videos or frames"):
        list_videos(tmp_path)
    listing = list_videos(tmp_path, "frames")
    assert all("moving.webp" not in e.frames for entries in listing.splits.values() for e in entries)
    assert any("1 video file passed over" in note for note in listing.notes)
    with pytest.raises(BadVideoError, match=r"moving\.webp: an animated picture among stills"):
        read_image(tmp_path / "f/moving.webp")


def test_a_thumbnail_page_makes_no_video_of_a_tiff(tmp_path):
    small = TiffImagePlugin.ImageFileDirectory_v2()
    small[254] = 1
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), True) as out:
        Image.fromarray(pictures()[0]).save(out)
        out.newFrame()
        Image.fromarray(pictures()[0][::4, ::4]).save(out, tiffinfo=small)
    assert np.array_equal(read_image(tmp_path / "a.tif").numpy(), pictures()[0])


@pytest.mark.parametrize(
    ("values", "suffix", "expected"),
    [(np.array([[0, 0.5, 1]], np.float32), "tif", [0, 128, 255]),
     (np.array([[0, 257, 65535]], np.uint16), "png", [0, 1, 255]),
     (np.array([[0, 4095, 65535]], np.uint16), "tif", [0, 15, 255]),
     (np.array([[0, 300, 65535]], np.int32), "tif", [0, 1, 255])],
)  # fmt: skip
def test_deep_pictures_are_scaled_by_their_type(tmp_path, values, suffix, expected):
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}")[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "said"),
    [(np.array([[0, 12.5]], np.float32), r"float pixels from 0 to 12\.5; they must lie in \[0, 1\]"),
     (np.array([[-1, 1]], np.float32), "float pixels from -1 to 1"),
     (np.array([[0, np.nan]], np.float32), "float pixels from nan"),
     (np.array([[0, 70000]], np.int32), "integer pixels from 0 to 70000")],
)  # fmt: skip
def test_values_that_have_no_place_in_a_byte_are_refused_by_name(tmp_path, values, said):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(BadVideoError, match=r"a\.tif: " + said):
        read_image(tmp_path / "a.tif")


def test_twelve_bits_in_sixteen_are_told(tmp_path):
    dark = (pictures()[..., 0].astype(np.uint16) * 16).clip(0, 4095)
    stills(tmp_path / "v", dark)
    (note,) = list_videos(tmp_path, "frames").notes
    assert "use a sixteenth of that or less" in note
    assert "is 15 of 255" in note


@pytest.mark.parametrize(
    ("names", "said"),
    [(["a1", "a2", "a3"], None), (["0", "5", "10"], None), (["f_1_9", "f_2_7", "f_3_8"], None), (["x", "y"], None),
     (["1", "2", "5", "6"], "3 to 4 missing"), (["1", "2", "4", "5", "7"], "3 missing, and 1 more gap"),
     (["0", "10", "20", "40"], "30 missing"), (["a1", "a2", "b1"], "names of 2 series, such as a1 and b1"),
     (["1", "1", "2"], "numbers that repeat"), (["100", "107", "131", "140"], None)],
)  # fmt: skip
def test_gaps_are_told_by_the_numbers_in_names(names, said):
    found = missing(f"{name}.png" for name in names)
    assert found is None if said is None else found.startswith(said)


def test_uneven_frame_folders_are_named_at_the_head(tmp_path):
    for name in "ab":
        stills(tmp_path / name, pictures())
    Image.fromarray(pictures()[0][:12]).save(tmp_path / "b/004.png")
    Image.fromarray(pictures()[0]).quantize(8).save(tmp_path / "b/005.png")
    (tmp_path / "a/003.png").unlink()
    module = VideoDataModule(root=str(tmp_path), num_frames=4, resolution=16, num_workers=0)
    head = "\n".join(module.selection.describe("2"))
    assert "1 folder has uneven names of frames (the first: a: 3 missing)" in head
    assert "frames of more than one size (the first: b: 16x16, but 004.png 16x12)" in head
    assert "palette pictures among others (the first: b: 005.png)" in head
    assert "b: 16x16, but 004.png" in "\n".join(Folder(tmp_path).notes)


def mask(frame: np.ndarray) -> Image.Image:
    return Image.fromarray((frame[..., 0] > 128).astype(np.uint8) * 255)


@pytest.mark.parametrize("tree", ["top", "beside", "palette"])
def test_masks_beside_frames_are_no_videos(tmp_path, tree):
    for number, name in enumerate(("bear", "bus", "camel")):
        frames = pictures(seed=number)
        where = (f"JPEGImages/480p/{name}", f"Annotations/480p/{name}")
        if tree == "beside":
            where = (f"{name}/rgb", f"{name}/mask")
        stills(tmp_path / where[0], frames, "jpg" if tree != "beside" else "png")
        (tmp_path / where[1]).mkdir(parents=True)
        for k, frame in enumerate(frames):
            labels = mask(frame).convert("P") if tree == "palette" else mask(frame)
            labels.save(tmp_path / where[1] / f"{k:03d}.png")
    listing = list_videos(tmp_path)
    every = {Path(e.relative).as_posix() for entries in listing.splits.values() for e in entries}
    assert len(every) == 3
    assert not any("Annotations" in name or "mask" in name for name in every)
    assert any(note.startswith("3 folders of masks beside frames") for note in listing.notes)
    alone = tmp_path / "Annotations"
    if tree != "beside":
        assert len(list_videos(alone).splits["train"]) >= 1


def test_clips_of_equal_length_are_not_each_others_masks(tmp_path):
    for folder in ("walk/1", "walk/2", "run/1", "run/2"):
        stills(tmp_path / folder, pictures(seed=len(folder)))
    for path in (tmp_path / "run/1").iterdir():
        Image.open(path).quantize(64).save(path)
    every = {e.relative for entries in list_videos(tmp_path).splits.values() for e in entries}
    assert every == {"walk/1", "walk/2", "run/1", "run/2"}


def test_images_are_clips_of_one_frame_with_the_classes_of_their_folders(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        stills(tmp_path / name, pictures(6, seed=number))
    module = VideoDataModule(
        root=str(tmp_path), layout="images", num_frames=1, resolution=16, num_workers=0, batch_size=2
    )
    module.setup("fit")
    assert (module.class_names, len(module.clips("train")) + len(module.clips("val"))) == (["cat", "dog"], 12)
    assert not {e.path for e in module.splits["train"]} & {e.path for e in module.splits["val"]}
    source = module.clips("train").source
    assert torch.equal(source.read(3, 0, 1, 1)[0], read_image(source.name(3)))
    assert next(iter(module.train_dataloader()))["video"].shape == (2, 3, 1, 16, 16)
    with pytest.raises(ValueError, match="too short: the longest has 1 frame,"):
        VideoDataModule(root=str(tmp_path), layout="images", num_frames=2, resolution=16).setup("fit")
    assert list_videos(tmp_path).layout == "frames"  # what such a tree meant before


def test_prepare_writes_images_and_training_reads_them(tmp_path, capsys):
    for number, name in enumerate(("cat", "dog")):
        stills(tmp_path / "set" / name, pictures(4, seed=number))
    words = [
        "--layout",
        "images",
        "--size",
        "16",
        "--form",
        "packed",
        "--workers",
        "0",
        "--out",
        str(tmp_path / "p"),
    ]
    assert main(["prepare", str(tmp_path / "set"), *words]) == 0
    assert "8 videos, 8 good, 8 frames" in capsys.readouterr().out
    module = VideoDataModule(root=str(tmp_path / "p"), num_frames=1, resolution=16, num_workers=0)
    module.setup("fit")
    assert module.class_names == ["cat", "dog"]
