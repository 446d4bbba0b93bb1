"""Runs that earlier code wrote: each still opens, goes on, is tested, drawn from, compared and exported."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from old_runs.make import (
    COMPARE,
    DRAWS,
    EXPORTED,
    GENERATE,
    MORE,
    ON_LATENTS,
    SMALLER,
    STEPS,
    TEST,
    go_on,
    lines_after,
    train_on_latents,
)
from videodiff import migrations
from videodiff.checkpoints import load_checkpoint, load_config, load_run
from videodiff.cli import main
from videodiff.comparison import read_comparison
from videodiff.comparison.record import Clips, ModelClips
from videodiff.config import read_configs
from videodiff.data import collate
from videodiff.data.latent_store import read_latents
from videodiff.data.video_io import read_video
from videodiff.evaluation import read_result
from videodiff.report import build_page

HERE = Path(__file__).parent
FORMATS = sorted(folder.name for folder in HERE.glob("format-*"))


@pytest.fixture(scope="module", params=FORMATS)
def kept(request):
    """What one format wrote; only to be read."""
    return HERE / request.param


@pytest.fixture
def home(kept, tmp_path, monkeypatch):
    """A copy to work in, whose relative names mean what they meant; one thread, as when it was made."""
    shutil.copytree(kept, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path / "home"
    torch.set_num_threads(threads)


def is_same_machine(kept):
    """Whether torch and the kind of processor are those that the numbers were made with."""
    made = json.loads((kept / "expected" / "expected.json").read_text())["made_with"]
    return (made["torch"], made["cpu"]) == (torch.__version__, torch.backends.cpu.get_cpu_capability())


def assert_numbers(found, expected, kept):
    """Bitwise where torch and processor are the same; elsewhere sums are rounded in other orders."""
    if is_same_machine(kept):
        assert found == expected
    assert [line.keys() for line in found] == [line.keys() for line in expected]
    for line, wanted in zip(found, expected, strict=True):
        assert line == pytest.approx(wanted, rel=2e-3, abs=1e-6)


LOGGED_SINCE = ("train/loss_clips", "train/loss_images")  # parts of train/loss, which stays as it was


def without_classes_of_images(samples, facts=collate.stacked_facts):
    """What is known of samples, but for the classes of their images."""
    return {key: value for key, value in facts(samples).items() if key != "image_labels"}


@pytest.mark.parametrize("name", [*SMALLER, ON_LATENTS])
def test_the_next_steps_are_those_that_the_old_code_took(home, kept, name, monkeypatch):
    if name == "vdm":  # trained jointly with still images, which then had the class of the clip before them
        monkeypatch.setattr(collate, "stacked_facts", without_classes_of_images)
    expected = json.loads((kept / "expected" / "expected.json").read_text())["next_lines"][name]
    new = name == ON_LATENTS
    assert main(train_on_latents() if new else go_on(name)) == 0
    lines = [
        {key: value for key, value in line.items() if key not in LOGGED_SINCE}
        for line in lines_after(Path(name), 0 if new else STEPS)
    ]
    assert_numbers(lines, expected, kept)
    written = load_checkpoint(Path(name, "checkpoints", "last.ckpt"))
    assert (written["global_step"], written["videodiff"]["format"]) == (
        MORE if new else STEPS + MORE, migrations.FORMATS["checkpoint"]
    )  # fmt: skip


@pytest.mark.parametrize("name", [*DRAWS, *(f"{name}_export" for name in EXPORTED)])
def test_the_clips_are_those_that_the_old_code_drew(home, kept, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # the first stage is found from the run, not from here
    out = tmp_path / "clips"
    assert main(["generate", "--ckpt_path", str(home / name), *GENERATE, "--out", str(out)]) == 0
    found = np.stack([read_video(path) for path in sorted(out.glob("*.mkv"))])
    wanted = np.load(kept / "expected" / "clips.npz")[name.removesuffix("_export")]
    assert np.abs(found.astype(int) - wanted).max() <= (0 if is_same_machine(kept) else 1)


# The others are measured by the comparison below.
@pytest.mark.parametrize(
    "name", [DRAWS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in DRAWS[1:])]
)
def test_a_test_finds_the_numbers_of_the_old_result(home, kept, name):
    (old,) = (kept / name / "eval").glob("*.json")
    shutil.rmtree(home / name / "eval")
    assert main(["test", "--ckpt_path", name, *TEST]) == 0
    (new,) = (home / name / "eval").glob("*.json")
    before, now = read_result(old), read_result(new)
    assert now.protocol["hash"] == before.protocol["hash"]
    for metric, entry in before.metrics.items():
        assert now.metrics[metric]["value"] == pytest.approx(entry["value"], rel=1e-3)


def test_a_comparison_finds_the_numbers_of_the_old_one(home, kept):
    assert main(["compare", *DRAWS, *COMPARE, "--out", "report"]) == 0  # over the old report, which is ours
    before, now = read_comparison(kept / "report"), read_comparison(home / "report")
    # A model was called by its class then, and is by its run now.
    assert [model.model for model in now.models] == [model.model for model in before.models]
    assert now.protocol["hash"] == before.protocol["hash"]
    for old, new in zip(before.models, now.models, strict=True):
        assert (new.checkpoint["sha256"], new.parameters) == (old.checkpoint["sha256"], old.parameters)
        for metric, entry in old.draws[0].metrics.items():
            assert new.draws[0].metrics[metric]["value"] == pytest.approx(entry["value"], rel=1e-3)


def test_an_old_comparison_is_shown_on_a_page(kept):
    comparison = read_comparison(kept / "report")
    none = torch.zeros(0, 4, 16, 16, 3, dtype=torch.uint8)
    page = build_page(comparison, Clips(none, {m.name: ModelClips(none) for m in comparison.models}))
    for model in comparison.models:
        assert model.name in page
        assert f"{next(iter(model.draws[0].metrics.values()))['value']:.0f}"[:3] in page


def test_an_old_run_is_exported_with_its_results(home, kept):
    assert main(["export", "pvdm", "--out", "new"]) == 0
    assert json.loads(Path("new/videodiff.json").read_text())["format"] == migrations.FORMATS["export"]
    (result,) = (kept / "pvdm" / "eval").glob("*.json")
    value = next(iter(read_result(result).metrics.values()))["value"]
    assert f"{value:.6g}" in Path("new/README.md").read_text()
    assert not load_run("new").training


def test_an_export_holds_the_averages_of_its_run(kept):
    for name in EXPORTED:
        run = load_checkpoint(kept / name / "checkpoints" / "last.ckpt")["state_dict"]
        export = load_checkpoint(kept / f"{name}_export" / "model.safetensors")["state_dict"]
        assert run.keys() == export.keys()
        assert all(torch.equal(run[key], export[key]) for key in run)


@pytest.mark.parametrize("name", SMALLER)
def test_the_config_of_a_run_reads_the_same_from_its_folder_and_its_checkpoint(kept, name):
    config = load_config(kept / name)
    assert config["trainer"]["max_steps"] == STEPS
    assert config == load_config(kept / name / "checkpoints" / "last.ckpt")
    assert config == read_configs([kept / name / "config.yaml"], "fit")


NEWER = {
    "checkpoint": lambda kept: load_checkpoint(kept / "vdm" / "checkpoints" / "last.ckpt"),
    "config": lambda kept: load_run(kept / "vdm"),
    "export": lambda kept: load_run(kept / "vdm_export"),
    "latents": lambda kept: read_latents(kept / "lvdm_latents"),
    "result": lambda kept: read_result(next((kept / "vdm" / "eval").glob("*.json"))),
    "comparison": lambda kept: read_comparison(kept / "report"),
}


@pytest.mark.parametrize("kind", NEWER)
def test_every_reader_goes_through_the_table_and_refuses_a_newer_format(kept, monkeypatch, kind):
    monkeypatch.setitem(migrations.FORMATS, kind, 0)  # what is there is now a newer one
    with pytest.raises(ValueError, match=rf"was made by a newer videodiff \({kind} format 1,") as caught:
        NEWER[kind](kept)
    assert "\n" not in str(caught.value)


def test_steps_are_taken_in_order_and_only_from_the_records_own_format_on(monkeypatch):
    monkeypatch.setitem(migrations.FORMATS, "result", 3)
    for number in (1, 2):
        monkeypatch.setitem(
            migrations.MIGRATIONS,
            ("result", number),
            lambda record, number=number: {**record, "steps": [*record["steps"], number]},
        )
    assert migrations.migrated("result", {"steps": []}, "x") == {"steps": [1, 2], "format": 3}
    assert migrations.migrated("result", {"steps": [], "format": 2}, "x") == {"steps": [2], "format": 3}
    assert migrations.migrated("result", {"steps": []}, "x", number=3) == {"steps": []}
    for wrong in (0, True, "1", 1.0):
        with pytest.raises(ValueError, match="is no number"):
            migrations.migrated("result", {"format": wrong}, "x")


def test_the_number_of_a_config_is_written_once_and_found_again(monkeypatch):
    text = migrations.numbered_config("model: {}\n")
    assert migrations.numbered_config(text) == text
    monkeypatch.setitem(migrations.FORMATS, "config", 7)
    newer = migrations.numbered_config(text)
    assert migrations.migrated_config({}, newer, "x") == {}
    monkeypatch.setitem(migrations.FORMATS, "config", 6)
    with pytest.raises(ValueError, match="config format 7, this version reads 6"):
        migrations.migrated_config({}, newer, "x")
