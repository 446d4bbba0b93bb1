import json

import pytest

from videodiff.cli import main

SMALL = """
model:
  class_path: videodiff.models.VDM
  init_args:
    net:
      class_path: videodiff.networks.UNet3D
      init_args: {resolution: 8, num_frames: 4, width: 16, channel_multipliers: [1, 2], num_blocks: 1,
                  attention_resolutions: [4], head_dim: 8}
    schedule: {class_path: videodiff.diffusion.CosineSchedule}
    sampler: {class_path: videodiff.diffusion.DDIMSampler, init_args: {num_steps: 4}}
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    return "small.yaml"


def figures(words, capsys):
    code = main(["info", *words, "--quick", "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def test_configs_stand_on_both_sides_of_an_option(small, tmp_path, capsys):
    (tmp_path / "wide.yaml").write_text("model: {init_args: {net: {init_args: {width: 32}}}}")
    there = figures([small, "wide.yaml"], capsys)
    code = main(["info", small, "--quick", "wide.yaml", "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert json.loads(out) == there
    assert there["parameters"] != figures([small], capsys)["parameters"]


def test_counts_are_those_of_the_network_built_for_real(small, capsys):
    from videodiff.networks import UNet3D

    net = UNet3D(
        resolution=8,
        num_frames=4,
        width=16,
        channel_multipliers=(1, 2),
        num_blocks=1,
        attention_resolutions=(4,),
        head_dim=8,
    )
    found = figures([small], capsys)
    count = sum(p.numel() for p in net.parameters())
    assert found["parameters"] == {"net": count, "autoencoder": 0}
    assert found["training_state_bytes"] == 20 * count
    assert found["clip_shape"] == found["latent_shape"] == [3, 4, 8, 8]


def test_flop_are_those_counted_on_a_real_forward_pass(small, capsys):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from videodiff.diffusion import Condition
    from videodiff.networks import UNet3D

    net = UNet3D(
        resolution=8,
        num_frames=4,
        width=16,
        channel_multipliers=(1, 2),
        num_blocks=1,
        attention_resolutions=(4,),
        head_dim=8,
    ).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, 4, 8, 8), torch.zeros(1), Condition())
    found = figures([small], capsys)
    assert found["forward_gflop_per_clip"] == pytest.approx(
        counter.get_total_flops() / 1e9, rel=0.1, abs=0.001
    )


def test_a_full_size_config_is_counted_without_being_allocated(capsys):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = figures(["vdm_kinetics600"], capsys)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert found["parameters"]["net"] > 5e8
    assert found["parameters"]["autoencoder"] == 0
    assert found["forward_gflop_per_clip"] > 100
    assert grown * 1024 < found["parameters"]["net"]  # a quarter of the fp32 weights


def test_options_and_overlays_change_what_is_counted(small, tmp_path, capsys):
    (tmp_path / "wide.yaml").write_text("model: {init_args: {net: {init_args: {width: 32}}}}")
    plain, option, overlay = (
        figures(words, capsys)["parameters"]["net"]
        for words in ([small], [small, "--model.net.width", "32"], [small, "wide.yaml"])
    )
    assert plain < option == overlay
    assert figures([small, "model.net.width=32"], capsys)["parameters"]["net"] == option


def test_conditions_are_fed_as_the_network_asks(small, capsys):
    with_classes = figures(
        [small, "--model.net.num_classes", "10", "--model.net.concat_channels", "4"], capsys
    )
    assert with_classes["parameters"]["net"] > figures([small], capsys)["parameters"]["net"]


def test_the_table_is_for_people(small, capsys):
    assert main(["info", small]) == 0
    out = capsys.readouterr().out
    assert "parameters, net" in out
    assert "GFLOP per clip" in out


def test_a_config_without_a_model_is_refused(tmp_path, capsys):
    (tmp_path / "x.yaml").write_text("trainer: {max_steps: 1}")
    assert main(["info", str(tmp_path / "x.yaml")]) == 2
    assert "has no model" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trained_text_encoder_is_counted_in_training_and_once_for_a_sample(small, tmp_path, capsys):
    from videodiff.text import ByteEncoder

    text = "{class_path: ByteEncoder, init_args: {dim: 16, num_heads: 2}}"
    (tmp_path / "text.yaml").write_text(
        f"model: {{init_args: {{text: {text}, net: {{init_args: {{context_dim: 16}}}}}}}}"
    )
    assert main(["info", small, "text.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    encoder = ByteEncoder(16, num_heads=2)
    assert found["parameters"]["text"] == sum(p.numel() for p in encoder.parameters())
    sampling = found["sampling"]
    network = sampling["network_calls"] * sampling["flop_per_call"] + sampling["decode_flop"]
    assert sampling["flop_per_clip"] - network == sampling["text_flop"] > 0
    tokens = encoder.tokenize(["0 is a number and this is a caption of twelve short words"]).ids.numel()
    products = 2 * 2 * tokens * (12 * 16**2 + 2 * tokens * 16)  # of a block's linear layers and its attention
    assert products <= sampling["text_flop"] <= 3 * products  # with the empty prompt as long
