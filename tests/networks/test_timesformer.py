import math

import pytest
import torch
from torch import Tensor

from videodiff.networks import TimeSformer
from videodiff.networks.embeddings import RotaryTables, rotate
from videodiff.networks.timesformer import (
    SpaceAttention,
    TimeAttention,
    space_angles,
    time_angles,
    turn,
    turn_table,
)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """The same content ``x [D]`` at every position ``[L, D]``."""
    return turn(x.expand(len(angles), -1), turn_table(angles))


ANGLES = {"time": time_angles(16, 64), "space": space_angles(4, 6, 64)}


@pytest.mark.parametrize("name", ANGLES)
def test_rotation_keeps_lengths(name):
    x = torch.randn(64, generator=torch.Generator().manual_seed(0))
    lengths = turned(x, ANGLES[name]).norm(dim=-1)
    torch.testing.assert_close(lengths, x.norm().expand_as(lengths))


def test_a_product_over_time_depends_on_the_distance_only():
    q, k = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    products = turned(q, ANGLES["time"]) @ turned(k, ANGLES["time"]).T  # [16, 16]
    for distance in range(-15, 16):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
    assert products[0].std() > 0.1


def test_a_product_over_space_depends_on_the_offset_only():
    q, k = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    products = turned(q, ANGLES["space"]) @ turned(k, ANGLES["space"]).T
    products = products.view(4, 6, 4, 6)  # row, column of the query, of the key
    moved = products[1:, 2:, 1:, 2:]
    torch.testing.assert_close(moved, products[:-1, :-2, :-1, :-2], atol=1e-4, rtol=1e-4)


def test_the_published_rotation_is_none():
    x = torch.randn(64, generator=torch.Generator().manual_seed(0))
    lengths = turned(x, time_angles(16, 64, "published")).norm(dim=-1) / x.norm()
    assert lengths[0].item() == pytest.approx(1)
    assert 0.005 < (lengths - 1).abs().max() < 0.2


def test_the_correct_rotation_over_time_is_that_of_rotary_positions():
    x = torch.randn(16, 5, 64)
    expected = rotate(x, RotaryTables(64)(16, x.device))
    torch.testing.assert_close(turn(x, turn_table(time_angles(16, 64))[:, :, None]), expected)


def test_space_angles_reach_five_half_turns_at_the_corner():
    angles = space_angles(3, 5, 16)
    assert angles.shape == (15, 16)
    assert angles[0, 0].item() == pytest.approx(-math.pi)
    assert angles[0, 7].item() == pytest.approx(-5 * math.pi)
    assert angles[-1, -1].item() == pytest.approx(5 * math.pi)
    assert not angles[7].any()  # the middle
    assert torch.equal(angles[:5, :8], angles[:1, :8].expand(5, 8))  # one row: equal row angles


def reference_attention(x: Tensor, layer: TimeAttention | SpaceAttention, table: Tensor) -> Tensor:
    """Attention written out for one sequence ``[L, D]``, head by head."""
    heads = []
    qkv = (layer.norm(x) @ layer.qkv.weight.T).unflatten(-1, (layer.heads, 3, layer.head_dim))
    for head in range(layer.heads):
        q, k, v = qkv[:, head].unbind(1)
        q, k = turn(q, table), turn(k, table)
        heads.append((q @ k.T / layer.head_dim**0.5).softmax(-1) @ v)
    return torch.cat(heads, -1) @ layer.out.weight.T + layer.out.bias


def test_attention_over_time_sees_one_place_and_over_space_one_frame():
    torch.manual_seed(0)
    x = torch.randn(5, 2, 6, 16)  # S, N, n, D
    time_table, space_table = turn_table(time_angles(5, 8)), turn_table(space_angles(2, 3, 8))
    time, space = TimeAttention(16, 3, 8), SpaceAttention(16, 3, 8)
    over_time = time(x.flatten(1, 2), time_table).view_as(x)
    over_space = space(x, space_table)
    for clip in range(2):
        for place in range(6):
            expected = reference_attention(x[:, clip, place], time, time_table)
            torch.testing.assert_close(over_time[:, clip, place], expected, atol=1e-5, rtol=1e-5)
        for frame in range(5):
            expected = reference_attention(x[frame, clip], space, space_table)
            torch.testing.assert_close(over_space[frame, clip], expected, atol=1e-5, rtol=1e-5)


def test_reading_some_frames_gives_those_of_all():
    torch.manual_seed(0)
    attention, x = TimeAttention(16, 2, 8), torch.randn(5, 7, 16)
    torch.testing.assert_close(attention(x, read=slice(4, None)), attention(x)[4:])


def test_frames_of_equal_content_stay_equal():
    net = TimeSformer(16, 2, 2, 8)
    y = net(torch.randn(1, 2, 3, 2, 16).expand(4, -1, -1, -1, -1))
    torch.testing.assert_close(y, y[:1].expand_as(y), atol=1e-5, rtol=1e-5)


def test_reversing_time_reverses_the_result_only_without_positions():
    net, x = TimeSformer(16, 2, 2, 8), torch.randn(4, 2, 3, 2, 16)
    difference = (net(x.flip(0)) - net(x).flip(0)).abs().max()
    assert difference > 1e-4  # rotary positions tell before from after
    for block in net.blocks:  # no logits, no positions
        block.time.qkv.weight.data.unflatten(0, (2, 3, 8))[:, :2] = 0
    torch.testing.assert_close(net(x.flip(0)), net(x).flip(0), atol=1e-5, rtol=1e-5)


def test_tables_made_in_inference_mode_train_later():
    net, x = TimeSformer(16, 1, 2, 8), torch.randn(4, 1, 2, 2, 16)
    with torch.inference_mode():
        net(x)
    net(x).sum().backward()
    assert len(net.tables.tables) == 1
    assert not any("table" in name for name in net.state_dict())
