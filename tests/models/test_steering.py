"""What steers any model while it samples: a video to begin from, and pixels that stay; asked of every family alike."""

from dataclasses import replace

import pytest
import torch

from models.test_lvdm import trained_lvdm
from models.test_pvdm import trained_pvdm
from models.test_vdm import trained_vdm
from videodiff.conditioning import Request
from videodiff.conditioning.source import visible
from videodiff.diffusion import AncestralSampler, DDIMSampler


def pixels():
    return trained_vdm(net={"width": 16, "head_dim": 8}, conditioning="replacement", sampler=DDIMSampler(3))


MODELS = {"pixels": pixels, "latent frames": trained_lvdm, "planes of clips": trained_pvdm}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def clip_of(model, clips=1, seed=1):
    channels, frames, *size = model.video_shape
    shape = (1, channels, clips * frames, *size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def rebuilt(model, video):
    """What the first stage makes of it: all that a latent can keep."""
    return torch.cat(list(model.decode_frames(model.latents.encode(video), video.shape[2])), dim=2)


def left_half(video):
    """A mask that keeps the left half."""
    mask = torch.zeros_like(video[:, :1], dtype=torch.bool)
    mask[..., video.shape[-1] // 2 :] = True
    return mask


def test_strength_1_and_a_mask_of_everything_are_ordinary_generation(model):
    video = clip_of(model)
    plain = model.generate(1, seed=3)
    assert torch.equal(model.generate(1, seed=3, request=Request(source=video, strength=1.0)), plain)
    everything = torch.ones_like(video[:, :1], dtype=torch.bool)
    assert torch.equal(model.generate(1, seed=3, request=Request(source=video, mask=everything)), plain)


def test_hardly_any_noise_returns_the_video_and_more_of_it_another(model):
    video = clip_of(model, 2)  # long video, too
    whole = rebuilt(model, video)

    def far(strength):
        drawn = model.generate(1, video.shape[2], request=Request(source=video, strength=strength))
        assert drawn.shape == video.shape
        return (drawn - whole).abs().mean().item()

    near, half, most = far(1e-6), far(0.5), far(0.99)
    assert near < 0.1 * half
    assert near < half < most


def test_a_mask_of_nothing_returns_the_video(model):
    video = clip_of(model, 2)
    nothing = torch.zeros_like(video[:, :1], dtype=torch.bool)
    request = Request(source=video, mask=nothing)
    assert torch.equal(model.generate(1, video.shape[2], request=request), video)
    decoded = model.generate(1, video.shape[2], request=replace(request, known_pixels="decoded"))
    torch.testing.assert_close(decoded, rebuilt(model, video))


@pytest.mark.parametrize("sampler", [None, AncestralSampler(3)], ids=["own", "resampled"])
def test_kept_pixels_are_exact_and_the_others_are_generated(model, sampler):
    video = torch.cat([clip_of(model, 2, seed) for seed in (1, 2)])
    mask = left_half(video)
    request = Request(source=video, mask=mask, resample=None if sampler is None else 2)
    drawn = model.generate(2, video.shape[2], request=request, sampler=sampler)
    assert torch.equal(drawn.masked_select(~mask), video.masked_select(~mask))
    assert (drawn - video).abs().mul(mask).amax((1, 2, 3, 4)).min() > 0.1
    alone = model.generate(
        1, video.shape[2], request=request.of_videos([1]), sampler=sampler, indices=[1]
    )  # no video depends on its batch
    torch.testing.assert_close(alone, drawn[1:], atol=1e-4, rtol=1e-4)


def test_what_lies_under_a_mask_changes_nothing(model):
    video, mask = clip_of(model), left_half(clip_of(model))
    other = torch.where(mask, -video, video)
    drawn = [model.generate(1, request=Request(source=source, mask=mask)) for source in (video, other)]
    assert torch.equal(*drawn)
    begun = [model.generate(1, request=Request(source=s, mask=mask, strength=0.5)) for s in (video, other)]
    assert not torch.equal(*begun)  # here it is begun from


@pytest.mark.parametrize("kept", [(0, 1), (2, 3), (0, 1, 2)])
def test_kept_frames_are_kept_wherever_they_are(model, kept):
    video = clip_of(model)
    drawn = model.generate(1, request=Request(source=video, kept=kept))
    there = torch.zeros(video.shape[2], dtype=torch.bool)
    there[list(kept)] = True
    assert torch.equal(drawn[:, :, there], video[:, :, there])
    assert not torch.isclose(drawn[:, :, ~there], video[:, :, ~there]).all()
    assert not torch.equal(drawn[:, :, ~there], model.generate(1)[:, :, ~there])


def test_kept_frames_that_are_no_place_of_a_latent_are_refused_with_those_that_are():
    video = clip_of(trained_lvdm())
    with pytest.raises(
        ValueError, match=r"holds 2 frames at a time; keep whole groups of them \(0 to 1, 2 to 3"
    ):
        trained_lvdm().generate(1, request=Request(source=video, kept=(1, 2)))


def test_a_pixel_that_is_hidden_is_what_it_is_in_the_nearest_frame_that_keeps_it():
    video = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(1, 3, 5, 1, 2).clone()
    mask = torch.ones(1, 1, 5, 1, 2, dtype=torch.bool)
    mask[:, :, [1, 4], :, 0] = False
    shown = visible(Request(source=video, mask=mask))
    assert shown[0, 0, :, 0, 0].tolist() == [1, 1, 1, 4, 4]
    assert shown[0, 0, :, 0, 1].tolist() == [1, 1, 1, 4, 4]  # never kept: the mean of its frame


VIDEO = torch.zeros(1, 3, 4, 8, 8)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": VIDEO}, "--init_video needs --strength S.*or --mask FILE or --keep_frames"),
        ({"strength": 0.5}, "--strength says what becomes of a video: name it with --init_video"),
        ({"kept": (0,)}, "--keep_frames says what becomes of a video"),
        ({"source": VIDEO, "strength": 0.5, "resample": 2}, "--resample is about pixels that are kept"),
        ({"source": VIDEO, "strength": 0.0}, r"strength must lie in \(0, 1\], got 0.0"),
        ({"source": VIDEO, "mask": VIDEO[:, :1, :2] > 0}, "of its video's frames .4, 8, 8., got .2, 8, 8."),
        ({"source": VIDEO, "kept": (0, 4)}, r"kept frames must lie in 0 ... 3, got \(0, 4\)"),
    ],
)
def test_a_source_without_a_use_or_a_use_without_a_source_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Request(**fields)
