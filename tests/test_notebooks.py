"""Every notebook runs, shows what its text says, and is the same in both of its files."""

import ast
import importlib.util
import json
import logging
from itertools import combinations
from pathlib import Path

import pytest
import torch

from videodiff.report.notebook import Shown

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
SHORTER = {  # trainings of most of a minute: in the suite of a few steps, and what the text says of them is slow
    "02": {"train(stage, 32)": "train(stage, 2)", "train(model, 25)": "train(model, 2)"},
    "04": {"latent_channels=4), 80, 1e-2": "latent_channels=4), 2, 1e-2", "), 140, 5e-3": "), 2, 5e-3"},
    "06": {
        '"short": 8, "longer": 48': '"short": 4, "longer": 8',
        "num_clips=24, steps=(6, 3)": "num_clips=8, steps=(2, 1)",
    },
}


def load_script(name):
    """A file of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cells = load_script("docs_site").cells


def run(path, changes=()):
    """Run the code cells in one namespace, as a kernel would; returns it and what the cells showed."""
    shown, text = [], path.read_text()
    names = {"__name__": "__main__", "display": shown.append}
    for whole, shorter in dict(changes).items():
        assert text.count(whole) == 1, whole
        text = text.replace(whole, shorter)
    for number, (kind, source) in enumerate(cells(text)):
        if kind == "markdown":
            continue
        tree = ast.parse(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        where = f"{path.stem}, cell {number}"
        exec(compile(tree, where, "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
            shown += [] if value is None else [value]
    return names, shown


def claims_01(names):
    assert all(torch.equal(names["by_four"][p], names["by_eight"][p]) for p in range(16))
    ((path, reason),) = names["left_out"]
    assert path.endswith("damaged.mp4")
    assert "cannot be read as video" in reason
    shown = names["batch"]["video"].float()
    assert all((a - b).abs().mean() > 1 for a, b in combinations(shown, 2))  # no clip twice
    assert list(names["batch"]["video"].shape) == [3, 3, 16, 32, 32]


def claims_02(names):
    for name, curve in names["curves"].items():
        first, last = (sum(loss for _, loss in part) for part in (curve[:10], curve[-10:]))
        assert last < 0.9 * first, name
    assert len({id(model.schedule) for model in names["models"].values()}) == 1


def claims_03(names):
    errors = {name: dict(points) for name, points in names["errors"].items()}
    assert errors["DDIM"][128] == pytest.approx(errors["DDIM"][64] / 2, rel=0.1)  # first order
    assert errors["DPM-Solver++ (2M)"][128] < 0.45 * errors["DPM-Solver++ (2M)"][64]  # better than first
    for name, points in names["spreads"].items():
        spreads = [value for _, value in points]
        assert spreads == sorted(spreads), name
        assert spreads[0] < 0.5 < 0.8 < spreads[-1] < 1.2, name


def claims_04(names):
    psnr = names["psnr"]
    assert min(psnr["3-D latent"], psnr["planes"]) > psnr["the mean picture, always"] + 1
    clips = names["clips"]
    still, moving = (clips[k].diff(dim=2).abs().mean() for k in ("held still", "as encoded"))
    assert still < 1e-5 < 0.003 < moving
    change = names["gap"]
    assert change[2:4].min() > change[[0, 1, 4, 5, 6, 7]].max()


def claims_05(names):
    real = names["real"]
    for name, positions in names["tasks"].items():
        drawn = names["drawn"][name]
        assert torch.equal(drawn[:, :, list(positions)], real[:, :, list(positions)]), name
        assert (drawn - real).square().mean().sqrt() < 0.4 * names["free"], name
    errors = dict(names["errors"])
    assert min(errors, key=errors.get) in (5, 10, 20)
    assert errors[50] > names["free"] > names["replaced"] > errors[5]
    for plan in names["plans"].values():
        written = [frame for window in plan for frame in window.new]
        assert len(written) == len(set(written))
    assert all(video.shape[2] == 24 for video in names["long"].values())
    seams = names["jumps"]["from noise"][[7, 11, 15, 19]].mean()
    assert seams < 2 * names["jumps"]["from noise"][4:7].mean()


def claims_06(names):
    short, longer = (model.draws[0].metrics[names["first"]] for model in names["comparison"].models)
    assert longer["interval"][1] < short["interval"][0]
    frozen = next(b for b in names["comparison"].baselines if "frozen" in b["name"])
    assert frozen["metrics"][names["first"]]["value"] < longer["value"]  # as its text says
    noise = next(b for b in names["comparison"].baselines if "noise" in b["name"])
    low = noise["metrics"][names["first"]]["interval"][0]
    assert longer["interval"][1] < low < short["interval"][1]  # eight steps are too few even for that
    assert min(entry["distance"] for entry in names["longer"].nearest) > 5
    assert all(
        len(m.training.curves["val/loss"]) >= 2 for m in names["comparison"].models
    )  # a line can be seen


def claims_07(names):
    assert names["after"] < 0.75 * names["before"]
    text = (ROOT / "notebooks/07_add_your_own_model.py").read_text()
    lines = text[text.index("class MixerBlock") : text.index("# %% [markdown]\n# `VDM`")].strip().splitlines()
    assert len(lines) < 60


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """A folder of its own, one thread, and the loggers and threads put back."""
    logger, threads = logging.getLogger("pytorch_lightning"), torch.get_num_threads()
    level = logger.level
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    logger.setLevel(level)


def has_player(shown):
    return any(isinstance(value, Shown) and "data:image/gif" in value for value in shown)


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow if p.stem[:2] in SHORTER else ()) for p in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs_and_what_it_says_is_true(path, quiet, capsys):
    names, shown = run(path)
    assert has_player(shown)
    globals()[f"claims_{path.stem[:2]}"](names)


@pytest.mark.parametrize("number", SHORTER)
def test_a_notebook_of_long_trainings_runs_with_short_ones(number, quiet, capsys):
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.py")
    assert has_player(run(path, SHORTER[number])[1])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_both_files_of_a_notebook_hold_the_same_cells_and_no_output(path):
    notebook = json.loads(path.with_suffix(".ipynb").read_text())
    found = []
    for cell in notebook["cells"]:
        found.append((cell["cell_type"], "".join(cell["source"]).strip("\n")))
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert found == cells(path.read_text())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_and_begins_with_what_one_learns(path):
    found = cells(path.read_text())
    assert sum(kind == "code" for kind, _ in found) < 10
    kind, text = found[0]
    assert kind == "markdown"
    assert text.startswith(f"# {int(path.stem[:2])}. ")
    assert "What you learn here:" in text


def test_there_are_seven_and_every_ipynb_has_its_pair():
    assert len(NOTEBOOKS) == 7
    assert [p.stem for p in NOTEBOOKS] == [p.stem for p in sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_kernel(path, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient (extra notebooks) is not installed")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="ipykernel (extra notebooks) is not installed")
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(
        "image/gif" in "".join(output["data"].get("text/html", ""))
        for cell in notebook.cells if cell.cell_type == "code"
        for output in cell.outputs if "data" in output
    )  # fmt: skip
