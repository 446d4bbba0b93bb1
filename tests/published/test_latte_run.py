"""Latte's checkpoints as runs: imported with the folder of an image autoencoder, generated from, fine-tuned."""

from pathlib import Path

import pytest
import torch

from published_files import ASSETS, filled, needs_assets
from videodiff.checkpoints import load_run
from videodiff.cli import main
from videodiff.diffusion import LearnedRangeSampler
from videodiff.models import DiT

pytestmark = needs_assets


@pytest.fixture(scope="module")
def latte(tmp_path_factory):
    """A run of the small Latte with classes, from a training file that has raw and averaged weights."""
    folder = tmp_path_factory.mktemp("latte")
    state = filled("latte_small")
    raw = {name: value + 1 for name, value in state.items() if "embed" not in name.split("_")[-1]}
    torch.save({"model": {**state, **raw}, "ema": state, "opt": {}}, folder / "latte.pt")
    vae = str(Path(ASSETS) / "fixtures" / "systems" / "folders" / "vae")
    words = [
        "import",
        "latte",
        str(folder / "latte.pt"),
        "--vae",
        vae,
        "--heads",
        "4",
        "--out",
        str(folder / "run"),
    ]
    assert main(words) == 0
    return folder


def test_an_imported_latte_samples_as_its_authors_do(latte, tmp_path):
    model = load_run(latte / "run")
    assert isinstance(model, DiT)
    assert torch.equal(model.net.embedding.first.weight, filled("latte_small")["t_embedder.mlp.0.weight"])
    assert isinstance(model.sampler, LearnedRangeSampler)
    assert (model.sampler.num_steps, model.sampler.grid) == (250, "linspace")
    assert (model.guidance_scale, model.threshold, model.prediction) == (7.0, "none", "eps")
    assert model.video_shape == (3, 5, 16, 16)  # a latent of 8x8, halved once by this autoencoder
    words = [
        "generate",
        "--ckpt_path",
        str(latte / "run"),
        "--num_samples",
        "2",
        "--steps",
        "3",
        "--class_id",
        "1",
    ]
    assert main([*words, "--out", str(tmp_path / "clips")]) == 0
    assert len(list((tmp_path / "clips").glob("clip_*.mkv"))) == 2


def test_fine_tuning_leaves_the_learnt_variance_as_it_is(latte, tmp_path):
    words = ["fit", "--init_from", str(latte / "run"), "--out", str(tmp_path / "tuned")]
    words += ["--data.dataset", "bouncing_digits"]
    words += ["--model.net.num_classes", "10", "--data.batch_size", "2", "--trainer.max_steps", "2"]
    words += [
        "--trainer.limit_val_batches",
        "0",
        "--trainer.accelerator",
        "cpu",
        "--samples.every_n_steps",
        "0",
    ]
    assert main(words) == 0
    before, after = (load_run(run).net for run in (latte / "run", tmp_path / "tuned"))
    ours, theirs = (net.patch_out.weight.unflatten(0, (4, 8)) for net in (after, before))
    assert torch.equal(ours[:, 4:], theirs[:, 4:])
    assert not torch.equal(ours[:, :4], theirs[:, :4])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "latte generates latents of an image autoencoder: name its folder"),
        (["--vae", "nowhere", "--heads", "4"], "no folder 'nowhere' of an image autoencoder"),
        (["--vae", "VAE"], "give num_heads"),
        (["--vae", "VAE", "--heads", "4", "--frames", "x"], "frames"),
        (
            ["--first_stage", "runs/x"],
            "latte has no first stage; leave out --first_stage; its image autoencoder is",
        ),
    ],
)
def test_an_import_that_lacks_something_stops_with_one_line(latte, tmp_path, words, message, capsys):
    vae = str(Path(ASSETS) / "fixtures" / "systems" / "folders" / "vae")
    words = [vae if word == "VAE" else word for word in words]
    out = str(tmp_path / "run")
    try:
        code = main(["import", "latte", str(latte / "latte.pt"), *words, "--out", out])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_sit_makes_no_run(tmp_path, capsys):
    torch.save(filled("sit_small"), tmp_path / "sit.pt")
    assert main(["import", "sit", str(tmp_path / "sit.pt"), "--out", str(tmp_path / "run")]) == 2
    assert (
        "its network loads by videodiff.checkpoints.published.load('sit'" in capsys.readouterr().err.lower()
    )
