"""The run around a published network: its schedule, sampler and loss as published, and data to begin with."""

from __future__ import annotations

from typing import Any

from videodiff.checkpoints.first_stage import FirstStage
from videodiff.frame_size import FrameSize

from .convert import Imported

Config = dict[str, Any]
DIFFUSION, MODELS = "videodiff.diffusion", "videodiff.models"


def part(path: str, **args: Any) -> Config:
    """A class and its arguments as a config writes them."""
    return {"class_path": path, "init_args": args}


def adam(lr: float, name: str = "AdamW") -> Config:
    """An optimizer at the published rate."""
    return part(f"torch.optim.{name}", lr=lr)


def model_section(found: Imported, first_stage: Config | None) -> Config:
    """The ``model`` section of the run.

    Args:
        found: the imported network.
        first_stage: as a config writes it, for a network of latents.
    """
    return RECIPES[found.report.kind](part(found.class_path, **found.init_args), first_stage)


def autoencoder(net: Config, stage: Config | None, kl: float = 0.0, lr: float = 1e-4) -> Config:
    """A first stage: L1 alone, so that it starts without weights of VGG and without discriminators."""
    return part(
        f"{MODELS}.AutoencoderModule",
        autoencoder=net,
        perceptual_weight=0.0,
        kl_weight=kl,
        optimizer=adam(lr),
    )


def pvdm(net: Config, stage: Config | None) -> Config:
    """``sihyun-yu/PVDM``: 400 steps of DDIM with fresh noise; x is clipped, the noise estimate is not."""
    return part(
        f"{MODELS}.PVDM",
        autoencoder=stage,
        net=net,
        schedule=part(f"{DIFFUSION}.ScaledLinearSchedule", beta_start=0.0015, beta_end=0.0195),
        sampler=part(f"{DIFFUSION}.DDIMSampler", num_steps=400, eta=1.0, grid="pvdm", recompute_eps=False),
        prediction="eps",
        threshold="static",
        conditional_share=0.3 if net["init_args"]["concat_channels"] else 0.0,
        condition_drop=0.0,
        optimizer=adam(1e-4),
    )


def lvdm(net: Config, stage: Config | None, lr: float = 6e-5, **more: Any) -> Config:
    """``YingqingHe/LVDM``: 50 steps of DDIM with fresh noise on the grid of latent diffusion; L1 loss; no clipping."""
    return part(
        f"{MODELS}.LVDM",
        autoencoder=stage,
        net=net,
        schedule=part(f"{DIFFUSION}.ScaledLinearSchedule", beta_start=0.0015, beta_end=0.0155),
        sampler=part(f"{DIFFUSION}.DDIMSampler", num_steps=50, eta=1.0, grid="ldm"),
        prediction="eps",
        loss_norm="l1",
        threshold="none",
        condition_drop=0.0,
        optimizer=adam(lr),
        **more,
    )


def lvdm_masked(net: Config, stage: Config | None, **more: Any) -> Config:
    """A network that is given frames: noised to level 100 of 0 to 999, guidance w = 0.1 (g = 1 + w)."""
    return lvdm(
        net, stage, 8e-5, max_given_noise=0.25, given_noise=0.101, guidance_scale=1.1, loss_on_given=True, **more
    )  # fmt: skip


def lvdm_prediction(net: Config, stage: Config | None) -> Config:
    """Key frames, every fourth latent frame, each from the one before."""
    return lvdm_masked(net, stage, prediction_share=0.5, strides=[4], long_video="hierarchical")


def lvdm_interpolation(net: Config, stage: Config | None) -> Config:
    """The latent frames between two key frames."""
    return lvdm_masked(net, stage, interpolation_share=0.9)


def lucidrains(net: Config, stage: Config | None) -> Config:
    """``lucidrains/video-diffusion-pytorch``: pixels, 1000 ancestral steps of the smaller variance, L1 loss."""
    return part(
        f"{MODELS}.VDM",
        net=net,
        schedule=part(f"{DIFFUSION}.DiscreteCosineSchedule", max_beta=0.9999),
        sampler=part(f"{DIFFUSION}.AncestralSampler", num_steps=1000),
        prediction="eps",
        loss_norm="l1",
        threshold="static",
        condition_drop=0.0,
        optimizer=adam(1e-4, "Adam"),
    )


def latte(net: Config, stage: Config | None) -> Config:
    """``Vchitect/Latte``: 250 ancestral steps with the learnt variance; x is not clipped; classes with guidance 7."""
    has_classes, args = net["init_args"]["num_classes"] is not None, net["init_args"]
    learnt = args["out_channels"] == 2 * args["channels"]
    name = "LearnedRangeSampler" if learnt else "AncestralSampler"
    return part(
        f"{MODELS}.DiT",
        autoencoder=stage,
        net=net,
        schedule=part(f"{DIFFUSION}.LinearSchedule"),
        sampler=part(f"{DIFFUSION}.{name}", num_steps=250, grid="linspace"),
        prediction="eps",
        threshold="none",
        guidance_scale=7.0 if has_classes else 1.0,
        condition_drop=0.1 if has_classes else 0.0,
        optimizer=part("torch.optim.AdamW", lr=1e-4, weight_decay=0.0),
    )


RECIPES = {
    "latte": latte,
    "pvdm-autoencoder": autoencoder,
    "pvdm-unet": pvdm,
    "lvdm-autoencoder": lambda net, stage: autoencoder(net, stage, 1e-6, 3.6e-5),
    "lvdm-unet": lvdm,
    "lvdm-prediction-unet": lvdm_prediction,
    "lvdm-interpolation-unet": lvdm_interpolation,
    "lucidrains-unet3d": lucidrains,
    "autoencoder-kl": lambda net, stage: autoencoder(net, stage, 1e-6),
}


def data_section(model: Any) -> Config:
    """Built-in clips of the size that the model trains on, until the user names others with ``--data.root``."""
    shape = model.video_shape
    return part(
        "videodiff.data.VideoDataModule",
        dataset="bouncing_digits",
        num_frames=model.sample_frames,
        resolution=FrameSize(*shape[2:]).written,
        batch_size=4,
        num_workers=0,
    )


def latent_sizes(kind: str, stage: FirstStage) -> dict[str, Any]:
    """Arguments of a U-Net that its own file does not show and its first stage does."""
    return stage.network_sizes() if kind.startswith(("lvdm", "pvdm-unet")) else {}
