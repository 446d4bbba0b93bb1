"""C3D and its input chain, on made-up weights: the architecture is checked, the real file is public."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eval_fixtures import eval_file, eval_folder, eval_recipe
from videodiff.metrics.features import C3DFeatures
from videodiff.metrics.features.c3d import CONVS, DENSE, C3DNetwork, canonical, shift


def small_clips(frames=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, frames, 20, 24, 3), generator=generator).to(torch.uint8)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Files of the recipe's weights, in chainer's format, and the names of a state dict."""
    folder, spec, recipe = tmp_path_factory.mktemp("c3d"), eval_file("expected.json")["c3d"], eval_recipe()
    weights = recipe.c3d_weights(spec["weights_seed"])
    chainer = {name.replace(".weight", "/W").replace(".bias", "/b"): value for name, value in weights.items()}
    np.savez(folder / "conv3d_deepnetA_ucf.npz", **chainer)
    np.savez(folder / "mean2.npz", mean=recipe.c3d_mean(spec["weights_seed"]))
    yield folder
    (folder / "conv3d_deepnetA_ucf.npz").unlink()  # 300 MB


def test_logits_and_layouts(made_up, monkeypatch):
    monkeypatch.setenv("VIDEODIFF_WEIGHTS", str(made_up))
    spec = eval_file("expected.json")["c3d"]
    with np.load(eval_folder() / "i3d_c3d.npz") as arrays:
        wanted = arrays["c3d_logits"]
    features = C3DFeatures()
    found = features(torch.from_numpy(eval_recipe().synth(spec["clips"]["seed"], spec["clips"]["n"]))).numpy()
    assert np.abs(found - wanted).max() < spec["tol_rel"] * np.abs(wanted).max()
    assert found.argmax(1).tolist() == spec["argmax"]
    assert features.weights_sha256 is not None
    network = features.network()
    clip = torch.rand(1, 3, 16, 112, 112, generator=torch.Generator().manual_seed(0)) * 255 - 128
    with torch.inference_mode():
        volume, frames = network.volume(clip), network.frames(clip[0])
    assert float((volume[0] - frames).abs().max()) < 1e-4 * float(volume.abs().max())


def test_the_published_size():
    with torch.device("meta"):
        network = C3DNetwork()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(78.4e6, rel=2e-3)


@pytest.mark.parametrize(
    "pattern", ["{layer}/{chainer}", "{layer}.{kind}", "net.{layer}.{kind}", "predictor/{layer}/{chainer}"]
)
def test_names_of_chainer_and_of_state_dicts_are_one(pattern):
    tensors = {"mean": torch.zeros(1), "pre/W": torch.zeros(1)}
    for layer in (*CONVS, *DENSE):
        for kind, chainer in (("weight", "W"), ("bias", "b")):
            shape = (1, 2, 3, 3, 3) if layer in CONVS else (1, 2)
            name = pattern.format(layer=layer, kind=kind, chainer=chainer)
            tensors[name] = torch.zeros(shape if kind == "weight" else 1)
    wanted = {f"{layer}.{kind}" for layer in (*CONVS, *DENSE) for kind in ("weight", "bias")}
    assert canonical(tensors).keys() == wanted
    assert canonical({"conv1.bias": torch.zeros(1)}).keys() == {"conv1a.bias"}


def test_the_mean_is_cropped_eight_pixels_in():
    mean = torch.arange(128.0).expand(3, 16, 128, 128)
    assert torch.equal(128 - shift({"mean": mean})[0, 0, 0], torch.arange(8.0, 120.0))
    assert torch.equal(128 - shift({"mean": mean.mT})[0, 0, :, 0], torch.arange(8.0, 120.0))
    with pytest.raises(ValueError, match="called mean"):
        shift({"average": mean})
    with pytest.raises(ValueError, match=r"\[3, 16, 112, 112\]"):
        shift({"mean": torch.zeros(3, 16, 112, 112)})


class Input(torch.nn.Module):
    """Keeps what the network would see."""

    def forward(self, x):
        self.seen = x
        return torch.zeros(len(x), 101)


def test_the_input_is_bgr_of_range_128_with_aligned_corners():
    clips, network = small_clips(), Input()
    C3DFeatures().extract(network, clips)
    video = (clips[..., [2, 1, 0]].float() / 127.5 - 1) * 128
    wanted = F.interpolate(
        video[0].movedim(-1, 0)[None], size=(16, 112, 112), mode="trilinear", align_corners=True
    )
    assert network.seen.shape == (1, 3, 16, 112, 112)
    torch.testing.assert_close(network.seen, wanted, atol=1e-3, rtol=0)
    corners = network.seen[0, :, 0, [0, -1], [0, -1]]
    torch.testing.assert_close(corners, video[0, 0, [0, -1], [0, -1]].T, atol=1e-3, rtol=0)


def test_other_lengths_and_missing_files_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("VIDEODIFF_WEIGHTS", raising=False)
    monkeypatch.setenv("VIDEODIFF_OFFLINE", "1")
    with pytest.raises(ValueError, match="clips of 16 frames, got 17"):
        C3DFeatures().extract(Input(), small_clips(17))
    with pytest.raises(ValueError, match="at least 16 frames, got 9"):
        C3DFeatures()(small_clips(9))
    with pytest.raises(FileNotFoundError, match="C3D") as caught:
        C3DFeatures()(small_clips())
    assert "mean2.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_networks_weights_are_one_line(tmp_path):
    np.savez(tmp_path / "other.npz", **{"conv1a/W": np.zeros((64, 3, 3, 3, 3), np.float32)})
    np.savez(tmp_path / "mean2.npz", mean=np.zeros((3, 16, 128, 171), np.float32))
    with pytest.raises(ValueError, match="are not those of C3D") as caught:
        C3DFeatures(str(tmp_path / "other.npz"), str(tmp_path / "mean2.npz"))(small_clips())
    assert "\n" not in str(caught.value)
