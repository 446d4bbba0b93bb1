"""Record, speed, samples, watchdog, progress, and the checkpoint callback's own rules."""

import json
import math
import os
import signal
import threading
import time

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from jsonargparse import ArgumentParser
from pytorch_lightning.loggers import TensorBoardLogger

import gan_run
import tiny_run as tiny
from fault_harness import Job, wait_for
from videodiff import callbacks
from videodiff.callbacks import EMA, Progress, RunCheckpoint, RunRecord, SampleLogger, Throughput, Watchdog
from videodiff.callbacks.record import read_metrics, repair, to_number
from videodiff.checkpoints import load_checkpoint


@pytest.mark.parametrize("name", [n for n in callbacks.__all__ if n != "PredictionWriter"])
def test_every_callback_is_made_from_yaml(name):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(pl.Callback, "callback")
    config = yaml.safe_load(f"callback: {{class_path: videodiff.callbacks.{name}}}")
    made = parser.instantiate_classes(parser.parse_object(config)).callback
    assert type(made) is getattr(callbacks, name)


# --- RunRecord ------------------------------------------------------------------------------------------------


def test_the_record_holds_every_metric_and_what_ran(tmp_path):
    tiny.fit(tmp_path, 8, callbacks=[RunRecord(every_n_steps=2), EMA()])
    lines = read_metrics(tmp_path / "metrics.jsonl")
    train = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in train] == [2, 4, 6, 8]
    assert [line["sample"] for line in train] == [8, 24, 40, 56]
    assert [line["step"] for line in lines if "val/loss" in line] == [4, 8]
    assert all({"time", "lr"} <= line.keys() and "val/loss" not in line for line in train)
    env = json.loads((tmp_path / "env.json").read_text())
    assert env["packages"]["torch"] == torch.__version__
    assert env["world_size"] == 1


@pytest.mark.parametrize(
    ("tail", "kept"), [('{"step": 3, "tr', 2), ('{"step": 3}', 3), ("", 2), ('{"step": 3}\n', 3)]
)
def test_a_cut_last_line_is_repaired_and_no_other_touched(tail, kept, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n' + tail)
    repair(path)
    assert [line["step"] for line in read_metrics(path)] == list(range(1, kept + 1))
    assert path.read_bytes().endswith(b"\n")


def test_a_resume_with_other_numbers_appends_them_and_one_with_equal_numbers_does_not(tmp_path):
    tiny.fit(tmp_path, 6)
    start = tmp_path / "checkpoints/step_00000003.ckpt"
    before = (tmp_path / "metrics.jsonl").read_text()
    tiny.fit(tmp_path, 6, resume=start)
    assert (tmp_path / "metrics.jsonl").read_text() == before
    tiny.fit(tmp_path, 6, resume=start, module={"lr": 0.5})
    assert (tmp_path / "metrics.jsonl").read_text().startswith(before)
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")][
        len(before.splitlines()) :
    ] == [4, 4, 5, 6]


def test_numbers_that_json_cannot_hold_are_null():
    assert to_number(torch.tensor(2)) == 2
    assert to_number(math.nan) is to_number(torch.tensor(math.inf)) is None


# --- RunCheckpoint --------------------------------------------------------------------------------------------


def test_files_are_kept_as_asked_and_carry_config_version_and_best_score(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {class_path: X}\n")
    tiny.fit(tmp_path, 9, save_every=2, keep=2)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "step_00000006.ckpt", "step_00000008.ckpt"]
    last = load_checkpoint(tmp_path / "checkpoints/last.ckpt")
    assert last["global_step"] == 9
    assert last["videodiff"]["config"] == "model: {class_path: X}\n"
    validations = [
        line["val/loss"] for line in read_metrics(tmp_path / "metrics.jsonl") if "val/loss" in line
    ]
    assert last["callbacks"]["RunCheckpoint"]["best_score"] == min(validations)
    assert load_checkpoint(tmp_path / "checkpoints/best.ckpt")["global_step"] in (4, 8)


def test_time_alone_makes_a_save_due(tmp_path):
    tiny.fit(tmp_path, 3, callbacks=[RunCheckpoint(every_n_steps=10**6, every_minutes=1e-9), Stop(2)])
    assert load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 2


class Stop(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = trainer.global_step >= self.step


def test_a_run_stopped_early_is_saved_at_its_last_step_and_resumes(tmp_path):
    tiny.fit(tmp_path, 7, save_every=100, keep=0, extra=[Stop(5)])
    last = tmp_path / "checkpoints/last.ckpt"
    assert load_checkpoint(last)["global_step"] == 5
    tiny.fit(tmp_path, 7, save_every=100, keep=0, resume=last)
    tiny.fit(tmp_path / "whole", 7, save_every=100, keep=0)
    assert tiny.same(tiny.weights(last), tiny.weights(tmp_path / "whole/checkpoints/last.ckpt"))


def test_no_room_is_said_before_the_first_step(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("videodiff.callbacks.checkpoint.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(ValueError, match=r"no room for checkpoints in .*: 3 of about"):
        tiny.fit(tmp_path, 2, keep=0)
    assert not (tmp_path / "trace_rank0.jsonl").exists()


def test_unfinished_files_of_a_killed_save_are_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/.tmp-last.ckpt-1.part").touch()
    tiny.fit(tmp_path, 1, keep=0)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


# --- the configured learning rate wins ------------------------------------------------------------------------


class Rates(pl.Callback):
    def __init__(self):
        self.rates = {}

    def on_train_batch_start(self, trainer, *args):
        self.rates[trainer.global_step] = trainer.optimizers[0].param_groups[0]["lr"]


def test_on_a_resume_the_configured_learning_rate_wins_at_its_place_in_the_schedule(tmp_path, capsys):
    module = {"warmup": 8}
    tiny.fit(tmp_path, 8, module={"lr": 0.1, **module})
    capsys.readouterr()
    rates, whole = Rates(), Rates()
    start = tmp_path / "checkpoints/step_00000003.ckpt"
    tiny.fit(tmp_path / "b", 8, resume=start, module={"lr": 0.4, **module}, extra=[rates])
    assert "lr of group 0: 0.1 in the checkpoint, 0.4 configured" in capsys.readouterr().err
    tiny.fit(tmp_path / "c", 8, module={"lr": 0.4, **module}, extra=[whole])
    assert rates.rates == {s: pytest.approx(whole.rates[s]) for s in range(3, 8)}


def test_other_settings_of_the_optimizer_win_too():
    from videodiff.callbacks.hyperparameters import (
        apply_configured_hyperparameters,
        configured_hyperparameters,
    )

    def made(**options):
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.AdamW([weight], **options)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options["lr"] * 1000)

    old, old_schedule = made(lr=0.1, weight_decay=0.1)
    new, new_schedule = made(lr=0.1, weight_decay=0.3, betas=(0.5, 0.9))
    configured = configured_hyperparameters([new], [new_schedule])
    new.load_state_dict(old.state_dict())
    new_schedule.load_state_dict({**old_schedule.state_dict(), "T_max": 7})
    changes = apply_configured_hyperparameters(configured, [new], [new_schedule])
    assert len(changes) == 3
    assert (new.param_groups[0]["weight_decay"], new.param_groups[0]["betas"]) == (0.3, (0.5, 0.9))
    assert new_schedule.T_max == 100
    assert apply_configured_hyperparameters(configured, [new], [new_schedule]) == []


# --- the onlookers --------------------------------------------------------------------------------------------


def test_throughput_counts_clips_and_flops(tmp_path):
    speed = Throughput(every_n_steps=3)
    tiny.fit(
        tmp_path,
        6,
        accumulate=2,
        callbacks=[RunRecord(every_n_steps=3), speed, Progress()],
        module={"pause": 0.01},
    )
    line = [x for x in read_metrics(tmp_path / "metrics.jsonl") if "train/loss" in x][-1]
    assert speed.flops_per_batch == 4 * 2 * (6 * 16 + 16 * 6)  # 4 clips, two layers, a multiply-add is two
    assert line["throughput/tflop_per_step"] == pytest.approx(2 * 3 * speed.flops_per_batch / 1e12)
    assert line["throughput/seconds_per_step"] > 0.02
    assert line["throughput/clips_per_second"] == pytest.approx(
        8 / line["throughput/seconds_per_step"], rel=1e-4
    )
    assert 0.05 < line["throughput/peak_memory_gib"] < 20
    assert not speed.hooks


def test_samples_are_drawn_with_the_average_and_leave_training_as_it_was(tmp_path):
    class Look(tiny.Tiny):
        drawn = None

        def generate(self, *args, **kwargs):
            self.drawn = [p.detach().clone() for p in self.net.parameters()]
            torch.rand(7)
            return super().generate(*args, **kwargs)

    ema, samples = EMA(0.9), SampleLogger(every_n_steps=4, num_videos=3)
    torch.manual_seed(0)
    model = Look()
    trainer = tiny.trainer_for(tmp_path, 4, callbacks=[samples, ema, RunCheckpoint(), Watchdog()])
    trainer.loggers = [TensorBoardLogger(tmp_path, name="", version="")]
    trainer.fit(model, datamodule=tiny.TinyData())
    tiny.fit(tmp_path / "plain", 4, callbacks=[EMA(0.9), RunCheckpoint()])
    with_samples = tiny.weights(tmp_path / "checkpoints/last.ckpt")
    assert tiny.same(with_samples, tiny.weights(tmp_path / "plain/checkpoints/last.ckpt"))
    assert not tiny.same(model.drawn, [with_samples[2][k] for k in with_samples[2]])  # not the raw weights
    assert (tmp_path / "samples/step_000004.mp4").stat().st_size > 500
    check_gif(tmp_path)


def test_the_planes_of_an_autoencoder_are_pictures_in_tensorboard(tmp_path):
    import io

    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from videodiff.models import AutoencoderModule
    from videodiff.networks import TriplaneAutoencoder
    from videodiff.networks.plane_tools import plane_sheet

    torch.manual_seed(0)
    net = TriplaneAutoencoder(4, 8, patch_size=2, width=8, depth=1, heads=1, head_dim=8, projection_depth=1)
    model = AutoencoderModule(net, perceptual_weight=0.0)
    ema, samples = EMA(0.9), SampleLogger(every_n_steps=4, num_videos=3)
    trainer = tiny.trainer_for(tmp_path, 4, callbacks=[samples, ema, RunCheckpoint()], val_check_interval=2)
    trainer.loggers = [TensorBoardLogger(tmp_path, name="", version="")]
    trainer.fit(model, datamodule=gan_run.ClipData(batch=4, val_batches=1))
    events = EventAccumulator(str(tmp_path)).Reload()
    (event,) = events.Images("latents")
    assert event.step == 4
    with ema.averaged(), torch.no_grad():
        expected = plane_sheet(net.encode(samples.originals), net.plane_sizes)
    assert len(samples.originals) == 3
    shown = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("L"))
    assert (shown == expected.numpy()).all()


def check_gif(folder):
    import io

    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    (event,) = events.Images("samples")
    image = Image.open(io.BytesIO(event.encoded_image_string))
    assert (image.format, image.n_frames, event.step) == ("GIF", 4, 4)
    assert image.size == (event.width, event.height)
    assert min(image.size) >= 256  # two rows of clips that are enlarged to 128 pixels


def suspend(job, seconds):
    """Stop all processes of a job for a time; when they were woken."""
    job.signal(signal.SIGSTOP, "group")
    time.sleep(seconds)
    job.signal(signal.SIGCONT, "group")
    return time.monotonic()


def test_a_suspended_run_is_not_stuck_and_one_that_hangs_after_waking_is_ended_and_shows_where(tmp_path):
    with Job(tiny.hang, {"folder": str(tmp_path)}, tmp_path) as job:
        wait_for((tmp_path / "hangs").exists, 60)
        woken = suspend(job, 2.5)  # longer than the limit
        assert job.wait(30) == [1]
        assert time.monotonic() - woken > 1.0  # what was left of the limit, not the next look at the clock
    assert "watchdog: no step ended for" in job.text()
    assert "on_train_batch_start" in job.text()


@pytest.mark.parametrize(("target", "world"), [(tiny.load_slowly, 1), (tiny.reduce_slowly, 2)])
def test_neither_loader_nor_ranks_count_a_suspension_as_waiting(target, world, tmp_path):
    with Job(target, {"folder": str(tmp_path)}, tmp_path, world=world) as job:
        wait_for((tmp_path / "waits").exists, 60)
        time.sleep(0.2)  # both ends are at it
        suspend(job, 2.5)  # longer than the time limit of either
        assert job.wait(30) == [0] * world, job.text()


def test_a_step_that_was_suspended_is_no_slow_step(monkeypatch):
    dog, now = Watchdog(min_seconds=600, factor=20), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    dog.beat()
    now[0] += 36_000.0  # ten hours, of which the watcher has seen two ticks
    dog.waited = 2 * dog.tick
    dog.on_train_batch_end()
    assert dog.limit == 600


def test_the_watchdog_lets_a_run_that_moves_end(tmp_path):
    dog = Watchdog(min_seconds=0.5)
    tiny.fit(tmp_path, 4, callbacks=[dog], module={"pause": 0.05})
    assert dog.stop is None


class RaisesOnException(pl.Callback):
    def on_train_batch_end(self, *args):
        raise RuntimeError("first")

    def on_exception(self, *args):
        raise OSError("its folder is gone")


def test_the_watchdog_ends_no_process_whose_run_has_failed(tmp_path, monkeypatch):
    """Also where another callback fails in telling of it, so that the watchdog is never told."""
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(OSError, match="gone"):
        tiny.fit(tmp_path, 4, callbacks=[RaisesOnException(), Watchdog(min_seconds=0.2)])
    watchers = [thread for thread in threading.enumerate() if thread.name == "videodiff-watchdog"]
    for thread in watchers:
        thread.join(5)
    assert not any(thread.is_alive() for thread in watchers)
    assert ended == []


def test_progress_tells_the_run_and_its_steps_on_plain_lines(tmp_path, capsys):
    tiny.fit(tmp_path, 4, callbacks=[Progress(every_seconds=0)])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["model", "data", "machine", "batch", "run", "steps"]
    assert any(line.startswith("Tiny  step 3/4  loss ") for line in lines)
    assert any(line.startswith("validation  step 4  loss ") for line in lines)


def test_signal_handlers_are_given_back_after_a_run(tmp_path):
    from torch.utils.data._utils import signal_handling

    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    tiny.fit(tmp_path, 2)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before
    with pytest.raises(RuntimeError):
        tiny.fit(tmp_path, 30, module={"poison": "nan:0:99"})
    if before[1] != signal.SIG_IGN:  # a launcher that starts its children in the background has it ignored
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert not hasattr(signal_handling, "_videodiff_original")
