"""The VDM module: its loss from closed forms, what it keeps and what it depends on."""

import warnings

import pytest
import pytorch_lightning as pl
import torch

from videodiff.conditioning import Request
from videodiff.data import ClipSource, VideoDataModule
from videodiff.data.collate import Collate
from videodiff.data.video_io import write_lossless
from videodiff.diffusion import AncestralSampler, CosineSchedule, DDIMSampler
from videodiff.models import VDM
from videodiff.networks import UNet3D


def tiny_vdm(**options) -> VDM:
    shape = dict(
        resolution=8, num_frames=4, width=32, channel_multipliers=(1, 2), num_blocks=1, attention_resolutions=(4,),
        head_dim=16, embedding_dim=32, embedding_layers=2,
    )  # fmt: skip
    net = UNet3D(**{**shape, **options.pop("net", {})})
    options.setdefault("sampler", DDIMSampler(4))
    return VDM(net, CosineSchedule(), **options)


def trained_vdm(**options) -> VDM:
    """Weights that are not the zero-initialised ones, so that the output depends on the input."""
    torch.manual_seed(0)
    model = tiny_vdm(**options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def batch(n: int = 2, **more) -> dict:
    video = torch.rand(n, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return {"video": video, "sample": torch.arange(n), "num_images": 0, **more}


def test_untrained_v_loss_is_half_of_one_plus_the_data_variance():
    # The output is 0 at the start, so the loss is E[alpha^2] + E[sigma^2 x^2] = (1 + E[x^2]) / 2 for t ~ U(0, 1).
    model = tiny_vdm(
        net={"width": 8, "head_dim": 8, "channel_multipliers": (1,), "attention_resolutions": ()}
    )
    clips = batch(512)
    expected = 0.5 * (1 + clips["video"].square().mean().item())
    assert model.losses(clips, "val").mean().item() == pytest.approx(expected, abs=0.02)


def test_untrained_eps_loss_is_one():
    assert tiny_vdm(prediction="eps").losses(batch(64), "val").mean().item() == pytest.approx(1.0, abs=0.01)


def test_the_loss_of_a_sample_does_not_depend_on_its_batch():
    model = trained_vdm()
    together = model.losses(batch(4), "train")
    alone = [
        model.losses(
            {"video": batch(4)["video"][i : i + 1], "sample": torch.tensor([i]), "num_images": 0}, "train"
        )
        for i in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.slow  # the suite sees its loss fall in notebook 02
def test_one_batch_can_be_learnt_by_heart():
    torch.manual_seed(0)
    model = tiny_vdm()
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=3e-3)
    clip = batch(1)
    losses = []
    for step in range(70):
        many = {
            "video": clip["video"].expand(8, -1, -1, -1, -1),
            "sample": 8 * step + torch.arange(8),
            "num_images": 0,
        }
        loss = model.losses(many, "train").mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


@pytest.mark.parametrize(
    "sampler", [DDIMSampler(3), AncestralSampler(3, gamma=0.3)], ids=lambda s: type(s).__name__
)
def test_a_video_does_not_depend_on_the_batch_it_is_drawn_in(sampler):
    model = trained_vdm(sampler=sampler)
    together = model.generate(3, seed=5)
    alone = torch.cat([model.generate(1, seed=5, indices=[i]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.01
    assert (model.generate(1, seed=6) - together[:1]).abs().max() > 0.01


@pytest.mark.parametrize("conditioning", ["reconstruction", "replacement"])
def test_known_frames_are_kept_exactly(conditioning):
    model = trained_vdm(conditioning=conditioning)
    frames = torch.rand(2, 3, 2, 8, 8) * 2 - 1
    video = model.generate(2, request=Request(None, frames, (0, 3)))
    assert torch.equal(video[:, :, [0, 3]], frames)


def test_a_long_video_keeps_what_its_windows_share_and_every_frame_is_drawn():
    model = trained_vdm()
    video = model.generate(1, num_frames=11)
    assert video.shape == (1, 3, 11, 8, 8)
    assert torch.equal(video[:, :, :4], model.generate(1, num_frames=4))
    assert (video.abs().amax(dim=(0, 1, 3, 4)) > 0).all()


def test_fewer_frames_than_a_clip_are_its_start():
    model = trained_vdm()
    assert torch.equal(model.generate(1, num_frames=2), model.generate(1)[:, :, :2])


def test_low_resolution_guidance_draws_videos_that_shrink_to_it():
    from videodiff.diffusion.guidance import downsample

    low = torch.rand(1, 3, 4, 4, 4) * 2 - 1
    free = trained_vdm(sampler=DDIMSampler(20))
    guided = trained_vdm(sampler=DDIMSampler(20), reconstruction_weight=5.0)
    far = (downsample(free.generate(1), (4, 4)) - low).square().mean()
    near = (downsample(guided.generate(1, request=Request(low_resolution=low)), (4, 4)) - low).square().mean()
    assert near < 0.5 * far


def test_classes_change_the_video_and_guidance_moves_it_away_from_none():
    model = trained_vdm(net={"num_classes": 3})
    torch.nn.init.normal_(model.net.embedding.classes.weight)
    by_class = [model.generate(1, request=Request(torch.tensor([k]))) for k in (-1, 0, 1)]
    assert (by_class[1] - by_class[2]).abs().max() > 1e-3
    unguided = model.generate(1, request=Request(torch.tensor([0])), guidance_scale=1.0)
    assert torch.equal(unguided, by_class[1])
    assert torch.allclose(
        model.generate(1, request=Request(torch.tensor([0])), guidance_scale=0.0), by_class[0], atol=1e-5
    )


def test_guidance_without_an_effect_is_refused_and_away_from_what_was_never_learnt_is_said():
    with pytest.raises(ValueError, match=r"guidance 2 moves away .* leave guidance out"):
        trained_vdm().generate(1, guidance_scale=2.0)
    with pytest.raises(ValueError, match="guidance 0 moves away"):
        trained_vdm().generate(1, request=Request(guidance=0.0))
    never = trained_vdm(net={"num_classes": 3}, condition_drop=0.0)
    asked = Request(torch.tensor([1]))
    with pytest.warns(UserWarning, match=r"without label, which this model has never learnt.*Label, drop 0"):
        never.generate(1, request=asked, guidance_scale=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        never.generate(1, request=asked)
        trained_vdm(net={"num_classes": 3}).generate(1, request=asked, guidance_scale=2.0)


def test_annotations_that_no_part_of_a_model_learns_from_are_said_in_a_line_each(tmp_path, capsys):
    for number in range(4):
        write_lossless(tmp_path / f"{number % 2}/{number}.mkv", torch.zeros(6, 8, 8, 3, dtype=torch.uint8))
        (tmp_path / f"{number % 2}/{number}.txt").write_text("a dark room")
    data = VideoDataModule(
        str(tmp_path), captions="txt", classes="folder", num_frames=4, resolution=8, val_fraction=0.5
    )
    said = {}
    for classes in (2, None):
        model = tiny_vdm(net={"num_classes": classes})
        trainer = pl.Trainer(accelerator="cpu", logger=False, max_steps=1)
        trainer.datamodule, data.trainer, model.trainer = data, trainer, trainer
        model.setup("fit")
        said[classes] = capsys.readouterr().err.splitlines()
    captions = "videodiff: captions of the data: no part of this model learns from them"
    assert said[2] == [captions]
    assert said[None] == [
        captions,
        "videodiff: 2 classes of the data: no part of this model learns from them",
    ]


def test_condition_drop_uses_no_class_and_reaches_every_parameter():
    model = trained_vdm(net={"num_classes": 3}, condition_drop=1.0)
    dropped = model.losses(batch(2, label=torch.tensor([0, 1])), "train")
    torch.testing.assert_close(dropped, model.losses(batch(2, label=torch.tensor([-1, -1])), "train"))
    dropped.mean().backward()
    # DDP without find_unused_parameters needs a gradient everywhere, a zero one for the class table too.
    assert all(p.grad is not None for p in model.net.parameters())


def test_every_image_of_joint_training_has_the_class_of_its_own_video():
    data = VideoDataModule(
        dataset="bouncing_digits",
        num_frames=4,
        resolution=16,
        images_per_video=3,
        num_train_clips=40,
        batch_size=20,
    )
    clips = data.clips("train")
    model = tiny_vdm(
        net={"resolution": 16, "num_classes": 10, "attention_resolutions": (8,)}, condition_drop=0.0
    )
    seen = set()
    for number in range(0, 80, 20):
        samples = [clips[number + i] for i in range(20)]
        batch = data.on_after_batch_transfer(Collate(3)(samples), 0)
        label = model.example(batch, "train").cond.label
        assert label.shape == (20, 7)
        assert torch.equal(label[:, :4], batch["label"][:, None].expand(-1, 4))
        for video, classes in zip(batch["video"], label[:, 4:].tolist(), strict=True):
            for image, found in zip(video.unbind(1)[4:], classes, strict=True):
                assert found == clips.source.labels[video_of(image, clips.source)]
                seen.add(found)
    assert len(seen) == 10


def video_of(image: torch.Tensor, source: ClipSource) -> int:
    """The video among whose frames an image is, to the bit."""
    pixels = ((image + 1) * 127.5).round().to(torch.uint8).movedim(0, -1)
    for index in range(len(source)):
        if (source.read(index, 0, source.num_frames(index), 1) == pixels).all((1, 2, 3)).any():
            return index
    raise AssertionError("the image is of no video")


def test_images_behind_the_clip_do_not_change_its_loss():
    model = trained_vdm()
    clips = batch(2)
    clips["video"] = torch.cat([clips["video"], torch.rand(2, 3, 2, 8, 8)], dim=2)
    example = model.example({**clips, "num_images": 2}, "val")
    video, cond = example.x, example.cond
    other = video.clone()
    other[:, :, 4:] = -1
    time = torch.full((2,), 500.0)
    torch.testing.assert_close(model.net(video, time, cond)[:, :, :4], model.net(other, time, cond)[:, :, :4])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.generate(0), "num_videos"),
        (lambda m: m.generate(1, num_frames=0), "num_frames"),
        (lambda m: m.generate(2, indices=[1]), "1 index given"),
        (lambda m: m.generate(1, request=Request(None, torch.zeros(1, 3, 1, 8, 8), (4,))), "lies outside"),
        (lambda m: Request(None, torch.zeros(1, 3, 2, 8, 8), (1, 0)), "ascend"),
        (lambda m: Request(None, torch.zeros(1, 3, 2, 8, 8), (1,)), "2 frames are given"),
        (lambda m: m.generate(1, request=Request(torch.tensor([0]))), "no classes"),
        (
            lambda m: tiny_vdm(net={"num_classes": 3}).generate(1, request=Request(torch.tensor([3]))),
            "3 classes",
        ),
        (lambda m: tiny_vdm(condition_drop=1.5), "condition_drop"),
        (lambda m: tiny_vdm(overlap_frames=4), "overlap_frames"),
    ],
)
def test_bad_requests_are_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call(tiny_vdm())
    assert "\n" not in str(error.value)
