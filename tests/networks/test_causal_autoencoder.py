"""First stages of 1 + n frames, in which no frame sees a later one, and of single frames; and latent models on them."""

from itertools import zip_longest

import pytest
import torch

from videodiff.conditioning import Actions, Example, Images, Keys, Label, Reconstruction, Request
from videodiff.diffusion import CosineSchedule, DDIMSampler
from videodiff.models import LVDM, VDM, AutoencoderModule
from videodiff.networks import Autoencoder3D, CausalAutoencoder3D, ImageAutoencoder, UNet3D

CAUSAL = {
    "plain": {},
    "linear path": {"linear_path": True},
    "time last": {"downsample": (2, 4, 4)},
    "time unchanged": {"downsample": (1, 4, 4)},
}


def awake(module, seed=0):
    """The module with every parameter drawn anew, so that no layer hides behind one of zeros."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


def causal(**options):
    return awake(CausalAutoencoder3D(9, 16, **({"width": 4, "downsample": (4, 4, 4)} | options)))


def clips(frames=9, seed=1):
    return torch.randn(2, 3, frames, 16, 16, generator=torch.Generator().manual_seed(seed)).tanh()


@torch.no_grad()
@pytest.mark.parametrize("options", CAUSAL.values(), ids=CAUSAL)
def test_later_frames_change_earlier_latents_and_earlier_frames_by_exactly_0(options):
    net, video = causal(**options), clips()
    latent, factor = net.encode(video), net.downsample[0]
    assert latent.shape[1:] == net.latent_shape(video.shape[1:])
    assert latent.shape[2] == 1 + 8 // factor
    for unit in range(1, latent.shape[2]):
        first = 1 + (unit - 1) * factor  # of the frames of this unit
        other = video.clone()
        other[:, :, first:] = clips(seed=2)[:, :, first:]
        changed = (net.encode(other) - latent).abs().amax((0, 1, 3, 4))
        assert changed[:unit].max() == 0
        assert changed[unit] > 0
        later = latent.clone()
        later[:, :, unit:] += 1
        changed = (net.decode(later) - net.decode(latent)).abs().amax((0, 1, 3, 4))
        assert len(changed) == 9
        assert changed[:first].max() == 0
        assert changed[first] > 0


@torch.no_grad()
@pytest.mark.parametrize("options", CAUSAL.values(), ids=CAUSAL)
def test_an_image_is_the_first_frame_of_any_clip(options):
    net, video = causal(**options), clips()
    image = net.encode(video[:, :, :1])
    assert image.shape[2] == 1
    torch.testing.assert_close(image, net.encode(video)[:, :, :1], rtol=1e-4, atol=1e-4)
    assert net.decode(image).shape == (2, 3, 1, 16, 16)


@torch.no_grad()
@pytest.mark.parametrize("options", CAUSAL.values(), ids=CAUSAL)
def test_a_long_latent_streamed_is_what_it_is_decoded_whole(options):
    net = causal(**options)
    latents = [torch.randn(2, 4, units, 4, 4) for units in (11, 13)]
    whole = [net.decode(latent) for latent in latents]
    streams = [net.decode_stream(latent) for latent in latents]
    pieces = list(zip_longest(*streams))  # in turns: neither leaves anything behind for the other
    assert len(pieces) > 1
    for n, expected in enumerate(whole):
        streamed = torch.cat([pair[n] for pair in pieces if pair[n] is not None], 2)
        torch.testing.assert_close(streamed, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(net.decode(latents[0]), whole[0])


def test_it_trains_and_recomputes_to_the_same_gradient():
    grads = []
    for recompute in (False, True):
        net = causal(recompute=recompute).train()
        rebuilt, kl = net(clips(), torch.zeros(2, *net.latent_shape((3, 9, 16, 16))))
        (rebuilt.square().mean() + kl.mean()).backward()
        grads.append(net.encoder.conv_in.weight.grad)
    assert grads[0].abs().sum() > 0
    torch.testing.assert_close(*grads)


@torch.no_grad()
def test_frames_of_an_image_autoencoder_are_alone():
    net, video = (
        awake(ImageAutoencoder(resolution=16, width=4, downsample=(4, 4), linear_path=True)),
        clips(5),
    )
    latent = net.encode(video)
    assert latent.shape == (2, 4, 5, 4, 4)
    other = video.clone()
    other[:, :, 2] *= -1
    changed = (net.encode(other) - latent).abs().amax((0, 1, 3, 4))
    assert changed[[0, 1, 3, 4]].max() == 0
    assert changed[2] > 0
    torch.testing.assert_close(net.encode(video[:, :, 3:4]), latent[:, :, 3:4], rtol=1e-4, atol=1e-4)
    long = torch.randn(1, 4, 40, 4, 4)
    streamed = torch.cat(list(net.decode_stream(long)), 2)
    torch.testing.assert_close(streamed, net.decode(long), rtol=1e-4, atol=1e-4)
    assert net.latents(UNet3D(**SIZES, num_frames=6)).video_shape == (3, 6, 16, 16)
    plain = Autoencoder3D(4, 16, width=4, downsample=(1, 4, 4))
    assert sum(p.numel() for p in net.parameters()) < sum(p.numel() for p in plain.parameters())
    batch = {"video": clips(1), "sample": torch.arange(2)}
    module = AutoencoderModule(ImageAutoencoder(resolution=16, width=4), perceptual_weight=0.0)
    assert torch.isfinite(module.losses(batch)[0])


@pytest.mark.parametrize("frames", [0, 2, 8])
def test_a_clip_that_is_not_1_and_whole_units_is_refused(frames):
    with pytest.raises(ValueError, match=r"num_frames must be 1 and a multiple of 4 \(downsample\), got"):
        CausalAutoencoder3D(frames, 16, width=4, downsample=(4, 4, 4))


# --- latents and models on them -----------------------------------------------------------------------------------

SIZES = {
    "channels": 4, "resolution": 4, "width": 8, "channel_multipliers": [1], "num_blocks": 1,
    "attention_resolutions": [4], "heads": 1,
}  # fmt: skip


def latent_model(stage, kind=VDM, units=3, **options):
    net = UNet3D(**SIZES, num_frames=units, **options)
    return kind(net, CosineSchedule(), DDIMSampler(2), autoencoder=stage, threshold="none").eval()


def test_units_and_frames_of_causal_latents():
    latents = causal().latents(UNet3D(**SIZES, num_frames=3))
    assert latents.video_shape == (3, 9, 16, 16)
    assert [latents.units(n) for n in (1, 2, 5, 6, 9)] == [1, 2, 2, 3, 3]
    assert [latents.frames(n) for n in (1, 2, 3)] == [1, 5, 9]
    assert [latents.whole(n) for n in (0, 1, 4, 5, 10)] == [0, 1, 1, 5, 9]
    assert latents.units_at(range(5)) == (0, 1)
    for positions in (range(4), range(1, 5), [0, 2], range(2)):
        with pytest.raises(ValueError, match=r"given frames must be the first 1 \+ n x 4, got"):
            latents.units_at(list(positions))
    latents.check_windows([(0, 1, 2)])
    with pytest.raises(ValueError, match=r"single clips of 9 frames: .*\(--frames 9\)"):
        latents.check_windows([(0, 1, 2), (1, 2, 3)])


def test_a_place_is_known_where_all_its_pixels_are():
    known = torch.ones(1, 1, 9, 16, 16, dtype=torch.bool)
    known[0, 0, 3, 5, 9] = False
    places = causal().known_places(known)
    assert places.shape == (1, 1, 3, 4, 4)
    assert (~places).nonzero().tolist() == [[0, 0, 1, 1, 2]]  # the frames 1 to 4 are the second unit
    known[0, 0, 0, 0, 0] = False
    assert not causal().known_places(known)[0, 0, 0, 0, 0]


def test_given_frames_are_kept_and_a_long_video_is_refused_in_one_line():
    stage, video = causal(), clips()
    model = latent_model(stage)
    given = Request(frames=video[:1, :, :5], positions=tuple(range(5)))
    latent = model.generate_latent(1, 9, request=given)
    torch.testing.assert_close(latent[:, :, :2], stage.encode(video[:1, :, :5]))
    made = model.generate(1, 9, request=given)
    assert made.shape == (1, 3, 9, 16, 16)
    torch.testing.assert_close(
        made[:, :, :5], stage.decode(latent)[:, :, :5].clamp(-1, 1), rtol=1e-4, atol=1e-4
    )
    assert model.given_frames(9) == 5
    with pytest.raises(ValueError, match="single clips of 9 frames") as error:
        model.generate(1, 16)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="must be the first 1"):
        model.generate(1, 9, request=Request(frames=video[:1, :, :4], positions=(0, 1, 2, 3)))


@torch.no_grad()
@pytest.mark.parametrize(
    ("stage", "frames", "each"),
    [
        (causal(), 9, 1),
        (awake(ImageAutoencoder(3, 16, 4, (4, 4))), 3, 1),
        (awake(Autoencoder3D(12, 16, width=4, downsample=(4, 4, 4))), 12, 4),
    ],
    ids=["causal", "image", "several frames"],
)
def test_still_images_are_learnt_as_one_latent_frame_each(stage, frames, each):
    """A latent frame of several frames is that of a video that stands still."""
    model = latent_model(stage, num_classes=4)
    batch = {
        "video": clips(frames + 2), "num_images": 2, "sample": torch.arange(2), "label": torch.tensor([1, 2]),
        "image_labels": torch.tensor([[0, 3], [3, 1]]),
    }  # fmt: skip
    example = model.example(batch, "val")
    assert example.x.shape == (2, 4, 3 + 2, 4, 4)
    assert example.cond.images == (False,) * 3 + (True,) * 2
    assert example.cond.label.tolist() == [[1, 1, 1, 0, 3], [2, 2, 2, 3, 1]]
    torch.testing.assert_close(example.x[:, :, :3], stage.encode(batch["video"][:, :, :frames]))
    for n in range(2):
        alone = stage.encode(batch["video"][:, :, frames + n : frames + n + 1].repeat(1, 1, each, 1, 1))
        torch.testing.assert_close(example.x[:, :, 3 + n : 4 + n], alone, rtol=1e-4, atol=1e-4)
    assert torch.isfinite(model.losses(batch, "val")).all()
    assert set(model.example_batch({"images_per_video": 2}, 2, "cpu")["video"].shape) == {
        2,
        3,
        frames + 2,
        16,
    }


def test_lvdm_learns_whole_clips_of_causal_latents():
    class Data:
        num_frames, resolution = 13, 16

    model = latent_model(causal(), LVDM, concat_channels=1)
    assert model.sample_frames == 9
    batch = {"video": clips(), "sample": torch.arange(2)}
    assert torch.isfinite(model.losses(batch, "val")).all()
    with pytest.raises(ValueError, match=r"learnt as whole clips: data\.num_frames must be 9"):
        model.check_data(Data())
    Data.num_frames, Data.images_per_video = 9, 1
    model.check_data(Data())


def test_the_conditioners_of_images_take_latents_as_pixels():
    """What is told of images does not depend on where they are."""
    model = latent_model(causal(), num_classes=2)
    kinds = [type(c) for c in model.conditioners]
    assert kinds == [Label, Actions, Images, Reconstruction]
    batch = {"video": clips(), "sample": torch.arange(2)}
    example = Example(batch, model.latents, Keys(0, "val", [0, 1]))
    assert torch.equal(example.latent, model.latents.encode(batch["video"]))
