"""Published files on the command line: import, generate, export, load, fine-tune; and files that are refused."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

import published_files as pub
from published_files import needs_assets
from videodiff.checkpoints import load_run
from videodiff.checkpoints.published import KINDS
from videodiff.cli import importing, main
from videodiff.data import video_io

pytestmark = needs_assets


@pytest.fixture(scope="module")
def pvdm(tmp_path_factory):
    """Runs of both stages of PVDM, imported from files of the filling rule."""
    folder = tmp_path_factory.mktemp("pvdm")
    torch.save(pub.pvdm_autoencoder(), folder / "ae.pth")
    unet = {f"module.diffusion_model.{name}": value for name, value in pub.pvdm_unet().items()}
    torch.save(unet, folder / "ema_model.pth")
    assert main(["import", "pvdm-autoencoder", str(folder / "ae.pth"), "--out", str(folder / "ae")]) == 0
    words = ["import", "pvdm-unet", str(folder / "ema_model.pth"), "--first_stage", str(folder / "ae")]
    assert main([*words, "--out", str(folder / "run")]) == 0
    return folder


def clips(folder):
    files = sorted(folder.glob("clip_*.mkv"))
    assert files
    infos = [video_io.probe(file) for file in files]
    return torch.stack([video_io.read_clip(info, 0, info.num_frames, 1, None) for info in infos])


def generate(run, out):
    words = ["generate", "--ckpt_path", str(run), "--num_samples", "2", "--steps", "2", "--out", str(out)]
    assert main(words) == 0
    return clips(out)


def test_an_imported_model_draws_and_its_export_draws_the_same(pvdm, tmp_path, capsys):
    before = generate(pvdm / "run", tmp_path / "a")
    (pvdm / "run" / "eval").mkdir()
    result = {
        "name": "random-2", "protocol": {"hash": "abc"}, "num_real": 8, "num_fake": 8, "seed": 0,
        "metrics": {"fvd": {"value": 12.5, "interval": [11.0, 14.25]}}, "warnings": [],
    }  # fmt: skip
    (pvdm / "run" / "eval" / "random.json").write_text(json.dumps(result))
    words = ["export", str(pvdm / "run"), "--out", str(tmp_path / "x"), "--licence", "mit"]
    assert main(words) == 0
    moved = (tmp_path / "x").rename(tmp_path / "moved")
    assert torch.equal(before, generate(moved, tmp_path / "b"))
    ours, theirs = load_run(pvdm / "run"), load_run(moved)
    for name, value in ours.autoencoder.autoencoder.state_dict().items():
        assert torch.equal(value, theirs.autoencoder.autoencoder.state_dict()[name])
    stored = load_file(moved / "model.safetensors")
    assert stored.keys() == ours.state_dict().keys()
    assert all(torch.equal(stored[name], value) for name, value in ours.state_dict().items())
    card = (moved / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["license"] == "mit"
    for words in ("fvd | 12.5 | 11 to 14.25 | 8 / 8", "ema_model.pth", "videodiff export", "random-2 [abc]"):
        assert words in card
    assert (
        yaml.safe_load((moved / "config.yaml").read_text())["model"]["init_args"]["autoencoder"]["init_args"][
            "checkpoint"
        ]
        == "./first_stage"
    )


def test_an_imported_model_is_tested_and_fine_tuned(pvdm, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = ["--data.num_train_clips", "2", "--data.num_test_clips", "2", "--data.batch_size", "2"]
    run = ["--ckpt_path", str(pvdm / "run")]
    assert main(["test", *run, *data, "--out", str(tmp_path / "before")]) == 0
    train = [
        "--trainer.max_steps",
        "12",
        "--model.optimizer.lr",
        "1e-3",
        "--ema.decay",
        "0.5",
        "--name",
        "tuned",
    ]
    assert main(["fit", *run, *data, *train, "--trainer.limit_val_batches", "0"]) == 0
    assert main(["test", "--ckpt_path", "tuned", *data, "--out", str(tmp_path / "after")]) == 0
    losses = [
        json.loads((tmp_path / name / "results.json").read_text())["metrics"]["test/loss"]
        for name in ("before", "after")
    ]
    assert losses[1] < 0.8 * losses[0]


def test_the_command_knows_every_kind():
    assert importing.KINDS == KINDS
