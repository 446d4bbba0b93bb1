"""Records and clips of a made-up comparison, for tests of the page."""

import torch

from videodiff.comparison.record import Clips, Comparison, Draw, ModelClips, ModelRecord, Training
from videodiff.seeding import generator


def moving_squares(count, frames=16, size=32, seed=0, noise=6):
    """Clips [N, T, H, W, 3] of a bright square that crosses a dark, slightly noisy picture."""
    clips = torch.zeros(count, frames, size, size, 3)
    side = size // 4
    for i in range(count):
        row = (5 * i + 3 * seed) % (size - side)
        for t in range(frames):
            column = (2 * t + 7 * i) % (size - side)
            clips[i, t, row : row + side, column : column + side] = torch.tensor([220.0, 160.0, 60.0 + 8 * i])
    drawn = torch.randn(clips.shape, generator=generator(seed, "noise of a test"))
    return (clips + 30 + noise * drawn).clamp(0, 255).byte()


def entry(value, half=None, **more):
    """A metric as results hold it, with the interval value +- half."""
    found = {"value": value, "count": 64, **more}
    return found if half is None else {**found, "interval": [value - half, value + half]}


def draw(distance, steps=50, seconds=1.0, **more):
    metrics = {
        "evaluator_fd": entry(distance, 0.4, floor=1.0),
        "evaluator_is_splits1": entry(8.0 - distance / 10, floor=9.0, splits=1),
        "digit_residual": entry(distance / 8, 0.05, floor=0.04),
    }
    timing = {"seconds_per_video": seconds, "peak_memory_bytes": 3e8, "batch_size": 16}
    return Draw("DDIMSampler", steps, 16, 64, metrics, 10**11, timing, **more)


def model(name, distance=4.0, latent=True, draws=2):
    curves = {"train/loss": [[k, 1 / k] for k in range(1, 400)], "val/loss": [[100, 0.4], [300, 0.2]]}
    stage = None
    if latent:
        training = {"run": "runs/stage", "steps": 300, "clips": 9600, "seconds": 60.0, "flop_per_step": 10**9,
                    "curves": {"train/loss": [[10, 0.5], [20, 0.25]]}}  # fmt: skip
        stage = {"training": training, "metrics": {"psnr": entry(27.0, 0.2)}}
    return ModelRecord(
        name=name,
        run=f"runs/{name}",
        model="VDM",
        checkpoint={"file": "last.ckpt", "sha256": "a" * 64, "step": 2000, "ema": True},
        parameters={"net": 12_000_000, **({"autoencoder": 3_000_000} if latent else {})},
        training=Training(2000, 64000, 600.0, 10**12, curves),
        draws=[draw(distance * (1 + k), 50 // (1 + k), 1.0 / (1 + k)) for k in range(draws)],
        first_stage=stage,
        drift=[
            {"frames": [16 * k, 16 * k + 15], "metrics": {"evaluator_fd": entry(distance + k, 0.3)}}
            for k in range(4)
        ],
        nearest=[
            {"sample": i, "train": 11 * i, "name": f"train {11 * i}", "distance": 7.5 + i} for i in range(16)
        ],
        warnings=["fewer clips than the protocol wants"],
    )


def comparison(models, **more):
    """A record that lacks nothing, unless `more` says so."""
    return Comparison(**{
        "protocol": {"name": "evaluator", "hash": "0123456789abcdef", "network": "evaluator", "ddof": 0},
        "settings": {"seed": 0, "device": "cpu", "steps": [50, 25], "notes": ["a note on all"]},
        "data": {"dataset": "bouncing_digits", "split": "test"},
        "models": models,
        "baselines": [{"name": "noise", "metrics": {"evaluator_fd": entry(90.0, 1.0)}}],
        "skipped": [{"run": "runs/torn", "reason": "no checkpoint"}],
        "published": [{"model": "PVDM-L", "data": "UCF-101", "frames": 16, "protocol": "styleganv", "metric": "fvd",
                       "value": 343.6, "source": "Yu et al. 2023, table 1"}],
        "versions": {"python": "3.11", "torch": "2.6"},
        "command": "videodiff compare runs/A runs/B",
        **more,
    })  # fmt: skip


def clips_of(record, count=16, size=32, noise=6):
    """Clips for all models of a record; those without a first stage have no reconstructions."""
    real = moving_squares(count, size=size, seed=99, noise=noise)
    shown = {}
    for i, entry in enumerate(record.models):
        shown[entry.name] = ModelClips(
            samples=moving_squares(count, size=size, seed=i, noise=noise),
            reconstructions=moving_squares(count, size=size, seed=98, noise=noise)
            if entry.first_stage
            else None,
            nearest=moving_squares(count, size=size, seed=50 + i, noise=noise),
            long=moving_squares(2, frames=64, size=size, seed=70 + i, noise=noise),
        )
    return Clips(real, shown)
