"""Weights of one model as the beginning of another: what is kept says what it said, and everything is told."""

from pathlib import Path

import pytest
import torch
from torch import nn

from videodiff.checkpoints import CheckpointError, fit_weights
from videodiff.diffusion import Condition
from videodiff.networks import Autoencoder3D, TriplaneAutoencoder, UNet3D

SMALL = {"resolution": 8, "width": 8, "channel_multipliers": (1, 2), "num_blocks": 1, "head_dim": 8}
SMALL |= {"attention_resolutions": (4,), "embedding_layers": 2}
PATH = Path("x.ckpt")


class Model(nn.Module):
    """What a denoiser's weights lie in."""

    def __init__(self, net):
        super().__init__()
        self.net = net


def filled(network, seed=0):
    """The network with every weight drawn: none is zero."""
    torch.manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


def begun(before, now, **options):
    """``now`` filled from ``before``, and the report."""
    found = fit_weights(Model(now), Model(before).state_dict(), PATH, **options)
    return now.eval(), found


def draw(net, z, **cond):
    with torch.no_grad():
        return net(z, torch.full((len(z),), 400.0), Condition(**cond))


def test_conditions_and_frames_that_are_added_change_nothing_yet():
    before = filled(UNet3D(num_frames=4, **SMALL))
    more = {"num_classes": 3, "vector_dim": 2, "concat_channels": 1}
    now, found = begun(before, UNet3D(num_frames=8, **more, **SMALL))
    z = torch.randn(2, 3, 4, 8, 8)
    given = {
        "label": torch.tensor([2, -1]),
        "vector": torch.randn(2, 2),
        "concat": torch.randn(2, 1, 4, 8, 8),
    }
    torch.testing.assert_close(draw(now, z, **given), draw(before, z))
    assert sorted(found.new) == [
        f"net.embedding.{name}"
        for name in ("classes.weight", "concat_time.bias", "concat_time.weight", "vector.weight")
    ]
    assert {entry["how"].split()[0] for entry in found.resized} == {"positions", "inputs"}
    assert (found.unused, found.other_shape) == ([], [])
    assert len(found.loaded) + len(found.resized) + len(found.new) == len(now.state_dict())


def test_weights_of_pictures_draw_each_frame_of_a_still_video():
    before = filled(UNet3D(num_frames=1, **SMALL))
    for name, table in before.named_parameters():
        if ".shaw." in name:  # of the distances that one frame never sees
            table.data[:] = table.data[1]
    now, found = begun(before, UNet3D(num_frames=4, **SMALL))
    z = torch.randn(2, 3, 1, 8, 8)
    out = draw(now, z.expand(-1, -1, 4, -1, -1))
    torch.testing.assert_close(out, draw(before, z).expand_as(out), rtol=1e-4, atol=1e-5)
    assert not found.new


def test_another_resolution_takes_every_weight_of_a_convolutional_network():
    before = filled(UNet3D(num_frames=2, **SMALL))
    now, found = begun(
        before, UNet3D(num_frames=2, **{**SMALL, "resolution": 16, "attention_resolutions": (8,)})
    )
    assert found.lines() == [
        f"weights: {len(now.state_dict())} of {len(now.state_dict())} tensors loaded as they are"
    ]
    z = torch.randn(1, 3, 2, 16, 16)
    torch.testing.assert_close(draw(now, z), draw(before, z))


@pytest.mark.parametrize(
    ("old", "new", "rows", "how"),
    [
        (None, ["a", "b", "c", "d"], [0, 1, 2, None], "by number"),
        (["a", "b", "c"], ["c", "x", "a", "y"], [2, None, 0, None], "by name: 2 kept, 2 new"),
        (["a", "b", "c"], ["c", "b", "a"], [2, 1, 0], "by name: 3 kept, 0 new"),
        (["a", "b", "c"], ["a", "b", "c"], [0, 1, 2], None),
        (None, ["x", "y"], [0, 1], "by number"),
    ],
)  # fmt: skip
def test_a_class_keeps_its_row_and_a_new_one_begins_as_none(old, new, rows, how):
    before = filled(UNet3D(num_frames=2, num_classes=3, **SMALL))
    now, found = begun(before, UNet3D(num_frames=2, num_classes=len(new), **SMALL), classes=(old, new))
    hows = [entry["how"] for entry in found.resized]
    assert (not hows) if how is None else (len(hows) == 1 and how in hows[0])
    z = torch.randn(1, 3, 2, 8, 8)
    for label, source in enumerate(rows):
        wanted = draw(before, z, label=torch.tensor([-1 if source is None else source]))
        torch.testing.assert_close(draw(now, z, label=torch.tensor([label])), wanted)


def test_a_first_stage_of_other_frames_and_size_interpolates_its_positions():
    sizes = {"patch_size": 4, "width": 16, "depth": 1, "heads": 2, "head_dim": 8, "projection_depth": 1}
    before = filled(TriplaneAutoencoder(num_frames=4, resolution=8, **sizes))
    now = TriplaneAutoencoder(num_frames=8, resolution=16, **sizes)
    found = fit_weights(Model(now), Model(before).state_dict(), PATH)
    assert [entry["how"] for entry in found.resized] == ["positions interpolated"] * 3
    assert not found.new
    for ours, theirs in zip(now.projections, before.projections, strict=True):
        torch.testing.assert_close(ours.positions[[0, -2, -1]], theirs.positions[[0, -2, -1]])
    assert now.decode(now.encode(torch.rand(1, 3, 8, 16, 16))).isfinite().all()


def test_a_first_stage_of_pictures_becomes_one_of_videos():
    sizes = {"resolution": 16, "width": 4, "downsample": (1, 4, 4), "norm_groups": None}
    before = filled(Autoencoder3D(num_frames=1, **sizes))
    flat = {
        name: value.sum(2) if value.ndim == 5 else value  # what a still video sees of them
        for name, value in before.state_dict().items()
    }
    now = Autoencoder3D(num_frames=4, **{**sizes, "downsample": (4, 4, 4)})
    found = fit_weights(Model(now), {f"net.{name}": value for name, value in flat.items()}, PATH)
    assert not found.other_shape
    assert any("inflated" in entry["how"] for entry in found.resized)
    picture = torch.rand(1, 3, 1, 16, 16)
    video = picture.expand(-1, -1, 4, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(now.encode(video), before.encode(picture), rtol=1e-4, atol=1e-5)


def test_the_weights_of_one_part_are_found_without_its_name():
    before = filled(UNet3D(num_frames=2, **SMALL))
    now = UNet3D(num_frames=2, **SMALL)
    assert len(fit_weights(Model(now), before.state_dict(), PATH).loaded) == len(now.state_dict())


@pytest.mark.parametrize(
    "outside",
    ["", "module.", "_orig_mod.", "net.", "model.net.", "ema_model.module.", "state_dict.module.model.net."],
)
def test_wrappers_around_a_network_and_inside_it_are_seen_through(outside):
    before, now = filled(UNet3D(num_frames=2, **SMALL)), UNet3D(num_frames=2, **SMALL)
    names = {name: outside + name.replace(".", "._orig_mod.", 1) for name in before.state_dict()}
    weights = {names[name]: value for name, value in before.state_dict().items()}
    found = fit_weights(Model(now), weights, PATH)
    assert len(found.loaded) == len(now.state_dict())
    assert (found.new, found.unused) == ([], [])
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in now.state_dict().items())


def test_of_a_network_and_its_average_the_average_is_taken_and_told():
    raw, average = (filled(UNet3D(num_frames=2, **SMALL), seed) for seed in (0, 1))
    now = UNet3D(num_frames=2, **SMALL)
    weights = {f"model.{name}": value for name, value in raw.state_dict().items()}
    weights |= {f"ema.{name}": value for name, value in average.state_dict().items()}
    found = fit_weights(Model(now), weights, PATH)
    assert all(torch.equal(value, average.state_dict()[name]) for name, value in now.state_dict().items())
    assert "those below ema. in the file" in found.lines()[-1]
    assert len(found.unused) == len(raw.state_dict())


def test_a_weight_that_is_no_number_is_no_beginning():
    before, now = filled(UNet3D(num_frames=2, **SMALL)), UNet3D(num_frames=2, **SMALL)
    next(before.parameters()).data.view(-1)[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"x.ckpt: NaN or infinity in 1 of"):
        begun(before, now)


def test_what_hardly_fits_is_refused_with_the_reason_and_loads_nothing():
    before, now = filled(UNet3D(num_frames=2, **SMALL)), UNet3D(num_frames=2, **{**SMALL, "width": 16})
    kept = {name: value.clone() for name, value in now.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"first.weight is \[32, 8\] there and \[64, 16\] here"):
        begun(before, now)
    with pytest.raises(CheckpointError, match=r"nothing of it fits \(no tensor of it has such a name"):
        fit_weights(Model(now), {"unet.x": torch.ones(2)}, PATH)
    assert all(torch.equal(kept[name], value) for name, value in now.state_dict().items())
    _, found = begun(before, now, force=True)
    assert found.loaded
    assert found.other_shape
