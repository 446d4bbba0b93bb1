import math

import pytest
import torch
from rotary_embedding_torch import RotaryEmbedding
from rotary_embedding_torch.rotary_embedding_torch import apply_rotary_emb
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from videodiff.networks import SpatialAttention, TemporalAttention, attention
from videodiff.networks.embeddings import (
    BucketBias,
    RotaryTables,
    ShawPositions,
    relative_distance,
    relative_position_bucket,
    rotate,
    sinusoidal_embedding,
)


def filled(position: str, channels: int = 32, head_dim: int = 8, max_distance: int = 4) -> TemporalAttention:
    torch.manual_seed(0)
    layer = TemporalAttention(channels, head_dim, position, max_distance)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


def frames(count: int, batch: int = 2, channels: int = 32, size: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count * batch, channels, size, size, generator=generator)
    return x.to(memory_format=torch.channels_last)


def by_loops(layer, x, count, mask=None, table=None):
    """Temporal attention pair by pair in float64, from the paper's equations (Shaw et al. 2018, eq. 3 and 4)."""
    heads, d = x.shape[1] // layer.head_dim, layer.head_dim
    y = layer.norm(x).permute(0, 2, 3, 1).flatten(1, 2).double()
    qkv = y @ layer.qkv.weight.double().T + layer.qkv.bias.double()
    # frame, batch and pixel, head, (q, k, v), D
    q, k, v = qkv.view(count, -1, heads, 3, d).unbind(3)
    if table is not None:
        q, k = (apply_rotary_emb(table.double(), part.movedim(0, -2)).movedim(-2, 0) for part in (q, k))
    out = torch.zeros_like(q)
    bias = (
        layer.bucket_bias(count).double()
        if layer.bucket_bias is not None
        else torch.zeros(heads, count, count)
    )
    for i in range(count):
        logits, values = [], []
        for j in range(count):
            key, value = k[j], v[j]
            if layer.shaw is not None:
                r = (
                    min(max(j - i, -layer.shaw.max_distance), layer.shaw.max_distance)
                    + layer.shaw.max_distance
                )
                key, value = key + layer.shaw.keys[r].double(), value + layer.shaw.values[r].double()
            seen = mask is None or mask[i, j]
            logits.append(
                (q[i] * key).sum(-1) / math.sqrt(d) + bias[:, i, j]
                if seen
                else torch.full(q.shape[1:3], -math.inf)
            )
            values.append(value)
        weights = torch.stack(logits).softmax(0)
        out[i] = (weights[..., None] * torch.stack(values)).sum(0)
    out = out.flatten(2) @ layer.out.weight.double().T + layer.out.bias.double()
    return x + out.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("num_images", [0, 2])
@pytest.mark.parametrize("position", ["shaw", "rotary", "t5"])
def test_temporal_attention_equals_a_double_loop(position, num_images):
    count, layer = 6, filled(position)  # max_distance 4: distance 5 is clipped
    mask = attention.image_mask([False] * (count - num_images) + [True] * num_images)
    x = frames(count)
    is_rotary = position == "rotary"
    table = RotaryTables(8)(count, x.device) if is_rotary else None
    angles = RotaryEmbedding(8).forward(torch.arange(count)) if is_rotary else None
    expected = by_loops(layer, x, count, mask, angles)
    torch.testing.assert_close(layer(x, count, mask, table).double(), expected.double(), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("position", ["shaw", "rotary", "t5"])
def test_pieces_change_neither_outputs_nor_gradients(position, monkeypatch):
    # As inside a network, the input needs a gradient; without, torch 2.11's channels-last group norm crashes on a CPU.
    layer, x, count = filled(position), frames(5).requires_grad_(), 5
    table = RotaryTables(8)(count, x.device) if position == "rotary" else None
    results = []
    for limit in (2**21, 1000):
        monkeypatch.setattr(attention, "CPU_PIECE", limit)
        layer.zero_grad()
        out = layer(x, count, attention.image_mask([False] * (count - 1) + [True]), table)
        out.square().sum().backward()
        results.append([out, *(parameter.grad for parameter in layer.parameters())])
    for whole, pieces in zip(*results, strict=True):
        torch.testing.assert_close(whole, pieces, atol=1e-3, rtol=1e-4)


def test_no_kernel_is_given_more_sequences_than_a_grid_holds():
    sizes = []

    def record(piece):
        sizes.append(piece.shape[1] * 8)
        return piece

    x = torch.empty(4, 20_000, 16, device="meta")
    assert attention.in_pieces(record, x, features=48, sequences=8).shape == x.shape
    assert sum(sizes) == 8 * 20_000
    assert max(sizes) <= 65_535


def test_permuting_frames_permutes_the_output_without_positions():
    layer, x, count = filled("shaw"), frames(5), 5
    torch.nn.init.zeros_(layer.shaw.keys)
    torch.nn.init.zeros_(layer.shaw.values)
    order = torch.tensor([3, 0, 4, 1, 2])

    def permuted(video):
        return video.unflatten(0, (count, -1))[order].flatten(0, 1)

    out = layer(permuted(x).contiguous(memory_format=torch.channels_last), count)
    torch.testing.assert_close(out, permuted(layer(x, count)), atol=1e-5, rtol=1e-5)


def test_an_untrained_temporal_layer_is_the_identity():
    x = frames(5)
    assert torch.equal(TemporalAttention(32, 8, "shaw", 4)(x, 5), x)


def test_images_see_themselves_and_videos_see_no_image():
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()
    assert torch.equal(attention.image_mask((False, False, True, True)), expected)
    assert attention.image_mask((False,) * 4) is None


def test_buckets_are_those_of_the_published_network():
    buckets = relative_position_bucket(relative_distance(16))
    assert buckets[0].tolist() == [0, 17, 18, 19, 20, 21, 22, 23, 24, 24, 25, 25, 26, 26, 27, 27]
    assert buckets[15].tolist() == [11, 11, 10, 10, 9, 9, 8, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    far = relative_position_bucket(torch.tensor([-1000, 1000]))
    assert far.tolist() == [15, 31]


def test_bucket_bias_depends_on_distance_alone():
    bias = BucketBias(heads=3)(6)
    assert bias.shape == (3, 6, 6)
    assert torch.equal(bias[:, 1:, 1:], bias[:, :-1, :-1])


def test_shaw_vectors_beyond_the_last_distance_repeat():
    keys, values = ShawPositions(8, max_distance=2)(6)
    assert torch.equal(keys[0, 2], keys[0, 5])
    assert torch.equal(values[5, 3], values[5, 0])
    assert not torch.equal(keys[0, 1], keys[0, 2])


def test_rotation_is_that_of_the_rotary_package():
    x = torch.randn(5, 7, 8)
    rotary = RotaryEmbedding(8)
    expected = rotary.rotate_queries_or_keys(x.transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(rotate(x, RotaryTables(8)(5, x.device)), expected)


def test_sinusoids_run_from_one_radian_a_step_to_one_in_ten_thousand_steps():
    time = torch.tensor([0.0, 1.0, 500.0])
    embedding = sinusoidal_embedding(time, 8)
    frequencies = torch.tensor([1.0, 10 ** (-4 / 3), 10 ** (-8 / 3), 1e-4])
    angles = time[:, None] * frequencies
    torch.testing.assert_close(embedding, torch.cat([angles.sin(), angles.cos()], 1), atol=1e-5, rtol=1e-5)


def test_the_slowest_sinusoid_rises_with_time():
    slowest = sinusoidal_embedding(torch.linspace(0, 1000, 101), 64)[:, 31]
    assert (slowest.diff() > 0).all()


@pytest.mark.parametrize("head_dim", [4, 16, 24])
def test_fused_attention_of_any_head_width_is_attention_written_out(head_dim):
    torch.manual_seed(0)
    qkv = torch.randn(2, 9, 3, 3, head_dim, requires_grad=True)
    q, k, v = qkv.permute(3, 0, 2, 1, 4)
    expected = ((q @ k.mT / head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
    out = attention.attend_fused(qkv)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(out)
    ours, theirs = (torch.autograd.grad((y * weight).sum(), qkv)[0] for y in (out, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_narrow_heads_compile_in_one_piece_and_cost_no_more_arithmetic():
    layer = SpatialAttention(32, 4)
    torch.nn.init.normal_(layer.out.weight)
    x = frames(4)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x)
    pixels = 9
    linear = 2 * 8 * pixels * 32 * (3 * 32 + 32)
    assert counter.get_total_flops() == linear + 2 * 2 * 8 * pixels * pixels * 32
