"""Still images behind clips in every model that can learn them, with classes and captions of their own."""

import pytest
import pytorch_lightning as pl
import torch

from network_classes import built
from videodiff.conditioning import Conditioners, Images
from videodiff.data import VideoDataModule
from videodiff.diffusion import CosineSchedule, DDIMSampler
from videodiff.models import LVDM, PVDM, VDM, DiffusionForcing, DiT
from videodiff.networks import Autoencoder3D, SpacetimeDiT, TriplaneAutoencoder, TriplaneUNet, UNet3D
from videodiff.text import ByteEncoder

KINDS = [VDM, LVDM, DiffusionForcing, DiT]
UNITS, IMAGES = 2, 3


def awake(module):
    """Every parameter drawn anew, so that no layer hides behind one of zeros."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.2, generator=generator)
    return module.eval()


def latent_stage():
    """A latent frame stands for four frames."""
    return awake(Autoencoder3D(4 * UNITS, 16, width=4, downsample=(4, 4, 4)))


def model(kind=VDM, **options):
    """On latents of that stage, told classes and captions; LVDM with given frames."""
    torch.manual_seed(0)
    told = dict(num_classes=3, context_dim=8, num_frames=UNITS, resolution=4)
    if kind is DiT:
        net = SpacetimeDiT(4, size=None, depth=2, width=16, num_heads=2, patch_size=(1, 2, 2), **told)
    else:
        more = {"vector_dim": 1, "concat_channels": 1} if kind is LVDM else {}
        net = UNet3D(
            4, width=8, channel_multipliers=(1, 2), num_blocks=1, attention_resolutions=(4,), head_dim=4,
            **told, **more,
        )  # fmt: skip
    given = {"prediction_share": 1.0, "strides": (1, 2)} if kind is LVDM else {}
    text = ByteEncoder(dim=8, depth=1, num_heads=2, max_tokens=32)
    made = kind(
        awake(net), CosineSchedule(), DDIMSampler(2), latent_stage(), condition_drop=0.2, text=text, **given
    )
    return made.eval()


def batch(model, images=IMAGES, seed=0):
    """Clips, and the images of a seed behind them."""
    frames = model.sample_frames
    clips = torch.randn(2, 3, frames, 16, 16, generator=torch.Generator().manual_seed(5)).tanh()
    found = {
        "video": clips, "sample": torch.tensor([3, 8]), "label": torch.tensor([1, 2]),
        "caption": ["a cat", "two quick dogs"],
    }  # fmt: skip
    if not images:
        return found
    stills = torch.randn(2, 3, images, 16, 16, generator=torch.Generator().manual_seed(seed)).tanh()
    return found | {
        "video": torch.cat([clips, stills], dim=2), "num_images": images,
        "image_labels": torch.tensor([[0, 1, 2]] * 2)[:, :images],
        "image_captions": [[f"image {i}" for i in range(images)]] * 2,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_images_are_units_behind_those_of_a_clip_and_leave_its_loss_as_it_is(kind):
    joint = model(kind)
    example = joint.example(batch(joint), "train")
    assert example.x.shape == (2, 4, UNITS + IMAGES, 4, 4)
    assert example.cond.images == (False,) * UNITS + (True,) * IMAGES
    assert example.cond.label.shape == (2, UNITS + IMAGES)
    assert example.cond.context.shape[:2] == (2, 1 + IMAGES)
    errors, _ = joint.errors(batch(joint), "train")
    others, _ = joint.errors(batch(joint, seed=1), "train")
    assert torch.equal(errors.of_units()[:, :UNITS], others.of_units()[:, :UNITS])
    assert (errors.of_units()[:, UNITS:] != others.of_units()[:, UNITS:]).all()
    # an image weighs as a frame: the loss is the mean over all units
    torch.testing.assert_close(errors.of_units().mean(1), joint.losses(batch(joint), "train"))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_no_images_are_plain_training_to_the_bit(kind):
    """The conditioner of images, told of none, changes neither the target nor any random number."""
    joint = model(kind)
    plain = model(kind)
    plain.conditioners = Conditioners(c for c in plain.conditioners if not isinstance(c, Images))
    for split in ("train", "val"):
        told = batch(joint, images=0)
        assert torch.equal(joint.losses(told, split), plain.losses(told, split))
        assert torch.equal(joint.losses(told | {"num_images": 0}, split), plain.losses(told, split))


def test_the_log_shows_the_mean_of_frames_and_that_of_images(tmp_path):
    logged = {}
    for count in (0, 2):
        data = VideoDataModule(
            dataset="bouncing_digits", num_frames=4, resolution=16, images_per_video=count, batch_size=2,
            num_workers=0,
        )  # fmt: skip
        net = built("UNet3D", resolution=16, attention_resolutions=(8,))
        joint = VDM(net, CosineSchedule(), DDIMSampler(2))
        trainer = pl.Trainer(
            max_steps=1, limit_val_batches=0, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(joint, datamodule=data)
        logged[count] = {k: v.item() for k, v in trainer.logged_metrics.items() if k.startswith("train/")}
    assert set(logged[0]) == {"train/loss"}
    assert set(logged[2]) == {"train/loss", "train/loss_clips", "train/loss_images"}
    clips, images = logged[2]["train/loss_clips"], logged[2]["train/loss_images"]
    assert logged[2]["train/loss"] == pytest.approx((4 * clips + 2 * images) / 6, rel=1e-5)
    assert clips != images


def test_a_latent_of_whole_clips_refuses_images_in_one_line():
    class Data:
        num_frames, resolution, images_per_video = 4, 16, 2

    stage = TriplaneAutoencoder(4, 16, 4, width=16, depth=1, heads=2, head_dim=8, projection_depth=1)
    channels, _ = stage.latent_shape(stage.video_shape)
    net = TriplaneUNet(channels, 4, 4, 16, (1, 2), 1, (), 2, concat_channels=0)
    pvdm = PVDM(net, CosineSchedule(), DDIMSampler(2), stage, conditional_share=0.0)
    with pytest.raises(
        ValueError,
        match=r"is one of a whole clip of 4 frames, in which a still image has no place: data\.images_per_video must be"
        " 0, got 2",
    ):
        pvdm.check_data(Data())
