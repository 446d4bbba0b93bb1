"""Diffusion forcing as a model: times of training, given frames, long video, and what it refuses."""

import pytest
import torch

from models.test_lvdm import FACTOR, SIDE, UNITS, Recorder
from models.test_pvdm import tiny_pvdm
from videodiff.conditioning import Forcing, Label, Request
from videodiff.diffusion import CosineSchedule, DDIMSampler, History
from videodiff.models import DiffusionForcing, DiffusionModule
from videodiff.networks import Autoencoder3D, SpacetimeDiT, UNet3D
from videodiff.sampling import Autoregressive, Rolling

STEPS = 4


class Told(Recorder):
    takes_unit_times = True


def forcing(latents=False, trained=True, **options):
    """On pixels, four frames of 8 x 8, or on latents, five of two frames each; weights that are not zero if trained."""
    torch.manual_seed(0)
    autoencoder = None
    shape = dict(channels=3, resolution=8, num_frames=4)
    if latents:
        autoencoder = Autoencoder3D(
            UNITS * FACTOR, SIDE, width=4, downsample=(FACTOR, 2, 2), latent_channels=4
        )
        shape = dict(channels=4, resolution=SIDE // 2, num_frames=UNITS)
        options.setdefault("threshold", "none")
    net = UNet3D(
        **shape, width=8, channel_multipliers=(1, 2), num_blocks=1, attention_resolutions=(4,), head_dim=8,
        embedding_dim=16, embedding_layers=2, **options.pop("net", {}),
    )  # fmt: skip
    for parameter in net.parameters() if trained else ():
        torch.nn.init.normal_(parameter, std=0.1)
    options.setdefault("sampler", DDIMSampler(STEPS))
    return DiffusionForcing(Told(net), CosineSchedule(), autoencoder=autoencoder, **options).eval()


def batch(n, frames=4, side=8, first=0):
    video = torch.rand(n, 3, frames, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return {"video": video, "sample": first + torch.arange(n), "num_images": 0}


def times_of(model, n=6):
    model.losses(batch(n), "train")
    _, time, _ = model.net.asked[-1]
    return time


def test_units_of_a_training_sample_have_times_of_their_own_that_are_functions_of_its_place():
    model = forcing()
    time = times_of(model)
    assert time.shape == (6, 4)
    assert len(time.flatten().unique()) == 24
    assert torch.equal(times_of(model, 2), time[:2])  # whatever else is in the batch
    assert 300 < times_of(model, 300).mean() < 700


def test_the_other_times_share_what_they_say():
    uniform = times_of(forcing(levels="uniform_future", context_units=2))
    assert torch.equal(uniform[:, 2], uniform[:, 3])
    assert (uniform[:, 1] != uniform[:, 2]).all()
    one = times_of(forcing(levels="one"))
    assert torch.equal(one, one[:, :1].expand(-1, 4))
    model = forcing(levels="given", context_units=1)
    given = times_of(model)
    assert (given[:, 0] < 1).all()  # clean
    assert torch.equal(given[:, 1:], given[:, 1:2].expand(-1, 3))
    z, _, _ = model.net.asked[-1]
    assert torch.allclose(z[:, :, 0], batch(6)["video"][:, :, 0], atol=1e-3)
    # what is given is not learnt: the loss does not change with what the network says of it
    before = model.losses(batch(6), "train")
    forward = model.net.net.forward
    model.net.net.forward = lambda *a: torch.cat([forward(*a)[:, :, :1] + 7, forward(*a)[:, :, 1:]], dim=2)
    assert torch.allclose(model.losses(batch(6), "train"), before)


@pytest.mark.parametrize("weighting", ["simple", "fused_snr"])
def test_training_lowers_the_loss_of_units_at_any_levels(weighting):
    model = forcing(trained=False, weighting=weighting)
    clip = batch(1)["video"].expand(8, -1, -1, -1, -1)
    fixed = {"video": clip, "sample": torch.arange(8)}
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=3e-3)
    before = model.losses(fixed, "val").mean().item()
    for step in range(20):
        optimizer.zero_grad()
        model.losses({"video": clip[:4], "sample": 4 * step + torch.arange(4)}, "train").mean().backward()
        optimizer.step()
    assert model.losses(fixed, "val").mean().item() < 0.9 * before


@pytest.mark.parametrize(
    ("latents", "options"),
    [
        (False, {}),
        (False, {"order": "sequential"}),
        (False, {"order": "full"}),
        (True, {"delay": 2, "overlap_units": 2}),
    ],
)
def test_long_video_keeps_given_frames_and_depends_on_them(latents, options):
    model = forcing(latents, **options)
    unit, side = (FACTOR, SIDE) if latents else (1, 8)
    frames, length = batch(2, 2 * unit, side)["video"], 7 * unit
    positions = (*range(unit), *range(5 * unit, 6 * unit))  # the first unit, and one behind a gap
    latent = model.generate_latent(2, length, request=Request(frames=frames, positions=positions))
    video = torch.cat(list(model.decode_frames(latent, length)), dim=2)
    assert video.shape == (2, 3, length, side, side)
    assert video.isfinite().all()
    for place, part in ((0, frames[:, :, :unit]), (5, frames[:, :, unit:])):
        assert torch.equal(latent[:, :, place : place + 1], model.latents.encode(part))
    assert not torch.equal(model.generate_latent(2, length), latent)
    assert max(z.shape[2] for z, _, _ in model.net.asked) <= model.latents.clip_units
    second = Request(frames=frames[1:], positions=positions)
    alone = model.generate_latent(1, length, indices=[1], request=second)
    assert torch.allclose(alone, latent[1:], atol=1e-4)


def test_more_noisy_units_than_the_network_sees_are_refused_with_the_delay_that_will_do():
    model = forcing(delay=1, sampler=DDIMSampler(10))
    model.windows(8)
    assert model.levels(model.sampler, model.windows(4)[0]).shape == (14, 4)  # a clip is seen whole
    with pytest.raises(ValueError, match="delay must be at least 3 for a video longer than 4 units"):
        model.generate(1, 8)


@pytest.mark.parametrize("options", [{"causal": True}, {"layout": "joint", "positions": "rotary"}])
def test_a_transformer_is_forced_as_a_u_net_is(options):
    torch.manual_seed(0)
    shape = dict(size=None, depth=2, width=32, num_heads=2, num_frames=4, resolution=8, num_classes=3)
    net = SpacetimeDiT(**shape, **options)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model = DiffusionForcing(net, CosineSchedule(), DDIMSampler(STEPS), weighting="fused_snr").eval()
    assert model.network.is_causal == ("causal" in options)
    model.losses(batch(2) | {"label": torch.tensor([0, 2])}, "train").mean().backward()
    frames = batch(1)["video"][:, :, :2]
    video = model.generate(1, 7, request=Request(torch.tensor([1]), frames, (0, 1)))
    assert torch.equal(video[:, :, :2], frames)
    coarse = SpacetimeDiT(**shape, patch_size=(2, 2, 2))
    with pytest.raises(ValueError, match="this one takes a single time"):
        DiffusionForcing(coarse, CosineSchedule(), DDIMSampler(STEPS))


def test_a_trapezoid_begins_at_both_ends_of_a_clip():
    model = forcing(order="trapezoid", delay=3)
    model.generate(1)
    first = model.net.asked[0][1][0]
    middle = model.net.asked[4][1][0]
    assert len(first.unique()) == 1
    assert middle[0] == middle[3] < middle[1] == middle[2]
    with pytest.raises(
        ValueError, match="both ends of a video, which must fit into a clip of 4 units, got 5"
    ):
        model.generate(1, 5)


def test_calls_of_a_clip_and_of_a_long_video_are_counted_and_reported():
    model = forcing(delay=2)
    assert model.calls_per_clip == STEPS + 3 * 2
    progress = []
    model.generate(1, 9, progress=lambda *done: progress.append(done))
    assert progress[-1] == (STEPS + 8 * 2,) * 2
    assert len(model.net.asked) == STEPS + 8 * 2
    assert forcing(order="full").calls_per_clip == STEPS
    assert forcing(order="sequential").calls_per_clip == 4 * STEPS
    assert forcing().plan.levels(50, model.windows(4)[0], 4).shape == (
        50 + 3 * 17 + 1,
        4,
    )  # 50 / (4 - 1) and up


def test_no_guidance_and_no_stabilisation_change_nothing_and_both_do_where_asked_for():
    request = Request(frames=batch(2)["video"][:, :, :2], positions=(0, 1))
    plain = forcing().generate(2, 6, 3, request)
    assert torch.equal(forcing(stabilise=0.0, history_guidance=1.0).generate(2, 6, 3, request), plain)
    for options in (
        {"stabilise": 0.05},
        {"history_guidance": 3.0},
        {"history_guidance": 3.0, "history_time": 0.4},
    ):
        model = forcing(**options)
        video = model.generate(2, 6, 3, request)
        assert video.isfinite().all()
        assert torch.equal(video[:, :, :2], plain[:, :, :2])
        assert not torch.equal(video, plain), options
        record = model.generation_record(6)
        assert record["long_video"] == "rolling pyramid"
        assert ("histories" in record) == ("history_guidance" in options)
    batches = {len(z) for z, _, _ in model.net.asked}
    assert batches == {6}  # three estimates of two videos, in one batch
    temporal = [History(1.0, units=(-1,)), History(1.0, units=(-2,))]
    listed = DiffusionModule(
        forcing().net, CosineSchedule(), DDIMSampler(STEPS), conditioners=[Label(), Forcing(histories=temporal)],
        plan=Rolling(),
    ).eval()  # fmt: skip
    assert not torch.equal(listed.generate(2, 6, 3, request), plain)


def test_a_class_and_guidance_by_it_go_with_history():
    model = forcing(net={"num_classes": 3}, history_guidance=2.0, guidance_scale=2.0)
    told = batch(2) | {"label": torch.tensor([0, 2])}
    model.losses(told, "train")
    request = Request(label=torch.tensor([0, 2]), frames=batch(2)["video"][:, :, :1], positions=(0,))
    video = model.generate(2, 4, request=request)
    other = Request(label=torch.tensor([1, 2]), frames=request.frames, positions=(0,))
    again = model.generate(2, 4, request=other)
    assert not torch.allclose(video[:1], again[:1], atol=1e-4)
    assert torch.allclose(video[1:], again[1:], atol=1e-5)


def test_noise_is_kept_within_a_limit():
    model = forcing()
    assert model.limited(torch.tensor([-9.0, 0.5, 7.0])).tolist() == [-6.0, 0.5, 6.0]


def test_what_has_one_time_for_all_units_is_refused():
    pvdm, blind = tiny_pvdm(), Recorder(forcing().net.net)
    with pytest.raises(ValueError, match="the unit of this latent is a whole clip"):
        DiffusionForcing(pvdm.net, pvdm.schedule, pvdm.sampler, autoencoder=pvdm.autoencoder)
    with pytest.raises(ValueError, match="a time for each unit, and this one takes a single time"):
        DiffusionForcing(blind, CosineSchedule(), DDIMSampler(STEPS))
    net = forcing().net
    for options in ({"plan": Rolling()}, {"weighting": "fused_snr"}):
        with pytest.raises(ValueError, match=r"put videodiff\.conditioning\.Forcing among the conditioners"):
            DiffusionModule(net, CosineSchedule(), DDIMSampler(STEPS), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": "some"}, "levels must be independent, uniform_future, given or one, got 'some'"),
        (
            {"levels": "given"},
            "context is a number of first units above 0 with levels uniform_future and given",
        ),
        ({"context_units": 2}, "got 2 with levels independent"),
        ({"levels": "given", "context_units": 4}, "a context below their number; got 4 and context 4"),
        ({"order": "zigzag"}, "order must be pyramid, sequential or trapezoid, got 'zigzag'"),
        ({"order": "full", "delay": 2}, "delay 2 has no effect with order full"),
        ({"order": "sequential", "delay": 2}, "left out of order sequential; got 2"),
        ({"overlap_units": 4}, "overlap must lie between 1 and 3"),
        ({"stabilise": 1.5}, r"must lie in \(0, 1\), got 1.5"),
        ({"stabilise": 0.1, "stabilise_way": "some"}, "with fresh noise or scaled, got 'some'"),
        ({"history_guidance": -1.0}, "history_guidance must be at least 0"),
        ({"history_time": 0.5}, "history_time 0.5 is of history_guidance and has no effect with 1"),
        ({"history_guidance": 2.0, "history_time": 1.5}, r"its time lie in \[0, 1\], got 1.0 and 1.5"),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused_in_a_line(options, message):
    with pytest.raises(ValueError, match=message):
        forcing(**options)


def test_the_plan_of_windows_asks_for_levels_of_its_own():
    model = DiffusionModule(
        forcing().net, CosineSchedule(), DDIMSampler(STEPS), conditioners=[Forcing()], plan=Autoregressive(1)
    ).eval()
    model.generate(1, 7)
    assert [time.tolist()[0].count(time.max().item()) for _, time, _ in model.net.asked[:2]] == [4, 4]
    assert len(model.net.asked) == 2 * STEPS
