"""Training from stored latents: what a sample becomes is what encoding it in the step would give."""

import pytest
import torch

from videodiff.diffusion import CosineSchedule, DDIMSampler, ScaledLinearSchedule
from videodiff.models import LVDM, PVDM
from videodiff.networks import Autoencoder3D, TriplaneAutoencoder, TriplaneUNet, UNet3D

SIDE = 16


def lvdm() -> LVDM:
    autoencoder = Autoencoder3D(10, SIDE, width=4, downsample=(2, 2, 2), latent_channels=4)
    net = UNet3D(
        channels=4, resolution=SIDE // 2, num_frames=5, width=16, channel_multipliers=(1, 2), num_blocks=1,
        attention_resolutions=(4,), heads=2, embedding_layers=2, concat_channels=1, vector_dim=1,
    )  # fmt: skip
    return LVDM(
        net, CosineSchedule(), DDIMSampler(2), autoencoder=autoencoder, prediction_share=0.5, strides=(1, 4)
    )


def pvdm(share: float = 0.5) -> PVDM:
    autoencoder = TriplaneAutoencoder(
        4, SIDE, patch_size=4, width=16, depth=1, heads=2, head_dim=8, projection_depth=1
    )
    net = TriplaneUNet(
        4, 4, SIDE // 4, width=32, channel_multipliers=(1, 2), num_blocks=1, attention_levels=(0,), heads=4
    )
    schedule = ScaledLinearSchedule(1000, 0.0015, 0.0195)
    return PVDM(net, schedule, DDIMSampler(2), autoencoder=autoencoder, conditional_share=share)


def clips(n: int, frames: int) -> dict:
    video = torch.rand(n, 3, frames, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return {"video": video, "sample": torch.arange(n)}


def kept(model: torch.nn.Module, batch: dict) -> dict:
    return {"latent": model.latents_of(batch["video"]), "sample": batch["sample"]}


@pytest.mark.parametrize(("make", "frames"), [(lvdm, 34), (lambda: pvdm(1.0), 8), (lambda: pvdm(0.0), 4)])
def test_the_loss_of_a_kept_latent_is_that_of_its_clip(make, frames):
    model, batch = make().eval(), clips(4, frames)
    for parameter in model.net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    torch.testing.assert_close(
        model.losses(kept(model, batch), "train"), model.losses(batch, "train"), rtol=1e-4, atol=1e-5
    )


def test_kept_planes_are_the_two_clips_and_an_unconditional_sample_is_one_of_them():
    model, batch = pvdm(0.3).eval(), clips(120, 8)
    latent = kept(model, batch)
    assert latent["latent"].shape == (120, 4, 2, model.net.plane_sizes.num_tokens)
    first, second = (model.latents_of(part)[:, :, 0] for part in batch["video"].split(4, dim=2))
    torch.testing.assert_close(latent["latent"], torch.stack([first, second], 2), atol=1e-5, rtol=1e-4)
    example = model.example(latent, "val")
    target, cond = example.x, example.cond
    given = cond.concat.flatten(1).any(1)
    first, second = latent["latent"].unbind(2)
    assert torch.equal(cond.concat[given], first[given])
    assert torch.equal(target[given], second[given])
    is_first, is_second = ((target == part).flatten(1).all(1) for part in (first, second))
    assert bool((is_first | is_second).all())
    assert 0.2 < is_first[~given].float().mean().item() < 0.8
    # who is given a clip is the same coin as without kept planes
    assert torch.equal(given, model.example(batch, "val").cond.concat.flatten(1).any(1))


def test_no_clip_is_encoded_in_a_step(monkeypatch):
    for model, frames in ((lvdm(), 34), (pvdm(), 8)):
        batch = kept(model, clips(2, frames))
        monkeypatch.setattr(type(model.autoencoder), "encode", lambda *a: pytest.fail("a clip was encoded"))
        assert torch.isfinite(model.losses(batch, "train")).all()
