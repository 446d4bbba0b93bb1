import pytest
import torch

from videodiff.networks.planes import (
    PlaneSizes,
    join_planes,
    join_stacks,
    reverse_time,
    split_planes,
    split_stacks,
)

SIZES = PlaneSizes(num_frames=2, height=3, width=5)


def test_the_paper_has_2048_tokens_in_three_pieces():
    paper = PlaneSizes(num_frames=16, height=32, width=32)
    assert paper.num_tokens == 2048
    assert paper.shapes == ((32, 32), (16, 32), (16, 32))


def test_planes_lie_behind_each_other_row_by_row():
    latent = torch.arange(31.0).expand(1, 1, -1)
    spatial, by_width, by_height = split_planes(latent, SIZES)
    assert torch.equal(spatial[0, 0], torch.arange(15.0).view(3, 5))
    assert torch.equal(by_width[0, 0], 15 + torch.arange(10.0).view(2, 5))
    assert torch.equal(by_height[0, 0], 25 + torch.arange(6.0).view(2, 3))


def test_joining_undoes_splitting():
    latent = torch.randn(2, 4, SIZES.num_tokens)
    assert torch.equal(join_planes(split_planes(latent, SIZES)), latent)


def test_time_reversed_is_the_clip_run_backwards():
    sizes = PlaneSizes(4, 2, 3)
    latent = torch.randn(2, 5, sizes.num_tokens)
    spatial, width, height = split_planes(latent, sizes)
    there = split_planes(reverse_time(latent, sizes), sizes)
    assert torch.equal(there[0], spatial)
    assert torch.equal(there[1], width[:, :, [3, 2, 1, 0]])
    assert torch.equal(there[2], height[:, :, [3, 2, 1, 0]])
    assert torch.equal(reverse_time(reverse_time(latent, sizes), sizes), latent)


def test_rows_that_both_clips_have_lie_beside_themselves_and_the_others_behind_them():
    sizes = PlaneSizes(4, 2, 3)
    latent = torch.randn(2, 5, sizes.num_tokens)
    spatial, width, height = split_planes(latent, sizes)
    there = split_planes(reverse_time(latent, sizes, shared=2), sizes)
    assert torch.equal(there[0], spatial)
    assert torch.equal(there[1], width[:, :, [2, 3, 3, 2]])  # frames 2 and 3 are 0 and 1 of the next clip
    assert torch.equal(there[2], height[:, :, [2, 3, 3, 2]])
    with pytest.raises(ValueError, match=r"shared must lie in 0 \.\.\. 3, got 4"):
        reverse_time(latent, sizes, shared=4)


@pytest.mark.parametrize(
    ("sizes", "stacks"), [((4, 4, 4), [3]), ((2, 4, 4), [1, 2]), ((3, 3, 5), [2, 1]), ((2, 3, 5), [1, 1, 1])]
)
def test_planes_of_one_size_share_a_batch(sizes, stacks):
    planes = PlaneSizes(*sizes)
    tokens = torch.randn(2, planes.num_tokens, 3)
    split = split_stacks([tokens[..., :1], tokens[..., 1:]], planes.shapes)
    assert [len(stack) // 2 for stack in split] == stacks
    pictures = split_planes(tokens.mT, planes)
    expected = [picture for plane in pictures for picture in plane]  # planes outermost, then samples
    flat = [picture for stack in split for picture in stack]
    assert len(flat) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(flat, expected, strict=True))
    joined, shapes = join_stacks(split, 2)
    assert torch.equal(joined, tokens)
    assert shapes == list(planes.shapes)


def test_a_latent_of_another_length_is_refused_with_the_sizes():
    with pytest.raises(
        ValueError, match=r"2 frames, height 3 and width 5 are a latent \[B, C, 31\], got \[1, 4, 30\]"
    ):
        split_planes(torch.zeros(1, 4, 30), SIZES)


def test_planes_that_share_no_axes_are_refused():
    spatial, by_width, by_height = split_planes(torch.zeros(1, 4, 31), SIZES)
    with pytest.raises(ValueError, match=r"\(H, W\), \(S, W\) and \(S, H\)"):
        join_planes([spatial, by_height, by_width])
