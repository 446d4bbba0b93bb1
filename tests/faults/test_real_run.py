"""The faults that must not show, with the real model, data and command line."""

import shutil
import signal
import time

import pytest

import real_run
import tiny_run as tiny
from fault_harness import Job, wait_for
from videodiff.checkpoints import newest_checkpoint
from videodiff.cli import main

STEPS = 7
MAX_STEPS = ["--trainer.max_steps"]
SLOW = pytest.mark.slow  # what a neighbour that is not slow has seen in part


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert main(real_run.words(folder, STEPS)) == 0
    return folder


def last(folder):
    return tiny.weights(folder / "run" / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize(
    ("workers", "step"),
    [(2, 3), *(pytest.param(*p, marks=SLOW) for p in ((0, 1), (0, 5), (2, 1), (0, 3), (2, 5)))],
)
def test_stop_and_go_on_is_bit_identical_with_any_number_of_workers(whole, workers, step, tmp_path):
    assert main(real_run.words(tmp_path, step, "--data.num_workers", str(workers))) == 0
    run = tmp_path / "run"
    # No config is named: a run goes on from its own, and only the length is new.
    assert main(["fit", "--out", str(run), "--trainer.max_steps", str(STEPS), "--data.num_workers", "1"]) == 0
    assert tiny.same(last(tmp_path), last(whole))
    assert real_run.trace(tmp_path) == real_run.trace(whole)


def test_accumulation_sees_the_same_samples(whole, tmp_path):
    assert main(real_run.words(tmp_path, 4, "--trainer.accumulate_grad_batches", "2")) == 0
    ours, theirs = real_run.trace(tmp_path), real_run.trace(whole)
    # A micro-batch is traced before its step is counted.
    ids = sorted(i for step in ours.values() for i in step[0])
    assert ids == sorted(i for step in range(1, 5) for i in theirs[step][0])


@pytest.mark.parametrize(
    "worlds", [(1, 2), *(pytest.param(p, marks=SLOW) for p in ((1, 2, 4), (2,), (4,)))], ids=str
)
def test_any_number_of_processes_sees_the_same_samples_and_losses(whole, worlds, tmp_path):
    lengths = [STEPS * (k + 1) // len(worlds) for k in range(len(worlds))]
    for world, steps in zip(worlds, lengths, strict=True):
        more = ["--trainer.devices", str(world), "--trainer.strategy", "ddp"] if world > 1 else []
        kwargs = {"argv": real_run.words(tmp_path, steps, *more)}
        with Job(real_run.command, kwargs, tmp_path, world=world) as job:
            assert job.wait(120) == [0] * world, job.text()[-3000:]
    ours, theirs = real_run.trace(tmp_path), real_run.trace(whole)
    assert {k: v[0] for k, v in ours.items()} == {k: v[0] for k, v in theirs.items()}
    for step, (_, loss) in ours.items():
        assert loss == pytest.approx(theirs[step][1], rel=1e-5)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=SLOW)], ids=lambda n: n.name
)
def test_a_signal_saves_and_the_run_goes_on(number, whole, tmp_path):
    argv = real_run.words(tmp_path, 10**6, "--checkpoint.every_n_steps", "1000000")
    trace = tmp_path / "run" / "trace_rank0.jsonl"
    with Job(real_run.command, {"argv": argv}, tmp_path) as job:
        wait_for(lambda: trace.exists() and trace.read_text().count("\n") >= 2, 90)
        sent = time.monotonic()
        job.signal(number)
        assert job.wait(20) == [143 if number == signal.SIGTERM else 130], job.text()[-3000:]
        assert time.monotonic() - sent < 10
        assert "resume with: videodiff fit --out" in job.text()
    done = last(tmp_path)[0]
    assert done >= 2
    assert (
        main(["fit", "--out", str(tmp_path / "run"), "--trainer.max_steps", str(max(STEPS, done + 1))]) == 0
    )
    ours, theirs = real_run.trace(tmp_path), real_run.trace(whole)
    assert {k: ours[k] for k in theirs if k in ours} == {k: theirs[k] for k in theirs if k in ours}


def test_a_damaged_newest_checkpoint_is_passed_over_and_the_end_is_the_same(whole, tmp_path, capfd):
    shutil.copytree(whole / "run", tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    for name in ("last.ckpt", f"step_{STEPS:08d}.ckpt", "best.ckpt"):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).unlink()  # names of one file would all change
        (folder / name).write_bytes(data)
    (folder / "step_00000002.ckpt").touch()  # the newest file is not the furthest one
    assert main(["fit", "--out", str(tmp_path / "run")]) == 0
    said = capfd.readouterr().err
    assert "passed over: checkpoint" in said
    assert f"resuming the run of {folder}/step_{STEPS - 1:08d}.ckpt at step {STEPS - 1}" in said
    assert tiny.same(last(tmp_path), last(whole))


def test_a_run_sent_back_on_purpose_goes_on_from_there_the_next_time_too(whole, tmp_path, capfd):
    shutil.copytree(whole / "run", tmp_path / "run")
    run, folder = str(tmp_path / "run"), tmp_path / "run" / "checkpoints"
    assert main(["fit", "--out", run, "--ckpt_path", f"{folder}/step_00000003.ckpt", *MAX_STEPS, "5"]) == 0
    assert f"checkpoints beyond step 3 now lie in {folder}/beyond_step_3" in capfd.readouterr().err
    assert newest_checkpoint(run).name == "last.ckpt"
    assert last(tmp_path)[0] == 5
    assert (folder / "beyond_step_3" / f"step_{STEPS:08d}.ckpt").is_file()


def test_a_finished_run_says_so(whole, capfd):
    assert main(["fit", "--out", str(whole / "run")]) == 0
    assert "is finished" in capfd.readouterr().err


def test_another_model_or_other_data_are_refused(whole, tmp_path, capfd):
    shutil.copytree(whole / "run", tmp_path / "run")
    more = ["--trainer.max_steps", "9"]
    for words in (["--model.net.width", "48"], ["--data.seed", "3"]):
        assert main(["fit", "--out", str(tmp_path / "run"), *more, *words]) == 2
        assert words[0].split(".")[-1] in capfd.readouterr().err
    assert main(["test", "--ckpt_path", str(tmp_path / "run"), "--model.net.width", "48"]) == 2
    assert "is not one of VDM as configured" in capfd.readouterr().err


def test_the_command_line_beats_the_config_and_the_checkpoint(whole, tmp_path, capfd):
    shutil.copytree(whole / "run", tmp_path / "run")
    run = str(tmp_path / "run")
    words = ["--trainer.max_steps", "8", "--model.optimizer.lr", "0.5", "--ema.decay", "0.25"]
    assert main(["fit", "--out", run, *words]) == 0
    assert "lr" in capfd.readouterr().err
    from videodiff.checkpoints import load_checkpoint

    group = load_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["optimizer_states"][0]["param_groups"][0]
    assert group["initial_lr"] == 0.5
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert "lr: 0.5" in text
    assert "decay: 0.25" in text
    assert len(list((tmp_path / "run").glob("config.*.yaml"))) == 1
