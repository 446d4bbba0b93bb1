"""I3D against logits of the original TensorFlow graph and of its PyTorch ports, and the frame around it."""

import copy
import hashlib
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from eval_fixtures import eval_file, eval_folder, eval_recipe
from eval_weights import weights_file
from videodiff.metrics.features import I3DFeatures, exact_fp32
from videodiff.metrics.features.i3d import check_black_and_white
from videodiff.metrics.features.i3d_network import I3DNetwork, folded
from videodiff.metrics.features.layers3d import Unit, pool_frames, pool_volume, same_padding
from videodiff.metrics.features.resize import resize
from videodiff.metrics.frechet import frechet_distance

WEIGHTS = "i3d_kinetics400_rgb.fp16.safetensors"


@pytest.fixture(scope="module")
def i3d():
    return I3DFeatures(weights_file(WEIGHTS))


@pytest.fixture(scope="module")
def expected():
    with np.load(eval_folder() / "i3d_c3d.npz") as arrays:
        return dict(arrays)


def clips(name):
    """A fixture's input, its digest verified."""
    spec = eval_file("expected.json")["inputs"][name]
    array = eval_recipe().synth(spec["seed"], spec["n"], t=spec.get("t", 16), fast=spec.get("fast", False))
    if "rows" in spec:
        array = array[:, :, slice(*map(int, spec["rows"].split(":")))]
    assert hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16] == spec["sha"]
    return torch.from_numpy(np.ascontiguousarray(array))


def random_clips(count, frames=9, size=32):
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, frames, size, size, 3), generator=generator).to(torch.uint8)


def off(features, wanted):
    return float(np.abs(features.numpy() - wanted[: len(features)]).max())


def test_logits_of_16_frames(i3d, expected):
    features = i3d(clips("a")[:1])  # the others are slow
    assert off(features, expected["a"]) < 2e-3
    # The same clips through the TF-Hub graph in TensorFlow, and through fp32 weights: the 16-bit copy is what is left.
    assert off(features, expected["gold_a"]) < 0.04
    assert off(features, expected["gold32_a"]) < 0.04


def test_logits_of_25_frames(i3d, expected):
    features = i3d(clips("c"))
    assert off(features, expected["c"]) < 2e-3
    assert off(features, expected["gold_c"]) < 0.04


def test_logits_of_real_clips(i3d, expected):
    assert off(i3d(torch.from_numpy(expected["real_clips"])[:1]), expected["real"]) < 2e-3


def test_logits_of_oblong_clips_squeezed_and_cropped(i3d, expected):
    assert off(i3d(clips("d")[:1]), expected["d_squeeze"]) < 2e-3
    cropping = I3DFeatures(weights_file(WEIGHTS), resize="crop")
    assert off(cropping(clips("d")[:1]), expected["d_crop"]) < 2e-3


def test_logits_with_the_corner_origin_of_tensorflow_1(expected):
    original = I3DFeatures(weights_file(WEIGHTS), resize="tf1")
    features = original(clips("a")[:1])
    assert off(features, expected["a_tforiginal"]) < 2e-3
    assert off(features, expected["gold_a0_tforiginal"]) < 0.04


def test_logits_with_the_eps_of_the_ports(expected):
    port = I3DFeatures(weights_file(WEIGHTS), eps=1e-5)
    assert off(port(clips("a")[:1]), expected["a_eps1e5"]) < 2e-3


def test_black_and_white_are_as_far_apart_as_in_the_original(i3d):
    black = torch.zeros(1, 30, 64, 64, 3, dtype=torch.uint8)
    distance = float((i3d(black) - i3d(255 - black)).double().square().sum())
    assert distance == pytest.approx(151.368, abs=0.005)  # of the 16-bit copy; the original has 151.392


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Frechet distance of 16")
def test_all_logits_and_their_distance(i3d, expected):
    a, b = i3d(clips("a")), i3d(clips("b"))
    assert max(off(a, expected["a"]), off(b, expected["b"])) < 2e-3
    assert max(off(a, expected["gold32_a"]), off(b, expected["gold32_b"])) < 0.04
    assert max(off(a[:3], expected["gold_a"]), off(b[:3], expected["gold_b"])) < 0.04
    wanted = eval_file("expected.json")["fvd"]
    assert frechet_distance(a.numpy(), b.numpy(), ddof=0) == pytest.approx(wanted["styleganv"], abs=0.02)
    assert frechet_distance(a.numpy(), b.numpy(), ddof=1) == pytest.approx(
        wanted["divisor_n_minus_1"], abs=0.02
    )


def test_features_do_not_depend_on_the_batch_by_the_last_bit(i3d):
    batch = random_clips(2)
    together = i3d(batch)
    assert torch.equal(together, torch.cat([i3d(clip[None]) for clip in batch]))
    assert together.dtype == torch.float32
    assert not together.is_inference()


def test_features_do_not_depend_on_the_surroundings(i3d):
    batch = random_clips(1)
    plain = i3d(batch)
    parent = nn.ModuleList([I3DFeatures(weights_file(WEIGHTS))])
    parent[0](batch)
    parent.train().bfloat16()
    matmul = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
            assert torch.equal(parent[0](batch), plain)
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(matmul)
    assert parent.state_dict() == {}
    assert list(parent.parameters()) == []


def test_exactness_is_given_back_after_an_error():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), exact_fp32("cpu"):
        raise KeyError
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_evaluating_draws_no_random_numbers(i3d):
    state = torch.get_rng_state()
    i3d(random_clips(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_copies_carry_no_weights(i3d):
    i3d.network()
    assert len(pickle.dumps(i3d)) < 2000
    assert copy.deepcopy(i3d).weights == i3d.weights


def test_weights_are_read_at_first_use_and_then_named(tmp_path):
    late = I3DFeatures(str(tmp_path / "none.pt"))
    assert late.weights_sha256 is None
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        late(random_clips(1))
    named = I3DFeatures(weights_file(WEIGHTS))
    named.network()
    assert named.weights_sha256[:16] == "6a433ea9fb5277e2"


def test_a_state_dict_of_the_ports_gives_the_same_network(tmp_path):
    tensors = {name: value.float() for name, value in load_file(weights_file(WEIGHTS)).items()}
    for name in list(tensors):
        if name.endswith("bn.bias"):
            tensors[name.replace("bias", "weight")] = torch.ones_like(tensors[name])
            tensors[name.replace("bias", "num_batches_tracked")] = torch.tensor(0)
    torch.save(
        {f"module.{name}": value for name, value in tensors.items()}, tmp_path / "i3d_pretrained_400.pt"
    )
    port = I3DFeatures(str(tmp_path)).network().state_dict()
    ours = I3DFeatures(weights_file(WEIGHTS)).network().state_dict()
    assert all(torch.equal(port[name], value) for name, value in ours.items())


def test_another_networks_weights_are_one_line(tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt are not those of I3D") as caught:
        I3DFeatures(str(tmp_path / "other.pt"))(random_clips(1))
    assert "\n" not in str(caught.value)


def test_a_download_is_known_by_what_it_does_to_black_and_white(tmp_path):
    tensors = load_file(weights_file(WEIGHTS))
    tensors["logits.conv3d.weight"] = tensors["logits.conv3d.weight"].flip(
        1
    )  # right names and shapes, wrong network
    torch.save(tensors, tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match=r"in the original I3D 151\.39"):
        check_black_and_white(tmp_path / "wrong.pt")
    check_black_and_white(weights_file(WEIGHTS))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (random_clips(1, frames=8), ValueError, "at least 9 frames, got 8"),
        (random_clips(1).float(), TypeError, "uint8 clips, got float32"),
        (random_clips(1)[0], ValueError, r"\[9, 32, 32, 3\]"),
        (random_clips(1)[:0], ValueError, r"\[0, 9, 32, 32, 3\]"),
        (random_clips(1).movedim(-1, 1), ValueError, r"\[1, 3, 9, 32, 32\]"),
    ],
)
def test_other_input_is_refused_in_one_line(bad, error, message):
    with pytest.raises(error, match=message) as caught:
        I3DFeatures("none.pt")(bad)
    assert "\n" not in str(caught.value)


def test_arguments_are_checked_at_once():
    with pytest.raises(ValueError, match="resize must be one of"):
        I3DFeatures(resize="bicubic")
    with pytest.raises(ValueError, match="eps"):
        I3DFeatures(eps=-1.0)


@pytest.mark.parametrize("frames", [9, 12])
def test_both_layouts_are_one_function(i3d, frames):
    generator = torch.Generator().manual_seed(frames)
    video = torch.rand(1, 3, frames, 224, 224, generator=generator) * 2 - 1
    network = i3d.network()
    with torch.inference_mode():
        assert float((network.frames(video[0]) - network.volume(video)[0]).abs().max()) < 1e-4


@pytest.mark.parametrize("length", range(2, 20))
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (2, 2), (3, 1), (3, 2), (7, 2)])
def test_same_padding_gives_one_output_per_stride(length, kernel, stride):
    front, back = same_padding(length, kernel, stride)
    assert 0 <= back - front <= 1
    if front + back:
        assert (length + front + back - kernel) // stride + 1 == -(-length // stride)


def test_the_first_convolution_pads_two_in_front_and_three_behind():
    assert same_padding(224, 7, 2) == (2, 3)


@pytest.mark.parametrize("shape", [(2, 7, 7), (3, 6, 5), (4, 8, 9), (1, 3, 3)])
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [
        ((1, 3, 3), (1, 2, 2)),
        ((3, 3, 3), (2, 2, 2)),
        ((2, 2, 2), (2, 2, 2)),
        ((3, 3, 3), (1, 1, 1)),
        ((1, 2, 2), (1, 2, 2)),
    ],
)
def test_pools_of_both_layouts_agree(shape, kernel, stride):
    frames = torch.rand(*shape, 5, generator=torch.Generator().manual_seed(1))
    before = frames.clone()
    volume = pool_volume(frames.permute(3, 0, 1, 2)[None], kernel, stride)
    assert torch.equal(pool_frames(frames, kernel, stride), volume[0].permute(1, 2, 3, 0))
    assert torch.equal(frames, before)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (7, 2)])
@pytest.mark.parametrize("shape", [(1, 9, 9), (2, 7, 8), (5, 16, 11)])
def test_convolutions_of_both_layouts_are_torchs(kernel, stride, shape):
    generator = torch.Generator().manual_seed(0)
    layer = Unit(4, 6, kernel, stride)
    weight = torch.randn(6, 4, kernel, kernel, kernel, generator=generator)
    layer.weight.data, layer.bias.data = (
        weight.permute(2, 0, 3, 4, 1).contiguous(),
        torch.randn(6, generator=generator),
    )
    frames = torch.randn(*shape, 4, generator=generator)
    video = frames.permute(3, 0, 1, 2)[None]
    pads = [side for n in reversed(shape) for side in same_padding(n, kernel, stride)]
    wanted = F.conv3d(F.pad(video, pads), weight, layer.bias, stride).relu()
    with torch.no_grad():
        torch.testing.assert_close(layer.volume(video.contiguous()), wanted, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(
            layer.frames(frames).permute(3, 0, 1, 2)[None], wanted, atol=1e-4, rtol=1e-5
        )


@pytest.mark.parametrize("scaled", [False, True])
def test_a_folded_batch_norm_is_the_batch_norm(scaled):
    generator = torch.Generator().manual_seed(0)
    conv, norm = nn.Conv3d(3, 5, 1, bias=False), nn.BatchNorm3d(5, eps=1e-3).eval()
    norm.running_mean, norm.running_var = (
        torch.randn(5, generator=generator),
        torch.rand(5, generator=generator),
    )
    norm.bias.data = torch.randn(5, generator=generator)
    tensors = {"l.conv3d.weight": conv.weight.data, "l.bn.bias": norm.bias.data}
    tensors |= {"l.bn.running_mean": norm.running_mean, "l.bn.running_var": norm.running_var}
    if scaled:
        norm.weight.data = torch.rand(5, generator=generator)
        tensors["l.bn.weight"] = norm.weight.data
    x = torch.randn(2, 3, 2, 2, 2, generator=generator)
    weight, bias = (folded(tensors, "l", kind, 1e-3).float() for kind in ("weight", "bias"))
    torch.testing.assert_close(F.conv3d(x, weight, bias), norm(conv(x)).detach(), atol=1e-5, rtol=1e-5)


def test_the_network_has_the_published_size():
    with torch.device("meta"):
        network = I3DNetwork()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(12.70e6, rel=2e-3)


def test_corner_origin_reads_pixel_i_at_i_times_the_scale():
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    wanted = torch.tensor([0.0, 0.5, 1, 1.5, 2, 2.5, 3, 3])
    assert torch.equal(resize(ramp, 8, "tf1")[0, 0, 0], wanted)
    assert torch.equal(resize(ramp.mT, 8, "tf1")[0, 0, :, 0], wanted)
    assert torch.equal(resize(torch.arange(8.0).expand(1, 1, 8, 8), 4, "tf1")[0, 0, 0], wanted[::2] * 2)


def test_half_pixel_centres_are_not_antialiased():
    line = torch.tensor([0.0, 0, 0, 1, 0, 0, 0, 0]).expand(1, 1, 8, 8)
    assert resize(line, 4, "bilinear")[0, 0, 0].tolist() == [0, 0.5, 0, 0]
    assert resize(line, 2, "bilinear")[0, 0, 0].tolist() == [
        0,
        0,
    ]  # the bright pixel falls between the samples


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (50, 50), (8, 9)])
def test_every_rule_gives_squares(shape):
    for rule in ("bilinear", "crop", "tf1"):
        assert resize(torch.zeros(2, 3, *shape), 8, rule).shape == (2, 3, 8, 8)


def test_cropping_keeps_the_aspect_and_the_middle():
    wide = torch.arange(16.0).expand(1, 1, 8, 16)
    assert torch.equal(resize(wide, 8, "crop")[0, 0, 0], torch.arange(4.0, 12.0))
    assert torch.equal(resize(wide.mT, 8, "crop")[0, 0, :, 0], torch.arange(4.0, 12.0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_features_on_a_gpu_are_exact(i3d):
    batch = random_clips(3, frames=16)
    cpu = i3d(batch)
    torch.backends.cuda.matmul.allow_tf32 = True
    assert float((i3d(batch.cuda()).cpu() - cpu).abs().max()) < 1e-3
    assert torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
