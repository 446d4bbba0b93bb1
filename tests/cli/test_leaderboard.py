"""leaderboard: what it trains and with which words, what it refuses, and that nothing which is done is done again."""

import json
import multiprocessing
from pathlib import Path

import pytest

from report_records import clips_of, comparison, model
from videodiff.cli import leaderboard_plan, leaderboard_run, main, side_by_side
from videodiff.cli.leaderboard_plan import falls_over, fit_words, probe_words, system_of, to_probe
from videodiff.comparison.results import write_results
from videodiff.comparison.stored_clips import write_clips
from videodiff.config import check_texts

SMOKE = ["--config", "with/smoke"]


def test_a_system_is_its_config_and_what_it_changes_for_itself_and_for_all(tmp_path):
    overlay = tmp_path / "wide.yaml"
    overlay.write_text("model: {init_args: {net: {init_args: {width: 48}}}}\n")
    spec = f"eps=vdm_digits,{overlay},model.prediction=eps"
    found = system_of(spec, ["with/smoke"], ["--model.net.head_dim", "8"], 0.4)
    assert (found.name, [stage.title for stage in found.stages]) == ("eps", ["model"])
    (stage,) = found.stages
    net = check_texts(stage.configs, "fit", stage.options)["model"]["init_args"]
    assert net["prediction"] == "eps"
    assert net["net"]["init_args"]["head_dim"] == "8"  # as it is written; classes read it
    assert net["net"]["init_args"]["width"] == 32  # what is for all comes last
    unnamed = system_of("vdm_digits,model.prediction=eps", [], [], 0.4)
    assert unnamed.name == "vdm_digits-prediction_eps"
    assert unnamed.digest != system_of("vdm_digits", [], [], 0.4).digest


def test_a_first_stage_is_trained_for_its_share_and_with_what_fits_it():
    found = system_of(
        "lvdm_digits", ["with/smoke"], ["--data.resolution", "16", "--model.net.width", "8"], 0.3
    )
    first, second = found.stages
    assert (first.configs, second.configs) == (
        ("lvdm_autoencoder_digits", "with/smoke"),
        ("lvdm_digits", "with/smoke"),
    )
    assert (first.share, second.share) == (0.3, 0.7)
    assert "--data.resolution=16" in first.options
    assert not any("width" in word for word in first.options)
    words = fit_words(second, Path("run"), 2, 14.0, Path("first"), 500)
    config = check_texts(second.configs, "fit", [w for w in words[words.index("--out") + 2 :]])
    assert config["model"]["init_args"]["autoencoder"]["init_args"]["checkpoint"] == "first"
    assert (config["budget"]["seconds"], config["seed_everything"], config["trainer"]["max_steps"]) == (
        "14",
        "2",
        "-1",
    )
    # Its rate is a warm-up, which does not depend on the end; the autoencoder's falls to it.
    assert config["model"]["init_args"]["lr_scheduler"]["init_args"]["total_iters"] == 50
    assert (first.falls, second.falls) == ("--model.lr_scheduler.T_max", None)
    assert to_probe(found) == [first]
    words = fit_words(first, Path("run"), 0, 6.0, None, 321)
    assert words[words.index("--model.lr_scheduler.T_max") + 1] == "321"
    words = probe_words(first, Path("speed"), None)
    assert words[words.index("--trainer.max_steps") + 1] == str(leaderboard_plan.PROBE_STEPS)


@pytest.mark.parametrize(
    ("kind", "arguments", "option"),
    [
        ("torch.optim.lr_scheduler.LinearLR", {"start_factor": 0.01, "total_iters": 50}, None),
        ("torch.optim.lr_scheduler.LinearLR", {"start_factor": 1.0, "end_factor": 0.1}, "total_iters"),
        ("torch.optim.lr_scheduler.OneCycleLR", {"max_lr": 1.0}, "total_steps"),
        ("videodiff.models.LearningRate", {"warmup_steps": 5}, None),
        ("LearningRate", {"shape": "stable_decay"}, "total_steps"),
        ("torch.optim.lr_scheduler.ExponentialLR", {"gamma": 0.9}, None),
    ],
)
def test_a_rate_that_falls_to_the_end_is_told_from_a_warm_up(kind, arguments, option):
    found = falls_over(
        {"model": {"init_args": {"lr_scheduler": {"class_path": kind, "init_args": arguments}}}}
    )
    assert found == (option and f"--model.lr_scheduler.{option}")
    assert falls_over({"model": {"init_args": {}}}) is None


REFUSED = [
    (["vdm_digts", "--seconds", "5"], "did you mean 'vdm_digits'"),
    (["--seconds", "5"], "needs a SYSTEM"),
    (["vdm_digits"], "--seconds must be given"),
    (["vdm_digits", "--seconds", "0"], "--seconds must be at least"),
    (["vdm_digits", "vdm_digits", "--seconds", "5"], "two systems are called vdm_digits"),
    (
        ["vdm_digits", "--seconds", "5", "--trainer.max_steps", "7"],
        "--trainer.max_steps is set by the leaderboard",
    ),
    (["vdm_digits,model.netz=3", "--seconds", "5"], "vdm_digits-netz_3: "),
    (["a/b=vdm_digits", "--seconds", "5"], "a/b=vdm_digits"),
    (["lvdm_digits", "--seconds", "5", "--data.latents", "somewhere"], "lvdm_digits: data.latents"),
    (
        ["lvdm_digits", "--seconds", "5", "--model.autoencoder.checkpoint", "mine"],
        "its first stage 'mine' names no config",
    ),
    (["vdm_digits", "vdm_clouds", "--seconds", "5"], "vdm_digits and vdm_clouds cannot be compared: dataset"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_bad_input_is_one_line_before_anything_is_trained(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(leaderboard_run, "get_ready", lambda: None)
    assert main(["leaderboard", *words]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("videodiff: error")]
    assert len(error) == 1
    assert message in error[0]
    assert not (tmp_path / "runs").exists()


class Instant(side_by_side.SideBySide):
    """Trainings that take no time and leave what real ones leave; `ended` has their names, `most` ends the command."""

    ended: list[str] = []
    most = 1000

    def start(self, training):
        if len(self.ended) >= self.most:
            raise KeyboardInterrupt
        self.ended.append(training.name)
        training.state, training.began, training.ended = "running", 1.0, 3.0
        training.folder.mkdir(parents=True, exist_ok=True)
        if training.words[0] == "compare":
            record = comparison([model("run", latent=False)])
            write_results(record, training.folder)
            write_clips(clips_of(record, count=1), training.folder)
        elif "speed" in training.name:
            lines = [{"step": k, "throughput/compute_seconds": 0.25 * k} for k in range(1, 11)]
            (training.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def wait(self, seconds):
        running = [each for each in self.all if each.state == "running"]
        for each in running:
            each.state, each.code = "done", 0
        return running

    def __exit__(self, *_):
        return None


@pytest.fixture
def instant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(leaderboard_run, "get_ready", lambda: None)
    monkeypatch.setattr(leaderboard_run, "SideBySide", Instant)
    monkeypatch.setattr(leaderboard_run, "resolve_checkpoint", lambda run: run)
    state = {"global_step": 80, "callbacks": {"ComputeBudget": {"seconds": 20.1, "starting": 2.0}}}
    monkeypatch.setattr(leaderboard_run, "load_checkpoint", lambda path: state)
    monkeypatch.setattr(Instant, "ended", [])
    return Instant


def test_an_interrupted_leaderboard_goes_on_where_it_was_and_takes_further_systems(
    instant, monkeypatch, capsys
):
    words = [
        "leaderboard",
        "vdm_digits",
        "lvdm_digits",
        *SMOKE,
        "--seconds",
        "20",
        "--seeds",
        "2",
        "--out",
        "board",
    ]
    monkeypatch.setattr(instant, "most", 5)
    assert main(words) == 130
    done = list(instant.ended)
    assert done == [
        "board/lvdm_digits/speed/first_stage", "vdm_digits, seed 0", "lvdm_digits, seed 0, first stage",
        "lvdm_digits, seed 0", "vdm_digits, seed 1",
    ]  # fmt: skip
    record = json.loads(Path("board/leaderboard.json").read_text())
    assert record["entries"][1]["planned"] == {"first_stage": 32}  # 0.4 x 20 s at 0.25 s a step
    monkeypatch.setattr(instant, "most", 1000)
    instant.ended.clear()
    assert main(["leaderboard", "--out", "board"]) == 0
    assert sorted(instant.ended) == sorted(
        [
            "lvdm_digits, seed 1, first stage", "lvdm_digits, seed 1",
            *(f"{name}, seed {seed}, evaluation" for name in ("vdm_digits", "lvdm_digits") for seed in (0, 1)),
        ]
    )  # fmt: skip
    told = capsys.readouterr()
    assert ["system", "vdm_digits", "lvdm_digits"] in [line.split() for line in told.out.splitlines()]
    assert "page: " in told.out
    instant.ended.clear()
    assert main(["leaderboard", "--out", "board"]) == 0
    assert instant.ended == []
    eps = ["leaderboard", "eps=vdm_digits,model.prediction=eps", *SMOKE, "--out", "board"]
    assert main(eps) == 0
    assert {name.partition(",")[0] for name in instant.ended} == {"eps"}
    rows = Path("board/leaderboard.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 3
    for more, message in (
        (["--seconds", "21"], "--seconds 21.0: board holds a leaderboard with 20.0"),
        (["eps=vdm_digits", *SMOKE], "eps is in board already, trained with another config"),
    ):
        capsys.readouterr()
        assert main(["leaderboard", *more, "--out", "board"]) == 2
        assert message in capsys.readouterr().err


def test_seconds_that_hold_no_step_are_told_before_trainings_begin(instant, capsys):
    words = ["leaderboard", "lvdm_digits", *SMOKE, "--seconds", "0.5", "--out", "board"]
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "--seconds 0.5 are too few: one step of its first stage takes 0.25, and it has 0.2" in error


@pytest.mark.slow
def test_a_leaderboard_of_two_systems_trains_measures_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(side_by_side, "context", lambda: multiprocessing.get_context("fork"))
    monkeypatch.setattr(leaderboard_run, "get_ready", lambda: None)
    words = [
        "vdm_digits",
        "lvdm_digits",
        *SMOKE,
        "--seconds",
        "3",
        "--seeds",
        "1",
        "--num_clips",
        "8",
        "--steps",
        "2",
    ]
    assert main(["leaderboard", *words, "--at_a_time", "2"]) == 0
    out = tmp_path / "runs" / "leaderboard"
    record = json.loads((out / "leaderboard.json").read_text())
    for found in record["entries"]:
        (run,) = found["runs"]
        total = sum(stage["seconds"] for stage in run["stages"])
        assert 3.0 <= total < 5.0
        assert all(stage["steps"] >= 2 for stage in run["stages"])
        assert run["evaluation_seconds"] > 0
    assert "Leaderboard at 3 equal seconds" in (out / "index.html").read_text()
    before = (out / "vdm_digits/seed_0/evaluation/results.json").stat().st_mtime_ns
    assert main(["leaderboard", "vdm_digits", *SMOKE, "--seeds", "2"]) == 0
    record = json.loads((out / "leaderboard.json").read_text())
    assert [len(found["runs"]) for found in record["entries"]] == [2, 1]
    assert (out / "vdm_digits/seed_0/evaluation/results.json").stat().st_mtime_ns == before
    capsys.readouterr()
    run = out / "vdm_digits" / "seed_0" / "model"
    assert main(["fit", "--out", str(run)]) == 0
    assert "of 3 seconds of compute are spent" in capsys.readouterr().err
