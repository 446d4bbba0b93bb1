"""One video's way, by the commands a user types: fit, go on, test, predict, generate, demo."""

import json
import math
import multiprocessing
import shutil
import statistics
from functools import partial

import pytest
import torch

from videodiff.checkpoints import load_checkpoint, shipped
from videodiff.cli import demo_page, demo_plan, main, side_by_side
from videodiff.cli.commands import demo
from videodiff.cli.commands.demo import verdicts
from videodiff.cli.demo_page import DemoPage
from videodiff.data import video_io
from videodiff.models import VDM

SMOKE = ["--config", "vdm_digits", "--config", "with/smoke"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("way") / "run"
    assert main(["fit", *SMOKE, "--out", str(directory)]) == 0
    return directory


T_975_TWO_DEGREES = 0.95 * math.sqrt(2 / (1 - 0.95**2))  # the 97.5 % point of Student's t, in closed form


def clips(directory):
    return torch.stack([video_io.read_video(path) for path in sorted(directory.glob("clip_*.mkv"))])


def test_a_run_leaves_its_record(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert any("val/loss" in line for line in lines)
    assert (run / "config.yaml").is_file()
    assert json.loads((run / "env.json").read_text())
    assert list(run.glob("events.out.tfevents.*"))


def test_the_checkpoint_holds_the_average_the_raw_weights_and_the_config(run):
    checkpoint = load_checkpoint(run / "checkpoints" / "last.ckpt")
    averaged = {k: v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")}
    raw = checkpoint["raw_state_dict"]
    assert len(averaged) == len(raw) > 10
    assert any(not torch.equal(a, b) for a, b in zip(averaged.values(), raw.values(), strict=True))
    assert "class_path: videodiff.models.VDM" in checkpoint["videodiff"]["config"]


def test_the_same_seed_gives_the_same_clips_for_any_batch_size(run, tmp_path):
    command = ["generate", "--ckpt_path", str(run), "--num_samples", "5", "--steps", "3", "--seed", "7"]
    assert main([*command, "--batch_size", "5", "--out", str(tmp_path / "a")]) == 0
    assert main([*command, "--batch_size", "2", "--out", str(tmp_path / "b")]) == 0
    first, second = clips(tmp_path / "a"), clips(tmp_path / "b")
    assert first.shape == (5, 4, 16, 16, 3)
    # Matrix products of other sizes round differently: at most one grey level.
    assert (first.int() - second.int()).abs().max() <= 1
    record = json.loads((tmp_path / "a" / "samples.json").read_text())
    assert (record["seed"], record["steps"], record["sampler"]) == (7, 3, "DDIMSampler")
    sheet = video_io.probe(tmp_path / "a" / "sheet.mp4")
    assert (sheet.height, sheet.width) == (
        8 * 34,
        8 * 52,
    )  # 3 columns of 16 pixels with lines of 2, eight times as large
    assert not list((tmp_path / "a").glob("clip_*.mp4"))


def test_clips_come_as_mp4_beside_the_lossless_ones_where_asked_for(run, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["generate", "--ckpt_path", str(run), "--num_samples", "2", "--steps", "2", "--mp4"]
    assert main([*command, "--out", str(out)]) == 0
    names = [f"clip_{i:05d}{suffix}" for i in range(2) for suffix in (".mkv", ".mp4")]
    assert sorted(path.name for path in out.iterdir()) == [*names, "samples.json", "sheet.mp4"]
    assert json.loads((out / "samples.json").read_text())["clips"] == names[::2]  # what is measured
    for lossless, preview in (names[:2], names[2:]):
        small, large = video_io.read_video(out / lossless), video_io.read_video(out / preview)
        assert large.shape == (len(small), 128, 128, 3)
        blocks = large.unflatten(1, (16, 8)).unflatten(3, (16, 8)).float().mean((2, 4))
        assert (blocks - small.float()).abs().mean() < 8


def test_two_processes_share_the_clips_of_one(run, tmp_path, monkeypatch):
    command = ["generate", "--ckpt_path", str(run), "--num_samples", "4", "--steps", "2", "--out"]
    assert main([*command, str(tmp_path / "one")]) == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        assert main([*command, str(tmp_path / "two")]) == 0
    assert (clips(tmp_path / "one").int() - clips(tmp_path / "two").int()).abs().max() <= 1


def test_an_interrupted_long_video_goes_on_to_the_same_bytes(run, tmp_path, monkeypatch, capsys):
    command = [
        "generate",
        "--ckpt_path",
        str(run),
        "--num_samples",
        "3",
        "--batch_size",
        "2",
        "--frames",
        "14",
    ]
    command += ["--steps", "2", "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    whole = {p.name: p.read_bytes() for p in (tmp_path / "whole").glob("*.mkv")}
    plain, calls = VDM.generate_window, []

    def stops(self, *args):
        calls.append(1)
        if len(calls) == 4:  # in the middle of the first batch's second half
            raise KeyboardInterrupt
        return plain(self, *args)

    monkeypatch.setattr(VDM, "generate_window", stops)
    assert main([*command, str(tmp_path / "cut")]) == 130
    assert f"resume with --out {tmp_path / 'cut'}" in capsys.readouterr().err
    assert list((tmp_path / "cut").glob(".latents_*"))
    assert main([*command, str(tmp_path / "cut"), "--seed", "1"]) == 2  # another plan is no going on
    assert "another seed" in capsys.readouterr().err
    calls.clear()
    monkeypatch.setattr(VDM, "generate_window", lambda self, *args: calls.append(1) or plain(self, *args))
    assert main([*command, str(tmp_path / "cut")]) == 0
    assert "resuming after window 3" in capsys.readouterr().err
    windows = 6  # of one batch: 4 frames, then 2 more each
    assert len(calls) == 2 * windows - 3
    assert {p.name: p.read_bytes() for p in (tmp_path / "cut").glob("*.mkv")} == whole
    assert {p.name for p in (tmp_path / "cut").iterdir()} == {*whole, "samples.json", "sheet.mp4"}


def test_given_frames_are_kept_in_the_file(run, tmp_path):
    known = torch.randint(0, 255, (2, 16, 16, 3), dtype=torch.uint8)
    video_io.write_lossless(tmp_path / "known.mkv", known)
    command = ["generate", "--ckpt_path", str(run), "--num_samples", "2", "--steps", "2"]
    for words, places in (
        ([], [0, 1]),
        (["--condition_frames", "0,3"], [0, 3]),
        (["--condition_frames", "::6"], [0, 6]),
    ):
        out = tmp_path / f"out{places[1]}"
        condition = ["--condition", str(tmp_path / "known.mkv"), *words]
        assert main([*command, *condition, "--out", str(out)]) == 0
        for clip in clips(out):
            assert torch.equal(clip[places], known)


def test_super_resolution_and_long_video_from_one_command(run, tmp_path):
    small = torch.full((4, 8, 8, 3), 128, dtype=torch.uint8)
    video_io.write_lossless(tmp_path / "small.mkv", small)
    command = ["generate", "--ckpt_path", str(run), "--num_samples", "1", "--steps", "2"]
    condition = ["--condition", str(tmp_path / "small.mkv"), "--condition_as", "low_resolution"]
    assert main([*command, *condition, "--out", str(tmp_path / "sr")]) == 0
    assert clips(tmp_path / "sr").shape == (1, 4, 16, 16, 3)
    assert main([*command, "--frames", "32", "--out", str(tmp_path / "long")]) == 0
    assert clips(tmp_path / "long").shape == (1, 32, 16, 16, 3)


def test_test_and_validate_need_no_model_and_the_command_line_wins(run, tmp_path, capsys):
    assert (
        main(["test", "--ckpt_path", str(run), "--data.num_test_clips", "4", "--out", str(tmp_path / "t")])
        == 0
    )
    assert "test/loss" in capsys.readouterr().out
    record = json.loads((tmp_path / "t" / "results.json").read_text())
    assert 0 < record["metrics"]["test/loss"] < 5
    for spec in (run / "last", run / "checkpoints" / "last.ckpt"):
        assert main(["validate", "--ckpt_path", str(spec), "--data.num_val_clips", "2"]) == 0


def test_predict_keeps_what_was_given_and_scores_the_rest(run, tmp_path, capsys):
    command = ["predict", "--ckpt_path", str(run), "--data.num_test_clips", "3", "--out", str(tmp_path / "p")]
    assert main([*command, "--model.sampler.num_steps", "2"]) == 0
    record = json.loads((tmp_path / "p" / "predictions.json").read_text())
    assert record["count"] == 3
    assert record["given"] == 1
    gains = [clip["psnr"] - clip["psnr_repeat_last"] for clip in record["clips"]]
    assert record["psnr_gain"]["value"] == pytest.approx(sum(gains) / 3)
    low, high = record["psnr_gain"]["interval"]
    half = T_975_TWO_DEGREES * statistics.stdev(gains) / math.sqrt(3)
    assert (low, high) == pytest.approx((sum(gains) / 3 - half, sum(gains) / 3 + half), abs=1e-9)
    assert f"difference {sum(gains) / 3:+.2f} dB, 95 % interval" in capsys.readouterr().out
    assert clips(tmp_path / "p").shape == (3, 4, 16, 16, 3)


def test_the_demo_calls_a_model_better_where_intervals_do_not_touch():
    def metrics(fd, rand):
        return {name: {"interval": [x - 1, x + 1]} for name, x in (("evaluator_fd", fd), ("rand_fd", rand))}

    results = {
        "models": [
            {"name": "A", "draws": [{"metrics": metrics(5.0, 5.0)}]},
            {"name": "B", "draws": [{"metrics": metrics(8.5, 5.0)}]},
            {"name": "C", "draws": [{"metrics": {}}]},
        ],
        "baselines": [{"name": "frozen frames", "metrics": metrics(10.0, 10.0)}],
    }
    told = verdicts(results)
    assert [" ".join(line.split()) for line in told[2:5]] == [
        "A frozen frames: yes in evaluator-FD, rand-FD",
        "B frozen frames: yes in rand-FD; no in evaluator-FD",
        "C frozen frames: not measured",
    ]
    assert "more training" in told[5]
    assert len(verdicts({**results, "models": results["models"][:1]})) == 3


def test_the_page_of_the_demo_shows_the_models_that_come_with_the_package(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "demo/vdm_digits")
    record = {"minutes": 174.0, "machine": "one core"}
    names = ["demo/vdm_clouds", "demo/vdm_digits", "demo/lvdm_digits"]
    monkeypatch.setattr(shipped, "shipped_names", lambda: names)
    monkeypatch.setattr(shipped, "shipped_record", lambda name: record)
    monkeypatch.setattr(demo_page, "SHOWN", 2)
    page = DemoPage(tmp_path / "index.html", ["with/demo", "with/smoke"], 1, "dpmpp")
    before = page.write().read_text()
    demo.show_shipped(page, demo.Clock())
    said = capsys.readouterr().err.splitlines()
    assert "VDM (2.9 h): comes with videodiff as demo/vdm_digits, trained on one core" in said[-2]
    assert "demo/lvdm_digits is left out: " in said[-1]  # there is none in fact
    steps = [
        line for line in said if line.startswith("[demo")
    ]  # beside them, that a folder here has a shipped name
    assert len(steps) == 2  # clouds are not of this demo
    text = page.path.read_text()
    assert (before.count("<canvas"), text.count("<canvas")) == (2 * 2, 3 * 2)
    assert "trained on one core" in text
    assert page.names() == ["VDM", "VDM (2.9 h)", "LVDM", "PVDM", "frozen"]
    page.plan = demo_plan.plan(1.0)
    assert page.names()[:2] == ["VDM (2 min)", "VDM (2.9 h)"]
    # A model of other clips does not stand beside these.
    other = DemoPage(
        tmp_path / "other.html", ["with/demo", "with/smoke", str(larger_clips(tmp_path))], 1, "dpmpp"
    )
    with pytest.raises(
        ValueError, match=r"demo/vdm_digits was trained on other clips \(resolution 32.* against 16"
    ):
        other.add_shipped("demo/vdm_digits")


def larger_clips(folder):
    path = folder / "larger.yaml"
    path.write_text("data: {init_args: {resolution: 32}}\n")
    return path


def one_probe(measured_slowness, overlays, lanes):
    return measured_slowness(overlays, demo_plan.Lanes())


def test_demo_trains_three_models_on_a_page_that_stands_at_once_and_grows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Copies of this process, which has imported what they need, and one probe: half the work.
    monkeypatch.setattr(side_by_side, "context", lambda: multiprocessing.get_context("fork"))
    monkeypatch.setattr(side_by_side, "get_ready", lambda: None)
    monkeypatch.setattr(demo, "measured_slowness", partial(one_probe, demo.measured_slowness))
    monkeypatch.setattr(demo, "PROBE_STEPS", 4)
    monkeypatch.setattr(demo, "cores", lambda: 2)
    monkeypatch.setattr(demo_page, "SHOWN", 2)
    monkeypatch.setattr(shipped, "shipped_names", lambda: [])
    pages, write = [], DemoPage.write

    def written(self, *args):
        found = write(self, *args)
        pages.append(found.read_text())
        return found

    monkeypatch.setattr(DemoPage, "write", written)
    smoke = ["--config", "with/smoke"]
    assert main(["demo", "--minutes", "0.02", "--steps", "1", "--num_clips", "4", *smoke]) == 0
    report = tmp_path / "runs" / "demo" / "report" / "1"
    text = (report / "index.html").read_text()
    for page in (*pages, text):
        assert "http" not in page.replace("http-equiv", "")
    record = json.loads((report / "results.json").read_text())
    assert [model["name"] for model in record["models"]] == ["VDM (1 s)", "LVDM (1 s)", "PVDM (1 s)"]
    assert {entry["name"] for entry in record["baselines"]} == {"noise", "frozen frames"}
    told = capsys.readouterr()
    verdicts = [line for line in told.out.splitlines() if "frozen frames: " in line and "noise: " in line]
    assert [line.split()[0] for line in verdicts] == ["VDM", "LVDM", "PVDM"]
    assert str(report / "index.html") in told.out
    assert told.err.count(" steps, about ") == 5
    assert told.err.count(": trained in ") == 5
    assert "comparing" in told.err
    # The first page has real and frozen clips, before anything is trained; the last growing one clips of each model.
    players = [page.count("<canvas") for page in pages]
    assert players[0] == 2 * 2
    assert players == sorted(players)
    assert players[-1] == (2 + 3 + 1 + 2) * 2  # and reconstructions by two first stages beside the real clips
    assert told.err.index(str(report / "index.html")) < told.err.index("measuring the speed")
    assert 'id="growing"' in pages[-1]
    assert 'id="growing"' not in text  # a page with figures does not change any more


@pytest.mark.slow
def test_the_demo_of_a_machine_too_slow_for_three_models_compares_the_first_one_alone(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "measured_slowness", lambda overlays, lanes: 600.0)
    monkeypatch.setattr(shipped, "shipped_names", lambda: [])
    monkeypatch.setattr(demo_plan, "WORTH_SEEING", 0.01)
    assert main(["demo", "--steps", "2", "--num_clips", "4", "--config", "with/smoke"]) == 0
    folder = tmp_path / "runs" / "demo"
    assert sorted(path.name for path in folder.iterdir()) == ["report", "vdm_digits"]
    record = json.loads((folder / "report" / "1" / "results.json").read_text())
    assert [model["name"] for model in record["models"]] == ["VDM (21 min)"]
    told = capsys.readouterr()
    assert "VDM alone, in about 21 minutes" in told.err
    assert "generate --ckpt_path runs/demo/vdm_digits/1" in told.out
    config = (folder / "vdm_digits" / "1" / "config.yaml").read_text()
    assert (
        "total_iters: 9" in config
    )  # of 632 x 21 / 1400 steps: the rate falls over all of them, and over no more
    assert "max_steps: 9" in config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit"], "--config"),
        (["fit", *SMOKE, "--out", "{run}/config.yaml"], "is a file"),
        (["fit", *SMOKE, "--data.root", "/nowhere/at/all"], "/nowhere/at/all"),
        (["fit", *SMOKE, "--data.resolution", "30"], "30"),
        (["fit", *SMOKE, "--model.net.num_classes", "3"], "10 classes"),
        (["fit", *SMOKE, "--data.num_frames", "0"], "num_frames"),
        (["fit", *SMOKE, "--trainer.max_epochs", "3"], "max_steps"),
        (["test"], "--ckpt_path"),
        (["test", "--ckpt_path", "/nowhere"], "/nowhere"),
        (["generate", "--ckpt_path", "{run}", "--num_samples", "0"], "num_samples"),
        (["generate", "--ckpt_path", "{run}", "--sampler", "dimm"], "ddim"),
        (["generate", "--ckpt_path", "{run}", "--condition", "/no.mp4"], "/no.mp4"),
        (["generate", "--ckpt_path", "{run}", "--class_id", "99"], "10 classes"),
        (["generate", "--ckpt_path", "{run}", "--eta", "0.5", "--sampler", "dpmpp"], "--eta"),
        (["demo", "--minutes", "0"], "minutes"),
        (["demo", "--minutes", "inf"], "minutes"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tmp_path)
    assert main([word.format(run=run) for word in words]) == 2
    error = capfd.readouterr().err.strip().splitlines()
    assert len([line for line in error if "error" in line]) == 1
    assert message in error[-1]
    assert "Traceback" not in "\n".join(error)


def test_an_integer_limit_means_batches_and_a_float_a_share(tmp_path):
    from videodiff.cli.lightning import RunCLI
    from videodiff.config import read_configs

    names = ["vdm_digits", "with/smoke"]
    for words, expected in (("1", 1), ("1.0", 1.0), ("0.5", 0.5), ("3", 3)):
        rest = ["--trainer.limit_val_batches", words]
        cli = RunCLI("fit", tmp_path, read_configs(names, "fit", rest))
        assert cli.trainer.limit_val_batches == expected
        assert type(cli.trainer.limit_val_batches) is type(expected)
        own = [tmp_path / "config.yaml"]  # from which the run goes on
        own[0].write_text(cli.config_text())
        cli = RunCLI("fit", tmp_path, read_configs(own, "fit"))
        assert cli.trainer.limit_val_batches == expected
        assert type(cli.trainer.limit_val_batches) is type(expected)


def test_mixed_precision_trains_with_a_fused_optimizer_and_clipping(tmp_path):
    more = ["--trainer.precision", "bf16-mixed", "--trainer.gradient_clip_val", "1.0"]
    assert main(["fit", *SMOKE, *more, "--out", str(tmp_path / "run")]) == 0
    weights = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["raw_state_dict"]
    assert {w.dtype for w in weights.values()} == {torch.float32}


@pytest.mark.parametrize("algorithm", ["norm", pytest.param("value", marks=pytest.mark.slow)])
def test_gradients_are_clipped(algorithm, tmp_path):
    from videodiff.cli.lightning import RunCLI
    from videodiff.config import read_configs

    limit = 1e-3
    clip = ["--trainer.gradient_clip_val", str(limit), "--trainer.gradient_clip_algorithm", algorithm]
    clip += ["--trainer.limit_val_batches", "0"]
    cli = RunCLI("fit", tmp_path, read_configs(SMOKE[1::2], "fit", clip))
    seen = []

    def step(*args, plain=cli.model.optimizer_step, **kwargs):
        plain(*args, **kwargs)
        seen.append(torch.cat([p.grad.flatten() for p in cli.model.net.parameters()]))

    cli.model.optimizer_step = step
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    size = seen[0].abs().max() if algorithm == "value" else seen[0].norm()
    assert size.item() == pytest.approx(limit, rel=1e-3)
