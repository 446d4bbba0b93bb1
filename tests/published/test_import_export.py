"""Published files on the command line: import, generate, export, load, fine-tune; and files that are refused."""

import json
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import published_files as pub
from published_files import needs_assets
from videodiff.checkpoints import load_run
from videodiff.checkpoints.export import export_run
from videodiff.checkpoints.published import KINDS
from videodiff.cli import main
from videodiff.cli.commands import import_published
from videodiff.data import video_io
from videodiff.diffusion.scheduler_config import to_scheduler_config

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
    words = ["generate", "--ckpt_path", str(run), "--num_samples", "1", "--steps", "1", "--out", str(out)]
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


def test_an_imported_model_is_tested_fine_tuned_and_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    average = {f"denoise_fn.{name}": value for name, value in pub.filled("lucidrains_unet3d_dim16").items()}
    average["betas"] = torch.zeros(1000)
    raw = {name: value + 1 for name, value in average.items()}
    torch.save({"step": 7, "model": raw, "ema": average, "scaler": None}, "model-7.pt")
    small = ["--resolution", "16", "--frames", "4"]
    assert main(["import", "lucidrains-unet3d", "model-7.pt", "--out", "runs/imported", *small]) == 0
    data = ["--data.num_train_clips", "2", "--data.num_test_clips", "2", "--data.batch_size", "2"]
    test = ["test", *data, "--protocol", "none", "--ckpt_path"]
    assert main([*test, "imported", "--out", "before"]) == 0
    train = [
        "--trainer.max_steps",
        "6",
        "--model.optimizer.lr",
        "3e-3",
        "--ema.decay",
        "0.5",
        "--name",
        "tuned",
    ]
    assert main(["fit", "--ckpt_path", "imported", *data, *train, "--trainer.limit_val_batches", "0"]) == 0
    assert main([*test, "tuned", "--out", "after"]) == 0
    losses = []
    for name in ("before", "after"):
        losses.append(json.loads((tmp_path / name / "results.json").read_text())["metrics"]["test/loss"])
    assert losses[1] < 0.8 * losses[0]
    few = ["--protocol", "random", "--num_clips", "2", "--steps", "1", "--shown", "1", "--batch_size", "2"]
    assert main(["compare", "imported", "tuned", *few, "--out", "report"]) == 0
    record = json.loads((tmp_path / "report" / "results.json").read_text())
    assert [model["run"] for model in record["models"]] == ["imported", "tuned"]
    assert not record["skipped"]


def test_fine_tuning_makes_a_run_of_its_own(pvdm, capsys):
    assert main(["fit", "--ckpt_path", str(pvdm / "run")]) == 2
    assert "--name NAME or --out DIR" in capsys.readouterr().err


class Hub:
    """Stands for huggingface_hub's client and keeps what it was asked."""

    def __init__(self, calls, refuse=False):
        self.calls, self.refuse = calls, refuse

    def create_repo(self, repo_id, exist_ok, private):
        self.calls.append(("create", repo_id, exist_ok, private))

    def upload_folder(self, repo_id, folder_path, commit_message):
        if self.refuse:
            raise OSError("401 Unauthorized")
        self.calls.append(("upload", repo_id, sorted(p.name for p in Path(folder_path).iterdir())))
        return f"https://hub/{repo_id}"


def test_an_export_is_pushed(pvdm, tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(HfApi=lambda: Hub(calls)))
    words = ["export", str(pvdm / "ae"), "--push_to_hub", "me/ae", "--private", "--out"]
    assert main([*words, str(tmp_path / "x")]) == 0
    assert calls[0] == ("create", "me/ae", True, True)
    assert calls[1] == (
        "upload",
        "me/ae",
        ["README.md", "config.yaml", "model.safetensors", "videodiff.json"],
    )
    assert "https://hub/me/ae" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(HfApi=lambda: Hub(calls, True)))
    assert main([*words, str(tmp_path / "y")]) == 1
    assert "cannot push to me/ae: 401 Unauthorized" in capsys.readouterr().err
    assert (tmp_path / "y" / "model.safetensors").is_file()


def test_without_the_hub_client_nothing_is_begun(pvdm, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    words = ["export", str(pvdm / "ae"), "--push_to_hub", "me/ae", "--out", str(tmp_path / "x")]
    assert main(words) == 2
    assert "pip install 'videodiff[hub]'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_an_export_that_was_changed_is_refused(pvdm, tmp_path):
    out = tmp_path / "x"
    assert main(["export", str(pvdm / "ae"), "--out", str(out)]) == 0
    with pytest.raises(ValueError, match="not empty"):
        export_run(pvdm / "ae", out)
    data = bytearray((out / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (out / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="sha256 differs"):
        load_run(out)


def test_a_file_with_a_weight_that_is_no_number_is_refused_with_its_published_name(tmp_path, capsys):
    state = {name: value.clone() for name, value in pub.pvdm_autoencoder().items()}
    name = [name for name, value in state.items() if value.is_floating_point() and value.ndim > 1][5]
    state[name].view(-1)[0] = float("inf")
    torch.save(state, tmp_path / "ae.pth")
    assert main(["import", "pvdm-autoencoder", str(tmp_path / "ae.pth"), "--out", str(tmp_path / "run")]) == 2
    assert f"the first is {name}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_scheduler_config_takes_the_place_of_the_sampler(pvdm, tmp_path):
    file, model = tmp_path / "scheduler_config.json", load_run(pvdm / "run")
    assert (model.sampler.num_steps, model.sampler.eta, model.sampler.recompute_eps) == (400, 1.0, False)
    model.sampler.num_steps = 100
    config = to_scheduler_config(model.schedule, model.sampler, "eps", "static")
    file.write_text(json.dumps({**config, "beta_end": 0.012, "clip_sample": False}))
    words = ["import", "pvdm-unet", str(pvdm / "ema_model.pth"), "--first_stage", str(pvdm / "ae")]
    assert main([*words, "--out", str(tmp_path / "run"), "--scheduler", str(file)]) == 0
    other = load_run(tmp_path / "run")
    assert other.threshold == "none"
    assert (other.sampler.num_steps, other.sampler.grid) == (50, "trailing")
    assert other.schedule.alpha_bar[0] == model.schedule.alpha_bar[0]
    assert other.schedule.alpha_bar[-1] > model.schedule.alpha_bar[-1]


def test_the_command_knows_every_kind():
    assert import_published.KINDS == KINDS
