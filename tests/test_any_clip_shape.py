"""Clips that are taller than wide and wider than tall, through every command, by every family."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from videodiff.cli import main
from videodiff.data.video_io import read_video

PORTRAIT, LANDSCAPE = (24, 16), (16, 24)
SMALL = [
    "--trainer.max_steps", "1", "--trainer.limit_val_batches", "0", "--data.num_train_clips", "8",
    "--data.num_val_clips", "2", "--data.num_test_clips", "2", "--model.sampler.num_steps", "1",
]  # fmt: skip


def sizes(config, height, width):
    """Options that give a config, behind ``with/smoke``, clips of this size."""
    frames, latent = f"{height}x{width}", f"[{height // 4}, {width // 4}]"
    own = {
        "vdm_digits": ["--model.net.resolution", frames],
        "lvdm_autoencoder_digits": ["--model.autoencoder.resolution", frames],
        "lvdm_digits": ["--model.net.resolution", latent],
        "pvdm_autoencoder_digits": ["--model.autoencoder.resolution", frames],
        "pvdm_digits": ["--model.net.plane_size", latent],
    }
    return ["--data.resolution", frames, *own[config]]


CONFIGS = ("vdm_digits", "lvdm_autoencoder_digits", "lvdm_digits", "pvdm_autoencoder_digits", "pvdm_digits")
MODELS = [name for name in CONFIGS if "autoencoder" not in name]
FEW = ["--protocol", "random", "--num_clips", "2"]


@pytest.fixture(
    scope="module",
    params=[PORTRAIT, pytest.param(LANDSCAPE, marks=pytest.mark.slow)],
    ids=["portrait", "landscape"],
)
def home(request, tmp_path_factory):
    """A working folder with a tiny run of every family, both stages, on clips of one shape; and that shape."""
    folder = tmp_path_factory.mktemp("shapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for config in CONFIGS:
            words = [*(SMALL if config in MODELS else SMALL[:-2]), *sizes(config, *request.param)]
            assert main(["fit", "--config", config, "--config", "with/smoke", "--name", config, *words]) == 0
        yield folder, request.param


@pytest.mark.parametrize("name", MODELS)
def test_every_family_continues_frames_of_any_size_in_its_shape(home, tmp_path, capsys, name):
    folder, size = home
    for number in range(4):
        Image.fromarray(np.full((50, 40, 3), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
    out = str(folder / f"{name}_clips")
    words = ["--condition", str(tmp_path), "--frames", "24", "--num_samples", "1", "--out", out]
    assert main(["generate", "--ckpt_path", f"runs/{name}", *words]) == 0, capsys.readouterr().err
    assert read_video(f"{out}/clip_00000.mkv").shape == (24, *size, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_family_is_tested_on_clips_of_any_shape(home, capsys, name):
    assert main(["test", "--ckpt_path", f"runs/{name}", *FEW]) == 0, capsys.readouterr().err


def test_they_are_compared_on_one_page_in_their_shape(home, capsys):
    folder, (height, width) = home
    runs = [f"runs/{name}" for name in MODELS]
    words = ["--frames", "4", "--steps", "1", "--shown", "1", "--out", "page"]
    assert main(["compare", *runs, *FEW, *words]) == 0, capsys.readouterr().err
    assert [m["name"] for m in json.loads((folder / "page/results.json").read_text())["models"]] == MODELS
    canvases = re.findall(r"<canvas[^>]*>", (folder / "page/index.html").read_text())
    assert canvases
    assert all(f'width="{width}" height="{height}"' in canvas for canvas in canvases)


def test_a_model_and_data_of_other_heights_or_widths_are_refused_with_the_option_to_set(capsys):
    words = sizes("vdm_digits", *PORTRAIT)
    words[-1] = "16x24"
    assert main(["fit", "--config", "vdm_digits", "--config", "with/smoke", *words]) == 2
    said = capsys.readouterr().err
    assert "data.resolution (24x16) must be what the model generates (16x24); " in said
    assert "e.g. --model.net.resolution 24x16" in said
