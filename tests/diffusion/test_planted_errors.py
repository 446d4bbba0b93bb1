"""Would the checks notice a wrong sign? Each row breaks one formula in a copy of the package; a check must fail."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

import diffusion_checks
import videodiff.diffusion

PLANTED = [
    ("schedule.py", "return -2.0 * angle.tan().log()", "return 2.0 * angle.tan().log()"),
    ("schedule.py", "return alpha * x + sigma * eps", "return alpha * x - sigma * eps"),
    ("schedule.py", "one_minus_e = -torch.expm1(", "one_minus_e = torch.expm1("),
    ("schedule.py", "variance=one_minus_e * sigma_s**2", "variance=one_minus_e * sigma_t**2"),
    ("discrete_schedule.py", "(root - root[-1]) * root[0]", "(root + root[-1]) * root[0]"),
    ("schedule.py", "torch.exp(-0.5 * self._log_snr", "torch.exp(0.5 * self._log_snr"),
    ("prediction.py", "return alpha * eps - sigma * x", "return alpha * eps + sigma * x"),
    ("prediction.py", "return (alpha * z - sigma * output) /", "return (alpha * z + sigma * output) /"),
    ("prediction.py", "return (z - sigma * output) / alpha", "return z - sigma * output"),
    ("prediction.py", "return (sigma * z + alpha * output) /", "return (sigma * z - alpha * output) /"),
    ("prediction.py", "return eps - x", "return x - eps"),
    ("prediction.py", "return (z - sigma * output) / (alpha + sigma)", "return z - sigma * output"),
    ("prediction.py", "(z + alpha * output) / (alpha + sigma)", "(z - alpha * output) / (alpha + sigma)"),
    ("prediction.py", "alpha.square() + sigma.square()", "alpha.square() - sigma.square()"),
    ("loss.py", '"v": (snr + 1.0) * total_power', '"v": (snr - 1.0) * total_power'),
    ("loss.py", '"v": (snr + 1.0) * total_power', '"v": (snr + 1.0) / total_power'),
    ("loss.py", "(1.0 + (0.5 * log_snr).exp())", "(1.0 + log_snr.exp())"),
    ("loss.py", "weight_of_x = snr.clamp(max=gamma)", "weight_of_x = snr.clamp(min=gamma)"),
    ("samplers.py", "(1 - self.gamma) * q.variance_upper", "(1 + self.gamma) * q.variance_upper"),
    ("samplers.py", "(sigma_s**2 - fresh**2)", "(sigma_s**2 + fresh**2)"),
    (
        "samplers.py",
        "x=factor * (1 + back), previous=-factor * back",
        "x=factor * (1 - back), previous=factor * back",
    ),
    ("samplers.py", "factor = -alpha_s * torch.expm1(-h)", "factor = -alpha_s * torch.expm1(h)"),
    ("samplers.py", "eps=-0.5 * self.delta * sigma", "eps=0.5 * self.delta * sigma"),
    ("sampler.py", "x_of_eps = -eps * alpha / sigma", "x_of_eps = eps * alpha / sigma"),
    (
        "guidance.py",
        "x = x_null + self.scale * (x_cond - x_null)",
        "x = x_null - self.scale * (x_cond - x_null)",
    ),
    ("guidance.py", "return x - (0.5 * alpha) * gradient", "return x + (0.5 * alpha) * gradient"),
    ("guidance.py", "total + weight * error.mul(frames).sum()", "total - weight * error.mul(frames).sum()"),
    ("measurement.py", "return x - self.weight * self._step", "return x + self.weight * self._step"),
    ("measurement.py", "error = measured - self.target", "error = measured"),
    ("measurement.py", "/ slope.square().flatten(1).sum(1)", "* slope.square().flatten(1).sum(1)"),
]


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Imports a copy of the package in which one snippet of one file is replaced."""
    monkeypatch.syspath_prepend(tmp_path)

    def planted(file, original, broken):
        package = tmp_path / "planted_diffusion"
        shutil.copytree(Path(videodiff.diffusion.__file__).parent, package, ignore=lambda *_: ["__pycache__"])
        for path in package.glob("*.py"):
            text = path.read_text().replace("videodiff.diffusion", "planted_diffusion")
            if path.name == file:
                assert text.count(original) == 1, (
                    f"{original!r} stands {text.count(original)} times in {file}"
                )
                text = text.replace(original, broken)
            path.write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module("planted_diffusion")

    yield planted
    for name in [name for name in sys.modules if name.split(".")[0] == "planted_diffusion"]:
        del sys.modules[name]


def failing(package):
    """Names of the checks that fail."""
    names = []
    for name, check in diffusion_checks.CHECKS.items():
        try:
            check(package)
        except (AssertionError, ValueError, RuntimeError):
            names.append(name)
    return names


def test_an_unbroken_copy_passes_every_check(plant):
    assert failing(plant("loss.py", "snr.clamp(min=1.0)", "snr.clamp(min=1.0)")) == []


@pytest.mark.parametrize(("file", "original", "broken"), PLANTED, ids=[broken for _, _, broken in PLANTED])
def test_a_planted_error_turns_a_check_red(plant, file, original, broken):
    assert failing(plant(file, original, broken))
