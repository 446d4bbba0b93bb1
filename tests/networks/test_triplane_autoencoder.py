import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from published_files import filled, given
from videodiff.checkpoints.published.pvdm import autoencoder_state
from videodiff.networks import TriplaneAutoencoder
from videodiff.networks.autoencoder_triplane import PatchesToPixels
from videodiff.networks.triplane_projection import PlaneProjection

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")


@pytest.mark.skipif(not ASSETS, reason="VIDEODIFF_TEST_ASSETS names no folder of fixtures")
def test_it_computes_what_the_published_network_computes():
    folder = Path(ASSETS) / "fixtures" / "official"
    expected = np.load(folder / "pvdm_autoencoder_small.npz")
    net = TriplaneAutoencoder(resolution=32, width=64, readout="first", time_rotary="published").eval()
    net.load_state_dict(autoencoder_state(filled("pvdm_autoencoder_small")))
    with torch.no_grad():
        latent = net.encode(given("video", (1, 3, 16, 32, 32)).tanh())
        video = net.decode(torch.from_numpy(expected["latent"]))
    assert np.abs(latent.numpy() - expected["latent"]).max() < 1e-4
    assert np.abs(video[0].transpose(0, 1).numpy() - expected["recon"]).max() < 1e-4


@pytest.mark.skipif(not ASSETS, reason="VIDEODIFF_TEST_ASSETS names no folder of fixtures")
def test_a_published_checkpoint_has_a_place_for_every_tensor():
    file = Path(ASSETS) / "fixtures" / "official" / "pvdm_autoencoder_256.json"
    with torch.device("meta"):
        keys = json.loads(file.read_text())["keys"]
        published = autoencoder_state({name: torch.empty(entry["shape"]) for name, entry in keys.items()})
        ours = TriplaneAutoencoder().state_dict()
    assert {name: value.shape for name, value in published.items()} == {n: v.shape for n, v in ours.items()}


def test_the_parameter_count_is_the_published_one():
    with torch.device("meta"):
        net = TriplaneAutoencoder()
    assert sum(p.numel() for p in net.parameters()) == 62_064_399
    assert net.latent_shape((3, 16, 256, 256)) == (4, 2048)


def test_a_linear_output_is_what_the_sigmoid_is_taken_of():
    torch.manual_seed(0)
    published = TriplaneAutoencoder(**TINY).eval()
    linear = TriplaneAutoencoder(**TINY, output="linear").eval()
    linear.load_state_dict(published.state_dict())
    latent = torch.randn(2, *published.latent_shape(published.video_shape))
    with torch.no_grad():
        torch.testing.assert_close(published.decode(latent), 2 * linear.decode(latent).sigmoid() - 1)
    with pytest.raises(ValueError, match="output must be sigmoid or linear, got 'tanh'"):
        TriplaneAutoencoder(**TINY, output="tanh")


TINY = dict(
    num_frames=3, resolution=(16, 8), patch_size=4, width=16, depth=2, heads=2, head_dim=8, projection_depth=2
)


def tiny(**options) -> TriplaneAutoencoder:
    torch.manual_seed(0)
    return TriplaneAutoencoder(**{**TINY, **options}).eval()


def clip(batch: int = 2, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, 3, 16, 8, generator=generator) * 2 - 1


@pytest.mark.parametrize(
    ("num_frames", "resolution", "patch_size", "num_tokens"),
    [(16, 32, 8, 16 + 2 * 64), (5, (16, 24), 8, 6 + 15 + 10), (1, 16, 4, 16 + 4 + 4), (7, 6, 2, 9 + 21 + 21)],
)
def test_any_size_and_length_that_patches_fill(num_frames, resolution, patch_size, num_tokens):
    sizes = dict(num_frames=num_frames, resolution=resolution, patch_size=patch_size)
    net = tiny(**sizes, latent_channels=5, depth=1)
    video = torch.rand(2, *net.video_shape) * 2 - 1
    latent = net.encode(video)
    assert latent.shape == (2, *net.latent_shape(net.video_shape)) == (2, 5, num_tokens)
    assert latent.abs().max() < 1
    decoded = net.decode(latent)
    assert decoded.shape == video.shape
    assert decoded.abs().max() < 1


def test_planes_keep_the_axes_they_are_named_after():
    net = tiny(latent_channels=5)
    latent = net.encode(clip())
    planes = net.planes(latent)
    assert [tuple(plane.shape) for plane in planes] == [(2, 5, 4, 2), (2, 5, 3, 2), (2, 5, 3, 4)]
    assert torch.equal(net.join(planes), latent)


def test_a_still_clip_has_planes_that_stand_still_and_is_decoded_as_one():
    for time_rotary in ("correct", "published"):
        net = tiny(time_rotary=time_rotary)
        latent = net.encode(clip()[:, :, :1].expand(-1, -1, 3, -1, -1))
        spatial, *moving = net.planes(latent)
        for plane in moving:
            assert (plane - plane[:, :, :1]).abs().max() < 1e-5
        assert (spatial[0] - spatial[1]).abs().max() > 1e-2
        video = net.decode(latent)
        assert (video - video[:, :, :1]).abs().max() < 1e-5
        assert (video[0] - video[1]).abs().max() > 1e-3


def test_a_moving_clip_has_planes_that_move():
    _, *moving = tiny().planes(tiny().encode(clip()))
    for plane in moving:
        assert (plane - plane[:, :, :1]).abs().max() > 1e-2


def test_a_clip_does_not_depend_on_its_batch():
    net, video, order = tiny(), clip(batch=3), [2, 0, 1]
    latent = net.encode(video)
    torch.testing.assert_close(net.encode(video[order]), latent[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net.encode(video[:1]), latent[:1], atol=1e-5, rtol=1e-5)
    decoded = net.decode(latent)
    torch.testing.assert_close(net.decode(latent[order]), decoded[order], atol=1e-5, rtol=1e-5)


def test_every_plane_has_a_say_at_every_frame_and_place():
    net = tiny()
    latent = net.encode(clip())
    video, planes = net.decode(latent), net.planes(latent)
    for i in range(3):
        changed = net.join([-plane if i == k else plane for k, plane in enumerate(planes)])
        moved = (net.decode(changed) - video).abs().amax((0, 1))
        assert moved.min() > 1e-6


def test_a_projection_reads_its_token_or_the_first_feature_of_a_line():
    # the last layer computes one row only; here all of them
    for readout, row in (("token", -1), ("first", 0)):
        torch.manual_seed(0)
        projection = PlaneProjection(16, 5, depth=2, readout=readout)
        x = torch.randn(5, 7, 16)
        y = torch.cat([x, projection.token.expand(1, 7, -1)]) + projection.positions[:, None]
        for block in projection.blocks:
            y = block(y)
        torch.testing.assert_close(projection(x), y[row], atol=1e-5, rtol=1e-5)


def test_the_readouts_differ():
    assert (tiny().encode(clip()) - tiny(readout="first").encode(clip())).abs().max() > 0.1


def test_gradients_reach_every_parameter():
    net = tiny()
    reconstruction, kl = net(clip())
    assert not kl.any()
    reconstruction.square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_recomputing_gives_equal_outputs_and_gradients():
    results = []
    for recompute in (False, True):
        net = tiny(recompute=recompute).train()
        out = net(clip())[0]
        out.square().mean().backward()
        results.append([out, *(p.grad for p in net.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=1e-5, atol=1e-7)


def test_bf16_autocast_stays_close_to_fp32():
    net = tiny()
    exact_latent, exact = net.encode(clip()), net(clip())[0]
    with torch.autocast("cpu", torch.bfloat16):
        latent, rounded = net.encode(clip()), net(clip())[0]
    assert latent.dtype == rounded.dtype == torch.float32
    # bf16 rounds to 2^-9; a dozen layers add up to a few per cent of the spread
    assert (latent - exact_latent).std() < 0.05 * exact_latent.std()
    assert (rounded - exact).std() < 0.05 * exact.std()


def test_pixels_from_patches_are_those_of_a_transposed_convolution():
    layer = PatchesToPixels(16, 3, 4, 4)
    x = torch.randn(5, 2, 3, 6, 16)  # s b h w d
    expected = nn.ConvTranspose2d.forward(layer, x.flatten(0, 1).permute(0, 3, 1, 2))
    expected = expected.unflatten(0, (5, 2)).permute(1, 2, 0, 3, 4)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(resolution=30, patch_size=8), r"resolution must be divisible by 8 \(patch_size\), got 30"),
        (dict(resolution=(16, 0)), "resolution must be at least 1, got 16x0"),
        (dict(num_frames=0), "at least 1, got 0"),
        (dict(width=12), "width must be a multiple of 8, got 12"),
        (dict(head_dim=6), "head_dim must be a multiple of 4 .*got 6"),
        (dict(readout="last"), "readout must be token or first, got last"),
        (dict(time_rotary="none"), "time_rotary must be correct or published, got none"),
        (dict(projection_depth=0), "depth must be at least 1, got 0"),
    ],
)
def test_the_constructor_names_the_rule_that_is_broken(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_the_call_names_what_does_not_fit():
    net = tiny()
    with pytest.raises(ValueError, match=r"made for clips \(3, 3, 16, 8\).*got \(3, 4, 16, 8\)"):
        net.encode(torch.zeros(1, 3, 4, 16, 8))
    with pytest.raises(ValueError, match=r"are a latent \[B, C, 26\], got \[1, 4, 25\]"):
        net.decode(torch.zeros(1, 4, 25))
