"""Weights of another size: constants stay, distances stay, still videos stay, and what is added changes nothing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videodiff.networks.embeddings import ShawPositions
from videodiff.networks.layers3d import SamePadConv3d, SamePadConvTranspose3d
from videodiff.networks.resized import by_distance, inflated, interpolated, more_inputs, rows_kept


@pytest.mark.parametrize("new", [1, 2, 5, 16, 33])
@pytest.mark.parametrize("old", [1, 2, 5, 16])
def test_interpolated_positions_keep_constants_ramps_and_ends(old, new):
    constant = torch.full((old, 3), 0.7)
    torch.testing.assert_close(interpolated(constant, new), torch.full((new, 3), 0.7))
    if old > 1 and new > 1:
        ramp = torch.linspace(-1, 2, old)[:, None] * torch.tensor([1.0, -3.0])
        torch.testing.assert_close(
            interpolated(ramp, new), torch.linspace(-1, 2, new)[:, None] * torch.tensor([1.0, -3.0])
        )
        table = torch.randn(old, 4)
        torch.testing.assert_close(interpolated(table, new)[[0, -1]], table[[0, -1]])
        torch.testing.assert_close(interpolated(table, old), table)


@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 7), (7, 3), (4, 4)])
def test_positions_kept_by_distance_are_those_that_the_old_network_gave(old, new):
    before, now = ShawPositions(6, old), ShawPositions(6, new)
    for name in ("keys", "values"):
        resized = now.resized(name, getattr(before, name).data)
        getattr(now, name).data.copy_(resized.value)
    for length in range(
        1, new + 2
    ):  # every pair that the new one can meet, farther ones than the old table too
        for ours, theirs in zip(now(length), before(length), strict=True):
            assert torch.equal(ours, theirs)
    assert by_distance(torch.ones(3, 2), 5).eq(1).all()


@pytest.mark.parametrize("moves", [False, True], ids=["still", "moving"])
@pytest.mark.parametrize("kernel", [1, 3, 4])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2)], ids=str)
def test_an_inflated_convolution_of_a_video_is_that_of_its_pictures(kernel, stride, moves):
    if kernel < max(stride) or (moves and stride[0] > 1):
        pytest.skip("no such layer, or no picture for each frame")
    layer = SamePadConv3d(3, 5, kernel, stride).double()
    picture = torch.randn(5, 3, kernel, kernel).double()
    layer.weight.data.copy_(inflated(layer, picture))
    video = torch.randn(2, 3, 4 if moves else 1, 8, 8).double().expand(-1, -1, 4, -1, -1)
    out = layer(video)
    for t in range(out.shape[2]):
        frame = F.pad(video[:, :, t * stride[0]], layer.pad[:4], mode="replicate")
        torch.testing.assert_close(out[:, :, t], F.conv2d(frame, picture, layer.bias, stride[1:]))


@pytest.mark.parametrize(
    "layer",
    [
        SamePadConvTranspose3d(3, 5, 4, (2, 2, 2)),
        SamePadConvTranspose3d(3, 5, 4, (1, 2, 2)),
        nn.ConvTranspose3d(3, 5, (4, 2, 2), (4, 2, 2)),
        nn.ConvTranspose3d(3, 5, (2, 2, 2), (2, 2, 2)),
    ],
    ids=["halved", "not in time", "blocks of four", "blocks of two"],
)
def test_an_inflated_transposed_convolution_of_a_still_video_is_that_of_its_picture(layer):
    layer = layer.double()
    size = layer.kernel_size[1]
    picture = torch.randn(3, 5, size, size).double()
    layer.weight.data.copy_(inflated(layer, picture[:, :, None]))
    video = torch.randn(1, 3, 1, 6, 6).double().expand(-1, -1, 4, -1, -1)
    frame = video[:, :, 0]
    frame = F.pad(frame, layer.pad[:4], mode="replicate") if hasattr(layer, "pad") else frame
    wanted = F.conv_transpose2d(frame, picture, layer.bias, layer.stride[1:], layer.padding[1:])
    out = layer(video)
    for t in range(out.shape[2]):
        torch.testing.assert_close(out[:, :, t], wanted)


def test_a_kernel_of_other_sides_or_channels_is_not_inflated():
    layer = SamePadConv3d(3, 5, 3)
    assert inflated(layer, torch.randn(5, 3, 4, 4)) is None
    assert inflated(layer, torch.randn(5, 4, 3, 3)) is None
    assert inflated(layer, torch.randn(5, 3, 2, 3, 3)) is None


def test_rows_and_inputs_that_were_not_there_begin_at_zero():
    table = torch.randn(3, 4)
    assert torch.equal(rows_kept(table, 5), torch.cat([table, torch.zeros(2, 4)]))
    assert torch.equal(rows_kept(table, 2), table[:2])
    kernel, own = torch.randn(8, 3, 3, 3), torch.randn(8, 5, 3, 3)
    x, joined = torch.randn(1, 3, 6, 6), torch.randn(1, 2, 6, 6)
    grown = more_inputs(kernel, own, 3)
    torch.testing.assert_close(F.conv2d(torch.cat([x, joined], 1), grown), F.conv2d(x, kernel))
    assert torch.equal(more_inputs(grown, kernel, 3), kernel)
    assert more_inputs(torch.randn(8, 6, 3, 3), own, 3) is None  # which of them is which is not known
    assert more_inputs(torch.randn(8, 2, 3, 3), own, 3) is None
