"""LVDM through the command line: long video by both ways, what is given, and a first stage that changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from turns import by_turns
from videodiff.checkpoints import load_checkpoint, load_run, save_checkpoint
from videodiff.cli import clip_files, main
from videodiff.data import BouncingDigits, video_io
from videodiff.models import LVDM

ROOT = Path(__file__).parent.parent.parent
WAYS = ("autoregressive", "hierarchical")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A working folder with a run of either stage, smoke sizes: latent frames of 4 frames, 5 of them at once."""
    folder, before = tmp_path_factory.mktemp("home"), Path.cwd()
    os.chdir(folder)
    try:
        for name in ("lvdm_autoencoder_digits", "lvdm_digits"):
            assert main(["fit", "--config", name, "--config", "with/smoke"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def seen(monkeypatch):
    """What commands drew: the latent of the last batch, and the units that each window wrote."""
    kept = {"written": []}
    window, write = LVDM.generate_window, clip_files.write_batch

    def generate_window(self, latent, plan, *rest):
        before = latent[:, :, list(plan.context)].clone()
        window(self, latent, plan, *rest)
        kept["written"].extend(plan.new)
        assert torch.equal(latent[:, :, list(plan.context)], before)

    def write_batch(model, latent, *rest):
        kept["latent"] = latent.clone()
        write(model, latent, *rest)

    monkeypatch.setattr(LVDM, "generate_window", generate_window)
    monkeypatch.setattr(clip_files, "write_batch", write_batch)
    return kept


def generate(way, frames, *more):
    """Draw one video; returns its frames."""
    words = ["generate", "--ckpt_path", "runs/lvdm_digits", "--num_samples", "1", "--long_video", way]
    assert main([*words, "--frames", str(frames), "--out", "out", *more]) == 0
    return video_io.read_video("out/clip_00000.mkv")


@pytest.mark.parametrize("way", WAYS)
def test_a_long_video_is_written_with_every_latent_frame_once(way, home, seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(home / "runs")
    assert generate(way, 320, "--steps", "1/1").shape == (320, 16, 16, 3)
    total = 80 if way == "autoregressive" else 81  # ends with a key frame
    assert sorted(seen["written"]) == list(range(total))
    assert seen["latent"].shape[2] == total
    assert video_io.probe("out/sheet.mp4").num_frames == 320
    assert not list(Path("out").glob(".*"))  # nothing half done stays


@pytest.mark.parametrize(("place", "way"), by_turns([("0:8",), ("0,1,2,3,60,61,62,63",)], WAYS))
def test_given_frames_are_kept_in_a_video_of_64(way, place, home, seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(home / "runs")
    clip = BouncingDigits("test", 1, 8, 16).read(0, 0, 8, 1)
    video_io.write_lossless("given.mkv", clip)
    drawn = generate(way, 64, "--steps", "2/1", "--condition", "given.mkv", "--condition_frames", place)
    assert drawn.shape[0] == 64
    units = [0, 1] if place == "0:8" else [0, 15]
    model = load_run("runs/lvdm_digits").eval()
    frames = video_io.to_float(clip.permute(3, 0, 1, 2)[None])
    runs = [frames] if units == [0, 1] else frames.split(4, dim=2)
    with torch.no_grad():
        expected = torch.cat([model.autoencoder.encode(run) for run in runs], 2)
    torch.testing.assert_close(seen["latent"][:, :, units], expected)
    total = seen["latent"].shape[2]
    assert sorted(seen["written"]) == [u for u in range(total) if u not in units]


def test_the_steps_of_the_first_window_and_of_the_others_are_recorded_and_kept_to(
    home, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(home / "runs")
    steps = []
    window = LVDM.generate_window
    monkeypatch.setattr(
        LVDM, "generate_window", lambda self, *args: (steps.append(args[4].num_steps), window(self, *args))
    )
    generate("hierarchical", 64, "--steps", "3/1")
    assert steps == [3] + [1] * (len(steps) - 1)
    assert len(steps) > 2


def test_another_first_stage_is_refused_in_one_line(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "runs" / "lvdm_autoencoder_digits", "runs/lvdm_autoencoder_digits")
    (tmp_path / "runs" / "lvdm_digits").symlink_to(home / "runs" / "lvdm_digits")
    path = next(Path("runs").glob("lvdm_autoencoder_digits/*/checkpoints")) / "last.ckpt"
    checkpoint = load_checkpoint(path)
    checkpoint["state_dict"]["autoencoder.decoder.conv_out.weight"] *= 2
    for name in ("last.ckpt", "best.ckpt"):
        path.with_name(name).unlink()
        save_checkpoint(checkpoint, path.with_name(name))
    assert main(["generate", "--ckpt_path", "runs/lvdm_digits", "--out", "out"]) == 2
    error = capsys.readouterr().err.strip()
    assert "another first stage" in error
    assert len(error.splitlines()) == 1


MEMORY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from long_video_memory import peak_mib, write_once
peaks = []
for frames in (64, 448):
    write_once(frames, 32, 8, "windows", Path(sys.argv[2]) / str(frames))
    peaks.append(peak_mib())
print(peaks[1] - peaks[0])
"""


def test_memory_does_not_grow_with_the_length(tmp_path):
    words = [sys.executable, "-c", MEMORY, str(ROOT / "benchmarks"), str(tmp_path)]
    grown = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    # decoded whole, 384 frames more take 280 MiB; the allocator alone moves by up to 60
    assert grown < 120, f"{grown:.1f} MiB more for 448 frames than for 64"
    assert video_io.probe(tmp_path / "448" / "clip_00000.mkv").num_frames == 448
