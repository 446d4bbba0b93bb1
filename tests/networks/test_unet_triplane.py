import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from published_files import filled, given
from videodiff.checkpoints.published.pvdm import unet_state
from videodiff.diffusion.condition import Condition
from videodiff.networks import ResBlock, TriplaneUNet
from videodiff.networks.embeddings import sinusoidal_embedding
from videodiff.networks.planes import join_planes, reverse_time, split_planes

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
TINY = dict(
    num_frames=4, plane_size=8, width=32, channel_multipliers=(1, 2), num_blocks=1, attention_levels=(0,)
)


@pytest.mark.skipif(not ASSETS, reason="VIDEODIFF_TEST_ASSETS names no folder of fixtures")
@pytest.mark.parametrize("is_conditional", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_computes_what_the_published_network_computes(is_conditional):
    folder = Path(ASSETS) / "fixtures" / "official"
    expected = np.load(folder / "pvdm_unet_small.npz")
    net = TriplaneUNet(width=32, norm_groups=32, plane_embedding=False).eval()
    net.load_state_dict(unet_state(filled("pvdm_unet_small")))
    concat = given("cond", (2, 4, 2048)).tanh() if is_conditional else None
    z, time = given("latent", (2, 4, 2048)), torch.from_numpy(expected["t"])
    with torch.no_grad():
        out = net(z, time, Condition(concat=concat)).numpy()
    assert np.abs(out - expected["out_cond" if is_conditional else "out_uncond"]).max() < 1e-4


@pytest.mark.skipif(not ASSETS, reason="VIDEODIFF_TEST_ASSETS names no folder of fixtures")
@pytest.mark.parametrize(("size", "width"), [("S", 128), ("L", 256)])
def test_a_published_checkpoint_has_a_place_for_every_tensor(size, width):
    file = Path(ASSETS) / "fixtures" / "official" / f"pvdm_unet_{size}.json"
    with torch.device("meta"):
        keys = json.loads(file.read_text())["keys"]
        published = unet_state({name: torch.empty(entry["shape"]) for name, entry in keys.items()})
        ours = TriplaneUNet(width=width).state_dict()
    assert {name: value.shape for name, value in published.items()} == {n: v.shape for n, v in ours.items()}


def awake(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network with its zero-initialised parameters filled, so that every layer has a say."""
    generator = torch.Generator().manual_seed(seed)
    for parameter_ in net.parameters():
        if not parameter_.any():
            parameter_.data.normal_(std=0.1, generator=generator)
    return net


def tiny(**options) -> TriplaneUNet:
    torch.manual_seed(0)
    return awake(TriplaneUNet(**{**TINY, **options})).eval()


def swapped(planes: torch.Tensor, net: TriplaneUNet) -> torch.Tensor:
    """The two planes over time in each other's place."""
    spatial, width, height = split_planes(planes, net.plane_sizes)
    return join_planes([spatial, height, width])


def test_the_planes_over_time_are_told_apart_which_the_published_network_cannot():
    for is_conditioned in (True, False):
        net = tiny(plane_embedding=is_conditioned)
        torch.manual_seed(1)
        z, time = torch.randn(2, net.channels, net.plane_sizes.num_tokens), torch.tensor([999.0, 500.0])
        with torch.no_grad():
            difference = (
                (net(swapped(z, net), time, Condition()) - swapped(net(z, time, Condition()), net))
                .abs()
                .max()
            )
        assert (difference > 1e-2) if is_conditioned else (difference < 1e-5)
    count = [sum(p.numel() for p in tiny(plane_embedding=told).parameters()) for told in (True, False)]
    assert count[0] == count[1]


def inputs(net: TriplaneUNet, batch: int = 2) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    z, concat = torch.randn(2, batch, 4, net.plane_sizes.num_tokens, generator=generator)
    return z, torch.linspace(10, 900, batch), Condition(concat=concat)


def test_the_clip_before_may_be_seen_backwards_in_time():
    plain, reverse = tiny(), tiny(concat_reversed=True)
    z, time, cond = inputs(plain)
    backwards = Condition(concat=reverse_time(cond.concat, plain.plane_sizes))
    with torch.no_grad():
        assert torch.equal(reverse(z, time, backwards), plain(z, time, cond))
        assert not torch.allclose(reverse(z, time, cond), plain(z, time, cond), atol=1e-2)
        assert torch.equal(reverse(z, time, Condition()), plain(z, time, Condition()))


# counted on the published network (PVDM-S and PVDM-L, four condition channels) and on its smallest form
@pytest.mark.parametrize(("width", "count"), [(128, 132_163_588), (256, 528_273_412), (32, 8_295_940)])
def test_parameter_counts_are_the_published_ones(width, count):
    with torch.device("meta"):
        net = TriplaneUNet(width=width)
    assert sum(p.numel() for p in net.parameters()) == count


def test_an_untrained_network_returns_exactly_zero():
    net = TriplaneUNet(**TINY)
    out = net(*inputs(net))
    assert out.shape == (2, 4, 128)
    assert not out.any()


# all planes of one size, two of three, the first two of three, none: they run in 1, 2, 2 and 3 stacks
@pytest.mark.parametrize("sizes", [(8, 8, 8), (4, 8, 8), (4, 4, 8), (2, 4, 8)])
def test_planes_of_any_size_come_out_as_planes_on_their_own(sizes):
    num_frames, height, width = sizes
    net = tiny(num_frames=num_frames, plane_size=(height, width))
    for block in [*net.down, net.middle, *net.up]:
        for parameter_ in block.joint.out.parameters():
            nn.init.zeros_(parameter_)  # nothing connects the planes now
    z, time, cond = inputs(net)
    out = net(z, time, cond)
    start = 0
    for rows, columns in net.plane_sizes.shapes:
        end = start + rows * columns
        changed = z.clone()
        changed[:, :, start:end] += 1
        moved = (net(changed, time, cond) - out).abs().amax((0, 1))
        assert moved[start:end].min() > 1e-4
        assert moved[:start].sum() + moved[end:].sum() == 0
        start = end
    assert start == net.plane_sizes.num_tokens


def test_every_token_sees_every_plane():
    net = tiny()
    z, time, cond = inputs(net)
    out = net(z, time, cond)
    for start, end in ((0, 64), (64, 96), (96, 128)):
        changed = z.clone()
        changed[:, :, start:end] += 1
        assert (net(changed, time, cond) - out).abs().amax((0, 1)).min() > 1e-5


def test_a_sample_does_not_depend_on_its_batch():
    net = tiny()
    z, time, cond = inputs(net, batch=3)
    out, order = net(z, time, cond), [2, 0, 1]
    permuted = net(z[order], time[order], cond.map(lambda value: value[order]))
    torch.testing.assert_close(permuted, out[order], atol=2e-5, rtol=1e-5)
    alone = net(z[:1], time[:1], cond.map(lambda value: value[:1]))
    torch.testing.assert_close(alone, out[:1], atol=2e-5, rtol=1e-5)


def test_absent_and_null_conditions_are_the_same():
    net = tiny(num_classes=3)
    z, time, cond = inputs(net)
    full = Condition(label=torch.tensor([0, 2]), concat=cond.concat)
    absent = net(z, time, Condition())
    torch.testing.assert_close(net(z, time, full.null()), absent)
    out = net(z, time, full)
    assert (net(z, time, Condition(label=full.label)) - out).abs().max() > 1e-3
    assert (net(z, time, cond) - out).abs().max() > 1e-3
    dropped = net(z, time, full.drop(torch.tensor([True, False])))
    torch.testing.assert_close(dropped[0], out[0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(dropped[1], absent[1], atol=2e-5, rtol=1e-5)


def test_every_parameter_has_a_gradient_without_a_condition():
    net = tiny(num_classes=3)
    z, time, _ = inputs(net)
    net(z, time, Condition()).square().mean().backward()
    assert [name for name, parameter_ in net.named_parameters() if parameter_.grad is None] == []


def test_recomputing_gives_equal_outputs_and_gradients():
    results = []
    for recompute in (False, True):
        net = tiny(recompute=recompute, dropout=0.2).train()
        torch.manual_seed(3)
        out = net(*inputs(net))
        out.square().mean().backward()
        results.append([out, *(parameter_.grad for parameter_ in net.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=1e-5, atol=1e-6)


def test_bf16_autocast_stays_close_to_fp32():
    net = tiny()
    exact = net(*inputs(net))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(*inputs(net))
    assert rounded.dtype == torch.float32
    # bf16 rounds to 2^-9; a dozen layers add up to a few per cent of the output's spread
    assert (rounded - exact).std() < 0.03 * exact.std()


def test_every_convolution_reads_channels_last_memory():
    net, wrong = tiny(), []

    def look(module, args):
        if not args[0].is_contiguous(memory_format=torch.channels_last) or args[0].is_contiguous():
            wrong.append(module)

    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_pre_hook(look)
    assert net(*inputs(net)).is_contiguous()
    assert len(convolutions) > 10
    assert wrong == []


@pytest.mark.slow  # the suite traces UNet3D's blocks; which blocks compile, and their names, test_network.py holds
def test_compiled_blocks_keep_names_and_outputs():
    net = tiny(channel_multipliers=(1,))  # every kind of block; each is traced anew
    names, expected = list(net.state_dict()), net(*inputs(net))
    net.compile_blocks(backend="eager")
    assert list(net.state_dict()) == names
    assert sum(isinstance(m, ResBlock) and m._compiled_call_impl is not None for m in net.modules()) > 3
    torch.testing.assert_close(net(*inputs(net)), expected)


def test_the_slowest_sinusoid_stops_short_of_one_in_ten_thousand_steps():
    embedding = sinusoidal_embedding(torch.tensor([1000.0]), 8, is_open=True)
    frequencies = torch.tensor([1, 1e-1, 1e-2, 1e-3])  # 10000^(-i / 4)
    torch.testing.assert_close(embedding[0, :4], (1000 * frequencies).sin(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_frames=3), "num_frames must be divisible by 2 .*got 3"),
        (dict(plane_size=(8, 7)), "plane_size must be divisible by 2 .*got 8x7"),
        (dict(plane_size=0), "plane_size must be at least 1, got 0"),
        (dict(attention_levels=(0, 2)), r"attention_levels must lie between 0 and 1, got \[2\]"),
        (dict(heads=5), "heads must divide the 32 channels.*got 5"),
        (dict(width=7, heads=7), "width must be even and at least 4, got 7"),
        (dict(num_blocks=0), "num_blocks must be at least 1, got 0"),
        (dict(channel_multipliers=()), "at least one level"),
    ],
)
def test_the_constructor_names_the_rule_that_is_broken(options, message):
    with pytest.raises(ValueError, match=message):
        TriplaneUNet(**{**TINY, **options})


@pytest.mark.parametrize(
    ("shape", "cond", "message"),
    [
        ((2, 4, 127), {}, r"are a latent \[B, C, 128\], got \[2, 4, 127\]"),
        ((2, 3, 128), {}, "z of 4 channels, got 3"),
        ((2, 4, 128), dict(label=torch.zeros(2, dtype=torch.long)), "built without num_classes"),
        ((2, 4, 128), dict(context=torch.zeros(2, 4, 8)), "has a context"),
        ((2, 4, 128), dict(images=(True,)), "no still images"),
        ((2, 4, 128), dict(concat=torch.zeros(2, 1, 128)), r"concat must have shape \[2, 4, 128\]"),
    ],
)
def test_the_call_names_what_does_not_fit(shape, cond, message):
    with pytest.raises(ValueError, match=message):
        tiny()(torch.zeros(shape), torch.zeros(2), Condition(**cond))


def test_a_network_without_condition_channels_refuses_a_previous_clip():
    net = tiny(concat_channels=0)
    z, time, cond = inputs(net)
    assert net(z, time, Condition()).shape == z.shape
    with pytest.raises(ValueError, match="built without concat_channels"):
        net(z, time, cond)
