"""Latte and SiT: every fixture's numbers, the published sizes, and what is refused."""

import json

import pytest
import torch

from published_files import expected_of, filled, fixture, given, keys_of, needs_assets, shapes
from videodiff.checkpoints.published import convert, load
from videodiff.diffusion import Condition

pytestmark = needs_assets
LIMIT = 1e-4


def far(ours, theirs):
    """From an output ``[B, C, F, H, W]`` to a published one ``[B, F, C, H, W]``."""
    return (ours.transpose(1, 2) - torch.as_tensor(theirs)).abs().max().item()


def latent(name, frames):
    return given(name, (2, frames, 4, 8, 8)).transpose(1, 2)


@torch.no_grad()
def test_latte_by_class_without_class_and_guided_on_its_first_four_channels():
    net, expected = load("latte", filled("latte_small"), num_heads=4), expected_of("latte_small")
    z, t, y = latent("latent", 5), torch.from_numpy(expected["t"]), torch.from_numpy(expected["y"])
    assert (net.num_classes, net.out_channels, net.num_frames) == (3, 8, 5)
    conditional = net(z, t, Condition(label=y))
    null = net(z, t, Condition(label=torch.full_like(y, -1)))
    assert far(conditional, expected["out_class"]) < LIMIT
    assert far(null, expected["out_null"]) < LIMIT
    assert torch.equal(null, net(z, t, Condition()))
    # theirs is the guided eps, twice, and beside it each half's own variance
    guided = torch.cat([null[:, :4] + 3 * (conditional - null)[:, :4], conditional[:, 4:]], dim=1)
    assert far(guided, expected["out_cfg3"][:2]) < LIMIT


@torch.no_grad()
def test_latte_without_classes_at_whole_and_fractional_times():
    net, expected = (
        load("latte", filled("latte_small_uncond"), num_heads=4),
        expected_of("latte_small_uncond"),
    )
    z = latent("latent", 5)
    assert far(net(z, torch.from_numpy(expected["t"]), Condition()), expected["out"]) < LIMIT
    fractional = torch.from_numpy(expected["t_fractional"])
    assert far(net(z, fractional, Condition()), expected["out_fractional"]) < LIMIT


@torch.no_grad()
def test_latte_with_still_images_behind_the_clip():
    state, expected = filled("latte_images_small"), expected_of("latte_images_small")
    z, t = latent("latent7", 7), torch.from_numpy(expected["t"])
    images = (False,) * 5 + (True,) * 2
    net = load("latte", state, num_heads=4)
    y, y_image = torch.from_numpy(expected["y"]), torch.from_numpy(expected["y_image"])
    # its table has no row for no class: the last of its three is a class, and taken by its number
    labels = torch.cat([y[:, None].expand(2, 5), y_image], dim=1)
    assert far(net(z, t, Condition(label=labels, images=images)), expected["out_class"]) < LIMIT
    del state["y_embedder.embedding_table.weight"]
    net = load("latte", state, num_heads=4)
    out = net(z, t, Condition(images=images))
    assert far(out, expected["out_uncond"]) < LIMIT
    assert far(out[:, :, :5], expected["out_uncond_video_only"]) < LIMIT
    assert torch.equal(net(z[:, :, :5], t, Condition()), out[:, :, :5])


@torch.no_grad()
def test_text_to_video_latte_with_a_mask_and_without_attention_over_time():
    net, expected = (
        load("latte-text", filled("latte_text_small"), num_heads=4),
        expected_of("latte_text_small"),
    )
    assert (net.context_dim, net.out_channels, len(net.layers)) == (12, 8, 4)
    z, t = given("latent", (2, 4, 5, 8, 8)), torch.from_numpy(expected["t"])
    text = given("text", (2, 6, 12))

    def far_from(ours, name):
        return (ours - torch.as_tensor(expected[name])).abs().max().item()

    assert far_from(net(z, t, Condition(context=text)), "out") < LIMIT
    mask = torch.from_numpy(expected["mask"]).bool()
    assert far_from(net(z, t, Condition(context=text, context_mask=mask)), "out_masked") < LIMIT
    # frames that are still images pass the blocks over time by
    images = (True,) * 5
    assert far_from(net(z, t, Condition(context=text, images=images)), "out_spatial_only") < LIMIT


@torch.no_grad()
def test_sit_is_a_transformer_on_one_frame():
    net, expected = load("sit", filled("sit_small"), num_heads=4), expected_of("sit_small")
    z = given("latent", (2, 4, 8, 8))[:, :, None]
    t, y = torch.from_numpy(expected["t"]), torch.from_numpy(expected["y"])
    conditional, null = (net(z, t, Condition(label=label)) for label in (y, torch.full_like(y, -1)))
    assert far(conditional, expected["out"][:, None]) < LIMIT
    assert far(null, expected["out_null"][:, None]) < LIMIT
    # theirs guides three of the four channels, and keeps each half's own fourth
    guided = torch.cat([null[:, :3] + 3 * (conditional - null)[:, :3], conditional[:, 3:]], dim=1)
    assert far(guided, expected["out_cfg3"][:2, None]) < LIMIT


@pytest.mark.parametrize("size", ["S", "B", "L", "XL"])
def test_published_sizes_map_completely(size):
    name = f"latte_{size}_2"
    counts = json.loads(fixture(f"{name}.json").read_text())["parameters"]
    with_class = convert("latte", shapes(name))
    state = shapes(name)
    del state["y_embedder.embedding_table.weight"]
    without = convert("latte", state)
    for found, case in ((with_class, "class_conditional_101"), (without, "unconditional")):
        assert sum(p.numel() for p in found.network.parameters()) == counts[case]["trained"]
        assert set(found.report.ignored) == {"pos_embed", "temp_embed"}
    assert set(with_class.report.placed) | {"pos_embed", "temp_embed"} == set(keys_of(name))
    assert (with_class.network.num_frames, with_class.network.num_classes) == (16, 101)
    assert with_class.init_args["num_heads"] == {"S": 6, "B": 12, "L": 16, "XL": 16}[size]


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


def with_one(state, name, value):
    return {**state, name: value}


@pytest.mark.parametrize(
    ("kind", "change", "sizes", "message"),
    [
        ("latte", lambda s: s, {}, "do not tell the number of heads, and a width of 48 is of no published size"),
        ("latte", lambda s: s, {"num_heads": 5}, "give num_heads, a divisor of it"),
        ("latte", lambda s: without(s, "temp_embed"), {"num_heads": 4}, "a network of images (kind sit)"),
        ("sit", lambda s: s, {"num_heads": 4}, "it looks like latte"),
        ("latte", lambda s: with_one(s, "pos_embed", s["pos_embed"] + 1), {"num_heads": 4}, "not the table of sines"),
        ("latte", lambda s: without(s, "blocks.1.attn.qkv.bias"), {"num_heads": 4}, "1 missing (first layers.1.atte"),
        (
            "latte",
            lambda s: with_one(s, "blocks.2.mlp.fc2.bias", torch.zeros(96)),
            {"num_heads": 4},
            "1 of another shape (first layers.2.mlp_out.bias)",
        ),
        (
            "latte",
            lambda s: with_one(s, "text_embedding_projection.1.weight", torch.zeros(48, 48)),
            {"num_heads": 4},
            "1 key that such a network has not, the first is text_embedding_projection.1.weight",
        ),
        ("latte-text", lambda s: s, {"num_heads": 4}, "this is no latte-text: it has no pos_embed.proj.weight"),
    ],
)  # fmt: skip
def test_a_file_of_another_network_or_size_is_refused_in_one_line(kind, change, sizes, message):
    with pytest.raises(ValueError) as refusal:
        load(kind, change(filled("latte_small")), **sizes)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
