"""Reading and writing video files, against linear decoding and against what was written."""

import io
import json
import os
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from browser import CHROMIUM, Browser
from videodiff.data import video_file, video_io, video_write
from videodiff.data.video_io import (
    BadVideoError,
    gif_bytes,
    probe,
    read_clip,
    read_image,
    read_video,
    resize_crop,
    scale_to_see,
    to_float,
    to_uint8,
    video_grid,
    write_lossless,
    write_mp4,
)

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
needs_assets = pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (real clips) is not set")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def numbered(num_frames: int, height: int = 32, width: int = 48) -> torch.Tensor:
    """Flat gray frames whose level tells their number."""
    levels = (20 + 3 * torch.arange(num_frames)).to(torch.uint8)
    return levels[:, None, None, None].expand(num_frames, height, width, 3)


def test_all_256_levels_survive_the_way_to_float_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert to_float(levels).min() == -1
    assert to_float(levels).max() == 1
    assert torch.equal(to_uint8(to_float(levels)), levels)
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


@pytest.mark.parametrize(("height", "width"), [(66, 96), (47, 61), (722, 96)])
def test_videos_to_look_at_say_their_colours_and_show_them_at_any_size(tmp_path, height, width):
    colours = torch.tensor([(220, 30, 40), (30, 200, 60), (40, 60, 210), (128, 128, 128)], dtype=torch.uint8)
    video = colours.repeat_interleave(-(-width // 4), 0)[:width].expand(3, height, width, 3)
    write_mp4(tmp_path / "sheet.mp4", video)
    with av.open(str(tmp_path / "sheet.mp4")) as container:
        codec = container.streams.video[0].codec_context
        tags = codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc
        frame = next(container.decode(video=0))
    matrix_601, limited, primaries_709, transfer_srgb = 6, 1, 1, 13  # codes of ITU-T H.273
    assert [int(tag) for tag in tags] == [matrix_601, limited, primaries_709, transfer_srgb]
    middle = [(2 * k + 1) * width // 8 for k in range(4)]
    shown = read_video(tmp_path / "sheet.mp4")[:, height // 2, middle].int()
    assert (shown - colours.int()).abs().max() <= 4
    # By the definition of BT.601, not by the library that converted: luma of the first colour.
    red, green, blue = (220, 30, 40)
    luma = 16 + 219 / 255 * (0.299 * red + 0.587 * green + 0.114 * blue)
    plane = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
    assert plane[height // 2, middle[0]] == pytest.approx(luma, abs=2)


SHOWN = """<pre id=o></pre><script>
const v = document.createElement('video'); v.muted = true; v.src = 'sheet.mp4';
v.onseeked = () => {
  const c = document.createElement('canvas'); c.width = v.videoWidth; c.height = v.videoHeight;
  const x = c.getContext('2d'); x.drawImage(v, 0, 0);
  const shown = [12, 36, 60, 84].map(p => Array.from(x.getImageData(p, 361, 1, 1).data).slice(0, 3));
  if (shown[3][0] > 0) document.getElementById('o').textContent = JSON.stringify(shown); else v.currentTime += 0.1;
};
v.onloadeddata = () => { v.currentTime = 0.1 }; v.load()
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no browser on this machine")
def test_a_browser_shows_the_colours_of_a_sheet_of_many_lines(tmp_path):
    colours = torch.tensor([(220, 30, 40), (30, 200, 60), (40, 60, 210), (128, 128, 128)], dtype=torch.uint8)
    write_mp4(tmp_path / "sheet.mp4", colours.repeat_interleave(24, 0).expand(16, 722, 96, 3))
    data = b64encode((tmp_path / "sheet.mp4").read_bytes()).decode()
    page = SHOWN.replace("sheet.mp4", f"data:video/mp4;base64,{data}")
    (tmp_path / "page.html").write_text(page)
    with Browser(tmp_path / "profile") as browser:
        browser.call("Page.navigate", url=(tmp_path / "page.html").as_uri())
        found = browser.wait_for("(e => e && e.textContent || null)(document.getElementById('o'))")
    assert (torch.tensor(json.loads(found)) - colours.int()).abs().max() <= 4


@pytest.mark.parametrize(("height", "width"), [(32, 48), (31, 47), (7, 9)])
def test_ffv1_returns_rgb_bit_for_bit(tmp_path, height, width):
    video = noise(5, height, width, 3)
    write_lossless(tmp_path / "clip.mkv", video, fps=12.5)
    assert torch.equal(read_video(tmp_path / "clip.mkv"), video)
    assert probe(tmp_path / "clip.mkv").fps == pytest.approx(12.5, rel=1e-3)


def test_mp4_pads_odd_sides_and_keeps_the_picture(tmp_path):
    y, x = torch.meshgrid(torch.arange(31), torch.arange(47), indexing="ij")
    video = (2 * x + 3 * y).to(torch.uint8)[None, ..., None].expand(6, 31, 47, 3)
    write_mp4(tmp_path / "clip.mp4", video)
    back = read_video(tmp_path / "clip.mp4")
    assert back.shape == (6, 32, 48, 3)
    assert (back[:, :31, :47].int() - video.int()).abs().float().mean() < 3


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")],
)
@pytest.mark.parametrize("stride", [1, 3])
def test_windows_hold_the_frames_they_name(tmp_path, name, codec, stride):
    with av.open(str(tmp_path / name), "w") as output:
        stream = output.add_stream(codec, rate=25, options={"g": "10", "b": "4000000"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for picture in numbered(60).numpy():
            output.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))
            )
        output.mux(stream.encode(None))
    info = probe(tmp_path / name)
    assert info.num_frames == 60
    for start in (0, 1, 13, 60 - (8 - 1) * stride - 1):
        levels = read_clip(info, start, 8, stride).float().mean((1, 2, 3))
        expected = 20 + 3 * (start + stride * torch.arange(8)).float()
        assert (levels - expected).abs().max() < 1.4  # half a step between neighbours is 1.5


def test_windows_outside_the_video_are_refused(tmp_path):
    write_lossless(tmp_path / "a.mkv", noise(10, 16, 16, 3))
    with pytest.raises(ValueError, match="frames 4 to 11 asked, 10 there"):
        read_clip(tmp_path / "a.mkv", 4, 8)


def test_resize_takes_the_centre_square_with_an_antialiased_triangle():
    frame = noise(48, 64, 3)
    expected = Image.fromarray(frame[:, 8:56].contiguous().numpy()).resize((16, 16), Image.BILINEAR)
    difference = resize_crop(frame, 16).int() - torch.from_numpy(np.array(expected)).int()
    assert difference.abs().max() <= 1
    assert torch.equal(resize_crop(frame, 48), frame[:, 8:56])
    assert resize_crop(noise(3, 10, 200, 3), 32).shape == (3, 32, 32, 3)


def test_wide_pixels_are_cropped_to_a_square_on_the_screen():
    frame = torch.zeros(40, 40, 3, dtype=torch.uint8)
    frame[:, 10:30] = 200  # with pixels 2:1, exactly the centre square
    assert (resize_crop(frame, 20, pixel_aspect=2.0) == 200).all()


def test_a_sheet_fills_rows_and_leaves_white(tmp_path):
    clips = noise(5, 2, 8, 6, 3)
    sheet = video_grid(clips, columns=3, padding=1)
    assert sheet.shape == (2, 17, 20, 3)
    assert torch.equal(sheet[:, 9:17, 7:13], clips[4])
    assert (sheet[:, 9:17, 14:] == 255).all()


@pytest.mark.parametrize(
    ("clip", "sheet", "scale"),
    [
        ((32, 32), (134, 134), 4),
        ((16, 16), (16, 16), 8),
        ((48, 80), (48, 80), 2),
        ((64, 64), (526, 526), 2),
        ((32, 32), (1200, 34), 1),  # a whole number, and the sheet stays within 2,048
        ((100, 100), (100, 100), 1),
        ((256, 256), (256, 256), 1),
    ],
)
def test_small_clips_are_enlarged_by_whole_numbers_to_a_size_one_can_see(clip, sheet, scale):
    assert scale_to_see(clip, sheet) == scale


def test_an_enlarged_clip_has_squares_of_its_pixels_and_nothing_between(tmp_path):
    colours = torch.tensor([[250, 20, 20], [20, 250, 20], [20, 20, 250], [128, 128, 128]], dtype=torch.uint8)
    video = colours[torch.arange(2 * 4 * 6).view(2, 4, 6) % 4]
    write_mp4(tmp_path / "a.mp4", video, scale=8, crf=1)
    shown = read_video(tmp_path / "a.mp4")
    assert shown.shape == (2, 32, 48, 3)
    inner = shown.unflatten(1, (4, 8)).unflatten(3, (6, 8))[:, :, 2:6, :, 2:6].int()  # [T, 4, 4, 6, 4, 3]
    assert (inner - video[:, :, None, :, None].int()).abs().max() <= 8
    frame = Image.open(io.BytesIO(gif_bytes(video, scale=8))).convert("RGB")
    assert frame.size == (48, 32)
    assert (np.array(frame)[::8, ::8] == video[0].numpy()).all()


def test_gif_holds_every_frame():
    image = Image.open(io.BytesIO(gif_bytes(noise(7, 16, 16, 3), fps=10)))
    assert image.n_frames == 7
    assert image.info["duration"] == 100


def test_writing_leaves_the_old_file_and_no_scraps_when_it_fails(tmp_path, monkeypatch):
    write_mp4(tmp_path / "a.mp4", noise(4, 16, 16, 3))
    before = (tmp_path / "a.mp4").read_bytes()
    made, plain = [], av.VideoFrame.from_ndarray

    def fails(*args, **options):
        made.append(1)
        return 1 / 0 if len(made) == 3 else plain(*args, **options)

    monkeypatch.setattr(video_write.av, "VideoFrame", SimpleNamespace(from_ndarray=fails))
    with pytest.raises(ZeroDivisionError):
        write_mp4(tmp_path / "a.mp4", noise(4, 16, 16, 3))
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_only_uint8_clips_are_written(tmp_path):
    with pytest.raises(TypeError, match="uint8"):
        write_mp4(tmp_path / "a.mp4", torch.zeros(4, 16, 16, 3))
    with pytest.raises(ValueError, match="shape"):
        write_lossless(tmp_path / "a.mkv", noise(16, 16, 3))


def test_a_playlist_that_calls_itself_mp4_is_refused(tmp_path):
    write_mp4(tmp_path / "secret.mp4", noise(4, 16, 16, 3))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(BadVideoError, match=r"list\.mp4"):
        probe(tmp_path / "list.mp4")


def test_a_pipe_and_a_missing_file_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(BadVideoError, match="not a regular file"):
        probe(tmp_path / "pipe.mp4")
    with pytest.raises(FileNotFoundError, match=r"absent\.mp4"):
        read_video(tmp_path / "absent.mp4")


def test_frames_beyond_the_size_limit_are_not_decoded(tmp_path, monkeypatch):
    write_mp4(tmp_path / "a.mp4", noise(2, 64, 64, 3))
    monkeypatch.setattr(video_file, "MAX_PIXELS", 64 * 63)
    with pytest.raises(BadVideoError, match="exceed the limit"):
        probe(tmp_path / "a.mp4")


def test_half_a_picture_is_an_error_and_modes_become_rgb(tmp_path):
    Image.fromarray(noise(32, 32, 3).numpy()).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadVideoError, match=r"half\.jpg"):
        read_image(tmp_path / "half.jpg")
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png").unique().tolist() == [0x80]
    for mode in ("L", "P", "RGBA", "1"):
        Image.new(mode, (8, 8)).save(tmp_path / f"{mode}.png")
        assert read_image(tmp_path / f"{mode}.png").shape == (8, 8, 3)


@needs_assets
def test_no_real_broken_file_crashes_the_reader_and_counts_are_the_decoded_ones():
    folder = Path(ASSETS) / "data/bad"
    failures = {}
    expected = json.loads((folder / "expected.json").read_text())
    for name, facts in expected.items():
        if not (folder / name).is_file() or Path(name).suffix.lower() not in video_io.VIDEO_SUFFIXES:
            continue
        try:
            info = probe(folder / name)
            video = read_video(folder / name)
        except BadVideoError as error:
            failures[name] = str(error)
            continue
        assert len(video) == facts["decoded"], name
        if facts["expect"] == "ok":
            assert info.num_frames == facts["decoded"], name
            start = max(0, info.num_frames - 5)
            assert torch.equal(read_clip(info, start, info.num_frames - start), video[start:]), name
    assert {expected[name]["expect"] for name in failures} <= {"unopenable", "no_video", "damaged", "partial"}
    assert all(name in text and "\n" not in text for name, text in failures.items())


@needs_assets
def test_rotation_and_wide_pixels_stand_as_a_player_shows_them():
    folder = Path(ASSETS) / "data/bad"
    assert read_video(folder / "rotated_90.mp4", max_frames=1).shape == (1, 160, 120, 3)
    upright = read_video(folder / "same_content_1.mp4", max_frames=1)[0].float()
    turned = read_video(folder / "rotated_180.mp4", max_frames=1)[0].float()
    if torch.corrcoef(torch.stack([upright.flatten(), turned.flatten()]))[0, 1] < 0.9:
        turned_back = turned.flip(0, 1)
        assert torch.corrcoef(torch.stack([upright.flatten(), turned_back.flatten()]))[0, 1] > 0.9


@needs_assets
def test_random_windows_of_real_videos_equal_linear_decoding():
    for path in sorted((Path(ASSETS) / "data/plain_mp4").rglob("*.mp4"))[:4]:
        info, video = probe(path), read_video(path)
        for start in (3, info.num_frames // 2, info.num_frames - 8):
            assert torch.equal(read_clip(info, start, 8), video[start : start + 8]), path


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one core alone"
)
@pytest.mark.parametrize("write", [write_mp4, write_lossless], ids=lambda write: write.__name__)
def test_the_bytes_of_a_video_do_not_depend_on_the_number_of_cores(write, tmp_path):
    cores = os.sched_getaffinity(0)
    video = torch.randint(0, 256, (12, 144, 256, 3), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    written = []
    try:
        for some in (cores, {min(cores)}):
            os.sched_setaffinity(0, some)
            write(tmp_path / "video", video)
            written.append((tmp_path / "video").read_bytes())
    finally:
        os.sched_setaffinity(0, cores)
    assert written[0] == written[1]
