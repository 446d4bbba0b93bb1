"""What holds for every feature network, on one of a single number."""

import pytest
import torch
from torch import nn

from videodiff.metrics.features import FeatureExtractor, FrozenNetwork, base


class Mean(FeatureExtractor):
    """The mean of a clip, by a layer with initial weights; memory for `room` clips."""

    name, dim, min_frames = "mean", 1, 2

    def __init__(self, room=100, at_once=4):
        super().__init__()
        self.room, self.at_once, self.calls = room, at_once, []

    def build(self):
        self.weights_sha256 = "0"
        layer = nn.Linear(1, 1)
        nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)
        return layer

    def clips_at_once(self, clips):
        return self.at_once

    def extract(self, network, clips):
        self.calls.append(len(clips))
        if len(clips) > self.room:
            raise torch.OutOfMemoryError("no room")
        assert not network.training
        assert torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        return network(clips.float().mean(dim=(1, 2, 3, 4))[:, None])


def clips(count):
    return torch.arange(count).to(torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 2, 3, 3, 3)


def test_a_batch_is_split():
    features = Mean()
    assert features(clips(9))[:, 0].tolist() == list(range(9))
    assert features.calls == [4, 4, 1]


def test_a_batch_larger_than_memory_is_split_smaller():
    features = Mean(room=1)
    assert features(clips(5))[:, 0].tolist() == list(range(5))
    assert features.calls == [4, 2, 1, 1, 1, 1, 1]
    with pytest.raises(torch.OutOfMemoryError):
        Mean(room=0)(clips(2))


def test_the_first_use_draws_nothing_from_the_runs_generator():
    before = torch.get_rng_state()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Mean()(clips(2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("device", "frames", "side", "wanted"),
    [("cpu", 16, 64, 1), ("meta", 16, 64, 32), ("meta", 16, 1792, 1), ("meta", 128, 64, 4)],
)
def test_as_many_clips_at_once_as_their_pixels_allow(device, frames, side, wanted):
    batch = torch.empty(64, frames, side, side, 3, dtype=torch.uint8, device=device)
    assert FeatureExtractor.clips_at_once(Mean(), batch) == wanted
    assert base.PIXELS_AT_ONCE == 512 * 224 * 224


def test_a_network_made_under_another_default_dtype_has_fp32_constants():
    # Lightning's bf16-true makes bf16 the default inside its steps; 0.1 is not a bf16 number.
    class Constant(FrozenNetwork):
        def build(self):
            net = torch.nn.Module()
            net.register_buffer("tenth", torch.tensor([0.1]))
            return net

    torch.set_default_dtype(torch.bfloat16)
    try:
        tenth = Constant().network().tenth
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(tenth, torch.tensor([0.1]))
