import json
import subprocess
from importlib import metadata
from types import SimpleNamespace

import pytest

from videodiff.cli import main
from videodiff.cli.commands import doctor, models


@pytest.fixture
def probe(monkeypatch):
    """The process that imports torch, replaced by what it would have said."""

    def says(lightning=True, gpus=(), stderr="", torch=True):
        found = {"version": "2.6.0", "cuda": "12.4", "gpus": list(gpus), "bf16": True, "nccl": False}
        out = json.dumps(found) + ("\nlightning" if lightning else "")
        done = SimpleNamespace(stdout=out if torch else "", stderr=stderr, returncode=0)
        monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)

    says()
    return says


def findings(capsys):
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == (0 if report["ok"] else 1)
    return {finding["name"]: finding for finding in report["findings"]}


def test_this_installation_is_in_order(capsys):
    """The only test that lets doctor import torch and Lightning in a process of its own."""
    found = findings(capsys)
    assert found["import lightning"]["ok"]
    assert found["torch"]["text"] == metadata.version("torch")
    assert found["libx264"]["ok"]
    assert found["ffv1"]["ok"]


def test_lines_start_with_ok_or_fix(probe, capsys):
    probe(lightning=False, stderr="Traceback\nRuntimeError: operator torchvision::nms does not exist\n")
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok ", "fix:")) for line in lines)
    assert any(line.startswith("fix:") and "torchvision::nms" in line for line in lines)


def test_a_torch_that_cannot_be_imported_is_named(probe, capsys):
    probe(torch=False, stderr="ImportError: libcudart.so.12\n")
    found = findings(capsys)["import torch"]
    assert not found["ok"]
    assert "libcudart" in found["text"]


def test_several_gpus_need_nccl(probe, capsys):
    gpu = {"name": "H200", "memory": 139 * 2**30}
    probe(gpus=[gpu])
    assert "nccl" not in findings(capsys)
    probe(gpus=[gpu, gpu])
    found = findings(capsys)
    assert "2: H200 139 GiB" in found["gpu"]["text"]
    assert not found["nccl"]["ok"]


@pytest.mark.parametrize(
    ("torch", "vision", "pin", "ok"),
    [
        ("2.6.0", "0.21.0", "==2.6.0", True),
        ("2.6.0+cpu", "0.21.0+cpu", "==2.6.0", True),
        ("2.6.0+cpu", "0.21.0+cu124", "==2.6.0", False),
        ("2.7.0", "0.21.0", "==2.6.0", False),
        ("2.15.0", "0.29.2", ">=2.14.0", True),
        ("2.11.0", "0.29.2", ">=2.14.0", False),
    ],
)
def test_torch_and_torchvision_must_match(torch, vision, pin, ok, monkeypatch):
    versions = {"torch": torch, "torchvision": vision}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    monkeypatch.setattr(
        metadata, "requires", lambda _: ["numpy", f"torch ({pin})", "scipy; extra == 'scipy'"]
    )
    found = doctor.pinned_torch()
    assert found.ok is ok
    assert torch in found.text or ok


def test_requirements_are_read_in_both_spellings():
    assert doctor.torch_pin(["numpy", "torch==2.6.0"]) == "==2.6.0"
    assert doctor.torch_pin(["torch (==2.6.0)"]) == "==2.6.0"
    assert doctor.torch_pin(["torchaudio==1", "numpy"]) is None


def test_the_compromised_lightning_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "2.6.3")
    bad = {finding.name for finding in doctor.packages() if not finding.ok}
    assert "pytorch-lightning" in bad


def test_a_folder_that_cannot_be_written_and_a_dangerous_variable_are_named(
    probe, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setenv("VIDEODIFF_WEIGHTS", "/weights")

    def refuses(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refuses)
    found = findings(capsys)
    assert not found["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]["ok"]
    assert found["VIDEODIFF_WEIGHTS"]["text"] == "/weights"
    assert "Permission denied" in found["write, runs"]["text"]


def test_too_little_room_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**30))
    assert [finding.ok for finding in doctor.places() if finding.name == "disk, runs"] == [False]


def test_models_lists_what_could_be_imported(capsys):
    from videodiff import models as room

    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in found["models"]}
    offered = {name for name in room.__all__ if issubclass(getattr(room, name), room.DiffusionModule)}
    assert names == offered - {"DiffusionModule"}
    assert all(row["about"] for rows in found.values() for row in rows)
    assert {"vdm_digits", "with/small"} <= {row["name"] for row in found["configs"]}


def test_the_first_sentence_of_its_comment_describes_a_config():
    text = "\n#\n# Overlay: VDM on digits (Ho et\n# al. 2022, section 3.1). More.\nmodel: 1\n"
    assert models.first_sentence(text) == "VDM on digits (Ho et al. 2022, section 3.1)."
    assert models.first_sentence("model: 1\n# late\n") == ""


def test_models_are_listed_by_family_and_every_line_is_a_whole_sentence_that_fits(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 130 for line in lines)
    families, family = {}, None
    for line in filter(None, lines):
        family = family if line.startswith("  ") else line.split(":")[0]
        families.setdefault(family, []).append(line)
        assert line.startswith("Overlays") or line.endswith("."), line
    first = [line.split()[0] for line in families["PVDM"][1:6]]
    digits = ["pvdm_autoencoder_digits", "pvdm_digits", "pvdm_text_digits"]
    assert first == [*digits, "pvdm_autoencoder_clouds", "pvdm_clouds"]
    shown = [line.split()[0] for rows in families.values() for line in rows[1:]]
    assert sorted(name for name in shown if not name.startswith("demo/")) == sorted(models.shipped_configs())
    assert all("arXiv" in families[name][0] for name in ("VDM", "LVDM", "PVDM"))
