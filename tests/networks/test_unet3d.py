import pytest
import torch
from torch import nn

from turns import by_turns
from videodiff.diffusion.condition import Condition
from videodiff.networks import FrameNorm, UNet3D

TINY = dict(
    resolution=16,
    num_frames=8,
    width=32,
    channel_multipliers=(1, 2),
    num_blocks=1,
    attention_resolutions=(8,),
    head_dim=16,
    embedding_dim=64,
    embedding_layers=2,
)
PAPER = dict(embedding_dim=1024)
# parameters of this architecture with resampling by residual blocks and by convolutions, counted independently
COUNTS = {
    "ucf101": (dict(width=256, **PAPER), 1_240_723_459, 1_167_744_259),
    "kinetics": (dict(width=256, embedding_layers=2, **PAPER), 1_238_624_259, 1_165_645_059),
    "bair": (
        dict(width=128, channel_multipliers=(1, 2, 3, 4), num_blocks=3, embedding_layers=2, **PAPER),
        158_760_195,
        148_473_987,
    ),
    "text_small": (dict(width=128, **PAPER), 327_465_987, 306_459_267),
    "text_9x128": (
        dict(
            width=128,
            channel_multipliers=(1, 2, 4, 8, 16),
            num_frames=9,
            resolution=128,
            head_dim=128,
            **PAPER,
        ),
        1_245_761_539,
        1_171_255_939,
    ),
    "small": ({}, 77_702_659, 73_134_403),
    "tiny": (TINY, 816_483, 757_443),
}


def awake(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network with its zero-initialised parameters filled, so that every layer has a say."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1, generator=generator)
    return net


def tiny(**options) -> UNet3D:
    torch.manual_seed(0)
    return awake(UNet3D(**{**TINY, **options})).eval()


def inputs(frames: int = 8, batch: int = 2, channels: int = 3):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(batch, channels, frames, 16, 16, generator=generator)
    return z, torch.linspace(10, 900, batch)


@pytest.mark.parametrize("resample", ["residual", "conv"])
@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_the_architecture(name, resample):
    options, residual, conv = COUNTS[name]
    with torch.device("meta"):
        net = UNet3D(resample=resample, **options)
    assert sum(p.numel() for p in net.parameters()) == (residual if resample == "residual" else conv)


@pytest.mark.parametrize("position", ["shaw", "rotary", "t5"])
def test_an_untrained_network_returns_exactly_zero(position):
    z, time = inputs()
    out = UNet3D(temporal_position=position, **TINY)(z, time, Condition())
    assert out.shape == z.shape
    assert not out.any()


def test_each_level_has_the_published_shape():
    with torch.device("meta"):
        net = UNet3D(width=256, embedding_dim=1024)
        shapes, pairs = [], []
        for layer in [*net.down, *net.middle, *net.up]:
            layer.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape)))
            if getattr(layer, "temporal", None) is not None:
                pairs.append(layer)
        out = net(torch.empty(1, 3, 16, 64, 64), torch.empty(1), Condition())
    assert out.shape == (1, 3, 16, 64, 64)
    assert len(net.down) + 1 == 12
    assert len(pairs) == 16
    down = [
        (16, 256, 64),
        (16, 256, 64),
        (16, 256, 32),
        *[(16, 512, 32)] * 2,
        (16, 512, 16),
        *[(16, 1024, 16)] * 2,
    ]
    assert [shape[:3] for shape in shapes[:8]] == down
    assert [shape[:3] for shape in shapes[8:13]] == [(16, 1024, 8), *[(16, 2048, 8)] * 4]


@pytest.mark.parametrize(
    ("position", "resample"), by_turns([("shaw",), ("rotary",), ("t5",)], ("residual", "conv"))
)
def test_every_convolution_reads_channels_last_memory(position, resample):
    net, wrong = tiny(temporal_position=position, resample=resample, concat_channels=2), []

    def look(module, args):
        if not args[0].is_contiguous(memory_format=torch.channels_last) or args[0].is_contiguous():
            wrong.append(module)

    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_pre_hook(look)
    z, time = inputs()
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = net(z, time, Condition())
        assert out.is_contiguous()
    assert len(convolutions) > 10
    assert wrong == []


def test_without_temporal_attention_frames_are_independent():
    net = tiny()
    for module in net.modules():
        if getattr(module, "temporal", None) is not None:
            nn.init.zeros_(module.temporal.out.weight)
            nn.init.zeros_(module.temporal.out.bias)
    z, time = inputs()
    changed = z.clone()
    changed[:, :, 3] += 1
    moved = (net(changed, time, Condition()) - net(z, time, Condition())).abs().amax((0, 1, 3, 4))
    assert moved[3] > 0.01
    assert moved[torch.arange(8) != 3].max() == 0


def test_a_still_image_may_stand_anywhere():
    net = tiny(temporal_position="t5")
    z, time = inputs(frames=8)
    out = net(z, time, Condition(images=(False, True, *[False] * 6)))
    changed = z.clone()
    changed[:, :, 1] += 1
    moved = (net(changed, time, Condition(images=(False, True, *[False] * 6))) - out).abs().amax((0, 1, 3, 4))
    assert moved[1] > 0.01
    assert moved[torch.arange(8) != 1].max() == 0


@pytest.mark.parametrize("position", ["shaw", "rotary", "t5"])
def test_a_still_image_touches_no_other_frame(position):
    net = tiny(temporal_position=position)
    z, time = inputs(frames=8 + 3)
    cond = Condition(images=(False,) * 8 + (True,) * 3)
    out = net(z, time, cond)
    changed = z.clone()
    changed[:, :, 9] += 1
    moved = (net(changed, time, cond) - out).abs().amax((0, 1, 3, 4))
    assert moved[9] > 0.01
    assert moved[torch.arange(11) != 9].max() == 0
    changed = z.clone()
    changed[:, :, 0] += 1
    moved = (net(changed, time, cond) - out).abs().amax((0, 1, 3, 4))
    assert moved[:8].min() > 1e-4
    assert moved[8:].max() == 0


def test_videos_beside_images_come_out_as_without_them():
    net = tiny()
    z, time = inputs(frames=8 + 3)
    joint = net(z, time, Condition(images=(False,) * 8 + (True,) * 3))
    torch.testing.assert_close(joint[:, :, :8], net(z[:, :, :8], time, Condition()), atol=2e-5, rtol=1e-5)
    alone = net(z[:, :, 9:10], time, Condition())
    torch.testing.assert_close(joint[:, :, 9:10], alone, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("noise_levels", [None, 100])
def test_a_frame_with_a_class_and_vector_of_its_own_comes_out_as_with_them_alone(noise_levels):
    net = tiny(num_classes=3, vector_dim=5, concat_channels=2, noise_levels=noise_levels)
    z, time = inputs(frames=8 + 2)
    beside = dict(concat=torch.randn(2, 2, 10, 16, 16), concat_time=torch.tensor([0.1, 0.4]))
    images = (False,) * 8 + (True,) * 2
    label = torch.tensor([[0] * 8 + [2, 1], [1] * 8 + [-1, 2]])
    vector = torch.randn(2, 10, 5)
    vector[:, :8] = vector[:, :1]
    joint = net(z, time, Condition(label=label, vector=vector, images=images, **beside))
    for frames in (slice(0, 8), slice(8, 9), slice(9, 10)):
        part = {**beside, "concat": beside["concat"][:, :, frames]}
        alone = Condition(label=label[:, frames.start], vector=vector[:, frames.start], **part)
        torch.testing.assert_close(
            joint[:, :, frames], net(z[:, :, frames], time, alone), atol=2e-5, rtol=1e-5
        )


def test_norms_over_clips_take_one_class_a_clip():
    net = tiny(num_classes=3, norm="clip")
    with pytest.raises(ValueError, match=r"label must have shape \[2\], got \[2, 8\]"):
        net(*inputs(frames=8), Condition(label=torch.zeros(2, 8, dtype=torch.long)))


def test_patches_are_the_same_network_on_pixels_gathered_as_channels():
    """A network of patches equals one without them that is given every 2 x 2 pixels as channels of one."""
    patched = tiny(patch_size=2, resolution=32, concat_channels=2)
    plain = tiny(channels=12, concat_channels=8, resolution=16)
    plain.load_state_dict(patched.state_dict())
    z, concat = torch.randn(2, 5, 8, 32, 32, generator=torch.Generator().manual_seed(1)).split([3, 2], 1)
    time = torch.tensor([10.0, 900.0])

    def gathered(video):  # b c t (h 2) (w 2) -> b (c 2 2) t h w
        return video.unflatten(4, (16, 2)).unflatten(3, (16, 2)).permute(0, 1, 4, 6, 2, 3, 5).flatten(1, 3)

    with torch.no_grad():
        out = patched(z, time, Condition(concat=concat))
        expected = plain(gathered(z), time, Condition(concat=gathered(concat)))
    assert out.shape == z.shape
    assert torch.allclose(gathered(out), expected, atol=1e-5)


def test_a_sample_does_not_depend_on_its_batch():
    net = tiny()
    z, time = inputs(batch=3)
    together = net(z, time, Condition())
    for i in range(3):
        torch.testing.assert_close(
            together[i : i + 1], net(z[i : i + 1], time[i : i + 1], Condition()), atol=2e-5, rtol=1e-5
        )


def test_absent_and_null_conditions_are_the_same():
    net = tiny(num_classes=3, vector_dim=5, concat_channels=2)
    z, time = inputs()
    full = Condition(
        label=torch.tensor([0, 2]),
        vector=torch.randn(2, 5),
        concat=torch.randn(2, 2, 8, 16, 16),
        concat_time=torch.tensor([0.2, 0.7]),
    )
    absent = net(z, time, Condition())
    torch.testing.assert_close(net(z, time, full.null()), absent)
    out = net(z, time, full)
    for field in full.tensors():
        other = Condition(**{**full.tensors(), field: None})
        assert (net(z, time, other) - out).abs().max() > 1e-3, field
    dropped = net(z, time, full.drop(torch.tensor([True, False])))
    torch.testing.assert_close(dropped[0], out[0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(dropped[1], absent[1], atol=2e-5, rtol=1e-5)


def test_every_parameter_has_a_gradient_without_a_condition():
    net = tiny(num_classes=3, vector_dim=5, concat_channels=2)
    z, time = inputs()
    net(z, time, Condition()).square().mean().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("position", ["shaw", "rotary", "t5"])
def test_recomputing_gives_equal_outputs_and_gradients(position):
    z, time = inputs()
    results = []
    for recompute in (False, True):
        net = tiny(temporal_position=position, recompute=recompute, dropout=0.2).train()
        torch.manual_seed(3)
        out = net(z, time, Condition())
        out.square().mean().backward()
        results.append([out, *(parameter.grad for parameter in net.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("position", ["shaw", "rotary", "t5"])
def test_bf16_autocast_stays_close_to_fp32(position):
    net = tiny(temporal_position=position)
    z, time = inputs()
    exact = net(z, time, Condition())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(z, time, Condition())
    assert rounded.dtype == torch.float32
    # bf16 rounds to 2^-9; a dozen layers add up to a few per cent of the output's spread
    assert (rounded - exact).std() < 0.03 * exact.std()


def test_autocast_does_not_touch_the_time_embedding():
    net = tiny()
    time = torch.tensor([998.0, 999.0])  # equal in bf16
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net.embedding(time, None, None, None)
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, net.embedding(time, None, None, None))
    assert (rounded[0] - rounded[1]).abs().max() > 1e-3


def test_compiled_blocks_keep_names_and_outputs():
    net = tiny(
        channel_multipliers=(1,), attention_resolutions=(16,), num_blocks=1
    )  # each block is traced anew
    z, time = inputs()
    names, expected = list(net.state_dict()), net(z, time, Condition())
    net.compile_blocks(backend="eager")
    assert list(net.state_dict()) == names
    torch.testing.assert_close(net(z, time, Condition()), expected)


def test_rotary_tables_made_in_inference_mode_train_later():
    net = tiny(temporal_position="rotary")
    z, time = inputs()
    with torch.inference_mode():
        net(z, time, Condition())
    net(z, time, Condition()).sum().backward()
    assert len(net.rotary.tables) == 1


def test_moments_on_a_device_equal_torchs_group_norm():
    norm = awake(FrameNorm(64))
    nn.init.normal_(norm.weight)
    x = (3 + torch.randn(4, 64, 8, 8)).to(memory_format=torch.channels_last)
    scale, shift = torch.randn(2, 4, 64).unbind()
    torch.testing.assert_close(norm.by_moments(x), norm(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.by_moments(x, scale, shift), norm(x, scale, shift), atol=2e-5, rtol=1e-5)
    expected = (
        nn.functional.group_norm(x, norm.num_groups, norm.weight, norm.bias) * (1 + scale)[..., None, None]
    )
    torch.testing.assert_close(norm(x, scale, shift), expected + shift[..., None, None], atol=1e-5, rtol=1e-5)
    assert norm.by_moments(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(resolution=15), "resolution must be divisible by 2 .*got 15"),
        (
            dict(attention_resolutions=(4,)),
            r"attention_resolutions must be sizes of levels, \[16, 8\] here, got \[4\]",
        ),
        (dict(head_dim=24), "head_dim must divide the 64 channels.*got 24"),
        (dict(width=7, head_dim=7), "width must be even and at least 4, got 7"),
        (
            dict(temporal_position="learned"),
            "temporal_position must be shaw, rotary, t5 or shaw_lvdm, got learned",
        ),
        (dict(temporal_position="rotary", head_dim=1), "even head_dim, got 1"),
        (dict(num_frames=0), "num_frames must be at least 1, got 0"),
        (dict(patch_size=0), "patch_size must be at least 1, got 0"),
        (dict(patch_size=3), "resolution must be divisible by 6 .patch_size 3, .*got 16"),
        (dict(num_blocks=0), "num_blocks must be at least 1, got 0"),
        (dict(channel_multipliers=()), "at least one level"),
    ],
)
def test_the_constructor_names_the_rule_that_is_broken(options, message):
    with pytest.raises(ValueError, match=message):
        UNet3D(**{**TINY, **options})


@pytest.mark.parametrize(
    ("shape", "cond", "message"),
    [
        ((2, 4, 8, 16, 16), {}, r"takes z of shape \[B, 3, T, H, W\], got \[2, 4, 8, 16, 16\]"),
        ((2, 3, 9, 16, 16), {}, "at most 8 frames"),
        (
            (2, 3, 10, 16, 16),
            dict(images=(False,) * 9 + (True,)),
            "at most 8 frames .*got 9 beside 1 still images",
        ),
        ((2, 3, 8, 16, 16), dict(images=(True,) * 3), "images for 3 frames, z has 8"),
        ((2, 3, 8, 16, 15), {}, "divisible by 2"),
        (
            (2, 3, 8, 16, 16),
            dict(label=torch.zeros(2, dtype=torch.long)),
            "label but UNet3D was built without num_classes",
        ),
        (
            (2, 3, 8, 16, 16),
            dict(context=torch.zeros(2, 4, 8)),
            "context but UNet3D was built without context_dim",
        ),
        (
            (2, 3, 8, 16, 16),
            dict(concat=torch.zeros(2, 1, 8, 16, 16)),
            r"concat must have shape \[2, 2, 8, 16, 16\]",
        ),
        (
            (2, 3, 8, 16, 16),
            dict(vector=torch.zeros(2, 4)),
            r"vector must have shape \[2, 5\] or \[2, 8, 5\], got \[2, 4\]",
        ),
    ],
)
def test_the_call_names_what_does_not_fit(shape, cond, message):
    net = tiny(vector_dim=5, concat_channels=2)
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(shape), torch.zeros(2), Condition(**cond))


@pytest.mark.parametrize("position", ["shaw", "rotary", "t5"])
def test_a_causal_network_does_not_see_later_frames_at_all(position):
    # exactly: norms are over frames, and a weight of attention that is hidden is 0
    net = tiny(causal=True, temporal_position=position, num_classes=3)
    z = torch.randn(2, 3, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    time, cond = torch.rand(2, 8, generator=torch.Generator().manual_seed(2)) * 1000, Condition()
    other, other_time = z.clone(), time.clone()
    other[:, :, 5] += 1.0
    other_time[:, 6] = 3.0
    with torch.no_grad():
        moved = net(other, other_time, cond) - net(z, time, cond)
        all_seen = tiny(temporal_position=position, num_classes=3)
        assert (all_seen(other, time, cond) - all_seen(z, time, cond))[:, :, :5].abs().max() > 1e-3
    assert moved[:, :, :5].abs().max() == 0
    assert (moved[:, :, 5:].flatten(3).abs().amax((0, 1, 3)) > 1e-3).all()


def test_a_causal_network_sees_no_later_frame_of_a_clip_beside_still_images():
    net = tiny(causal=True)
    z = torch.randn(1, 3, 6, 16, 16, generator=torch.Generator().manual_seed(1))
    cond = Condition(images=(False,) * 4 + (True,) * 2)
    other = z.clone()
    other[:, :, 4] += 1.0
    with torch.no_grad():
        moved = net(other, torch.tensor([300.0]), cond) - net(z, torch.tensor([300.0]), cond)
    assert [frame.abs().max() > 0 for frame in moved.unbind(2)] == [False] * 4 + [True, False]


def test_norms_over_clips_take_one_time_and_see_all_frames():
    with pytest.raises(ValueError, match="a causal network has norms over frames"):
        tiny(causal=True, norm="clip")
    net = tiny(norm="clip")
    assert not net.takes_unit_times
    with pytest.raises(ValueError, match=r"time must have shape \[1\] .* built with norm clip"):
        net(torch.zeros(1, 3, 8, 16, 16), torch.zeros(1, 8), Condition())
