"""Pipelines: stages chained by small videos, by known frames, in one latent; against the same done by hand."""

from pathlib import Path

import pytest
import torch

from models.test_lvdm import FACTOR, trained_lvdm
from pipeline_runs import TRUST, fill, high, low
from videodiff.checkpoints.run import build_model
from videodiff.conditioning import Request
from videodiff.diffusion import DDIMSampler
from videodiff.models import AutoencoderModule
from videodiff.networks import Autoencoder3D
from videodiff.sampling import Pipeline, Stage


def built(section: dict, name: str = "model"):
    return fill(build_model(section, Path(name), TRUST), name)


def cascade(**args) -> Pipeline:
    """4 x 8 x 8, then 8 x 16 x 16."""
    return Pipeline([Stage(built(low(), "low"), run="low"), Stage(built(high(**args), "high"), run="high")])


def interpolating() -> Pipeline:
    """Key frames four apart, then the frames between them, both by guidance of one size."""
    return Pipeline([
        Stage(built(low(), "keys"), run="keys"),
        Stage(built(low(), "between"), "frames", frames_each=4, run="between"),
    ])  # fmt: skip


def key_frames() -> Pipeline:
    keys = trained_lvdm(strides=(4,), long_video="hierarchical", net={"vector_dim": None})
    gaps = trained_lvdm(strides=(1,), net={"vector_dim": None})
    return Pipeline([Stage(keys, run="keys"), Stage(gaps, "latent", run="gaps")])


PIPELINES = {"cascade": (cascade, 16), "frames": (interpolating, 9), "key frames": (key_frames, 9 * FACTOR)}


def test_a_cascade_gives_each_stage_what_the_one_before_has_drawn():
    pipeline = cascade()
    seen = {}
    first, second = pipeline.models
    tell = second.conditioners[0].tell
    second.conditioners[0].tell = lambda cond, view: seen.update(view=view) or tell(cond, view)
    drawn = pipeline.generate(2, 8, seed=3, request=Request(torch.tensor([1, 4])))
    assert drawn.shape == (2, 3, 8, 16, 16)
    small = first.generate(2, 4, seed=3, request=Request(torch.tensor([1, 4])))
    assert torch.equal(seen["view"].request.low_resolution, small)


@pytest.mark.parametrize("frames", [8, 20, 7])
def test_each_window_is_told_the_small_frames_of_its_own_frames(frames):
    pipeline, told = cascade(), []
    conditioner = pipeline.models[1].conditioners[0]
    tell = conditioner.tell

    def spied(cond, view):
        cond = tell(cond, view)
        told.append((view.units, view.request.low_resolution, cond.concat))
        return cond

    conditioner.tell = spied
    assert pipeline.generate(1, frames).shape[2] == frames
    assert sorted({u for units, _, _ in told for u in units}) == list(range(max(frames, 8)))
    for units, small, concat in told:
        assert small.shape[2] == -(-frames // 2)
        for place, unit in enumerate(units):
            frame = small[0, :, min(unit // 2, small.shape[2] - 1)]
            assert torch.equal(concat[0, :3, place, ::2, ::2], frame)  # enlarged two times
            assert torch.equal(concat[0, :3, place, 1::2, 1::2], frame)


def test_frames_between_others_leave_those_as_they_are():
    pipeline = interpolating()
    first, second = pipeline.models
    drawn = pipeline.generate(1, 13, seed=2)
    keys = first.generate(1, 4, seed=2)
    # By hand: the known frames guide the second model, whose windows are counted on from those of the first.
    request = Request(frames=keys, positions=(0, 4, 8, 12))
    assert drawn.shape == (1, 3, 13, 8, 8)
    assert torch.equal(drawn[:, :, ::4], keys)
    other = second.generate(1, 13, seed=2, request=request)
    assert torch.equal(other[:, :, ::4], keys)
    assert not torch.equal(other, drawn)  # noise of its own


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_pipeline_that_is_stopped_after_any_window_goes_on_to_the_same_bits(kind):
    make, frames = PIPELINES[kind]
    pipeline, kept = make(), []
    whole = pipeline.generate_latent(
        2, frames, 5, on_window=lambda rows, done: kept.append((rows.clone(), done))
    )
    assert [done for _, done in kept] == list(range(1, len(kept) + 1))
    assert len(kept) > 2
    for drawn in kept[:-1]:
        assert torch.equal(pipeline.generate_latent(2, frames, 5, generated=drawn), whole)


@pytest.mark.parametrize("kind", PIPELINES)
def test_progress_counts_through_all_stages(kind):
    make, frames = PIPELINES[kind]
    seen = []
    make().generate_latent(1, frames, progress=lambda done, total: seen.append((done, total)))
    assert len({total for _, total in seen}) == 1
    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))


def test_a_video_of_a_pipeline_does_not_depend_on_its_batch():
    pipeline = cascade()
    together = pipeline.generate(3, 8, seed=1)
    alone = torch.cat([pipeline.generate(1, 8, seed=1, indices=[i]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=1e-3)


def test_every_stage_draws_with_its_own_sampler_unless_one_is_asked_for(monkeypatch):
    pipeline, used = cascade(), []
    pipeline.models[0].sampler, pipeline.models[1].sampler = DDIMSampler(2), DDIMSampler(3)
    for model in pipeline.models:
        window = model.generate_window
        model.generate_window = lambda *a, window=window: used.append(a[4].num_steps) or window(*a)
    pipeline.generate(1, 8)
    assert used == [2, 3]
    used.clear()
    pipeline.generate(1, 8, sampler=DDIMSampler(1))
    assert used == [1, 1]


def test_known_frames_are_known_to_every_stage_at_its_own_rate_and_size():
    first, second = built(low(), "low"), built(high(), "high")
    pipeline = Pipeline([Stage(first), Stage(second)])
    frames = torch.rand(1, 3, 3, 16, 16)
    legs = pipeline.legs(8, Request(frames=frames, positions=(0, 1, 4)))
    assert [leg.positions for leg in legs] == [(0, 2), (0, 1, 4)]
    expected = torch.nn.functional.avg_pool3d(frames[:, :, [0, 2]], (1, 2, 2))
    torch.testing.assert_close(legs[0].request.frames, expected)
    drawn = pipeline.generate(1, 8, request=Request(frames=frames, positions=(0, 1, 4)))
    torch.testing.assert_close(drawn[:, :, [0, 1, 4]], frames)


def test_what_stays_of_a_source_stays_in_every_stage_at_its_own_rate_and_size(monkeypatch):
    pipeline, sources = cascade(), []
    for model in pipeline.models:
        blank = model.blank
        monkeypatch.setattr(
            model, "blank", lambda n, u, asked, blank=blank: sources.append(asked) or blank(n, u, asked)
        )
    video = torch.rand(1, 3, 8, 16, 16) * 2 - 1
    mask = torch.zeros(1, 1, 8, 16, 16, dtype=torch.bool)
    mask[..., 5:] = True
    drawn = pipeline.generate(1, 8, request=Request(source=video, mask=mask, kept=(4,)))
    stays = (~mask).expand_as(video).clone()
    stays[:, :, 4] = True
    assert torch.equal(drawn[stays], video[stays])
    small, large = sources
    assert torch.allclose(
        small.source, video[:, :, ::2].unfold(3, 2, 2).unfold(4, 2, 2).mean((-1, -2)), atol=1e-6
    )
    assert not small.mask[:, :, 2].any()  # the frame kept
    assert not small.mask[..., :2].any()
    assert small.mask[:, :, [0, 1, 3], :, 2:].all()  # half a pixel is none
    assert torch.equal(large.source, video)


def test_a_record_names_the_run_the_weights_and_the_way_of_every_stage():
    pipeline = cascade()
    described = pipeline.describe()
    assert described["class"] == "Pipeline"
    assert [(s["run"], s["steps"], s["takes"]) for s in described["stages"]] == [
        ("low", 2, None),
        ("high", 2, "low_resolution"),
    ]
    assert [s["frames"] for s in pipeline.generation_record(20)["stages"]] == [10, 20]


def misfits():
    yield "no multiple of the 8x8", lambda: [Stage(built(low())), Stage(built(high(side=12)))]
    yield "cannot take low resolution", lambda: [Stage(built(low())), Stage(trained_lvdm())]
    yield "of its own size 16x16", lambda: [Stage(built(low())), Stage(built(high()), "frames", 2)]
    yield "the latents .* are not those", lambda: [Stage(built(low())), Stage(built(low(side=16)), "latent")]
    yield "leaves it nothing to do", lambda: [Stage(built(low())), Stage(built(low()), "latent")]
    yield "frames_each must be at least 2", lambda: [Stage(built(low())), Stage(built(low()), "frames")]
    yield "leave out frames_each 3", lambda: [Stage(built(low())), Stage(built(high()), frames_each=3)]
    yield "at least one stage", lambda: []
    stage = Autoencoder3D(4, 16, width=4, downsample=(2, 2, 2), latent_channels=4)
    yield (
        "AutoencoderModule, which generates no videos",
        lambda: [Stage(AutoencoderModule(stage, perceptual_weight=0))],
    )


@pytest.mark.parametrize(("rule", "stages"), misfits(), ids=lambda x: x if isinstance(x, str) else "")
def test_what_does_not_chain_is_refused(rule, stages):
    with pytest.raises(ValueError, match=rule) as error:
        Pipeline(stages())
    assert "\n" not in str(error.value)


def test_a_stage_may_ask_for_what_it_takes_before_anything_is_drawn():
    stage = built(high())
    with pytest.raises(ValueError, match="draw it as a stage of a pipeline"):
        stage.generate(1, 8)
    seen = []
    stage.conditioners[0].check_request = seen.append
    Pipeline([Stage(built(low())), Stage(stage)]).check_request(Request(), 12)
    assert [tuple(request.low_resolution.shape) for request in seen] == [(1, 3, 6, 8, 8)]


def test_what_the_first_stage_cannot_be_told_is_refused_before_anything_is_drawn():
    pipeline = Pipeline([Stage(built(high(frames=4, side=8))), Stage(built(high(frames=8)))])
    for model in pipeline.models:
        model.generate_window = None
    with pytest.raises(ValueError, match="cannot be given label"):
        pipeline.generate(1, 8, request=Request(torch.tensor([1])))
    with pytest.raises(ValueError, match="lies outside a video of 8 frames"):
        pipeline.generate(1, 8, request=Request(frames=torch.zeros(1, 3, 1, 16, 16), positions=(9,)))


@pytest.mark.slow
def test_a_trained_stage_draws_the_video_whose_small_version_it_is_told():
    torch.manual_seed(0)
    stage = build_model(high(frames=4, side=8, frames_each=2), Path("model"), TRUST)
    optimizer = torch.optim.AdamW(stage.net.parameters(), lr=3e-3)
    clips = torch.rand(4, 3, 2, 4, 4).repeat_interleave(2, 2) * 2 - 1
    clips = torch.nn.functional.interpolate(clips, scale_factor=(1, 2, 2))
    for step in range(150):
        optimizer.zero_grad()
        stage.losses({"video": clips, "sample": 4 * step + torch.arange(4)}, "train").mean().backward()
        optimizer.step()
    small = torch.nn.functional.avg_pool3d(clips[:, :, ::2], (1, 2, 2))
    drawn = stage.eval().generate(4, 4, request=Request(low_resolution=small), sampler=DDIMSampler(10))
    right, wrong = (drawn - clips).square().mean(), (drawn - clips.roll(1, 0)).square().mean()
    assert right < 0.3 * wrong
