"""LPIPS against the published figures, and as a training loss."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from eval_fixtures import eval_file, eval_recipe
from eval_weights import weights_file
from videodiff.metrics.features import LPIPS
from videodiff.metrics.features.lpips import MEAN, STD, LPIPSNetwork, unit
from videodiff.metrics.features.trunks import TRUNKS

NETS = ("alex", "vgg", "squeeze")


def lpips(net, **kwargs):
    return LPIPS(net, weights_file(f"lpips_{net}.fp16.safetensors"), **kwargs)


def images(count=2, size=64, seed=42):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(count, 3, size, size, generator=generator) * 2 - 1 for _ in range(2))


@pytest.mark.parametrize("net", NETS)
def test_the_fixture(net):
    recipe, wanted = eval_recipe(), eval_file("expected.json")["recon"]
    x = recipe.synth(31, 2, t=8)
    x, y = (
        torch.from_numpy(clip).flatten(0, 1).movedim(-1, 1) / 127.5 - 1 for clip in (x, recipe.degrade(x, 5))
    )
    assert float(lpips(net)(x, y).mean()) == pytest.approx(wanted[f"lpips_{net}"], abs=2e-5)


def test_the_example_in_the_documentation_of_torchmetrics():
    assert lpips("squeeze")(*images(size=100)).tolist() == pytest.approx([0.1024, 0.0938], abs=1e-4)


def test_black_against_white():
    black = torch.full((1, 3, 64, 64), -1.0)
    assert float(lpips("alex")(black, -black)) == pytest.approx(
        0.81395, abs=3e-4
    )  # fp32 weights; here 16-bit


@pytest.mark.parametrize("net", NETS)
def test_it_is_zero_for_equals_and_symmetric(net):
    distance = lpips(net)
    x, y = images()
    assert distance(x, x).tolist() == [0, 0]
    torch.testing.assert_close(distance(x, y), distance(y, x))
    torch.testing.assert_close(distance(x, y)[1:], distance(x[1:], y[1:]), atol=1e-6, rtol=1e-5)


def test_gradients_are_those_of_finite_differences():
    distance = lpips("squeeze")
    network = distance.network().double()
    x, y = (image.double() for image in images(1, 33))
    x.requires_grad_()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(network(x, y).sum(), x)
    step = 1e-6  # within one piece of the piecewise linear trunk
    with torch.no_grad():
        slope = (network(x + step * direction, y) - network(x - step * direction, y)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-4)


def test_gradients_stay_finite_where_no_feature_fires():
    """The norm of dead features has no derivative at zero; sqrt(sum of squares) would give NaN."""
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit(features).sum().backward()
    assert torch.isfinite(features.grad).all()
    assert torch.equal(unit(features), torch.zeros(1, 4, 2, 2))


class Model(nn.Module):
    """A network with a perceptual loss."""

    def __init__(self, loss):
        super().__init__()
        self.net, self.loss = nn.Conv2d(3, 3, 1), loss


def test_as_a_loss_it_trains_the_model_and_nothing_else():
    model = Model(lpips("squeeze", exact=False))
    before = {name: value.clone() for name, value in model.loss.network().state_dict().items()}
    x, y = images()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses = []
    for _ in range(3):
        loss = model.train().loss(model.net(x), y).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[0]
    assert set(model.state_dict()) == {"net.weight", "net.bias"}
    assert len(list(model.parameters())) == 2
    assert len(list(model.modules())) == 3
    after = model.loss.network().state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(p.requires_grad for p in model.loss.network().parameters())


def test_weights_first_used_in_validation_serve_training_later():
    distance = lpips("squeeze", exact=False)
    x, y = images()
    with torch.inference_mode():
        distance(x, y)
    x.requires_grad_()
    distance(x, y).sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_bf16_is_close_and_exactness_ignores_it():
    x, y = images()
    exact, loose = lpips("squeeze"), lpips("squeeze", exact=False)
    wanted = exact(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(exact(x, y), wanted)
        found = loose(x, y)
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted)
    torch.testing.assert_close(found, wanted, atol=0, rtol=0.05)


@pytest.mark.parametrize("net", NETS)
def test_torchvisions_file_takes_its_linear_layers_from_the_package_or_the_folder(net, tmp_path, monkeypatch):
    both = load_file(weights_file(f"lpips_{net}.fp16.safetensors"))
    trunk = {name: value.float() for name, value in both.items() if name.startswith("features.")}
    trunk["classifier.1.weight"] = torch.zeros(3)  # torchvision's files go on to the classes
    torch.save(trunk, tmp_path / "trunk.pth")
    linear = {name.replace(".", ".model.1."): value for name, value in both.items() if name.startswith("lin")}
    torch.save(linear, tmp_path / f"lpips_v0.1_{net}.pth")
    monkeypatch.setenv("VIDEODIFF_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("VIDEODIFF_OFFLINE", "1")
    found = LPIPS(net, str(tmp_path / "trunk.pth")).network().state_dict()
    wanted = lpips(net).network().state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_the_lpips_package_is_read_but_not_imported(tmp_path, monkeypatch):
    package = tmp_path / "lpips/weights/v0.1"
    package.mkdir(parents=True)
    (tmp_path / "lpips/__init__.py").write_text("raise ImportError('torchvision does not fit')")
    both = load_file(weights_file("lpips_alex.fp16.safetensors"))
    linear = {n.replace(".", ".model.1."): v for n, v in both.items() if n.startswith("lin")}
    torch.save(linear, package / "alex.pth")
    torch.save({n: v for n, v in both.items() if n.startswith("features.")}, tmp_path / "trunk.pth")
    monkeypatch.syspath_prepend(tmp_path)
    found = LPIPS("alex", str(tmp_path / "trunk.pth")).network()
    assert torch.equal(found.get_parameter("lin4.weight"), both["lin4.weight"])


def test_another_trunks_file_is_one_line():
    with pytest.raises(ValueError, match="are not those of LPIPS vgg") as caught:
        LPIPS("vgg", weights_file("lpips_alex.fp16.safetensors"))(*images())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.zeros(1, 3, 64, 64), torch.zeros(2, 3, 64, 64)),
        (torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)),
        (torch.zeros(1, 3, 30, 64), torch.zeros(1, 3, 30, 64)),
        (torch.zeros(3, 64, 64), torch.zeros(3, 64, 64)),
    ],
)
def test_other_shapes_are_one_line(x, y):
    with pytest.raises(ValueError, match="sides of at least 31"):
        LPIPS("alex")(x, y)
    with pytest.raises(ValueError, match="net must be one of"):
        LPIPS("resnet")


@pytest.mark.parametrize(("net", "smallest"), [("alex", 31), ("vgg", 16), ("squeeze", 17)])
def test_the_smallest_image_is_the_smallest_that_reaches_the_last_tap(net, smallest):
    network = LPIPSNetwork(net)
    for name, values in (("shift", MEAN), ("scale", STD)):
        network.get_buffer(name).copy_(torch.tensor(values).view(1, 3, 1, 1))
    assert len(network.tapped(torch.zeros(1, 3, smallest, smallest))) == len(network.taps)
    with pytest.raises(RuntimeError):
        network.tapped(torch.zeros(1, 3, smallest - 1, smallest - 1))


@pytest.mark.parametrize("net", NETS)
def test_taps_have_the_published_widths(net):
    layers, taps, channels = TRUNKS[net]()
    x = torch.zeros(1, 3, 64, 64)
    found = []
    for index, layer in enumerate(layers):
        x = layer(x)
        if index in taps:
            found.append(x.shape[1])
    assert tuple(found) == channels
