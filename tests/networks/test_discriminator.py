"""Patch discriminators: published sizes, sizes of their features, and refusal of what is too small."""

import pytest
import torch

from videodiff.networks import PatchDiscriminator


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 2_765_633),  # CompVis/taming-transformers, NLayerDiscriminator
        ({"padding": 2, "conv_bias": True}, 2_766_529),  # sihyun-yu/PVDM at 793172f, both
        ({"dims": 3, "padding": 2, "conv_bias": True}, 11_057_857),
    ],
)
def test_parameters_at_the_published_sizes(norm, options, count):
    with torch.device("meta"):
        model = PatchDiscriminator(norm=norm, **options)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(("padding", "sizes"), [(1, [128, 64, 32, 31, 30]), (2, [129, 65, 33, 34, 35])])
def test_feature_sizes_at_256_pixels(padding, sizes):
    with torch.device("meta"):
        features = PatchDiscriminator(width=2, padding=padding)(torch.empty(1, 3, 256, 256))
    assert [f.shape[-1] for f in features] == sizes
    assert [f.shape[1] for f in features] == [2, 4, 8, 16, 1]


@pytest.mark.parametrize("frames", [4, 16])
def test_clips_of_few_frames_are_judged_with_padding_2(frames):
    model = PatchDiscriminator(dims=3, width=4, padding=2)
    assert model(torch.randn(2, 3, frames, 16, 16))[-1].shape[:2] == (2, 1)


def test_frames_and_clips_of_group_norm_are_judged_one_by_one():
    torch.manual_seed(0)
    model = PatchDiscriminator(width=32)
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(x)[-1], torch.cat([model(v[None])[-1] for v in x]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: PatchDiscriminator(width=4)(torch.zeros(1, 3, 32, 8)), "axis of 8 is too short"),
        (lambda: PatchDiscriminator(width=4)(torch.zeros(1, 3, 4, 32, 32)), "takes 4 axes"),
        (lambda: PatchDiscriminator(dims=4), "dims 2 or 3"),
        (lambda: PatchDiscriminator(norm="layer"), "batch, group or none"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
