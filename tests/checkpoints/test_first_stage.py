"""FirstStage: loading a trained autoencoder, its place in a latent model's checkpoint, and what is said without one."""

import copy
import shutil

import pytest
import torch
import yaml

import gan_run as gan
from videodiff.checkpoints import (
    CheckpointError,
    FirstStage,
    load_checkpoint,
    load_run,
    save_checkpoint,
    trusted_config,
)
from videodiff.cli import main
from videodiff.cost.meta_model import MetaModel
from videodiff.cost.training import step_of
from videodiff.diffusion import CosineSchedule, DDIMSampler
from videodiff.models import DiffusionModule
from videodiff.networks import Autoencoder

CONFIG = """
model:
  class_path: videodiff.models.AutoencoderModule
  init_args:
    perceptual_weight: 0.0
    autoencoder:
      class_path: videodiff.networks.Autoencoder3D
      init_args: {num_frames: 4, resolution: 8, width: 4, downsample: [2, 2, 2], latent_channels: 2}
    frame_discriminator:
      class_path: videodiff.networks.PatchDiscriminator
      init_args: {width: 4, num_halvings: 1, padding: 2}
    clip_discriminator:
      class_path: videodiff.networks.PatchDiscriminator
      init_args: {dims: 3, width: 4, num_halvings: 1, padding: 2}
"""


class Scale(torch.nn.Module):
    num_frames = 2

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2, 1, 1, 1))

    def forward(self, z, time, cond):
        return self.weight * z


class Latent(DiffusionModule):
    """A latent model of two parameters over a first stage."""

    def __init__(self, checkpoint):
        super().__init__(Scale(), CosineSchedule(), DDIMSampler(2), autoencoder=FirstStage(checkpoint))


def save_stage(folder, seed=0):
    """A run of an autoencoder whose weights follow the seed."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    model = gan.module()
    torch.manual_seed(seed)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    model.autoencoder.latent_scale.scale.fill_(0.5)
    path = folder / "checkpoints" / "last.ckpt"
    save_checkpoint({"state_dict": model.state_dict(), "videodiff": {"config": CONFIG}}, path)
    return model.autoencoder.eval()


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return save_stage(tmp_path / "runs" / "stage" / "1")


def clips(n=2):
    return torch.stack([gan.Clips()[(0, i)]["video"] for i in range(n)])


def test_a_first_stage_is_the_trained_autoencoder_frozen(stage):
    found = FirstStage("stage")
    assert torch.equal(found.encode(clips()), stage.encode(clips()))
    assert torch.equal(found.decode(stage.encode(clips())), stage.decode(stage.encode(clips())))
    assert found.latent_shape((3, 4, 8, 8)) == (2, 2, 4, 4)
    assert found.video_shape == (3, 4, 8, 8)
    assert isinstance(found, Autoencoder)
    assert not any(p.requires_grad for p in found.parameters())
    assert not any(m.training for m in found.train().modules())
    assert sum(p.numel() for p in found.parameters()) == sum(p.numel() for p in stage.parameters())
    whole = torch.cat(list(found.decode_stream(stage.encode(clips()))), 2)
    assert torch.equal(whole, stage.decode(stage.encode(clips())))


def test_a_latent_model_encodes_by_it_and_counts_what_that_takes(stage):
    model = Latent("stage")
    assert model.latents.autoencoder is model.autoencoder
    assert torch.equal(model.latents.encode(clips()), stage.encode(clips()))
    with torch.device("meta"):
        meta = MetaModel(Latent("stage"))
    assert step_of(meta, {}, 1).first_stage_flop > 0


def test_gradients_pass_through_its_decoder_for_guidance(stage):
    latent = stage.encode(clips()).detach().requires_grad_()
    FirstStage("stage").decode(latent).square().sum().backward()
    assert latent.grad.abs().sum() > 0


def test_a_latent_checkpoint_holds_its_hash_and_not_its_weights(stage):
    state = Latent("stage").state_dict()
    assert sorted(k for k in state if k.startswith("autoencoder")) == ["autoencoder.sha256"]
    assert state["autoencoder.sha256"].shape == (32,)
    model = Latent("runs/stage/1/checkpoints/last.ckpt")
    with torch.no_grad():
        model.net.weight.fill_(3.0)
    again = Latent("stage")
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.net.weight, model.net.weight)
    assert torch.equal(again.autoencoder.encode(clips()), stage.encode(clips()))


def test_another_first_stage_is_refused_in_one_line(stage, tmp_path):
    save_stage(tmp_path / "runs" / "other" / "1", seed=1)
    state = Latent("stage").state_dict()
    with pytest.raises(
        CheckpointError, match=r"another first stage .*'other'.*model.autoencoder.checkpoint"
    ) as error:
        Latent("other").load_state_dict(state)
    assert "\n" not in str(error.value)
    without = {k: v for k, v in state.items() if "sha256" not in k}
    with pytest.raises(RuntimeError, match="sha256"):
        Latent("stage").load_state_dict(without)


def test_copies_and_casts_keep_it_whole(stage):
    model = Latent("stage")
    twin = copy.deepcopy(model)
    assert torch.equal(twin.autoencoder.encode(clips()), stage.encode(clips()))
    assert twin.autoencoder.autoencoder is not model.autoencoder.autoencoder
    model.to(torch.float64).to("meta")
    assert {p.device.type for p in model.autoencoder.parameters()} == {"meta"}
    assert model.autoencoder.sha256.dtype == torch.uint8
    assert twin.bfloat16().autoencoder.sha256.dtype == torch.uint8
    assert twin.autoencoder.autoencoder.latent_scale.scale.dtype == torch.float32


def test_the_loss_of_a_latent_model_reaches_its_network_only(stage):
    model = Latent("stage")
    model.losses({"video": clips(), "sample": torch.arange(2)}, "val").mean().backward()
    assert model.net.weight.grad is not None
    assert all(p.grad is None for p in model.autoencoder.parameters())


@pytest.mark.parametrize(
    "name", ["stage", "stage/1", "stage/last", "runs/stage/1", "runs/stage/1/checkpoints/last.ckpt"]
)
def test_a_run_finds_its_first_stage_from_any_folder(name, stage, tmp_path, monkeypatch):
    stored = {"model": {"init_args": {"autoencoder": {"init_args": {"checkpoint": name}}}}}
    checkpoint = {"videodiff": {"config": yaml.safe_dump(stored)}}
    path = tmp_path / "runs" / "latent" / "1" / "checkpoints" / "last.ckpt"

    def found():
        return trusted_config(checkpoint, path)["model"]["init_args"]["autoencoder"]["init_args"][
            "checkpoint"
        ]

    assert found() == name  # where it was trained its words stay as they are
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert torch.equal(FirstStage(found()).encode(clips()), stage.encode(clips()))
    stored["model"]["init_args"]["autoencoder"]["init_args"]["checkpoint"] = "nobody"
    checkpoint["videodiff"]["config"] = yaml.safe_dump(stored)
    assert found() == "nobody"


@pytest.mark.parametrize(
    ("checkpoint", "command"),
    [
        ("lvdm_autoencoder_sky", "videodiff fit --config lvdm_autoencoder_sky ("),
        ("runs/lvdm_autoencoder_sky/3", "videodiff fit --config lvdm_autoencoder_sky ("),
        ("lvdm_autoencoder_sky/best", "videodiff fit --config lvdm_autoencoder_sky ("),
        (
            "elsewhere/lvdm_autoencoder_sky",
            "videodiff fit --config lvdm_autoencoder_sky --out elsewhere/lvdm_autoencoder_sky (",
        ),
        ("mine", "videodiff fit --config CONFIG --name mine ("),
    ],
)
def test_a_missing_run_is_told_with_the_command_that_makes_it(checkpoint, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        FirstStage(checkpoint)
    assert command in str(error.value)
    assert "\n" not in str(error.value)


def test_the_config_may_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="--config lvdm_autoencoder_digits --name mine"):
        FirstStage("mine", config="lvdm_autoencoder_digits")


def test_what_is_not_trained_yet_can_be_counted(tmp_path, monkeypatch, stage):
    with torch.device("meta"):
        absent, present = FirstStage("lvdm_autoencoder_sky"), FirstStage("stage")
        with pytest.raises(FileNotFoundError, match="--config CONFIG"):
            FirstStage("nobody_knows_it")
    assert sum(p.numel() for p in absent.parameters()) == 19_446_759
    assert absent.latent_shape(absent.video_shape) == (4, 4, 32, 32)
    assert sum(p.numel() for p in present.parameters()) == sum(p.numel() for p in stage.parameters())


def test_info_counts_a_first_stage_that_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "latent.yaml"
    config.write_text("""
model:
  class_path: videodiff.models.AutoencoderModule
  init_args:
    perceptual_weight: 0.0
    autoencoder: {class_path: videodiff.checkpoints.FirstStage, init_args: {checkpoint: lvdm_autoencoder_digits}}
""")
    assert main(["info", str(config), "--quick", "--json"]) == 0
    assert '"autoencoder": ' in capsys.readouterr().out


def test_runs_of_something_else_are_refused_in_one_line(stage, tmp_path):
    for name, text in {
        "vdm": "model: {class_path: videodiff.models.VDM, init_args: {autoencoder: null}}",
        "itself": CONFIG.replace("videodiff.networks.Autoencoder3D", "videodiff.checkpoints.FirstStage"),
        "no_model": "trainer: {max_steps: 3}",
    }.items():
        path = tmp_path / f"{name}.ckpt"
        weights = load_checkpoint(tmp_path / "runs/stage/1/checkpoints/last.ckpt")["state_dict"]
        save_checkpoint({"state_dict": weights, "videodiff": {"config": text}}, path)
        with pytest.raises(ValueError, match="no run of an autoencoder") as error:
            FirstStage(str(path))
        assert "\n" not in str(error.value)
    (tmp_path / "damaged.ckpt").write_bytes(b"PK" + bytes(100))
    with pytest.raises(CheckpointError, match="damaged"):
        FirstStage("damaged.ckpt")


def test_load_run_opens_an_autoencoder_run_without_the_weights_of_lpips(stage, tmp_path, monkeypatch):
    model = load_run("stage")
    assert torch.equal(model.autoencoder.encode(clips()), stage.encode(clips()))
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(FileNotFoundError):
        load_run("stage")
