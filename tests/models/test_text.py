"""Text as a condition: learnt, dropped to the empty prompt, told, guided away from, trained, averaged and resumed."""

import argparse

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from models.test_lvdm import batch as lvdm_batch
from models.test_lvdm import trained_lvdm
from models.test_pvdm import batch as pvdm_batch
from models.test_pvdm import trained_pvdm
from models.test_vdm import batch, tiny_vdm, trained_vdm
from videodiff.callbacks import EMA, SampleLogger
from videodiff.checkpoints import load_checkpoint
from videodiff.checkpoints.files import save_checkpoint
from videodiff.conditioning import Request, Text
from videodiff.conditioning.asked import conditioned_on
from videodiff.conditioning.prompts import prompt_words
from videodiff.conditioning.request import Generated, loaded
from videodiff.diffusion import CosineSchedule, DDIMSampler, History, LearnedRangeSampler
from videodiff.models import VDM, DiffusionForcing, DiT
from videodiff.networks import Network, SpacetimeDiT
from videodiff.sampling.continuation import continued
from videodiff.text import ByteEncoder


class Reader(Network):
    """A network that shows what it was told: the mean of its tokens that are there, added to a convolution of z."""

    channels, num_frames, resolution = 3, 4, 8
    takes_images = takes_unit_times = True

    def __init__(self, context_dim: int | None = 8, variance: bool = False) -> None:
        super().__init__()
        self.context_dim, self.seen = context_dim, []
        self.mix = nn.Conv3d(3, 6 if variance else 3, 1)
        self.read = nn.Linear(context_dim or 1, self.mix.out_channels)

    def forward(self, z, time, cond):
        self.seen.append(cond)
        there = cond.context_mask[..., None].float()
        told = self.read((cond.context * there).sum(-2) / there.sum(-2))  # [B, C], or [B, T, C]
        return self.mix(z) + (told.transpose(1, 2) if told.ndim == 3 else told[..., None])[..., None, None]


def model(kind=VDM, drop=0.0, net=None, **options):
    torch.manual_seed(0)
    options.setdefault("sampler", DDIMSampler(3))
    text = ByteEncoder(dim=8, depth=1, num_heads=2, max_tokens=32)
    return kind(net or Reader(), CosineSchedule(), condition_drop=drop, text=text, **options).eval()


def told(model, prompt=(), negative=(), n=2, **options):
    return model.generate(n, request=Request(prompt=prompt, negative_prompt=negative), **options)


def test_each_clip_is_learnt_by_its_own_caption_and_a_dropped_one_is_the_empty_prompt():
    texts = ["a cat", "a much longer dog"]
    reads = model()
    empty = reads.losses(batch(2), "val")
    assert torch.equal(empty, reads.losses(batch(2, caption=["", ""]), "val"))
    for own, other in ((0, 1), (1, 0)):
        mixed = [text if i == own else "" for i, text in enumerate(texts)]
        losses = reads.losses(batch(2, caption=mixed), "val")
        assert losses[own] != empty[own]
        assert torch.allclose(losses[other], empty[other], atol=1e-6)
    dropped = model(drop=1.0).losses(batch(2, caption=texts), "train")
    assert torch.allclose(dropped, reads.losses(batch(2, caption=["", ""]), "train"), atol=1e-6)


def test_still_images_have_captions_of_their_own():
    clips = batch(2, caption=["a", "b"], image_captions=[["c", "d"], ["e", "f"]])
    clips |= {"video": torch.cat([clips["video"]] * 2, dim=2)[:, :, :6], "num_images": 2}
    cond = model().example(clips, "val").cond
    assert cond.context.shape == (2, 3, 2, 8)
    assert cond.context_mask.shape == (2, 3, 2)
    alone = model().example(batch(6, caption=list("abcdef")), "val").cond.context
    expected = torch.stack([alone[[0, 2, 3]], alone[[1, 4, 5]]])
    assert torch.allclose(cond.context, expected, atol=1e-6)
    dropped = model(drop=1.0).example(clips, "train").cond
    assert torch.equal(dropped.context, dropped.absent.context[:, None].expand(2, 3, 2, 8))
    assert not dropped.context_mask[..., 1:].any()  # the empty prompt is one token


@pytest.mark.parametrize(
    "options", [{}, {"sampler": LearnedRangeSampler(3)}], ids=["ddim", "learnt variance"]
)
def test_guidance_moves_away_from_the_empty_prompt_or_the_negative_one(options):
    net = Reader(variance=bool(options))
    reads = model(net=net, threshold="none", drop=0.1, **options)
    assert torch.equal(told(reads, guidance_scale=3.0), told(reads))  # there is nothing to move away from
    assert net.seen[-1].context.shape[0] == 2  # and no second call
    plain, guided, away = (
        told(reads, ("a cat",), way, guidance_scale=scale) for way, scale in (((), 1), ((), 3), (("dog",), 3))
    )
    assert not torch.equal(plain, guided)
    assert not torch.equal(guided, away)
    null, cond = net.seen[-1].chunk(2)
    assert torch.equal(null.context, cond.absent.context)
    assert null.context_mask.sum(1).tolist() == [4, 4]  # the start token and "dog"
    for negative in ((), ("dog",)):  # filled up to another length, which rounds otherwise
        alone = told(reads, ("a cat",), negative, guidance_scale=0.0)
        assert torch.allclose(alone, told(reads, negative), atol=1e-5)


def test_guidance_by_history_is_without_the_prompt_where_it_is_without_the_history():
    net = Reader()
    forcing = model(DiffusionForcing, net=net, order="full", drop=0.1, history_guidance=2.0)
    given = batch(2)["video"][:, :, :1]
    request = Request(frames=given, positions=(0,), prompt=("a cat",), negative_prompt=("dog",))
    forcing.generate(2, request=request, guidance_scale=1.5)
    whole, less = net.seen[-1].null(("label",)).chunk(2)
    assert len(net.seen[-1].context) == 8  # with and without history, each with and without guidance
    assert forcing.conditioners[1].histories == (History(2.0),)
    assert torch.equal(less.null().context, less.context[2:].repeat(2, 1, 1))
    assert torch.equal(whole.absent.context, less.absent.context)


def test_videos_take_prompts_in_turn_whatever_batch_they_are_in():
    reads = model(threshold="none")
    asked = Request(prompt=("a cat", "a dog", "a bird"), negative_prompt=("a fish",))
    together = reads.generate(4, request=asked.of_videos(range(4)), guidance_scale=2.0)
    for i in range(4):
        alone = reads.generate(1, request=asked.of_videos([i]), indices=[i], guidance_scale=2.0)
        assert torch.allclose(alone[0], together[i], atol=1e-5)
    assert asked.of_videos([4]).prompt == ("a dog",)
    assert asked.only(["label"]).prompt == asked.only([]).negative_prompt == ()


def test_a_prediction_takes_the_caption_of_its_own_clip():
    reads = model(conditioning="replacement", threshold="none")
    clips = batch(2, caption=["a cat", "a dog"])
    request = Request(
        frames=clips["video"][:, :, :1], positions=(0,), prompt=("a cat", "a dog"), num_frames=4
    )
    found = continued(reads, clips, 3)
    assert torch.equal(found["video"], reads.generate(2, 4, 3, request))
    assert found["texts"] == {"prompt": ("a cat", "a dog")}
    reads.asked = {"prompt": ["a bird"]}
    assert continued(reads, clips, 3)["texts"] == {"prompt": ("a bird", "a bird")}
    assert not torch.equal(continued(reads, clips, 3)["video"], reads.generate(2, 4, 3, request))


def test_reconstruction_guidance_under_inference_mode_takes_a_prompt():
    reads = model(threshold="none", drop=0.1)
    given = batch(2)["video"][:, :, :2]
    with torch.inference_mode():
        video = reads.generate(
            2, request=Request(frames=given, positions=(0, 1), prompt=("a",)), guidance_scale=2.0
        )
    assert torch.equal(video[:, :, :2], given.clamp(-1, 1))


@pytest.mark.parametrize(
    ("make", "request_", "words"),
    [
        (model, Request(negative_prompt=("a",)), "a negative prompt is what guidance moves away from"),
        (lambda: model(guidance_scale=2.0), Request(prompt=("\udcff",)), "no UTF-8"),
        (lambda: model(net=Reader(4)), Request(), "takes 4; set --model.net.context_dim 8"),
        (lambda: model(net=Reader(None)), Request(), "takes no text; set --model.net.context_dim 8"),
    ],
)
def test_what_is_no_prompt_of_the_model_is_refused(make, request_, words):
    with pytest.raises(ValueError, match=words):
        make().generate(1, request=request_)


def test_a_model_without_text_is_not_asked_in_words():
    with pytest.raises(ValueError, match="cannot be given prompt: none of its conditioners takes it"):
        tiny_vdm().generate(1, request=Request(prompt=("a",)))


def test_the_encoder_learns_too_from_kept_captions_and_from_dropped_ones():
    reads = model(drop=0.5)
    reads.losses(batch(8, caption=[f"number {i}" for i in range(8)]), "train").sum().backward()
    names = {n for n, p in reads.named_parameters() if p.grad is None or not p.grad.any()}
    assert not names
    optimised = {id(p) for group in reads.configure_optimizers().param_groups for p in group["params"]}
    assert optimised == {id(p) for p in reads.parameters()}


def test_data_without_captions_are_refused_before_training():
    with pytest.raises(ValueError, match=r"the data have none: say where they are with --data\.captions"):
        Text(ByteEncoder(8, 1, 2)).check_training({"label": "3 classes"})


def test_a_sheet_shows_the_captions_of_validation_clips_or_the_prompts_of_its_options(monkeypatch):
    reads, asked = model(), []
    blank = torch.zeros(3, 3, 4, 8, 8)
    monkeypatch.setattr(reads, "generate", lambda n, request, **o: asked.append(request.prompt) or blank)
    trainer, clips = pl.Trainer(logger=False, accelerator="cpu"), batch(2, caption=["c", "d"])
    sheet = SampleLogger(num_videos=3)
    sheet.draw(trainer, reads, clips)
    sheet.on_validation_batch_end(trainer, reads, None, batch(2, caption=["a", "b"]), 0)
    sheet.draw(trainer, reads, clips)
    SampleLogger(num_videos=3, prompt=("e",)).draw(trainer, reads, clips)
    assert asked == [("c", "d", "c"), ("a", "b", "a"), ("e", "e", "e")]
    with pytest.raises(
        ValueError, match=r"samples.prompt \['e'\] cannot be generated: this model cannot be given"
    ):
        SampleLogger(prompt=("e",)).setup(trainer, tiny_vdm(), "fit")


def test_an_encoders_weights_are_named_by_what_it_is_and_were_once_by_its_place(tmp_path):
    reads, other = model(), model(DiffusionForcing)
    names = [name for name in reads.state_dict() if ".encoder." in name]
    assert names == [name for name in other.state_dict() if ".encoder." in name] != []
    assert len({type(m.conditioners[-1]) for m in (reads, other)}) == 2  # at another place
    old = {name.replace("conditioners.Text", "conditioners.3"): v for name, v in reads.state_dict().items()}
    save_checkpoint({"state_dict": old, "raw_state_dict": old, "videodiff": {}}, tmp_path / "old.ckpt")
    found = load_checkpoint(tmp_path / "old.ckpt")
    assert found["state_dict"].keys() == found["raw_state_dict"].keys() == reads.state_dict().keys()
    assert all(torch.equal(found["state_dict"][name], v) for name, v in reads.state_dict().items())


def test_a_trained_encoder_is_averaged_and_its_raw_weights_are_kept_for_a_resume():
    reads, ema = model(), EMA(0.5, warmup=False)
    ema.on_fit_start(None, reads)
    ema.step = 0
    before = {name: value.clone() for name, value in reads.state_dict().items()}
    with torch.no_grad():
        for parameter in reads.parameters():
            parameter += 1
    checkpoint = {"state_dict": reads.state_dict()}
    ema.on_save_checkpoint(argparse.Namespace(global_step=1), reads, checkpoint)
    assert checkpoint["state_dict"].keys() == checkpoint["raw_state_dict"].keys() == before.keys()
    for name, value in before.items():
        assert torch.allclose(checkpoint["state_dict"][name], value + 0.5, atol=1e-6)
        assert torch.allclose(checkpoint["raw_state_dict"][name], value + 1, atol=1e-6)


def test_a_word_is_a_prompt_and_a_text_file_one_in_each_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.txt").write_text("\ufeffa cat\n\n  a dog \n", encoding="utf-8")
    assert prompt_words("some.txt") == ["a cat", "a dog"]
    assert prompt_words("see some.text") == ["see some.text"]
    assert prompt_words("") == [""]
    (tmp_path / "empty.txt").write_text("\n  \n")
    (tmp_path / "latin.txt").write_bytes(b"a\ncaf\xe9\n")
    (tmp_path / "pointer.txt").write_text("version https://git-lfs.github.com/spec/v1\n")
    for word, said in {
        "no.txt": "must name a file that exists where it ends in .txt",
        "empty.txt": "one in a line, and empty.txt holds none",
        "latin.txt": "latin.txt, line 2: not UTF-8",
        "pointer.txt": "a git-lfs pointer",
        "a\udcff": "must be UTF-8",
    }.items():
        with pytest.raises(argparse.ArgumentTypeError, match=said):
            prompt_words(word)


def test_what_clips_were_told_in_words_is_said_and_an_empty_prompt_suits_every_model():
    told = {"prompt": ["a cat"], "negative_prompt": ["a", "b"]}
    assert conditioned_on(told, False, has_captions=True) == "prompt 'a cat', 2 negative prompts"
    assert conditioned_on({}, False, has_captions=True) == "captions of the real clips"
    shape = (3, 4, 8, 8)
    assert loaded({"prompt": [""]}, Generated(shape)) == {"prompt": ()}
    assert loaded({"prompt": [""]}, Generated(shape, None, True)) == {"prompt": ("",)}


def real_vdm(**options):
    return trained_vdm(net={"width": 16, "head_dim": 8, "context_dim": 8}, **options)


def real_dit(**options):
    torch.manual_seed(0)
    shape = dict(size=None, depth=2, width=16, num_heads=2, num_frames=4, resolution=8, patch_size=(1, 4, 4))
    net = SpacetimeDiT(**shape, context_dim=8)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return DiT(net, CosineSchedule(), DDIMSampler(3), **options).eval()


@pytest.mark.parametrize(
    ("make", "clips", "images"),
    [
        (real_vdm, batch, 2),
        (real_dit, batch, 2),
        (lambda **options: trained_lvdm(net={"context_dim": 8}, **options), lvdm_batch, 0),
        (lambda **options: trained_pvdm(net={"context_dim": 8}, **options), pvdm_batch, 0),
    ],
    ids=["vdm", "dit", "lvdm", "pvdm"],
)
def test_every_network_learns_and_shows_what_it_is_told(make, clips, images):
    reads = make(text=ByteEncoder(8, 1, 2), condition_drop=0.5, guidance_scale=2.0)
    reads.conditioner(Text).encoder.load_state_dict(ByteEncoder(8, 1, 2).state_dict())  # not of tiny weights
    of_clips = clips(2)
    if images:
        of_clips |= {"video": torch.cat([of_clips["video"]] * 2, dim=2)[:, :, :6], "num_images": images}
        of_clips["image_captions"] = [["a cow", "a fish"], ["", "a duck"]]
    losses = [
        reads.losses({**of_clips, "caption": texts}, "val") for texts in (["a cat", "a"], ["a dog", "a"])
    ]
    assert losses[0][0] != losses[1][0]
    assert torch.allclose(losses[0][1], losses[1][1], atol=1e-4)
    if images:
        other = {
            **of_clips,
            "caption": ["a cat", "a"],
            "image_captions": [["a hen", "a fish"], ["", "a duck"]],
        }
        assert reads.losses(other, "val")[0] != losses[0][0]
    reads.losses({**of_clips, "caption": ["a cat", "a"]}, "train").mean().backward()
    assert all(p.grad is not None for p in reads.conditioner(Text).parameters())
    shown = [told(reads, (text,), n=1) for text in ("a cat", "a dog", "")]
    assert not torch.equal(shown[0], shown[1])
    assert torch.equal(shown[2], told(reads, n=1, guidance_scale=1.0))
