"""Whole checkpoints as Lightning 1.x and other trainers write them, and files that want to run code."""

import os
import re
import zipfile

import pytest
import torch

import published_files as pub
from published_files import needs_assets
from videodiff.checkpoints import load_run
from videodiff.checkpoints.published import convert, import_run, load
from videodiff.cli import main
from videodiff.weights import load_training_file

SKY = (0.33422927, 1.4606637)


def lightning(unet, stage=None):
    """What ``trainer.save_checkpoint`` of latent-diffusion projects holds."""
    names = {f"model.diffusion_model.{name}": value + 1 for name, value in unet.items()}
    names |= {f"model_ema.diffusion_model{name.replace('.', '')}": value for name, value in unet.items()}
    names |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}
    names |= {"betas": torch.zeros(1000), "alphas_cumprod": torch.zeros(1000), "logvar": torch.zeros(1000)}
    if stage is not None:
        names |= {f"first_stage_model.{name}": value for name, value in stage.items()}
        names |= {
            "first_stage_model.loss.logvar": torch.zeros(()),
            "first_stage_model.loss.discriminator.w": torch.ones(2),
        }
    moments = {
        "state": {0: {"step": 3, "exp_avg": torch.ones(2)}},
        "param_groups": [{"lr": 1e-4, "params": [0]}],
    }
    return {
        "epoch": 3, "global_step": 99, "pytorch-lightning_version": "1.4.2", "state_dict": names,
        "optimizer_states": [moments], "lr_schedulers": [], "callbacks": {Callback: {"best_model_score": None}},
    }  # fmt: skip


class Callback:
    """Stands for a class of Lightning that is a key in the callbacks of a Lightning 1.4 checkpoint."""


Callback.__module__, Callback.__qualname__ = "pytorch_lightning.callbacks.early_stopping", "EarlyStopping"


def save_lightning(content, path, monkeypatch):
    import pytorch_lightning.callbacks.early_stopping as module

    monkeypatch.setattr(module, "EarlyStopping", Callback)
    torch.save(content, path)


@needs_assets
def test_a_lightning_file_gives_both_stages(tmp_path, monkeypatch, capsys):
    unet, stage = pub.filled("lvdm_unet_small"), pub.filled("lvdm_autoencoder")
    save_lightning(lightning(unet, stage), tmp_path / "sky.ckpt", monkeypatch)
    words = ["import", "lvdm-unet", str(tmp_path / "sky.ckpt"), "--out", str(tmp_path / "run")]
    assert main([*words, "--latent_scale", "0.33422927,1.4606637"]) == 0
    said = capsys.readouterr().out
    assert "lvdm-autoencoder: " in said
    assert "raw weight; its average was taken" in said
    model, direct = load_run(tmp_path / "run"), load("lvdm-unet", unet)
    assert all(torch.equal(v, model.net.state_dict()[k]) for k, v in direct.state_dict().items())
    own = model.autoencoder.autoencoder
    assert (own.latent_scale.scale.item(), own.latent_scale.shift.item()) == pytest.approx(SKY)
    assert (model.sampler.grid, model.sampler.eta, model.threshold, model.loss_norm) == (
        "ldm",
        1.0,
        "none",
        "l1",
    )
    assert model.video_shape == (3, 16, 256, 256)


@needs_assets
def test_every_key_is_accounted_for_once(tmp_path, monkeypatch):
    unet = pub.filled("lvdm_prediction_unet_small")
    content = lightning(unet)
    for average, add in ((True, 0), (False, 1)):
        found = convert("lvdm-prediction-unet", content, average=average)
        report, names = found.report, {f"state_dict.{name}" for name in content["state_dict"]}
        assert set(report.placed) | set(report.ignored) == names
        assert not set(report.placed) & set(report.ignored)
        assert report.averaged is average
        bias = found.network.state_dict()["conv_out.bias"]
        torch.testing.assert_close(bias, unet["out.2.bias"] + add)
        assert len(report.lines(every=True)) > len(names)
    assert "embedding.concat_time.weight[0]" in report.missing


@pytest.fixture(scope="module")
def published():
    """PVDM's U-Net under its published names, and its weights under ours."""
    state = pub.pvdm_unet()
    return state, convert("pvdm-unet", state).network.state_dict()


@needs_assets
@pytest.mark.parametrize(
    "prefix",
    [
        "state_dict.model.diffusion_model.",
        *(
            pytest.param(p, marks=pytest.mark.slow)
            for p in ("module.", "module.diffusion_model.", "model.module.")
        ),
    ],
)
def test_wrappers_are_seen_through(prefix, published):
    state, _ = published
    found = convert("pvdm-unet", {prefix + name: value for name, value in state.items()})
    assert found.report.prefix == prefix
    assert found.init_args["plane_size"] == 8


def compiled(name):
    """A name of a network whose blocks are compiled and sharded one by one."""
    return re.sub(r"((?:input|output)_blocks\.\d+)\.", r"\1._fsdp_wrapped_module._orig_mod.", name)


@needs_assets
@pytest.mark.parametrize(
    ("outside", "inside", "prefix"),
    [
        pytest.param("_orig_mod.", str, "", marks=pytest.mark.slow),
        pytest.param("module._orig_mod.", str, "module.", marks=pytest.mark.slow),
        pytest.param("_forward_module.model.", str, "model.", marks=pytest.mark.slow),
        ("state_dict._forward_module._orig_mod.module.", str, "state_dict.module."),
        pytest.param("_fsdp_wrapped_module.", compiled, "", marks=pytest.mark.slow),
        ("model.unet.", compiled, "model.unet."),
        pytest.param("unet._checkpoint_wrapped_module.", str, "unet.", marks=pytest.mark.slow),
    ],
)
def test_compiled_sharded_and_launched_networks_are_seen_through(outside, inside, prefix, published):
    state, plain = published
    found = convert("pvdm-unet", {outside + inside(name): value for name, value in state.items()})
    assert found.report.prefix == prefix
    assert all(torch.equal(value, plain[name]) for name, value in found.network.state_dict().items())


@needs_assets
def test_the_average_of_a_compiled_network_is_found_under_its_name_without_dots():
    unet = pub.filled("lvdm_unet_small")
    names = {f"model.diffusion_model._orig_mod.{name}": value + 1 for name, value in unet.items()}
    names |= {f"model_ema.diffusion_model_orig_mod{n.replace('.', '')}": value for n, value in unet.items()}
    found = convert("lvdm-unet", {"state_dict": names})
    assert found.report.averaged
    torch.testing.assert_close(found.network.state_dict()["conv_out.bias"], unet["out.2.bias"])


@needs_assets
def test_a_place_that_is_no_wrapper_is_named():
    state = {f"teacher.student.{name}": value for name, value in pub.pvdm_unet().items()}
    with pytest.raises(ValueError, match=r"names lie below teacher\.student\.: save what lies below"):
        convert("pvdm-unet", state)


@needs_assets
def test_a_copy_that_is_the_average_is_preferred():
    state = pub.pvdm_autoencoder(32)
    both = {
        "model": {k: v + 1 if v.is_floating_point() and "_rot_emb" not in k else v for k, v in state.items()},
        "ema_model": state,
    }
    report = convert("pvdm-autoencoder", both).report
    assert (report.prefix, report.averaged) == ("ema_model.", True)
    assert convert("pvdm-autoencoder", both, average=False).report.prefix == "model."


@needs_assets
def test_the_scale_of_latents_is_the_files_if_it_holds_one():
    stage = {f"first_stage_model.{name}": value for name, value in pub.filled("lvdm_autoencoder").items()}
    net = load("lvdm-autoencoder", stage)
    assert (net.latent_scale.scale.item(), net.latent_scale.shift.item()) == (1, 0)
    net = load(
        "lvdm-autoencoder", {**stage, "scale_factor": torch.tensor(0.25), "shift_factor": torch.tensor(2.0)}
    )
    assert (net.latent_scale.scale.item(), net.latent_scale.shift.item()) == (0.25, 2)


def without(name):
    return lambda state: {k: v for k, v in state.items() if k != name}


@needs_assets
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("out.2.bias"), "pvdm-unet: weights 1 missing .first conv_out.bias"),
        (lambda s: s | {"input_blocks.1.0.extra.weight": torch.zeros(1)}, "weights 1 too many"),
        (
            lambda s: s | {"strange": torch.zeros(1)},
            "1 key that such a network has not, the first is strange",
        ),
        (lambda s: s | {"out.2.bias": torch.zeros(5)}, "1 of another shape .first conv_out.bias"),
        (lambda s: {"a." + k: v for k, v in s.items()}, "no pvdm-unet: it has no time_embed.0.weight"),
        (lambda s: {}, "no pvdm-unet"),
        (without("input_blocks.0.0.weight"), "weights missing .first 'input_blocks.0.0.weight'"),
    ],
)
def test_a_file_that_does_not_fit_stops_in_one_line(change, words):
    with pytest.raises(ValueError, match=words) as error:
        load("pvdm-unet", change(pub.pvdm_unet()))
    assert "\n" not in str(error.value)


@needs_assets
def test_another_kind_is_named():
    with pytest.raises(ValueError, match="it looks like lvdm-prediction-unet"):
        load("lvdm-unet", pub.filled("lvdm_prediction_unet_small"))
    with pytest.raises(ValueError, match="did you mean 'pvdm-unet'"):
        load("pvdm-net", {})


@needs_assets
def test_other_rotary_frequencies_are_refused():
    state = pub.pvdm_autoencoder(32)
    state["encoder.frame_rot_emb.inv_freqs"] = state["encoder.frame_rot_emb.inv_freqs"] * 2
    with pytest.raises(ValueError, match="other rotary frequencies"):
        load("pvdm-autoencoder", state)


# --- files --------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_names_code_is_refused_and_not_run(legacy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": {"xy_token": torch.zeros(1, 1, 64)}, "callbacks": Evil()}
    torch.save(content, "bad.ckpt", _use_new_zipfile_serialization=not legacy)
    assert main(["import", "pvdm-autoencoder", "bad.ckpt", "--out", "run"]) == 2
    assert "refused" in capsys.readouterr().err
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "run").exists()


def test_objects_beside_the_tensors_are_written_down_not_made(tmp_path, monkeypatch):
    weights = {"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3).half()}
    save_lightning({**lightning({}), "state_dict": weights}, tmp_path / "x.ckpt", monkeypatch)
    tensors, others = load_training_file(tmp_path / "x.ckpt")
    assert {name: value.dtype for name, value in tensors.items()} == {
        "state_dict.a.weight": torch.float32, "state_dict.a.bias": torch.float16,
    }  # fmt: skip
    assert all(torch.equal(tensors[f"state_dict.{name}"], value) for name, value in weights.items())
    assert "callbacks" in others


def test_a_state_dict_with_its_metadata_keeps_its_tensors(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    torch.save({"model": net.state_dict()}, tmp_path / "x.pth")  # an OrderedDict with an attribute
    tensors, _ = load_training_file(tmp_path / "x.pth")
    assert list(tensors) == [f"model.{name}" for name in net.state_dict()]


@pytest.mark.parametrize("damage", ["cut", "empty", "zip"])
def test_a_damaged_file_is_refused_in_one_line(damage, tmp_path):
    file = tmp_path / "x.ckpt"
    torch.save({"a": torch.randn(64)}, file)
    if damage == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02}q\x00." + b" " * 500)
    else:
        file.write_bytes(file.read_bytes()[:700] if damage == "cut" else b"")
    with pytest.raises(ValueError) as error:
        import_run("pvdm-unet", file, tmp_path / "run")
    assert "\n" not in str(error.value)
