"""What is done with a model beside its training step: generating, feeding it, and a whole short training."""

from __future__ import annotations

import copy
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from gpu_setting import Setting, System
from in_sections import Tell
from torch.utils.data import DataLoader

from videodiff.data.latents import collate_latents
from videodiff.models import AutoencoderModule

CALLS, CLIPS = 20, 64


@torch.no_grad()
def sample(setting: Setting, system: System, tell: Tell) -> None:
    """Seconds for one clip and for 64; of a first stage, of taking clips through it."""
    model = setting.build(setting.config(system.configs, system.options)).eval()
    calls, several = (2, 2) if setting.smallest else (CALLS, CLIPS)
    for size in (1, several):
        if isinstance(model, AutoencoderModule):
            size = min(size, system.batch)
            video = torch.zeros(size, *model.video_shape, device=setting.device)
            with setting.autocast():
                model.rebuild(video)
                tell(
                    {f"clips_{size}": {"seconds": setting.seconds(lambda video=video: model.rebuild(video))}}
                )
            continue
        frames, sampler, short = model.video_shape[1], copy.copy(model.sampler), copy.copy(model.sampler)
        sampler.num_steps, short.num_steps = calls, min(2, calls)
        with setting.autocast():
            latent = model.generate_latent(size, frames, sampler=short)
            generating = (
                setting.seconds(partial(model.generate_latent, size, frames, sampler=sampler)) / calls
            )
            list(model.decode_frames(latent, frames))
            decoding = setting.seconds(
                lambda latent=latent, frames=frames: list(model.decode_frames(latent, frames))
            )
        own = model.calls_per_clip
        tell({f"clips_{size}": {
            "seconds": own * generating + decoding, "network_calls": own, "timed_calls": calls,
            "seconds_per_call": generating, "decode_s": decoding,
        }})  # fmt: skip


def feed(setting: Setting, form: str, tell: Tell) -> None:
    """Clips per second of the training loader: H.264 files, packed frames, stored latents of PVDM."""
    from data_loading import generate
    from latent_cache import kept_latents

    from videodiff.data import VideoDataModule
    from videodiff.data.prepare import Settings, prepare

    workers, limit = (0, 0.1) if setting.smallest else (8, 6.0)
    height, side, frames, batch = (36, 32, 20, 2) if setting.smallest else (264, 256, 200, 64)
    with tempfile.TemporaryDirectory() as name:
        root, out = Path(name) / "videos", Path(name) / "prepared"
        if form == "stored latents":
            root.mkdir()
            dataset, places = kept_latents(root, torch.randn(4, 2, 2048)), range(10**7)  # an endless stream
            loader = DataLoader(
                dataset, batch, sampler=places, num_workers=workers, collate_fn=collate_latents
            )
        else:
            generate(root, 4, frames, height)
            if form == "packed":
                settings = Settings(size=side, frames=16, form=form, val_fraction=0.0, layout="videos")
                prepare(str(root), str(out), settings)
                root = out
            data = VideoDataModule(
                root=str(root), num_frames=16, resolution=side, batch_size=batch, num_workers=workers
            )
            loader = data.train_dataloader()
        stream = iter(loader)
        next(stream)  # workers start before the clock does
        clips, began = 0, time.perf_counter()
        while clips == 0 or time.perf_counter() - began < limit:
            clips += len(next(stream)["sample"])
        seconds = time.perf_counter() - began
    tell({"clips_per_second": clips / seconds, "batch": batch, "num_workers": workers, "side": side})


def train(setting: Setting, tell: Tell) -> None:
    """``videodiff fit --config vdm_digits`` for 90 seconds, clips written on the way."""
    from videodiff.cli import main as videodiff_main

    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        words = ["fit", "--config", "vdm_digits", "--out", str(run)]
        if setting.smallest:
            words += [
                "--config",
                "with/smoke",
                "--trainer.logger",
                "false",
                "--samples.every_n_steps",
                "1",
                "--samples.num_videos",
                "1",
                "--model.sampler.num_steps",
                "2",
                "--trainer.limit_val_batches",
                "0",
            ]
        else:
            words += [
                "--trainer.max_time",
                "00:00:01:30",
                "--samples.every_n_steps",
                "250",
                "--trainer.log_every_n_steps",
                "10",
            ]
        code = videodiff_main(words)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses = [line["train/loss"] for line in lines if "train/loss" in line]
        speeds = [
            line["throughput/clips_per_second"] for line in lines if "throughput/clips_per_second" in line
        ]
        written = len(list((run / "samples").glob("step_*.mp4")))
        tell({
            "exit_code": code, "steps": max(line.get("step", 0) for line in lines), "first_loss": losses[0],
            "last_loss": losses[-1], "clips_per_second": sorted(speeds)[len(speeds) // 2] if speeds else None,
            "sheets_written": written,
        })  # fmt: skip
        if code or not written:
            raise RuntimeError(f"fit ended with exit code {code} and wrote {written} sheets of clips")
