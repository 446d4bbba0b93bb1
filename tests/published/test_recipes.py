"""The runs that imported LVDM networks are put into: given frames, their noise, what is told without any."""

import pytest
import torch

import published_files as pub
from published_files import needs_assets
from videodiff.checkpoints.published import convert
from videodiff.checkpoints.published.recipes import data_section, model_section, part
from videodiff.checkpoints.run import build_model
from videodiff.conditioning import Request
from videodiff.diffusion import Condition, DDIMSampler

pytestmark = needs_assets
STAGE = part("videodiff.networks.Autoencoder3D", num_frames=16, resolution=64, width=4, downsample=[4, 8, 8])


def built(kind):
    found = convert(kind, pub.filled("lvdm_prediction_unet_small"), resolution=8)
    section = model_section(found, STAGE)
    model = build_model(section, "test", ())
    model.net.load_state_dict(found.network.state_dict())
    return model.eval(), found


@pytest.mark.parametrize(
    ("kind", "given", "data_frames"),
    [("lvdm-prediction-unet", range(4), 52), ("lvdm-interpolation-unet", [0, 1, 2, 3, 12, 13, 14, 15], 16)],
)
def test_masked_networks_draw_around_what_is_given(kind, given, data_frames):
    model, _ = built(kind)
    assert model.guidance_scale == pytest.approx(1.1)
    assert int(model.schedule.index(torch.tensor(model.given_noise))) == 100  # the script's level
    assert data_section(model)["init_args"]["num_frames"] == data_frames
    model.strides = (1,)  # neighbours here, so that one clip is one window
    frames = torch.rand(1, 3, len(given), 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = []
    for known in (frames, -frames):
        latents.append(
            model.generate_latent(1, 16, request=Request(None, known, tuple(given)), sampler=DDIMSampler(2))
        )
    moved = (latents[0] - latents[1]).abs().amax((0, 1, 3, 4))
    assert torch.isfinite(latents[0]).all()
    assert moved.min() > 1e-4  # what is drawn follows what is given


def test_nothing_is_added_to_the_time_without_given_frames():
    """As the published script, which leaves the level out; level s is row s + 1."""
    _, found = built("lvdm-prediction-unet")
    table = pub.filled("lvdm_prediction_unet_small")["label_emb.weight"]
    ours = found.network.embedding.concat_time.weight
    assert not ours[0].any()
    assert torch.equal(ours[1:], table[:-1])
    z, time = torch.randn(1, 4, 4, 8, 8), torch.tensor([500.0])
    mask = torch.zeros(1, 1, 4, 8, 8)
    with torch.no_grad():
        absent = found.network(z, time, Condition())
        zero = found.network(z, time, Condition(concat=mask, concat_time=torch.zeros(1)))
    torch.testing.assert_close(absent, zero)
