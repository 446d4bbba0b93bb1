"""LVDM: masks, strides and noise on given frames; long video by both ways; against closed forms and invariants."""

import math

import pytest
import torch

from videodiff.conditioning import FrameMask, Keys, Request
from videodiff.diffusion import Condition, CosineSchedule, DDIMSampler, diffusion_loss
from videodiff.models import LVDM
from videodiff.networks import Autoencoder3D, UNet3D
from videodiff.sampling import Pipeline, Stage

UNITS, FACTOR, SIDE = 5, 2, 16


def tiny_lvdm(**options) -> LVDM:
    autoencoder = Autoencoder3D(UNITS * FACTOR, SIDE, width=4, downsample=(FACTOR, 2, 2), latent_channels=4)
    net = {"concat_channels": 1, "vector_dim": 1, **options.pop("net", {})}
    net = UNet3D(
        channels=4, resolution=SIDE // 2, num_frames=UNITS, width=16, channel_multipliers=(1, 2), num_blocks=1,
        attention_resolutions=(4,), heads=2, embedding_layers=2, **net,
    )  # fmt: skip
    options = {
        "prediction_share": 0.3, "interpolation_share": 0.3, "strides": (1, 4), "threshold": "none",
        "condition_drop": 0.0, "sampler": DDIMSampler(3), **options,
    }  # fmt: skip
    return LVDM(net, CosineSchedule(), autoencoder=autoencoder, **options)


def trained_lvdm(**options) -> LVDM:
    """Weights that are not the zero-initialised ones, so that the output depends on every input."""
    torch.manual_seed(0)
    model = tiny_lvdm(**options)
    for parameter in model.net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def batch(n: int, units: int = 17) -> dict:
    video = torch.rand(n, 3, units * FACTOR, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return {"video": video, "sample": torch.arange(n), "num_images": 0}


class Recorder(torch.nn.Module):
    """Stands for the network and keeps what it was asked."""

    def __init__(self, net: UNet3D) -> None:
        super().__init__()
        self.net, self.asked = net, []
        for name in ("num_frames", "resolution", "concat_channels", "vector_dim", "num_classes", "channels"):
            setattr(self, name, getattr(net, name))

    def forward(self, z, time, cond):
        self.asked.append((z, time, cond))
        return self.net(z, time, cond)


# --- training -----------------------------------------------------------------------------------------------------


def test_tasks_come_in_their_shares():
    model = tiny_lvdm(given_counts=(1, 2), prediction_share=0.4, interpolation_share=0.25)
    mask = model.conditioner(FrameMask).draw_mask(UNITS, Keys(0, "train", range(4000)))
    ends = torch.tensor([True, False, False, False, True])
    both = (mask == ends).all(1)
    first, two = (mask.sum(1) == n for n in (1, 2))
    assert both.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (~mask.any(1)).float().mean().item() == pytest.approx(0.35, abs=0.03)
    assert (first & mask[:, 0]).float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert (two & mask[:, 1]).float().mean().item() == pytest.approx(0.2, abs=0.03)


def test_strides_take_every_kth_latent_frame_and_are_told():
    model, clips = tiny_lvdm(), batch(40)
    example = model.example(clips, "val")
    x, cond = example.x, example.cond
    latent = model.autoencoder.encode(clips["video"])
    seen = set()
    for row, whole, told in zip(x, latent, cond.vector[:, 0].tolist(), strict=True):
        stride = round(2**told)
        span = (UNITS - 1) * stride + 1
        windows = [whole[:, s : s + span : stride] for s in range(whole.shape[1] - span + 1)]
        assert min((row - window).abs().max().item() for window in windows) < 1e-5
        seen.add(stride)
    assert seen == {1, 4}


def test_nothing_given_is_the_unconditional_loss():
    model = trained_lvdm(prediction_share=0.0, interpolation_share=0.0)
    clips = batch(4)
    example = model.example(clips, "train")
    x, keys = example.x, example.keys
    t = model.schedule.draw_times(keys.uniforms("train", "time"))
    eps = keys.normals("train", "noise", shape=tuple(x.shape[1:]))
    cond = Condition(vector=example.cond.vector)
    plain = diffusion_loss(model.net, model.schedule, x, eps, t, cond, model.prediction)
    torch.testing.assert_close(model.losses(clips, "train"), plain, rtol=1e-4, atol=1e-5)


def test_given_frames_are_seen_at_their_noise_level_and_do_not_count():
    model = trained_lvdm(prediction_share=1.0, interpolation_share=0.0, strides=(1,), max_given_noise=0.25)
    model.net = recorder = Recorder(model.net)
    clips = batch(8, UNITS)
    losses = model.losses(clips, "train")
    (z, _, cond), x = recorder.asked[0], model.autoencoder.encode(clips["video"])
    level = cond.concat_time
    assert level.min() > 0
    assert level.max() < 0.25
    assert torch.equal(cond.concat[:, 0, :, 0, 0], torch.tensor([1.0, 0, 0, 0, 0]).expand(8, 5))
    alpha, sigma = model.schedule.alpha_sigma(level, 5)
    noise = (z - alpha * x)[:, :, 0] / sigma[:, :, 0]
    assert noise.std().item() == pytest.approx(1, abs=0.05)  # exactly unit noise at that level
    # Changing the target of the given frame changes nothing; the published way counts it.
    assert (model.losses(clips, "train") - losses).abs().max() == 0
    model.loss_on_given = True
    assert (model.losses(clips, "train") - losses).abs().min() > 1e-4


def test_the_mean_is_over_the_frames_that_are_not_given():
    # An untrained network answers 0: with eps the error is eps^2, whose mean is 1 over any subset of frames.
    model = tiny_lvdm(prediction="eps", prediction_share=0.5, interpolation_share=0.5)
    assert model.losses(batch(64), "val").mean().item() == pytest.approx(1.0, abs=0.03)


def test_a_sample_does_not_depend_on_its_batch():
    model, clips = trained_lvdm(), batch(6)
    singles = [{**clips, "video": clips["video"][i : i + 1], "sample": torch.tensor([i])} for i in range(6)]
    alone = torch.cat([model.losses(single, "train") for single in singles])
    torch.testing.assert_close(model.losses(clips, "train"), alone, rtol=1e-4, atol=1e-5)


# --- sampling -----------------------------------------------------------------------------------------------------


def test_the_unconditional_estimate_of_guidance_knows_nothing():
    model = trained_lvdm(strides=(1,), net={"vector_dim": None})
    model.net = recorder = Recorder(model.net)
    model.generate_latent(1, (UNITS + 2) * FACTOR, guidance_scale=1.5)
    z, _, cond = next(asked for asked in recorder.asked if asked[2].concat is not None)
    assert z.shape[0] == 2
    assert not cond.concat[0].any()
    assert cond.concat[1].any()
    assert cond.concat_time.tolist() == pytest.approx([0, 0.1])
    given = cond.concat[1, 0, :, 0, 0] > 0
    assert not torch.equal(
        z[0][:, given], z[1][:, given]
    )  # its own noise stands where the other is given frames
    assert torch.equal(z[0][:, ~given], z[1][:, ~given])


@pytest.mark.parametrize("way", ["autoregressive", "hierarchical"])
@pytest.mark.parametrize("units", [3, 5, 6, 17, 23])
def test_every_latent_frame_is_written_once(way, units):
    model = tiny_lvdm(long_video=way)
    total = model.total_units(units * FACTOR)
    plan = model.windows(total)
    written = [u for window in plan for u in window.new]
    assert sorted(written) == list(range(total))
    assert total >= units
    done = set()
    for window in plan:
        assert set(window.context) <= done
        done.update(window.new)
    if way == "hierarchical" and units > UNITS:
        keys = [w for w in plan if all(u % 4 == 0 for u in (*w.new, *w.context))]
        gaps = plan[len(keys) :]
        assert sorted(u for w in keys for u in w.new) == list(range(0, total, 4))
        assert all(w.context == (w.new[0] - 1, w.new[-1] + 1) for w in gaps)  # each seen from both ends


@pytest.mark.parametrize("way", ["autoregressive", "hierarchical"])
def test_long_video_has_its_length_and_keeps_what_is_given(way):
    model = trained_lvdm(long_video=way)
    frames = batch(1, 2)["video"]
    given = Request(None, frames, tuple(range(2 * FACTOR)))
    latent = model.generate_latent(1, 9 * FACTOR - 1, request=given)
    torch.testing.assert_close(latent[:, :, :2], model.autoencoder.encode(frames))
    assert torch.isfinite(latent).all()
    video = model.generate(1, 9 * FACTOR - 1, request=given)
    assert video.shape == (1, 3, 9 * FACTOR - 1, SIDE, SIDE)


def test_all_given_returns_what_was_given():
    model = trained_lvdm()
    frames = batch(1, UNITS)["video"]
    latent = model.generate_latent(
        1, UNITS * FACTOR, request=Request(None, frames, tuple(range(UNITS * FACTOR)))
    )
    assert torch.equal(latent, model.autoencoder.encode(frames))


def test_a_video_does_not_depend_on_its_batch():
    model = trained_lvdm()
    together = model.generate_latent(3, 8 * FACTOR, seed=2)
    alone = torch.cat([model.generate_latent(1, 8 * FACTOR, seed=2, indices=[i]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=1e-3)


def test_the_interpolator_draws_the_gaps_and_is_no_part_of_the_model():
    keys = trained_lvdm(strides=(4,), long_video="hierarchical", net={"vector_dim": None})
    with pytest.raises(ValueError, match="--interpolator RUN"):
        keys.generate_latent(1, 9 * FACTOR)
    gaps = trained_lvdm(strides=(1,), net={"vector_dim": None})
    gaps.net = recorder = Recorder(gaps.net)
    names = set(keys.state_dict())
    both = Pipeline([Stage(keys), Stage(gaps, takes="latent")])
    assert set(keys.state_dict()) == names
    both.generate_latent(1, 9 * FACTOR)
    masks = {tuple(cond.concat[0, 0, :, 0, 0].tolist()) for _, _, cond in recorder.asked}
    assert masks == {(1.0, 0.0, 0.0, 0.0, 1.0)}


def test_the_noise_on_given_frames_is_drawn_once_for_a_window():
    model = trained_lvdm(strides=(1,), net={"vector_dim": None})
    model.net = recorder = Recorder(model.net)
    model.generate_latent(1, (UNITS + 1) * FACTOR)
    seen = [z[:, :, 0] for z, _, cond in recorder.asked if cond.concat is not None]
    assert len(seen) == 3
    assert all(torch.equal(z, seen[0]) for z in seen)


def test_the_told_stride_survives_guidance():
    model = trained_lvdm(long_video="hierarchical")
    model.net = recorder = Recorder(model.net)
    model.generate_latent(1, 9 * FACTOR, guidance_scale=2.0)
    strides = {tuple(cond.vector[:, 0].tolist()) for _, _, cond in recorder.asked}
    assert all(len(set(told)) == 1 for told in strides)
    assert {told[0] for told in strides} == {0.0, math.log2(4)}


THREE = Request(None, torch.zeros(1, 3, 3, SIDE, SIDE), (0, 1, 2))


class Data:
    num_frames, resolution, num_classes = UNITS * FACTOR, SIDE, None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tiny_lvdm(prediction_share=0.7, interpolation_share=0.7), "at most 1 together"),
        (lambda: tiny_lvdm(max_given_noise=1.0), "max_given_noise"),
        (lambda: tiny_lvdm(given_counts=(5,)), "given_counts must lie between 1 and 4"),
        (lambda: tiny_lvdm(strides=(0,)), "strides"),
        (lambda: tiny_lvdm(net={"concat_channels": 0}), "concat_channels 1"),
        (lambda: tiny_lvdm(net={"vector_dim": None}), "vector_dim 1"),
        (lambda: tiny_lvdm().check_data(Data()), "at least 34"),
        (
            lambda: tiny_lvdm().generate_latent(
                1, 10, request=Request(None, torch.zeros(1, 3, 3, SIDE, SIDE), (0, 1, 2))
            ),
            "groups of 2",
        ),
    ],
)
def test_misfits_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
