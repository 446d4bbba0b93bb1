"""AutoencoderModule: its losses against their formulas, what gradients reach, and what a run of it does."""

import math

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from videodiff.models import AutoencoderModule
from videodiff.models.autoencoder_losses import balance, feature_matching, frozen, hinge, one_frame_each
from videodiff.networks import Autoencoder3D, PatchDiscriminator, TriplaneAutoencoder


def tiny_autoencoder():
    return Autoencoder3D(num_frames=4, resolution=16, width=4, downsample=(2, 4, 4), latent_channels=2)


def tiny(**options):
    torch.manual_seed(0)
    judge = PatchDiscriminator(width=8, num_halvings=1, norm=options.pop("norm", "group"))
    options = {
        "perceptual_weight": 0.0, "start_step": 0, "autoencoder": tiny_autoencoder(),
        "frame_discriminator": judge, **options,
    }  # fmt: skip
    return AutoencoderModule(**options)


def batch(n=2, first=0):
    video = torch.rand(n, 3, 4, 16, 16, generator=torch.Generator().manual_seed(first)) * 2 - 1
    return {"video": video, "sample": torch.arange(first, first + n)}


class Scaled:
    """Stands for a trainer under a precision with or without a loss scale."""

    def __init__(self, scaler=None):
        self.precision_plugin = type("Plugin", (), {"scaler": scaler})()


# --- terms ----------------------------------------------------------------------------------------------------


def test_hinge_is_zero_beyond_the_margins_and_linear_within():
    assert hinge(torch.tensor([1.5, 2.0]), torch.tensor([-1.0, -3.0])) == 0
    assert hinge(torch.tensor([0.0]), torch.tensor([0.5])).item() == pytest.approx(0.5 * (1 + 1.5))


def test_feature_matching_leaves_out_the_logits_and_the_originals_gradient():
    real = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    fake = [torch.tensor([1.0, 3.0], requires_grad=True), torch.tensor([99.0], requires_grad=True)]
    feature_matching(real, fake).backward()
    assert feature_matching(real, fake).item() == 2
    assert real[0].grad is None
    assert fake[1].grad is None
    assert torch.equal(fake[0].grad, torch.tensor([0.5, 0.5]))


def test_balance_is_the_ratio_of_gradient_norms():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    assert balance((3 * w).sum(), (w[0] * 0.5), w).item() == pytest.approx(
        math.sqrt(18) / (0.5 + 1e-4), rel=1e-5
    )
    assert balance((3 * w).sum(), (w * 0).sum(), w, maximum=50.0).item() == 50
    assert balance(w.sum() * float("nan"), w.sum(), w).item() == 0
    assert not balance(w.sum(), w.sum(), w).requires_grad


def test_the_frame_of_a_clip_is_the_one_drawn():
    video = torch.arange(8.0).view(2, 1, 4, 1, 1)
    assert one_frame_each(video, torch.tensor([0.0, 0.99])).flatten().tolist() == [0, 7]


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_frozen_discriminator_judges_alike_and_learns_nothing(norm):
    judge = PatchDiscriminator(width=8, num_halvings=1, norm=norm).train()
    before = {k: v.clone() for k, v in judge.state_dict().items()}
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    through = frozen(judge, x)
    through[-1].sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())
    assert all(torch.equal(v, before[k]) for k, v in judge.state_dict().items())  # running statistics too
    torch.testing.assert_close(through[-1], judge(x)[-1])


# --- the loss -------------------------------------------------------------------------------------------------


def fixed_step(model, step):
    """A module outside a trainer, at an optimizer step."""
    cls = type("AtStep", (type(model),), {"global_step": property(lambda self: step)})
    model.__class__ = cls
    return model


@pytest.mark.parametrize("pixel_loss", ["l1", "l2"])
def test_the_reconstruction_part_is_its_formula(pixel_loss):
    model = fixed_step(tiny(pixel_loss=pixel_loss, pixel_weight=4.0, kl_weight=0.5, start_step=9), 0)
    clips = batch()
    loss, parts = model.losses(clips)
    noise = torch.stack([model_noise(model, p) for p in clips["sample"].tolist()])
    rebuilt, kl = model.autoencoder(clips["video"], noise)
    error = rebuilt - clips["video"]
    pixel = error.abs().mean() if pixel_loss == "l1" else error.square().mean()
    expected = 4 * pixel + 0.5 * kl.mean() / (3 * 16 * 16)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert set(parts) == {"pixel", "kl"}


def model_noise(model, position):
    from videodiff.seeding import normals

    shape = model.autoencoder.latent_shape(model.video_shape)
    return normals([(model.seed, "train", "posterior", position)], shape)[0]


def test_a_clipped_loss_sees_what_is_shown_and_its_gradient_leads_back():
    module = tiny(frame_discriminator=None, pixel_loss="l2", kl_weight=0.0, clamp_loss=True)
    video = torch.full((1, 3, 4, 16, 16), -1.0)
    made = {"video": video, "sample": torch.tensor([0])}
    for target, level, error, slope in (
        (-1.0, -2.0, 0.0, 0.0),
        (0.0, -2.0, 1.0, -2.0),
        (-1.0, 2.0, 4.0, 4.0),
    ):
        rebuilt = torch.full_like(video, level, requires_grad=True)
        module.autoencoder.forward = lambda video, noise, r=rebuilt: (r, torch.zeros(1))
        loss, parts = module.losses({**made, "video": torch.full_like(video, target)})
        assert parts["pixel"].item() == pytest.approx(error)
        loss.backward()
        assert rebuilt.grad.sum().item() == pytest.approx(slope)


def test_both_players_lose_as_published_with_fixed_weights():
    clip_judge = PatchDiscriminator(dims=3, width=8, num_halvings=1, padding=2, conv_bias=True)
    model = fixed_step(
        tiny(adaptive=False, adversarial_weight=0.7, feature_matching_weight=4.0, clip_discriminator=clip_judge,
             frames="random", pixel_weight=4.0, kl_weight=0.0), 0,
    )  # fmt: skip
    clips = batch(3)
    loss, _ = model.losses(clips)
    noise = torch.stack([model_noise(model, p) for p in clips["sample"].tolist()])
    rebuilt, _ = model.autoencoder(clips["video"], noise)
    real, fake = model.chosen_frames(clips["sample"].tolist(), (clips["video"], rebuilt))
    assert real.shape == (3, 3, 16, 16)
    expected = 4 * (rebuilt - clips["video"]).abs().mean()
    for judge, x, y in ((model.frame_discriminator, real, fake), (clip_judge, clips["video"], rebuilt)):
        seen, looked = judge(x), judge(y)
        matching = sum((a - b).abs().mean() for a, b in zip(seen[:-1], looked[:-1], strict=True))
        expected = expected + 0.7 * (-looked[-1].mean() + 4 * matching)
        expected = expected + 0.5 * ((1 - seen[-1]).relu().mean() + (1 + looked[-1]).relu().mean())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_gradients_do_not_cross():
    model = fixed_step(tiny(adaptive=False, adversarial_weight=1.0, feature_matching_weight=2.0), 0)
    clips = batch()

    def gradients(part):
        return [p.grad.clone() for p in part.parameters()]

    model.losses(clips)[0].backward()
    together = gradients(model.autoencoder), gradients(model.frame_discriminator)
    # The discriminator alone: its hinge loss on a detached reconstruction.
    model.zero_grad()
    noise = torch.stack([model_noise(model, p) for p in clips["sample"].tolist()])
    rebuilt = model.autoencoder(clips["video"], noise)[0].detach()
    judge = model.frame_discriminator
    frames = (v.transpose(1, 2).flatten(0, 1) for v in (clips["video"], rebuilt))
    hinge(*(judge(f)[-1] for f in frames)).backward()
    for ours, alone in zip(together[1], gradients(judge), strict=True):
        torch.testing.assert_close(ours, alone, atol=1e-6, rtol=1e-4)
    # The autoencoder alone: another discriminator loss changes nothing.
    model.zero_grad()
    loss, parts = model.losses(clips)
    (loss - parts["discriminator"]).backward()
    for ours, alone in zip(together[0], gradients(model.autoencoder), strict=True):
        torch.testing.assert_close(ours, alone, atol=1e-6, rtol=1e-4)


def test_the_adaptive_weight_gives_both_terms_one_gradient_at_the_last_layer():
    model = fixed_step(tiny(adversarial_weight=1.0, kl_weight=0.0), 0)
    _, parts = model.losses(batch())
    layer = model.autoencoder.last_layer
    by_pixels, by_judge = (
        torch.autograd.grad(parts[k], layer, retain_graph=True)[0] for k in ("pixel", "generator")
    )
    ratio = by_pixels.norm() / (by_judge.norm() + 1e-4)
    assert parts["adversarial_scale"].item() == pytest.approx(ratio.item(), rel=1e-4)


def test_noise_and_frames_follow_the_sample_and_not_the_batch():
    model = fixed_step(tiny(frames="random", start_step=9), 0)
    video = batch()["video"]
    together = model.chosen_frames(
        [5, 6, 7], (video[:1].expand(3, -1, -1, -1, -1), video[:1].expand(3, -1, -1, -1, -1))
    )
    alone = model.chosen_frames([6], (video[:1], video[:1]))
    assert torch.equal(together[0][1], alone[0][0])
    many = {"video": video, "sample": torch.tensor([3, 4])}
    halves = [{"video": video[i : i + 1], "sample": torch.tensor([3 + i])} for i in range(2)]
    losses = [model.losses(half)[0] for half in halves]
    torch.testing.assert_close(model.losses(many)[0], torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)


def test_a_deterministic_autoencoder_is_trained_by_the_same_module():
    torch.manual_seed(0)
    planes = TriplaneAutoencoder(
        num_frames=4, resolution=16, patch_size=8, width=16, depth=1, heads=2, head_dim=8, projection_depth=1
    )
    model = fixed_step(tiny(autoencoder=planes), 0)
    loss, parts = model.losses(batch())
    loss.backward()
    assert parts["kl"] == 0
    assert torch.isfinite(loss)
    assert planes.last_layer.grad.abs().sum() > 0


class Distance(nn.Module):
    """Stands for LPIPS: differentiable, one number a frame."""

    def forward(self, x, y):
        return (x - y).square().flatten(1).sum(1)


def test_the_perceptual_term_sees_the_chosen_frames_and_joins_the_reconstruction():
    model = fixed_step(tiny(perceptual_weight=0.3, start_step=9, kl_weight=0.0), 0)
    assert not any("perceptual" in key for key in model.state_dict())
    model.perceptual = Distance()
    clips = batch()
    loss, _ = model.losses(clips)
    noise = torch.stack([model_noise(model, p) for p in clips["sample"].tolist()])
    error = model.autoencoder(clips["video"], noise)[0] - clips["video"]
    expected = error.abs().mean() + 0.3 * error.square().sum((1, 3, 4)).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_missing_weights_of_the_perceptual_term_are_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEODIFF_OFFLINE", "1")
    monkeypatch.setenv("VIDEODIFF_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = tiny(perceptual_weight=1.0)
    model.trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    with pytest.raises(FileNotFoundError, match=r"vgg16.*--model.perceptual_weight 0") as error:
        model.setup("fit")
    assert "\n" not in str(error.value)
    model.setup("predict")  # needs none


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kl_weight": -1.0}, "kl_weight"),
        ({"start_step": -1}, "start_step"),
        ({"pixel_loss": "huber"}, "l1 or l2"),
        ({"frames": "first"}, "all or random"),
    ],
)
def test_bad_settings_are_refused_in_one_line(options, words):
    with pytest.raises(ValueError, match=words) as error:
        tiny(**options)
    assert "\n" not in str(error.value)


def test_two_groups_with_their_own_rates_and_clipping():
    model = tiny(discriminator_lr=1e-2)
    optimizer = model.configure_optimizers()
    assert [g["lr"] for g in optimizer.param_groups] == [3.6e-5, 1e-2]
    counts = [sum(p.numel() for p in g["params"]) for g in optimizer.param_groups]
    assert counts == [
        sum(p.numel() for p in part.parameters()) for part in (model.autoencoder, model.frame_discriminator)
    ]
    for group, size in zip(optimizer.param_groups, (100.0, 0.01), strict=True):
        for p in group["params"]:
            p.grad = torch.full_like(p, size)
    before = [p.grad.clone() for p in model.frame_discriminator.parameters()]
    model.trainer = Scaled()
    model.configure_gradient_clipping(optimizer, 1.0, "norm")
    norms = [torch.stack([p.grad.norm() for p in g["params"]]).norm().item() for g in optimizer.param_groups]
    assert norms[0] == pytest.approx(1, rel=1e-4)
    if norms[1] < 1:  # a small gradient is not shrunk by a large one of the other player
        assert all(
            torch.equal(p.grad, b)
            for p, b in zip(model.frame_discriminator.parameters(), before, strict=True)
        )


def test_one_clip_can_be_learnt_by_heart():
    model = fixed_step(tiny(start_step=9, kl_weight=0.0), 0)
    optimizer = torch.optim.AdamW(model.autoencoder.parameters(), lr=5e-3)
    t = torch.arange(16.0) / 16
    video = (torch.sin(6 * t)[:, None] * torch.cos(6 * t)).expand(1, 3, 4, 16, 16)
    losses = []
    for step in range(40):
        loss, _ = model.losses({"video": video, "sample": torch.tensor([step])})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


# --- clipping -------------------------------------------------------------------------------------------------


def norms(model):
    """Gradient norms of the autoencoder and of each discriminator."""
    return [
        float(torch.stack([p.grad.norm() for p in part.parameters() if p.grad is not None]).norm())
        for part in (model.autoencoder, *model.discriminators)
    ]


def clipped(discriminator_clip, value, algorithm=None):
    """Norms before and after clipping of a module whose gradients are large."""
    judge = PatchDiscriminator(dims=3, width=8, num_halvings=1, padding=2)
    model = tiny(clip_discriminator=judge, discriminator_clip=discriminator_clip)
    model.trainer = Scaled()
    for number, part in enumerate((model.autoencoder, *model.discriminators)):
        for parameter in part.parameters():
            parameter.grad = torch.full_like(parameter, 1.0 + number)
    before = norms(model)
    model.configure_gradient_clipping(model.configure_optimizers(), value, algorithm)
    return before, norms(model)


def test_each_discriminator_is_clipped_by_itself_and_the_autoencoder_not_at_all():
    before, after = clipped(1.0, None)
    assert min(before) > 2
    assert after[0] == before[0]
    assert after[1:] == pytest.approx([1, 1], abs=1e-4)
    assert clipped(1.0, 0.5)[1] == pytest.approx(
        [0.5, 1, 1], abs=1e-4
    )  # the trainer's is the autoencoder's then
    _, after = clipped(None, 1.0)  # the two players, each by one norm
    assert after[0] == pytest.approx(1, abs=1e-4)
    assert math.hypot(*after[1:]) == pytest.approx(1, abs=1e-4)
    assert clipped(None, None)[1] == before
    assert clipped(1.0, 0.01, "value")[1][1:] == pytest.approx([1, 1], abs=1e-4)


def test_a_discriminator_without_gradients_is_left_alone():
    model = tiny(discriminator_clip=1.0)
    model.trainer = Scaled()
    model.configure_gradient_clipping(model.configure_optimizers())
    assert all(p.grad is None for p in model.parameters())


def test_gradients_that_a_loss_scale_multiplies_are_not_clipped():
    for options, value in (({"discriminator_clip": 1.0}, None), ({}, 1.0)):
        model = tiny(optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-3, fused=True), **options)
        model.trainer = Scaled(scaler=object())
        with pytest.raises(ValueError, match="cannot be clipped under 16-mixed with a fused optimizer"):
            model.configure_gradient_clipping(model.configure_optimizers(), value)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clip_that_is_no_norm_is_refused(value):
    with pytest.raises(ValueError, match="discriminator_clip must be above 0 and finite, got"):
        tiny(discriminator_clip=value)
