"""ImageFirstStage: a diffusers folder as a first stage, its place in checkpoints and exports, and what is refused."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from image_folders import CONFIG, WEIGHTS, small, write_folder
from published_files import ASSETS, given, needs_assets
from videodiff.checkpoints import CheckpointError, ImageFirstStage, load_run, save_checkpoint
from videodiff.checkpoints.config import trusted_config
from videodiff.checkpoints.export import export_run
from videodiff.checkpoints.exported import read_record
from videodiff.cli import main
from videodiff.cost.meta_model import MetaModel
from videodiff.cost.training import step_of

LATENT = """
seed_everything: 0
model:
  class_path: videodiff.models.DiffusionModule
  init_args:
    autoencoder: {class_path: videodiff.checkpoints.ImageFirstStage, init_args: {folder: vae}}
    net:
      class_path: videodiff.networks.UNet3D
      init_args: {channels: 4, num_frames: 4, resolution: 8, width: 8, channel_multipliers: [1], num_blocks: 1,
                  attention_resolutions: [8], heads: 1}
    schedule: {class_path: videodiff.diffusion.CosineSchedule}
    sampler: {class_path: videodiff.diffusion.DDIMSampler, init_args: {num_steps: 2}}
    threshold: none
data:
  class_path: videodiff.data.VideoDataModule
  init_args: {dataset: bouncing_digits, num_frames: 4, resolution: 16, batch_size: 2, num_workers: 0}
trainer: {accelerator: cpu, devices: 1, max_steps: 2, val_check_interval: 2, limit_val_batches: 1}
samples: {every_n_steps: 0}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("latent.yaml").write_text(LATENT)
    return write_folder(tmp_path / "vae")


def clips():
    return torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(3)).tanh()


@torch.no_grad()
@needs_assets
def test_the_folder_of_the_fixtures_gives_the_numbers_of_diffusers():
    import numpy as np

    systems = Path(ASSETS) / "fixtures" / "systems"
    expected = np.load(systems / "folder_outputs.npz")
    stage = ImageFirstStage(str(systems / "folders" / "vae"))
    image = given("image", (2, 3, 16, 16)).tanh()[:, :, None]
    mean, logvar = stage.autoencoder.moments(image)
    moments = torch.cat([mean, logvar], 1)[:, :, 0]
    assert (moments - torch.from_numpy(expected["vae_moments"])).abs().max() < 1e-4
    assert (stage.encode(image)[:, :, 0] - 0.18215 * moments[:, :4]).abs().max() < 1e-6
    decoded = stage.decode(0.18215 * given("vae_latent", (2, 4, 8, 8))[:, :, None])[:, :, 0]
    assert (decoded - torch.from_numpy(expected["vae_decoded"])).abs().max() < 1e-4
    latent = torch.from_numpy(expected["ddim_4_steps_cfg_7.5"])[:, :, None]
    decoded = stage.decode(0.18215 * latent)[:, :, 0]
    assert (
        decoded - torch.from_numpy(expected["ddim_decoded"])
    ).abs().max() < 1e-5 * decoded.abs().max() + 1e-4


@torch.no_grad()
def test_every_form_of_the_weights_is_read(folder, tmp_path):
    expected = small().encode(clips())
    assert torch.equal(ImageFirstStage("vae").encode(clips()), expected)
    sharded = ImageFirstStage(str(write_folder(tmp_path / "sharded", shards=3)))
    assert torch.equal(sharded.encode(clips()), expected)
    for n, shards in enumerate((1, 2)):
        half = ImageFirstStage(str(write_folder(tmp_path / f"half{n}", half=True, shards=shards)))
        assert half.autoencoder.encoder.conv_in.weight.dtype == torch.float32
        torch.testing.assert_close(half.encode(clips()), expected, atol=2e-2, rtol=2e-2)
    shutil.copy(tmp_path / "half0" / WEIGHTS.replace(".saf", ".fp16.saf"), folder)  # beside the whole ones
    assert ImageFirstStage("vae").digest == sharded.digest
    pipeline = tmp_path / "pipeline"
    write_folder(pipeline / "vae")
    (pipeline / "model_index.json").write_text("{}")
    assert ImageFirstStage(str(pipeline)).digest == sharded.digest


def test_it_is_frozen_and_its_checkpoint_holds_its_hash_alone(folder):
    stage = ImageFirstStage("vae")
    assert not any(p.requires_grad for p in stage.parameters())
    assert not any(m.training for m in stage.train().modules())
    assert list(stage.state_dict()) == ["sha256"]
    assert stage.scale_and_shift == (0.5, 0.0)
    assert stage.video_shape == (3, 16, 16, 16)
    assert ImageFirstStage("vae", resolution=[32, 16]).video_shape[2:] == (32, 16)
    assert copy.deepcopy(stage).digest == stage.digest
    stage.load_state_dict(stage.state_dict())


@pytest.mark.parametrize("change", ["weights", "scale"])
def test_a_folder_that_was_changed_is_refused_in_one_line(folder, change):
    state = ImageFirstStage("vae").state_dict()
    if change == "weights":
        write_folder(folder, seed=1)
    else:
        write_folder(folder, scaling_factor=0.25)
    with pytest.raises(
        CheckpointError, match=r"name the right folder with --model.autoencoder.folder"
    ) as error:
        ImageFirstStage("vae").load_state_dict(state)
    assert "\n" not in str(error.value)


def spoilt(folder, what):
    """Spoil a folder in one way."""
    weights = folder / WEIGHTS
    if what == "gone":
        shutil.rmtree(folder)
    elif what == "another network":
        write_folder(folder, _class_name="AutoencoderKLTemporalDecoder")
    elif what == "another model":
        write_folder(folder, _class_name="UNet2DConditionModel")
    elif what == "no scale":
        write_folder(folder, without=["scaling_factor"])
    elif what == "null scale":
        write_folder(folder, scaling_factor=None)
    elif what == "latent mean":
        write_folder(folder, latents_mean=[0.0] * 4)
    elif what == "other blocks":
        write_folder(folder, down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"])
    elif what == "strange key":
        write_folder(folder, use_tanh=True)
    elif what == "other sizes":
        write_folder(folder, block_out_channels=[8, 32])
    elif what == "bin":
        weights.rename(folder / "diffusion_pytorch_model.bin")
    elif what == "no weights":
        weights.unlink()
    elif what == "no config":
        (folder / "config.json").unlink()
    elif what in ("pointer", "config pointer"):
        text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
        (weights if what == "pointer" else folder / "config.json").write_text(text)
    elif what == "damaged":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif what == "missing tensor":
        save_file({k: v for k, v in load_file(weights).items() if k != "decoder.conv_in.bias"}, weights)
    elif what == "pipeline without":
        for file in folder.iterdir():
            file.unlink()
        (folder / "model_index.json").write_text("{}")
    elif what == "missing shard":
        weights.unlink()
        write_folder(folder, shards=2)
        next(folder.glob("*-00002-*")).unlink()
    elif what == "shard elsewhere":
        weights.unlink()
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("gone", "no folder 'vae' of an image autoencoder"),
        (
            "another network",
            "is of AutoencoderKLTemporalDecoder, and an image first stage is an AutoencoderKL",
        ),
        ("another model", "is of UNet2DConditionModel"),
        ("no scale", "--model.autoencoder.scaling_factor (Stable Diffusion 1 and 2 have 0.18215)"),
        ("null scale", "the scale of its latents is unknown"),
        ("latent mean", "latents_mean [0.0, 0.0, 0.0, 0.0] is not supported"),
        ("other blocks", "down_block_types 'AttnDownEncoderBlock2D' is not supported"),
        ("strange key", "use_tanh is not a setting that is known here"),
        ("other sizes", "of another shape"),
        ("bin", "diffusion_pytorch_model.bin alone, and only safetensors are read: convert it"),
        ("no weights", "holds no weights"),
        ("no config", "has no config.json"),
        ("pointer", "is a git-lfs pointer (git lfs pull), not the file"),
        ("config pointer", "is a git-lfs pointer (git lfs pull), not the file"),
        ("damaged", "damaged"),
        ("missing tensor", "1 missing (first decoder.conv_in.bias)"),
        ("pipeline without", "is a pipeline without an image autoencoder"),
        ("missing shard", "names diffusion_pytorch_model-00002-of-00002.safetensors, which is not there"),
        ("shard elsewhere", "names '../x.safetensors', which is no safetensors file beside it"),
    ],
)
def test_a_folder_that_cannot_be_read_stops_fit_in_one_line(folder, what, words, capsys):
    spoilt(folder, what)
    assert main(["fit", "--config", "latent.yaml", "--out", "run"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not Path("run").exists()


def test_a_scale_may_be_given_where_the_folder_says_none(folder):
    with pytest.raises(ValueError, match="leave the latter out"):
        ImageFirstStage("vae", scaling_factor=0.25)
    write_folder(folder, without=["scaling_factor"])
    assert ImageFirstStage("vae", scaling_factor=0.25).scale_and_shift == (0.25, 0.0)
    write_folder(folder, shift_factor=0.5)
    assert ImageFirstStage("vae").scale_and_shift == (0.5, -0.5)


def test_costs_are_counted_without_reading_weights(folder, tmp_path, capsys):
    (folder / WEIGHTS).write_bytes(b"not read")
    with torch.device("meta"):
        stage = ImageFirstStage("vae")
    assert sum(p.numel() for p in stage.parameters()) == sum(p.numel() for p in small().parameters())
    assert main(["info", "latent.yaml", "--quick", "--json"]) == 0
    count = json.loads(capsys.readouterr().out)["parameters"]["autoencoder"]
    assert count == sum(p.numel() for p in small().parameters())
    shutil.rmtree(folder)
    assert main(["info", "latent.yaml", "--quick", "--json"]) == 0  # not there yet
    said = capsys.readouterr()
    assert json.loads(said.out)["parameters"]["autoencoder"] == 83_653_863
    assert "counted at the sizes of Stable Diffusion's" in said.err


def test_a_latent_model_is_trained_moved_exported_and_generates_the_same(
    folder, tmp_path, monkeypatch, capsys
):
    assert main(["fit", "--config", "latent.yaml", "--out", "runs/latent/1"]) == 0
    run = tmp_path / "runs" / "latent" / "1"
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert [name for name in weights if name.startswith("autoencoder")] == ["autoencoder.sha256"]
    model = load_run(str(run))
    video = model.generate(1, 6 if "frames" in model.answers else 4, seed=1)
    assert video.shape[1:] == (3, 4, 16, 16)
    with torch.device("meta"):
        meta = MetaModel(load_model_section(run))
    assert step_of(meta, {}, 1).first_stage_flop > 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the folder is found from the run
    assert torch.equal(load_run(str(run)).generate(1, 4, seed=1), video)
    out = export_run(run, tmp_path / "export")
    assert sorted(p.name for p in (out / "first_stage").iterdir()) == ["config.json", WEIGHTS]
    named = export_run(run, tmp_path / "named", first_stage="name")
    assert not (named / "first_stage").exists()
    assert read_record(named)["first_stage"]["sha256"] == model.autoencoder.digest
    assert model.autoencoder.digest in (named / "README.md").read_text()
    out = out.rename(tmp_path / "moved")
    shutil.rmtree(folder)
    assert torch.equal(load_run(str(out)).generate(1, 4, seed=1), video)
    capsys.readouterr()
    for where in (run, named):
        words = ["generate", "--ckpt_path", str(where), "--num_samples", "1", "--out", "gone"]
        assert main(words) == 2
        assert "no folder" in capsys.readouterr().err


def load_model_section(run):
    """The model of a run's config."""
    from videodiff.config import build_model, load_yaml

    return build_model(trusted_section(load_yaml(run / "config.yaml"), run))


def trusted_section(config, run):
    stored = {"videodiff": {"config": yaml.safe_dump(config)}}
    return trusted_config(stored, run / "checkpoints" / "last.ckpt")


def test_a_run_finds_the_folder_beside_an_older_place(folder, tmp_path, monkeypatch):
    stored = {"model": {"init_args": {"autoencoder": {"init_args": {"folder": "vae"}}}}}
    path = tmp_path / "runs" / "latent" / "1" / "checkpoints" / "last.ckpt"
    checkpoint = {"videodiff": {"config": yaml.safe_dump(stored)}}
    path.parent.mkdir(parents=True)
    save_checkpoint({"state_dict": {"a": torch.zeros(1)}, **checkpoint}, path)
    monkeypatch.chdir(tmp_path / "runs")
    found = trusted_config(checkpoint, path)["model"]["init_args"]["autoencoder"]["init_args"]["folder"]
    assert Path(found) == folder
    assert CONFIG["scaling_factor"] == ImageFirstStage(found).scale_and_shift[0]
