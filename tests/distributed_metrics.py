"""What one rank of a distributed evaluation does: importable, so that a server of processes can run it."""

import json
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from eval_fakes import fake_detector
from tiny_features import TinyFeatures, clips
from videodiff.evaluation.observed import ClipObserver
from videodiff.metrics import (
    PSNR,
    SSIM,
    FrechetFrameDistance,
    FrechetVideoDistance,
    KernelVideoDistance,
    ReconstructionFVD,
    VideoInceptionScore,
)

REAL, FAKE = clips(37, seed=1), clips(29, seed=2, low=60)


def shares(count, rank, world, how):
    """Which clips a rank sees: every world-th; the same filled up with repeats; or all on the first rank."""
    if how == "first":
        return list(range(count)) if rank == 0 else []
    own = list(range(count))[rank::world]
    if how == "padded":
        own = (list(range(count)) + [0] * (-count % world))[rank::world]
    return own


def values(rank, world, batch, how):
    """Name -> value of every metric over this rank's clips."""
    distances = {
        "fvd": FrechetVideoDistance(TinyFeatures()),
        "sums": FrechetVideoDistance(TinyFeatures(), keep_features=0 if how != "padded" else 99),
        "mixed": FrechetVideoDistance(TinyFeatures(), keep_features=18),
        "kvd": KernelVideoDistance(TinyFeatures()),
        "frames": FrechetFrameDistance(TinyFeatures(min_frames=1)),
    }
    if how == "padded":
        del distances["mixed"]
    score = VideoInceptionScore(TinyFeatures(), splits=3, shuffle_seed=42)
    pairs = {"psnr": PSNR(), "ssim": SSIM(), "r_fvd": ReconstructionFVD(TinyFeatures())}
    numbered = how == "padded"
    for real, side in ((True, REAL), (False, FAKE)):
        for part in torch.tensor(shares(len(side), rank, world, how)).long().split(batch):
            index = part if numbered else None
            for metric in distances.values():
                metric.update(side[part], real=real, index=index)
            if not real:
                score.update(side[part], index=index)
                for metric in pairs.values():
                    metric.update(REAL[part], side[part], index=index)
    observer = ClipObserver([fake_detector()])
    for part in torch.tensor(shares(len(REAL), rank, world, how)).long().split(batch):
        if len(part):
            observer.update(REAL[part], part)
    seen = observer.observed()
    metrics = {**distances, "score": score, **pairs}
    found = {name: metric.compute().item() for name, metric in metrics.items()}
    found |= {"deviation": score.deviation, "count": distances["fvd"].stats(real=True).n}
    found |= {
        "seen": seen.features["i3d"].kept_features.sum(),
        "places": seen.places.tolist() == list(range(37)),
    }
    found["digests"] = len({*seen.digests}) == len(REAL) and seen.sizes == {tuple(REAL.shape[2:4])}
    return found | {"again": distances["fvd"].compute().item()}


def rank_of_job(folder, batch, how):
    """Join the process group of the environment, evaluate, and write this rank's values."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    found = values(dist.get_rank(), dist.get_world_size(), batch, how)
    Path(folder, f"values{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
