"""The diffusion transformer: layouts, positions, what attends to what, and what it costs."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from videodiff.checkpoints.partial import fit_weights
from videodiff.cost.counter import Counter
from videodiff.diffusion import Condition
from videodiff.networks import Autoencoder3D, PixelSpace, SpacetimeDiT, TriplaneAutoencoder
from videodiff.networks.patches import from_patches, from_plane_patches, patches, plane_patches
from videodiff.networks.planes import PlaneSizes
from videodiff.networks.positions import rotary_angles, sincos

LAYOUTS = ("joint", "alternating", "factorised")
POSITIONS = ("sincos", "rotary")
TIME = torch.tensor([10.0, 900.0])


def built(dtype=torch.float32, awake=True, **options):
    torch.manual_seed(0)
    small = dict(size=None, depth=4, width=48, num_heads=4, channels=4)
    net = SpacetimeDiT(**{**small, **options}).to(dtype)
    if awake:  # gates and head begin at zero
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.1)
    return net.eval()


def noise(*shape, dtype=torch.float32, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def changed(net, z, at, by=1.0, cond=None):
    """Where the output differs, ``[U, H, W]`` bool, when ``z`` differs at one place of all channels."""
    moved = z.clone()
    moved[(slice(None), slice(None), *at)] += by
    with torch.no_grad():
        cond = cond or Condition()
        difference = net(moved, TIME[: len(z)], cond) - net(z, TIME[: len(z)], cond)
    return difference.abs().amax((0, 1)) > 0


@pytest.mark.parametrize("size", [(2, 2, 4), (1, 2, 2), (3, 8, 1), (1, 1, 1)])
def test_patches_put_together_again_are_the_latent(size):
    z = noise(2, 3, 6, 8, 12)
    cut = patches(z, size)
    assert cut.shape == (2, 6 // size[0], 96 // (size[1] * size[2]), 3 * size[0] * size[1] * size[2])
    assert torch.equal(from_patches(cut, size, z.shape[2:]), z)
    one = z[:, :, : size[0], : size[1], : size[2]]  # the first token: time, row, column, channel
    assert torch.equal(cut[:, 0, 0], one.permute(0, 2, 3, 4, 1).flatten(1))


def test_planes_cut_into_patches_put_together_again_are_the_planes():
    sizes = PlaneSizes(4, 8, 6)
    z = noise(2, 3, sizes.num_tokens)
    cut = plane_patches(z, sizes, 2)
    assert cut.shape == (2, 1, sizes.num_tokens // 4, 12)
    assert torch.equal(from_plane_patches(cut, sizes, 2), z)


@pytest.mark.parametrize(("layout", "positions"), itertools.product(LAYOUTS, POSITIONS))
def test_an_untrained_network_returns_zero_its_blocks_the_identity_and_its_head_learns(layout, positions):
    net = built(awake=False, layout=layout, positions=positions, num_classes=3)
    seen = {}
    for block in net.layers:
        block.register_forward_hook(lambda block, args, out: seen.update({block: torch.equal(args[0], out)}))
    out = net(noise(2, 4, 3, 4, 6), TIME, Condition())
    assert torch.equal(out, torch.zeros_like(out))
    assert list(seen.values()) == [True] * 4
    (out - 1).square().sum().backward()
    assert net.patch_out.weight.grad.abs().min() > 0


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_attention_over_time_a_clip_is_its_frames_one_by_one(layout, positions):
    net = built(torch.float64, layout=layout, positions=positions)
    z, stills = noise(2, 4, 3, 4, 6, dtype=torch.float64), Condition(images=(True,) * 3)
    with torch.no_grad():
        together = net(z, TIME, stills)
        for i in range(3):
            frame = z[:, :, i : i + 1]
            alone = net(frame, TIME, Condition())
            assert torch.equal(alone, net(frame, TIME, Condition(images=(True,))))
            torch.testing.assert_close(together[:, :, i : i + 1], alone, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("layout", "positions"), itertools.product(LAYOUTS, POSITIONS))
def test_still_images_behind_a_clip_change_nothing_in_it_and_see_nothing_of_it(layout, positions):
    net = built(layout=layout, positions=positions, num_classes=3)
    z, label = noise(2, 4, 5, 4, 6), torch.tensor([0, -1])
    labels = torch.cat([label[:, None].expand(2, 3), torch.tensor([[1, 2], [0, 1]])], 1)
    joint = Condition(label=labels, images=(False,) * 3 + (True,) * 2)
    with torch.no_grad():
        both = net(z, TIME, joint)
        video = net(z[:, :, :3], TIME, Condition(label=labels[:, :3]))
        still = net(z[:, :, 4:], TIME, Condition(label=labels[:, 4]))
    assert torch.equal(both[:, :, :3], video)
    torch.testing.assert_close(both[:, :, 4:], still, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(video, net(z[:, :, :3], TIME, Condition(label=label)), rtol=1e-5, atol=1e-5)


def test_a_block_over_space_and_one_over_time_move_nothing_elsewhere_and_a_joint_one_everywhere():
    z, at = noise(1, 4, 4, 4, 6), (2, 1, 3)
    frame, place = torch.zeros(4, 4, 6, dtype=torch.bool), torch.zeros(4, 4, 6, dtype=torch.bool)
    frame[2], place[:, 0:2, 2:4] = True, True  # the patch of the place
    over_space, over_time = built(depth=2), built(depth=2)
    for net, silent in ((over_space, 1), (over_time, 0)):
        nn.init.zeros_(net.layers[silent].attention.out.weight)
    assert torch.equal(changed(over_space, z, at), frame)
    assert torch.equal(changed(over_time, z, at), place)
    assert changed(built(depth=1, layout="joint"), z, at).all()
    assert changed(built(depth=1, layout="factorised"), z, at).all()  # within its frame first, then over time


@pytest.mark.parametrize(("layout", "positions"), itertools.product(LAYOUTS, POSITIONS))
def test_a_causal_network_lets_nothing_pass_to_an_earlier_frame_whatever_their_times(layout, positions):
    net = built(layout=layout, positions=positions, causal=True)
    z, times = noise(2, 4, 5, 4, 6), torch.linspace(0, 1000, 10).view(2, 5)
    moved, later = z.clone(), times.clone()
    moved[:, :, 3] = 7.0
    later[:, 3] = 5.0
    with torch.no_grad():
        before, after = net(z, times, Condition()), net(moved, later, Condition())
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert not torch.equal(before[:, :, 4], after[:, :, 4])
    assert changed(built(layout=layout, positions=positions), z, (3, 0, 0))[0].any()


@pytest.mark.parametrize(("layout", "positions"), itertools.product(LAYOUTS, POSITIONS))
def test_one_time_for_all_units_is_the_time_of_the_clip(layout, positions):
    net = built(layout=layout, positions=positions, num_classes=2)
    z, label = noise(2, 4, 3, 4, 6), torch.tensor([1, -1])
    with torch.no_grad():
        of_clip = net(z, TIME, Condition(label=label))
        of_units = net(z, TIME[:, None].expand(2, 3), Condition(label=label))
    torch.testing.assert_close(of_units, of_clip, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("layout", "positions"), itertools.product(LAYOUTS, POSITIONS))
def test_only_rotary_positions_do_not_tell_the_first_frame_from_a_later_one(layout, positions, monkeypatch):
    net, z = (
        built(torch.float64, layout=layout, positions=positions),
        noise(2, 4, 3, 4, 6, dtype=torch.float64),
    )
    where, away = net.places.coordinates, []
    with torch.no_grad():
        here = net(z, TIME, Condition())
        for shift in (1, 40):
            net.places.tables.clear()
            monkeypatch.setattr(
                net.places,
                "coordinates",
                lambda z, n, shift=shift: where(z, n)._replace(time=where(z, n).time + shift),
            )
            away.append((net(z, TIME, Condition()) - here).abs().max().item())
    assert max(away) < 1e-10 if positions == "rotary" else min(away) > 1e-3


def test_positions_are_computed_for_every_shape_and_never_stretched():
    few, many = sincos(torch.arange(4.0).double(), 8), sincos(torch.arange(9.0).double(), 8)
    assert torch.equal(few, many[:4])
    angles = 2 * 10_000.0 ** (-torch.arange(4.0).double() / 4)
    torch.testing.assert_close(many[2], torch.cat([angles.sin(), angles.cos()]))
    net = built(num_frames=4, resolution=8)
    for shape in ((4, 8, 8), (7, 6, 10), (1, 2, 2)):
        assert net(noise(1, 4, *shape), TIME[:1], Condition()).shape == (1, 4, *shape)


def closed_form(net, frames, places):
    """FLOP of the matrix products of one sample: a multiply-add is two."""
    width, tokens = net.width, frames * places
    volume = 4 * net.channels
    attended = {"joint": tokens, "alternating": (frames + places) / 2, "factorised": frames + places}[
        net.layout
    ]
    attentions = 2 if net.layout == "factorised" else 1
    block = tokens * width * (8 * width + attentions * 4 * width) + 2 * tokens * attended * width
    condition = (3 * attentions + 3) * width**2
    embedding = 256 * width + width**2 + 2 * width**2
    return 2 * (
        len(net.layers) * (block + condition) + embedding + tokens * width * (volume + 4 * net.out_channels)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_flop_counted_are_those_of_the_formula(layout):
    net = built(layout=layout, out_channels=8, width=96)
    for frames, places in ((4, (4, 6)), (16, (8, 8))):
        with Counter(is_real=True) as counter, torch.no_grad():
            net(noise(1, 4, frames, *(2 * side for side in places)), TIME[:1], Condition())
        assert counter.flop == pytest.approx(closed_form(net, frames, places[0] * places[1]), rel=0.01)


@pytest.mark.parametrize(
    ("size", "count"), [("S", 32_963_360), ("B", 130_512_416), ("L", 458_102_816), ("XL", 675_129_632)]
)
def test_presets_have_the_parameters_of_the_published_sizes(size, count):
    # facebookresearch/DiT: 256 px, patches of 2, learned variance, 1000 classes and none, and a table of positions
    with torch.device("meta"):
        net = SpacetimeDiT(channels=4, out_channels=8, size=size, num_classes=1000, layout="joint")
    assert sum(parameter.numel() for parameter in net.parameters()) + 256 * net.width == count


PLANES = dict(
    num_frames=4, resolution=16, patch_size=4, width=16, depth=1, heads=2, head_dim=8, projection_depth=1
)
LATENTS = {  # what a first stage makes, and the network that it is given to
    "pixels": (PixelSpace, dict(channels=3, num_frames=4, resolution=(8, 12))),
    "tubes of pixels": (
        PixelSpace,
        dict(channels=3, num_frames=4, resolution=(8, 12), patch_size=(2, 2, 4), layout="joint"),
    ),
    "latent frames": (
        lambda: Autoencoder3D(4, (16, 24), width=4, downsample=(2, 4, 4), latent_channels=4),
        dict(channels=4),
    ),
    "planes": (
        lambda: TriplaneAutoencoder(**PLANES),
        dict(channels=4, num_frames=4, plane_size=4, patch_size=(1, 1, 1), layout="joint"),
    ),
    "planes of patches": (
        lambda: TriplaneAutoencoder(**PLANES),
        dict(
            channels=4, num_frames=4, plane_size=4, patch_size=(2, 2, 2), layout="joint", positions="rotary"
        ),
    ),
}


@pytest.mark.parametrize("kind", LATENTS)
def test_every_latent_is_taken_with_what_is_joined_to_it_and_no_two_tokens_are_alike(kind):
    stage, options = LATENTS[kind]
    net = built(**options, concat_channels=1)
    latents = stage().latents(net)
    net.check_latents(latents)
    z = noise(2, *latents.network_shape(latents.clip_units))
    joined = noise(2, 1, *z.shape[2:])
    with torch.no_grad():
        out = net(z, TIME, Condition(concat=joined))
        assert out.shape == z.shape
        assert not torch.equal(net(z, TIME, Condition()), out)
        flat = net(torch.zeros_like(z), TIME, Condition())[0]
    seen = net.tokens(flat[None], None)[0].flatten(0, 1)  # by its place alone
    assert len(torch.unique((1e4 * seen).round(), dim=0)) == len(seen)


def test_a_latent_that_the_network_cannot_cut_or_was_not_made_for_is_refused_in_one_line():
    pixels, planes = PixelSpace(), TriplaneAutoencoder(**PLANES)
    for net, stage, message in (
        (
            built(channels=4, num_frames=4, resolution=8),
            pixels,
            r"takes 4 channels, the latent has 3: set --model",
        ),
        (built(channels=4), planes, r"planes of 48 tokens in all: .* num_frames and plane_size"),
        (
            built(num_frames=4, plane_size=8, patch_size=(1, 1, 1), layout="joint"),
            planes,
            r"made for planes \(4, 128\)",
        ),
        (
            built(channels=3, num_frames=3, resolution=8, patch_size=(2, 2, 2)),
            pixels,
            r"3 units .* multiple of the 2",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            net.check_latents(stage.latents(net))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(size="M"), "size must be one of S, B, L, XL, or null, got 'M'"),
        (dict(size=None, width=8), "depth must be given where size is null"),
        (dict(depth=3), "depth must be even, as blocks over space and over time alternate, got 3"),
        (
            dict(patch_size=(2, 2)),
            r"patch_size must be three numbers from 1 \(time, height, width\), got \[2, 2\]",
        ),
        (dict(resolution=9), "resolution must be divisible by 2 .*; the nearest is 10"),
        (dict(plane_size=8), "plane_size needs num_frames"),
        (dict(plane_size=8, num_frames=4), "plane_size needs layout joint and causal false"),
        (dict(plane_size=8, num_frames=4, layout="joint"), "patch_size must be three times one number"),
        (dict(width=50), r"width must be a multiple of num_heads \(6\) and of 4, got 50"),
        (dict(width=24, layout="joint", positions="rotary"), "at least 6, got 4"),
        (dict(layout="spatial"), "layout must be joint, alternating or factorised, got 'spatial'"),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        SpacetimeDiT(**options)


def test_weights_go_to_a_network_of_other_classes_and_begin_it_without_what_it_learns_to_be_told():
    few, many = built(num_classes=2), built(num_classes=5, concat_channels=2, awake=False)
    found = fit_weights(many, few.state_dict(), Path("run"))
    assert [entry["name"] for entry in found.resized] == ["embedding.classes.weight"]
    z, time = noise(2, 4, 3, 4, 6), TIME
    with torch.no_grad():
        for label in (torch.tensor([0, 1]), torch.tensor([-1, 1])):
            assert torch.equal(many(z, time, Condition(label=label)), few(z, time, Condition(label=label)))
        new, none = (Condition(label=torch.tensor([label] * 2)) for label in (4, -1))
        torch.testing.assert_close(many(z, time, new), few(z, time, none), rtol=1e-4, atol=1e-5)


def test_what_is_computed_again_in_the_backward_pass_gives_the_same_gradients():
    grads = []
    for recompute in (False, True):
        net = built(recompute=recompute, layout="factorised")
        net(noise(2, 4, 3, 4, 6), TIME, Condition()).square().sum().backward()
        grads.append([parameter.grad for parameter in net.parameters() if parameter.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_a_single_pair_of_features_for_each_axis_turns_by_the_place():
    place = torch.arange(3, dtype=torch.float64)
    cosine, sine = rotary_angles([place, place + 1, place + 2], 6)
    angles = torch.stack([place, place + 1, place + 2], dim=-1)
    torch.testing.assert_close(torch.stack([cosine, sine]), torch.stack([angles.cos(), angles.sin()]))
