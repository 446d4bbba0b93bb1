import os
from pathlib import Path

import numpy as np
import pytest
import torch

from published_files import filled, given
from videodiff.diffusion.condition import Condition
from videodiff.networks import PixelSpace, UNet3DPort

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")


@pytest.mark.skipif(not ASSETS, reason="VIDEODIFF_TEST_ASSETS names no folder of fixtures")
def test_the_port_computes_what_the_published_network_computes():
    expected = np.load(Path(ASSETS) / "fixtures" / "official" / "lucidrains_unet3d_dim16.npz")
    net = UNet3DPort(width=16).eval()
    net.load_published(filled("lucidrains_unet3d_dim16"))
    with torch.no_grad():
        out = net(given("video", (2, 3, 5, 16, 16)), torch.from_numpy(expected["t"]), Condition())
    assert np.abs(out.numpy() - expected["out"]).max() < 1e-4


@pytest.mark.parametrize(
    ("width", "count"), [(16, 3_013_939), (32, 9_969_491), (64, 35_706_259), (256, 521_245_459)]
)
def test_parameter_counts_are_the_published_ones(width, count):
    with torch.device("meta"):
        net = UNet3DPort(width=width)
    assert sum(p.numel() for p in net.state_dict().values()) == count


def test_a_condition_is_refused():
    with pytest.raises(ValueError, match="was built without num_classes"):
        UNet3DPort(width=8, channel_multipliers=(1,))(
            torch.zeros(1, 3, 2, 4, 4), torch.zeros(1), Condition(label=torch.zeros(1, dtype=torch.long))
        )


def test_bf16_autocast_stays_close_to_fp32():
    torch.manual_seed(0)
    net = UNet3DPort(width=16, channel_multipliers=(1, 2)).eval()
    z, time = torch.randn(2, 3, 4, 16, 16), torch.tensor([10, 700])
    exact = net(z, time, Condition())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(z, time, Condition())
    assert (rounded - exact).std() < 0.03 * exact.std()


def test_pixel_space_is_the_identity():
    video, space = torch.rand(1, 3, 4, 8, 8), PixelSpace()
    assert space.encode(video) is video
    assert space.decode(video) is video
    assert space.latent_shape((3, 4, 8, 8)) == (3, 4, 8, 8)
