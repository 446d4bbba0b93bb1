"""PVDM: pairs of clips, the null clip, clip after clip; against closed forms and what must not depend on what."""

from dataclasses import replace

import pytest
import torch

from videodiff.conditioning import Request
from videodiff.diffusion import Condition, DDIMSampler, ScaledLinearSchedule
from videodiff.models import PVDM
from videodiff.networks import TriplaneAutoencoder, TriplaneUNet

FRAMES, SIDE = 4, 16


def tiny_pvdm(**options) -> PVDM:
    autoencoder = TriplaneAutoencoder(
        FRAMES, SIDE, patch_size=4, width=16, depth=1, heads=2, head_dim=8, projection_depth=1
    )
    net = TriplaneUNet(
        4, FRAMES, SIDE // 4, width=32, channel_multipliers=(1, 2), num_blocks=1, attention_levels=(0,), heads=4,
        **options.pop("net", {}),
    )  # fmt: skip
    options = {"sampler": DDIMSampler(3), "prediction": "eps", "condition_drop": 0.0, **options}
    return PVDM(net, ScaledLinearSchedule(1000, 0.0015, 0.0195), autoencoder=autoencoder, **options)


def trained_pvdm(**options) -> PVDM:
    """Weights that are not the zero-initialised ones, so that the output depends on every input."""
    torch.manual_seed(0)
    model = tiny_pvdm(**options)
    for parameter in model.net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def planes(model: PVDM, video: torch.Tensor) -> torch.Tensor:
    """Planes ``[B, C, N]`` of single clips."""
    return model.latents.encode(video)[:, :, 0]


def learnt(model: PVDM, clips: dict) -> tuple[torch.Tensor, Condition]:
    """The target of a batch and what the network is told."""
    example = model.example(clips, "val")
    return example.x, example.cond


def batch(n: int, frames: int = 2 * FRAMES) -> dict:
    video = torch.rand(n, 3, frames, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return {"video": video, "sample": torch.arange(n), "num_images": 0}


def test_the_share_of_conditional_samples_is_lambda_and_the_others_see_zeros():
    model = tiny_pvdm(conditional_share=0.3)
    clips = batch(200)
    latent, cond = learnt(model, clips)
    given = cond.concat.flatten(1).abs().amax(1) > 0
    assert given.float().mean().item() == pytest.approx(0.3, abs=0.1)  # three deviations of 200 coins
    first, second = clips["video"].split(FRAMES, dim=2)
    torch.testing.assert_close(cond.concat[given], planes(model, first[given]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(latent[given], planes(model, second[given]), atol=1e-5, rtol=1e-4)


def test_an_unconditional_sample_begins_anywhere_in_the_pair():
    model = tiny_pvdm(conditional_share=1e-9)
    clips = batch(64)
    latent, cond = learnt(model, clips)
    assert not cond.concat.any()
    windows = torch.stack([planes(model, clips["video"][:, :, s : s + FRAMES]) for s in range(FRAMES + 1)])
    start = (windows - latent).abs().amax((2, 3)).argmin(0)
    assert (windows - latent).abs().amax((2, 3)).amin(0).max() < 1e-4
    assert start.unique().tolist() == list(range(FRAMES + 1))


class Frames:
    """Tells of a part of a clip which frames it is."""

    def of(self, first: int, num_frames: int, step: int = 1) -> str:
        return f"{num_frames} frames from {first}, {step} apart"


def test_the_caption_is_that_of_the_clip_that_is_learnt():
    model = tiny_pvdm(conditional_share=0.3)
    clips = batch(40)
    clips |= {"caption": ["the pair"] * 40, "scene_caption": [Frames()] * 40}
    windows = [planes(model, clips["video"][:, :, s : s + FRAMES]) for s in range(FRAMES + 1)]
    kept = {**clips, "latent": torch.stack([windows[0], windows[-1]], 2)}
    for told, begins in ((clips, range(FRAMES + 1)), (kept, (0, FRAMES))):
        example = model.example(told, "val")
        apart = torch.stack([(w - example.x).abs().amax((1, 2)) for w in windows])  # [begins, B]
        starts = apart.argmin(0).tolist()
        assert example.batch["caption"] == [f"{FRAMES} frames from {s}, 1 apart" for s in starts]
        assert {*starts} == {*begins}
    del clips["scene_caption"]  # captions of files are of the whole video
    assert model.example(clips, "val").batch["caption"] == clips["caption"]


def test_a_sample_does_not_depend_on_its_batch():
    model = trained_pvdm(conditional_share=0.5)
    clips = batch(6)
    together = model.losses(clips, "train")
    alone = [
        model.losses({**clips, "video": clips["video"][i : i + 1], "sample": torch.tensor([i])}, "train")
        for i in range(6)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_untrained_eps_loss_is_one_and_only_the_network_learns():
    model = tiny_pvdm()
    assert model.losses(batch(64), "val").mean().item() == pytest.approx(1.0, abs=0.03)
    model.losses(batch(2), "train").mean().backward()
    assert all(p.grad is None for p in model.autoencoder.parameters())
    assert any(p.grad is not None for p in model.net.parameters())


def test_a_long_video_is_clip_after_clip_each_from_the_finished_planes_before():
    model = trained_pvdm()
    video = model.generate(2, num_frames=3 * FRAMES - 1, seed=3)
    assert video.shape == (2, 3, 3 * FRAMES - 1, SIDE, SIDE)
    latent = model.generate_latent(2, 3 * FRAMES, seed=3)
    assert latent.shape == (2, 4, 3, model.net.plane_sizes.num_tokens)
    first = model.generate_latent(2, FRAMES, seed=3)
    assert torch.equal(latent[:, :, :1], first)
    # Going on from two clips draws the third as before; from another second clip it draws another third.
    same = model.generate_latent(2, 3 * FRAMES, seed=3, generated=(latent, 2))
    assert torch.equal(same, latent)
    other = latent.clone()
    other[:, :, 1] = 0
    assert not torch.equal(
        model.generate_latent(2, 3 * FRAMES, seed=3, generated=(other, 2))[:, :, 2], latent[:, :, 2]
    )


def test_permuting_the_videos_of_a_batch_permutes_what_is_drawn():
    model = trained_pvdm(net={"num_classes": 3})
    order, label = [2, 0, 1], torch.tensor([0, 2, 1])
    given = Request(None, batch(3)["video"][:, :, :FRAMES], tuple(range(FRAMES)))
    for known in (None, given):
        one, other = Request(label), Request(label[order])
        if known:
            one = Request(label, known.frames, known.positions)
            other = Request(label[order], known.frames[order], known.positions)
        plain = model.generate_latent(3, 2 * FRAMES, seed=5, request=one)
        permuted = model.generate_latent(3, 2 * FRAMES, seed=5, request=other, indices=order)
        torch.testing.assert_close(permuted, plain[order], rtol=1e-3, atol=1e-4)
        assert (plain[0] - plain[1]).abs().max() > 0.1


def test_later_clips_take_their_own_number_of_steps():
    model, counts = trained_pvdm(extension_steps=2), []
    model.generate_latent(1, 3 * FRAMES, progress=lambda done, total: counts.append(done))
    assert len(counts) == 3 + 2 + 2
    counts.clear()
    model.generate_latent(
        1,
        3 * FRAMES,
        sampler=DDIMSampler(4),
        later_sampler=DDIMSampler(1),
        progress=lambda *a: counts.append(a),
    )
    assert len(counts) == 4 + 1 + 1


def test_whole_clips_are_continued_and_anything_else_refused():
    model = trained_pvdm()
    given = Request(None, batch(1)["video"][:, :, :FRAMES], tuple(range(FRAMES)))
    latent = model.generate_latent(1, 2 * FRAMES, request=given)
    torch.testing.assert_close(latent[:, :, 0], planes(model, given.frames))
    alone = model.generate_latent(1, 2 * FRAMES)
    assert not torch.equal(alone[:, :, 1], latent[:, :, 1])
    with pytest.raises(ValueError, match="whole clips of 4 frames"):
        model.generate_latent(1, 2 * FRAMES, request=Request(None, batch(1)["video"][:, :, :3], (0, 1, 2)))
    with pytest.raises(ValueError, match="low-resolution"):
        model.generate_latent(1, FRAMES, request=Request(low_resolution=torch.zeros(1, 3, FRAMES, 4, 4)))


def test_null_clip_equals_absent_clip_and_guidance_moves_away_from_it():
    model = trained_pvdm()
    z, t = torch.randn(2, 4, model.net.plane_sizes.num_tokens), torch.tensor([10, 500])
    null, absent = Condition(concat=torch.zeros_like(z)), Condition()
    torch.testing.assert_close(model.net(z, t, null), model.net(z, t, absent))
    plain = model.generate_latent(1, 2 * FRAMES, seed=1)
    guided = model.generate_latent(1, 2 * FRAMES, seed=1, guidance_scale=2.0)
    assert torch.equal(plain[:, :, 0], guided[:, :, 0])  # nothing to be guided by in the first clip
    assert not torch.equal(plain[:, :, 1], guided[:, :, 1])


def test_the_class_alone_may_be_dropped_and_guided():
    joint, alone = (
        trained_pvdm(net={"num_classes": 3}, condition_drop=1.0, conditional_share=1.0, clip_drop=drop)
        for drop in (None, 0.0)
    )
    clips = {**batch(2, 2 * FRAMES), "label": torch.tensor([0, 2])}
    dropped, kept = joint.example(clips, "train").cond, alone.example(clips, "train").cond
    assert dropped.label.tolist() == kept.label.tolist() == [-1, -1]
    assert not dropped.concat.any()
    assert kept.concat.any()
    assert torch.equal(kept.concat, alone.example(clips, "val").cond.concat)
    asked = Request(torch.tensor([1]))
    torch.nn.init.normal_(alone.net.embedding.classes.weight)

    def second(request, scale=None):
        """Of a fixed first clip."""
        first = batch(1)["video"][:, :, :FRAMES]
        given = replace(request, frames=first, positions=tuple(range(FRAMES)))
        return alone.generate_latent(1, 2 * FRAMES, request=given, guidance_scale=scale)[:, :, 1]

    # at scale 0 nothing is left of the class, and all of the clip before
    torch.testing.assert_close(second(asked, 0.0), second(Request(torch.tensor([-1]))))
    assert not torch.allclose(second(asked, 0.0), second(asked))


SHARED = {"net": {"concat_reversed": True, "concat_overlap": 1}, "overlap_frames": 1}


def test_a_pair_of_clips_that_share_frames_is_as_much_shorter():
    model = tiny_pvdm(conditional_share=1.0, **SHARED)
    assert model.sample_frames == 2 * FRAMES - 1
    clips = batch(3, 2 * FRAMES - 1)
    latent, cond = learnt(model, clips)
    video = clips["video"]
    torch.testing.assert_close(cond.concat, planes(model, video[:, :, :FRAMES]))
    torch.testing.assert_close(latent, planes(model, video[:, :, FRAMES - 1 :]))
    kept = model.latents_of(video)
    torch.testing.assert_close(kept[:, :, 0], cond.concat, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(kept[:, :, 1], latent, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shared", [0, 1, 2, 3])
@pytest.mark.parametrize("num_frames", [1, 3, 4, 5, 6, 7, 9, 16])
def test_clips_fade_into_each_other_over_the_frames_they_share(shared, num_frames):
    model = tiny_pvdm(net={"concat_reversed": True, "concat_overlap": shared}, overlap_frames=shared)
    units = model.latents.units(num_frames)
    assert FRAMES + (units - 1) * (FRAMES - shared) >= num_frames  # enough, and not one too many
    assert units == 1 or FRAMES + (units - 2) * (FRAMES - shared) < num_frames

    def level(latent):  # a clip as bright as its planes
        return latent[:, :1, :1, None, None].expand(-1, 3, FRAMES, SIDE, SIDE)

    model.autoencoder.decode = level
    values = torch.linspace(-0.9, 0.9, units)
    latent = values.view(1, 1, -1, 1).expand(1, 4, units, model.net.plane_sizes.num_tokens)
    pieces = list(model.decode_frames(latent, num_frames))
    assert all(piece.shape[2] for piece in pieces)
    video = torch.cat(pieces, dim=2)
    assert video.shape == (1, 3, num_frames, SIDE, SIDE)
    expected = values[:1].repeat(FRAMES)
    for value in values[1:]:
        weight = torch.arange(1, shared + 1) / (shared + 1)
        faded = expected[len(expected) - shared :] * (1 - weight) + value * weight
        expected = torch.cat([expected[: len(expected) - shared], faded, value.repeat(FRAMES - shared)])
    torch.testing.assert_close(video[0, 0, :, 0, 0], expected[:num_frames])
    if 0 < 2 * shared < FRAMES and units > 1:  # no step is larger than its share of the way from clip to clip
        step = (values[1] - values[0]) / (shared + 1)
        assert video[0, 0, :, 0, 0].diff().max() <= step + 1e-6


def test_whole_clips_that_share_frames_are_continued():
    model = trained_pvdm(**SHARED)
    frames = batch(1, 2 * FRAMES - 1)["video"]
    given = Request(None, frames, tuple(range(2 * FRAMES - 1)))
    latent = model.generate_latent(1, 3 * FRAMES - 2, request=given)
    assert latent.shape[2] == 3
    torch.testing.assert_close(latent[:, :, 1], planes(model, frames[:, :, FRAMES - 1 :]))
    with pytest.raises(ValueError, match="the first 4 \\+ n x 3 frames"):
        model.generate_latent(
            1, 3 * FRAMES, request=Request(None, batch(1)["video"], tuple(range(2 * FRAMES)))
        )


def unconditional() -> PVDM:
    return tiny_pvdm(net={"concat_channels": 0}, conditional_share=0.0)


class Data:
    num_frames, resolution, num_classes = FRAMES, SIDE, None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tiny_pvdm(conditional_share=1.5), "conditional_share"),
        (lambda: tiny_pvdm(extension_steps=0), "extension_steps"),
        (lambda: tiny_pvdm(net={"concat_channels": 0}), "concat_channels 4"),
        (lambda: tiny_pvdm(overlap_frames=4), r"overlap_frames must lie in 0 \.\.\. 3, got 4"),
        (
            lambda: tiny_pvdm(net={"concat_reversed": True}, overlap_frames=1),
            "concat_overlap of the network must equal overlap_frames of the model, got 0 and 1",
        ),
        (lambda: tiny_pvdm(**SHARED).check_data(Data()), "num_frames must be 7 .* that overlap by 1"),
        (lambda: tiny_pvdm().check_data(Data()), "num_frames must be 8"),
        (
            lambda: tiny_pvdm(net={"concat_channels": 0}, conditional_share=0.0).generate_latent(
                1, 2 * FRAMES
            ),
            "single clips",
        ),
    ],
)
def test_misfits_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_shared_frames_are_drawn_to_agree_with_the_clip_before_when_weighed():
    def seam(weight: float) -> torch.Tensor:
        model = trained_pvdm(**SHARED, reconstruction_weight=weight, prediction="v")
        latent = model.generate_latent(2, 2 * FRAMES - 1)
        first, second = (model.latents.decode_clip(latent[:, :, unit]) for unit in range(2))
        return (second[:, :, :1] - first[:, :, -1:]).square().flatten(1).mean(1)

    assert (seam(1.0) < 0.5 * seam(0.0)).all()


def test_a_video_with_weighed_shared_frames_does_not_depend_on_its_batch_and_its_first_clip_is_free():
    model = trained_pvdm(**SHARED, reconstruction_weight=1.0)
    together = model.generate_latent(2, 2 * FRAMES - 1)
    alone = model.generate_latent(1, 2 * FRAMES - 1, indices=[1])
    torch.testing.assert_close(alone[0], together[1], atol=1e-3, rtol=1e-3)
    model.reconstruction_weight = 0.0
    free = model.generate_latent(2, 2 * FRAMES - 1)
    assert torch.equal(free[:, :, 0], together[:, :, 0])
    assert not torch.allclose(free[:, :, 1], together[:, :, 1])


@pytest.mark.parametrize(
    ("options", "weight"), [({}, 1.0), ({"shared": True}, -1.0), ({"shared": True}, float("nan"))]
)
def test_a_weight_on_frames_that_nothing_shares_is_refused(options, weight):
    shared = SHARED if options else {}
    with pytest.raises(
        ValueError, match="reconstruction_weight must be at least 0, and needs overlap_frames > 0"
    ):
        tiny_pvdm(**shared, reconstruction_weight=weight)
    model = trained_pvdm(**shared)
    model.reconstruction_weight = weight  # as generate --reconstruction_weight does
    with pytest.raises(
        ValueError, match="reconstruction_weight must be at least 0, and needs overlap_frames > 0"
    ):
        model.generate_latent(1, 2 * FRAMES - 1)
