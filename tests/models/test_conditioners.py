"""One diffusion model: presets are lists of conditioners, and other lists are models too."""

from pathlib import Path

import pytest
import torch
import yaml

from models.test_pvdm import FRAMES, SIDE, trained_pvdm
from models.test_vdm import batch, tiny_vdm, trained_vdm
from videodiff.checkpoints.run import build_model
from videodiff.conditioning import Conditioner, Images, Label, Reconstruction, Request
from videodiff.diffusion import DDIMSampler, MeasurementGuidance
from videodiff.models import DiffusionModule
from videodiff.sampling import Autoregressive

MASK_IN_PIXELS = """
class_path: videodiff.models.DiffusionModule
init_args:
  net:
    class_path: videodiff.networks.UNet3D
    init_args: {resolution: 8, num_frames: 4, width: 16, channel_multipliers: [1, 2], num_blocks: 1, head_dim: 8,
                attention_resolutions: [4], concat_channels: 1}
  schedule: {class_path: videodiff.diffusion.CosineSchedule}
  sampler: {class_path: videodiff.diffusion.DDIMSampler, init_args: {num_steps: 3}}
  conditioners:
    - {class_path: videodiff.conditioning.Label}
    - {class_path: videodiff.conditioning.FrameMask, init_args: {prediction_share: 0.5, interpolation_share: 0.3}}
  plan: {class_path: videodiff.sampling.Autoregressive, init_args: {overlap: 1}}
"""


def test_a_preset_is_its_list_of_conditioners():
    preset = trained_vdm(net={"num_classes": 3}, guidance_scale=1.5, condition_drop=0.5, overlap_frames=1)
    told = [Label(0.5), Images(), Reconstruction()]
    listed = DiffusionModule(
        preset.net,
        preset.schedule,
        preset.sampler,
        conditioners=told,
        plan=Autoregressive(1),
        guidance_scale=1.5,
    ).eval()
    clips = batch(4, label=torch.tensor([0, 2, 1, -1]))
    assert torch.equal(preset.losses(clips, "train"), listed.losses(clips, "train"))
    request = Request(torch.tensor([0, 2]), clips["video"][:2, :, :2], (0, 3))
    assert torch.equal(preset.generate(2, 6, 1, request), listed.generate(2, 6, 1, request))


def test_a_mask_channel_in_pixels_is_a_config():
    torch.manual_seed(0)
    model = build_model(yaml.safe_load(MASK_IN_PIXELS), Path("mask.yaml"), ())
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=3e-3)
    clip = batch(1)["video"].expand(8, -1, -1, -1, -1)
    fixed = {"video": clip, "sample": torch.arange(8)}  # its own noise and tasks, the same before and after
    before = model.losses(fixed, "val").mean().item()
    for step in range(20):
        clips = {"video": clip[:4], "sample": 4 * step + torch.arange(4)}
        optimizer.zero_grad()
        model.losses(clips, "train").mean().backward()
        optimizer.step()
    assert model.losses(fixed, "val").mean().item() < 0.9 * before
    frames = batch(2)["video"][:, :, :2]
    model.eval()
    video = model.generate(2, 9, request=Request(frames=frames, positions=(0, 3)))
    assert video.shape == (2, 3, 9, 8, 8)
    assert torch.equal(video[:, :, [0, 3]], frames)
    assert not torch.allclose(model.generate(2, 9), video)


class DecodedFrames(Conditioner):
    """Single frames anywhere in a clip, by guidance through the decoder."""

    answers = ("frames",)
    keeps_frames = True

    def around(self, denoiser, view):
        start = view.units[0] * view.latents.unit_frames
        here = [(i, p - start) for i, p in enumerate(view.request.positions) if 0 <= p - start < FRAMES]
        if not here:
            return denoiser
        rows, places = (list(part) for part in zip(*here, strict=True))
        shown = view.request.frames[:, :, rows]
        return MeasurementGuidance(denoiser, lambda x: view.latents.decode_clip(x)[:, :, places], shown)


def test_planes_are_given_single_frames_anywhere_by_a_conditioner_of_fifteen_lines():
    preset = trained_pvdm(prediction="v", sampler=DDIMSampler(6))
    model = DiffusionModule(
        preset.net, preset.schedule, preset.sampler, autoencoder=preset.autoencoder, prediction="v", plan=preset.plan,
        conditioners=[*preset.conditioners, DecodedFrames()],
    ).eval()  # fmt: skip
    wanted = model.latents.stream(torch.randn(2, *model.latents.shape(2)).tanh(), 2 * FRAMES)
    places = (1, FRAMES + 2)
    frames = torch.cat(list(wanted), 2)[:, :, list(places)]
    free = model.generate(2, 2 * FRAMES)[:, :, list(places)]
    given = model.generate(2, 2 * FRAMES, request=Request(frames=frames, positions=places))[
        :, :, list(places)
    ]
    far, near = ((video - frames).square().mean((1, 3, 4)) for video in (free, given))
    assert (near < 0.7 * far).all()
    assert given.shape == (2, 3, 2, SIDE, SIDE)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(frames=torch.zeros(1, 3, 1, 8, 8), positions=(0,)), "frames"),
        (Request(low_resolution=torch.zeros(1, 3, 4, 4, 4)), "low-resolution"),
        (Request(torch.tensor([0])), "label"),
    ],
)
def test_what_no_conditioner_answers_is_refused(request_, words):
    vdm = tiny_vdm()
    model = DiffusionModule(vdm.net, vdm.schedule, vdm.sampler)
    assert model.generate(1).shape == (1, 3, 4, 8, 8)
    with pytest.raises(ValueError, match=f"{words}.*none of its conditioners"):
        model.generate(1, request=request_)


def test_a_subclass_with_the_hooks_of_before_is_told_what_to_do():
    with pytest.raises(TypeError, match=r"Mine overrides prepare, .* give a Conditioner .*add_a_model"):

        class Mine(DiffusionModule):
            def prepare(self, batch):
                return batch["video"]
