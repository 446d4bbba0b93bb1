"""The 3-D autoencoder: the published numbers, any size, the scale of its latent, and long latents in windows."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from published_files import filled, given
from videodiff.checkpoints.published.lvdm import autoencoder_name
from videodiff.networks import Autoencoder3D, LatentScale
from videodiff.networks.block_cosines import block_cosines
from videodiff.networks.decoding import decode_windows
from videodiff.networks.layers3d import SamePadConv3d, SamePadConvTranspose3d

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")


def tiny(**options):
    torch.manual_seed(0)
    return Autoencoder3D(
        **{"num_frames": 8, "resolution": 16, "width": 4, "downsample": (2, 4, 4), **options}
    ).eval()


def clips(n=2, frames=8, side=16):
    return torch.rand(n, 3, frames, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


# --- the published network ------------------------------------------------------------------------------------


def test_parameters_at_the_published_size():
    with torch.device("meta"):
        model = Autoencoder3D()
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    # YingqingHe/LVDM at d251dcc, all three unconditional configs
    assert count == {
        "encoder": 7_458_952,
        "decoder": 11_987_715,
        "to_moments": 72,
        "from_latent": 20,
        "latent_scale": 0,
    }
    assert sum(p.numel() for p in model.parameters()) == 19_446_759
    assert model.latent_shape(model.video_shape) == (4, 4, 32, 32)


@pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS does not name a folder of fixtures")
def test_the_published_weights_give_the_published_outputs():
    expected = np.load(Path(ASSETS) / "fixtures" / "official" / "lvdm_autoencoder.npz")
    model, state = Autoencoder3D(resolution=32).eval(), filled("lvdm_autoencoder")
    named = {autoencoder_name(name): value for name, value in state.items()}
    assert named.keys() == dict(model.named_parameters()).keys()
    model.load_state_dict(named, strict=False)
    with torch.no_grad():
        mean, logvar = model.moments(given("video", (1, 3, 16, 32, 32)).tanh())
        decoded = model.decode_raw(mean)
    moments = torch.cat([mean, logvar], 1)
    assert (moments - torch.from_numpy(expected["moments"])).abs().max() < 1e-4
    assert (decoded - torch.from_numpy(expected["recon_of_mean"])).abs().max() < 1e-4


# --- layers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "stride"), [(3, (1, 1, 1)), (4, (2, 2, 2)), (4, (1, 2, 2)), (1, (1, 1, 1))]
)
def test_same_padding_divides_and_multiplies_sizes_exactly(kernel, stride):
    x = torch.randn(1, 2, 6, 8, 10)
    assert SamePadConv3d(2, 3, kernel, stride)(x).shape[2:] == tuple(
        n // s for n, s in zip((6, 8, 10), stride, strict=True)
    )
    if kernel > 1:
        up = SamePadConvTranspose3d(2, 3, kernel, stride)(x)
        assert up.shape[2:] == tuple(n * s for n, s in zip((6, 8, 10), stride, strict=True))


def test_replicated_borders_make_a_constant_video_constant_everywhere():
    model = tiny()
    mean, _ = model.moments(torch.full((1, 3, 8, 16, 16), 0.3))
    torch.testing.assert_close(mean, mean[:, :, :1, :1, :1].expand_as(mean), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(4, 8, 8), (10, 16, 24), (2, 8, 4)])
def test_any_clip_divisible_by_the_factors_comes_back_in_its_size(shape):
    model = tiny()
    video = torch.rand(1, 3, *shape)
    latent = model.encode(video)
    assert (
        tuple(latent.shape[1:])
        == model.latent_shape((3, *shape))
        == (4, shape[0] // 2, shape[1] // 4, shape[2] // 4)
    )
    assert model.decode(latent).shape == video.shape


@pytest.mark.parametrize("downsample", [(1, 2, 2), (4, 2, 2), (1, 8, 4)])
def test_factors_may_differ_between_axes(downsample):
    model = tiny(downsample=downsample)
    assert model.decode(model.encode(clips())).shape == clips().shape


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: tiny(downsample=(3, 4, 4)), "powers of two"),
        (lambda: tiny(downsample=(1, 1, 1)), "at least 2"),
        (lambda: tiny(num_frames=5), "num_frames must be a multiple of 2"),
        (
            lambda: tiny(resolution=18),
            "resolution must be divisible by 4 .downsample., got 18; the nearest is 20",
        ),
        (lambda: tiny().encode(torch.zeros(1, 3, 8, 16, 14)), "by 4 .*, got 16x14; the nearest is 16$"),
        (lambda: tiny(norm_over="video"), "clip or frame"),
        (lambda: LatentScale(0), "at least 1 clip"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_in_one_line(build, words):
    with pytest.raises(ValueError, match=words) as error:
        build()
    assert "\n" not in str(error.value)


def test_a_clip_does_not_depend_on_its_batch():
    model, video = tiny(), clips(3)
    together = model.encode(video)
    alone = torch.cat([model.encode(v[None]) for v in video])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert torch.equal(model.encode(video.flip(0)).flip(0), together) or torch.allclose(
        model.encode(video.flip(0)).flip(0), together, atol=1e-5
    )


def test_recompute_changes_no_gradient():
    gradients = []
    for recompute in (False, True):
        model = tiny(recompute=recompute).train()
        rebuilt, kl = model(clips(), torch.ones(2, 4, 4, 4, 4))
        (rebuilt.abs().mean() + 1e-3 * kl.mean()).backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_bf16_stays_close_to_fp32():
    model, video = tiny(), clips()
    with torch.no_grad():
        exact = model(video)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(video)[0]
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


# --- posterior and scale --------------------------------------------------------------------------------------


def test_the_kl_is_that_of_two_gaussians():
    model = tiny()
    mean, logvar = model.moments(clips())
    _, kl = model(clips())
    posterior = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl, expected.flatten(1).sum(1))


def test_without_noise_the_reconstruction_is_that_of_the_mode():
    model = tiny()
    torch.testing.assert_close(model(clips())[0], model.decode(model.encode(clips())), atol=1e-5, rtol=1e-4)
    assert (model(clips(), torch.ones(2, 4, 4, 4, 4))[0] - model(clips())[0]).abs().max() > 1e-3


def test_the_scale_of_training_latents_becomes_one():
    scale = LatentScale(memory=64)
    generator = torch.Generator().manual_seed(0)
    for mean, std in ((9.0, 3.0), (-2.0, 0.5)):  # what was true at the start of training is forgotten
        for _ in range(120):
            scale.update(mean + std * torch.randn(8, 4, 4, 4, 4, generator=generator))
    z = -2.0 + 0.5 * torch.randn(64, 4, 4, 4, 4, generator=generator)
    assert scale(z).mean().item() == pytest.approx(0, abs=0.02)
    assert scale(z).std().item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(scale.inverse(scale(z)), z)


def test_the_window_weighs_the_last_clips_as_its_formula_says():
    scale, memory = LatentScale(memory=4), 4
    for value in (1.0, 2.0, 4.0):
        scale.update(torch.full((1, 2), value))
    weights = torch.tensor([(1 - 1 / memory) ** 2, 1 - 1 / memory, 1.0], dtype=torch.float64)
    assert -scale.shift.item() == pytest.approx(
        float((weights * torch.tensor([1.0, 2, 4])).sum() / weights.sum())
    )


def test_bad_latents_do_not_spoil_the_scale():
    scale = LatentScale()
    scale.update(torch.randn(4, 8))
    before = scale.state_dict()["sums"].clone(), scale.scale.clone()
    scale.update(torch.tensor([[1.0, float("nan")]]))
    scale.update(torch.tensor([[1.0, float("inf")]]))
    assert torch.equal(scale.sums, before[0])
    assert torch.equal(scale.scale, before[1])


def test_scale_and_shift_keep_their_precision_in_a_bf16_module():
    model = tiny()
    model.latent_scale.scale.fill_(0.33422927)  # LVDM's for sky
    model.latent_scale.shift.fill_(1.4606637)
    model.bfloat16()
    assert next(model.parameters()).dtype == torch.bfloat16
    assert model.latent_scale.scale.item() == pytest.approx(0.33422927, abs=1e-8)
    assert model.latent_scale.shift.item() == pytest.approx(1.4606637, abs=1e-7)
    assert {b.dtype for b in model.latent_scale.buffers()} == {torch.float32, torch.float64}
    assert model.decode(model.encode(clips().bfloat16()).bfloat16()).dtype == torch.float32


def test_only_training_measures():
    model = tiny()
    model(clips())
    assert model.latent_scale.sums[0] == 0
    model.train()(clips())
    assert model.latent_scale.sums[0] == 2 * 4 * 4 * 4 * 4
    model.eval()
    assert model.encode(clips()).mean().item() == pytest.approx(0, abs=1e-4)
    assert model.encode(clips()).std(correction=0).item() == pytest.approx(1, abs=1e-3)


# --- long latents ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [1, 3, 4, 5, 6, 7, 11, 64])
@pytest.mark.parametrize(("window", "overlap"), [(4, 1), (4, 2), (4, 3), (3, 2)])
def test_windows_give_every_frame_once_and_change_no_frame_that_all_agree_on(units, window, overlap):
    latent = torch.arange(float(units))[None, None, :, None, None].expand(1, 3, -1, 2, 2)
    calls = []

    def decode(z):
        calls.append(z.shape[2])
        return z.repeat_interleave(4, dim=2)

    chunks = list(decode_windows(decode, latent, window, overlap))
    torch.testing.assert_close(torch.cat(chunks, 2), latent.repeat_interleave(4, dim=2))
    assert max(calls) <= window
    assert len(set(calls)) == 1


def test_a_latent_within_one_window_is_decoded_whole():
    model, latent = tiny(), torch.randn(1, 4, 4, 4, 4)
    with torch.no_grad():
        assert torch.equal(torch.cat(list(model.decode_long(latent, 8)), 2), model.decode(latent))


def smooth_latent(units):
    """A latent that changes slowly, as those of videos do."""
    t = torch.arange(units)[:, None, None, None]
    phase = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0)) * 3
    return torch.sin(2 * math.pi * t / 16 + phase).permute(1, 0, 2, 3)[None]


@torch.no_grad()
def seam_figures(model, units=32, window=8, overlap=4):
    latent = smooth_latent(units)
    whole = model.decode(latent)
    parts = list(model.decode_long(latent, window, overlap))
    video = torch.cat(parts, 2)
    seams, at = [], 0
    for part in parts[:-1]:
        at += part.shape[2]
        seams.append(at)
    steps = (video[:, :, 1:] - video[:, :, :-1]).abs().mean((0, 1, 3, 4))
    true_steps = (whole[:, :, 1:] - whole[:, :, :-1]).abs().mean((0, 1, 3, 4))
    ratio = steps / true_steps
    seam_ratio = ratio[[s - 1 for s in seams]]
    return (video - whole).square().mean().sqrt() / whole.std(), seam_ratio.max(), ratio.max()


def test_with_frame_norms_windows_are_the_whole_exactly_beyond_the_reach_of_their_borders():
    error, seam, _ = seam_figures(tiny(norm_over="frame"), units=40, window=24, overlap=21)  # 7 units dropped
    assert error < 1e-5
    assert seam == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("norm_over", "limit"), [("clip", 0.1), ("frame", 0.1)])
def test_seams_of_windows_are_no_larger_than_the_steps_between_frames(norm_over, limit):
    error, seam, anywhere = seam_figures(tiny(norm_over=norm_over), window=16, overlap=4)
    assert (
        error < limit
    )  # of the video's standard deviation: statistics of a window are not those of the whole
    assert seam < 1.05  # the step over a seam, against the same step of the latent decoded whole
    assert anywhere < 1.05


@pytest.mark.parametrize(("window", "overlap"), [(4, 0), (4, 4), (1, 1)])
def test_windows_must_overlap(window, overlap):
    with pytest.raises(ValueError, match="must overlap"):
        next(decode_windows(lambda z: z, torch.zeros(1, 1, 9, 1, 1), window, overlap))


def test_decoding_holds_no_more_than_two_windows_of_video():
    alive, latent = [], torch.zeros(1, 3, 256, 2, 2)

    def decode(z):
        video = z.repeat_interleave(4, dim=2)
        alive.append(video.numel())
        return video

    for chunk in decode_windows(decode, latent, 8, 2):
        assert chunk.shape[2] <= 8 * 4
    assert max(alive) == 3 * 32 * 4


# --- the linear path ------------------------------------------------------------------------------------------


def test_the_linear_path_begins_as_a_projection_of_blocks():
    model, video = tiny(linear_path=True, latent_channels=5), clips()
    with torch.no_grad():
        latent = model.moments(video)[0]
        rebuilt = model.decode_raw(latent)
        again = model.decode_raw(model.moments(rebuilt)[0])
    assert latent.shape == (2, 5, 4, 4, 4)
    torch.testing.assert_close(again, rebuilt, atol=1e-5, rtol=1e-4)
    assert abs(float(((video - rebuilt) * rebuilt).sum())) < 1e-3 * float(rebuilt.square().sum())
    assert latent.square().mean().sqrt() < 1  # as small as pixels, whatever the size of a block
    # A block of noise keeps 5 of its 96 directions.
    assert float(rebuilt.square().sum() / video.square().sum()) == pytest.approx(5 / 96, rel=0.2)


def test_the_linear_path_knows_how_bright_a_clip_is():
    ramp = torch.linspace(-1, 1, 16).view(1, 1, 1, 1, 16).expand(1, 3, 8, 16, 16)
    model = tiny(linear_path=True, latent_channels=3, downsample=(2, 2, 2))
    with torch.no_grad():
        grey = torch.full((1, 3, 8, 16, 16), -0.7)
        torch.testing.assert_close(model.decode_raw(model.moments(grey)[0]), grey, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.decode_raw(model.moments(ramp)[0]), ramp, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 2, 2), (2, 4, 4), (4, 2, 3)])
def test_cosines_of_blocks_are_orthogonal_and_the_slowest_come_first(size):
    numbers = 3 * math.prod(size)
    rows = block_cosines(numbers, size).flatten(1).double()
    torch.testing.assert_close(rows @ rows.T, numbers * torch.eye(numbers).double(), atol=1e-4, rtol=0)
    assert torch.equal(rows[0], torch.ones(numbers).double())
    assert torch.equal(block_cosines(3, size).flatten(1).double(), rows[:3])
    with pytest.raises(ValueError, match="fewer than"):
        block_cosines(numbers + 1, size)


def test_without_a_linear_path_there_is_nothing_of_it():
    assert not [name for name, _ in tiny().named_parameters() if "linear" in name]
    more = sum(p.numel() for p in tiny(linear_path=True).parameters()) - sum(
        p.numel() for p in tiny().parameters()
    )
    assert more == 2 * 4 * 3 * 2 * 4 * 4 + 4 + 3
