"""Flow, the straight path and distributions of training times: options of every model, in YAML and out of it."""

import pytest
import torch

from golden import adapter
from golden.measure import batch_of, drawing, sections
from videodiff.diffusion import LogitNormalTimes, StraightSchedule

SHIFT = 2.0
OPTIONS = {
    "schedule": {"class_path": "videodiff.diffusion.StraightSchedule", "init_args": {"shift": SHIFT}},
    "times": {"class_path": "videodiff.diffusion.LogitNormalTimes", "init_args": {"mean": -0.5}},
    "prediction": "flow",
    "weighting": "simple",
    "loss_norm": "l2",
}
GRID = {
    "sampler": {
        "class_path": "videodiff.diffusion.DDIMSampler",
        "init_args": {"num_steps": 3, "grid": "solver"},
    }
}


DIT = {
    "class_path": "videodiff.networks.SpacetimeDiT",
    "init_args": {
        "channels": 3, "resolution": 8, "num_frames": 4, "patch_size": [1, 2, 2], "size": None, "width": 24, "depth": 2,
        "num_heads": 2, "num_classes": 3,
    },
}  # fmt: skip


def flow_model(name, **options):
    """A model of ``golden/models.yaml`` as it is, but of flow on the straight path."""
    section = sections()[name]
    section["init_args"].pop("clip_loss", None)  # of predictions of x
    torch.manual_seed(0)
    model = adapter.build({**section, "init_args": {**section["init_args"], **OPTIONS, **options}})
    for parameter in model.net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [("vdm", {}), ("vdm", {"net": DIT}), ("lvdm_plain", {}), ("pvdm", {}), ("pvdm_shared", {})],
    ids=["vdm", "vdm_of_dit", "lvdm", "pvdm", "pvdm_shared"],
)
def test_every_model_learns_noise_less_data_on_the_line_between_them(name, options):
    model, seen = flow_model(name, **options), []
    model.net.register_forward_hook(lambda net, inputs, output: seen.append((*inputs[:2], output)))
    batch = batch_of(model, name)
    found = model.losses(batch, "val")
    ((z, time, output),) = seen

    example = model.example(batch, "val")
    eps = example.keys.normals("val", "noise", shape=tuple(example.x.shape[1:]))
    u = LogitNormalTimes(-0.5).draw(example.keys.uniforms("val", "time"), StraightSchedule())
    t = SHIFT * u / (1 + (SHIFT - 1) * u)
    torch.testing.assert_close(time, 1000 * t, rtol=1e-5, atol=1e-4)
    line = t.view(-1, *[1] * (z.ndim - 1))
    torch.testing.assert_close(z, example.x + line * (eps - example.x), rtol=1e-5, atol=1e-5)
    error = (output - (eps - example.x)).square().flatten(1).mean(1)
    torch.testing.assert_close(found, error, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["vdm", "vdm_replacement", "lvdm_hierarchical", "pvdm_shared"])
def test_every_model_generates_and_continues_by_flow(name):
    model = flow_model(name, **GRID)
    with torch.no_grad():
        for key, value in drawing(model, name):
            assert value.isfinite().all(), key
            assert value.std() > 0.01, key


@pytest.mark.parametrize("name", ["vdm", "lvdm_plain", "pvdm"])
def test_without_a_distribution_times_are_uniform_in_the_schedules_own_time(name):
    model = flow_model(name, times=None)
    u = torch.rand(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.draw_times(u), model.schedule.draw_times(u))


def test_noise_cannot_be_predicted_where_no_signal_is_left():
    with pytest.raises(ValueError, match="prediction 'eps' cannot be used where alpha is 0") as refusal:
        flow_model("vdm", prediction="eps")
    assert "use prediction 'v', 'x' or 'flow'" in str(refusal.value)
