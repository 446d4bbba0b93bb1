"""The directory of metrics: whatever a command or a class writes is in it, and it loads nothing heavy."""

import subprocess
import sys

import pytest
import torch

from tiny_features import TinyFeatures
from videodiff import metrics
from videodiff.comparison.drift import statistics
from videodiff.comparison.reconstruction import Reconstruction
from videodiff.data import BouncingDigits, DriftingClouds
from videodiff.evaluation.clip_judge import CONSISTENCY, SIMILARITY
from videodiff.evaluation.named import JUDGES
from videodiff.evaluation.plan import Batch
from videodiff.evaluation.score import FRECHET, INCEPTION
from videodiff.metrics.directory import DISTANCES, HEADLINES, METRICS, headline, metric_info
from videodiff.metrics.motion import cloud_motion, digit_motion
from videodiff.metrics.motion.arrays import NO_MEAN


class Copy:
    """A first stage that gives back what it gets, but for a little."""

    video_shape = (3, 4, 16, 16)

    def encode(self, video):
        return video

    def decode(self, latent):
        return 0.9 * latent


def written():
    """Names of everything that test, compare and evaluate write."""
    yield from (*FRECHET.values(), "kvd", "fvd_inf")
    yield from (f"{name}_splits{count}" for name in INCEPTION.values() for count in (1, 10))
    clips = BouncingDigits("val", 2, 4, 16).read(0, 0, 4, 1)[None]
    yield from (f"digit_{name}" for name in digit_motion(clips) if name not in NO_MEAN)
    yield from (
        f"cloud_{name}" for name in cloud_motion(DriftingClouds("val", 1, 4, 16).read(0, 0, 4, 1)[None])
    )
    batch = Batch([0], clips)
    yield from statistics([batch])
    yield from Reconstruction(Copy(), torch.device("cpu"), 0).measure([batch])
    yield from (judge.metric for judge in JUDGES)
    yield from ("named_all", "diversity", SIMILARITY, CONSISTENCY)
    yield "lpips"  # where its weights are at hand


def test_every_metric_that_a_command_writes_is_in_the_directory():
    for name in written():
        info = metric_info(name)
        assert info.says in METRICS.get(name, info).says or name.endswith(("splits1", "splits10"))
        assert "No description" not in info.says, name
        assert info.better != "none" or name.startswith("frame_"), name
    assert {*DISTANCES, *HEADLINES} <= {*METRICS}


def test_every_class_names_its_value_as_the_directory_knows_it():
    i3d, tiny = TinyFeatures(name="i3d_kinetics400"), TinyFeatures(name="tiny")
    for features in (i3d, tiny):
        for make in (
            metrics.FrechetVideoDistance, metrics.KernelVideoDistance, metrics.ReconstructionFVD,
            metrics.ContentDebiasedFVD, metrics.FrechetFrameDistance,
            lambda features: metrics.VideoInceptionScore(features, splits=10),
        ):  # fmt: skip
            metric = make(features)
            assert (metric_info(metric.name).better == "higher") == metric.higher_is_better, metric.name
            assert "No description" not in metric_info(metric.name).says, metric.name
    for metric in (metrics.PSNR(), metrics.PSNR("frame"), metrics.SSIM()):
        assert metric_info(metric.name).better == "higher"


@pytest.mark.parametrize(
    ("name", "better", "label"),
    [
        ("fvd", "lower", "FVD"), ("evaluator_fd", "lower", "evaluator-FD"), ("is_splits10", "higher", "IS"),
        ("evaluator_is_splits1", "higher", "evaluator IS"), ("digit_speed", "real", "speed"),
        ("r_fvd", "lower", "R-FVD"), ("lpips_alex", "lower", "lpips_alex"),
        ("is_tiny_splits2", "higher", "is_tiny_splits2"),
        ("frechet_tiny", "lower", "frechet_tiny"), ("r_new", "none", "r_new"), ("new_thing", "none", "new_thing"),
    ],
)  # fmt: skip
def test_names_made_of_known_ones_are_read_as_what_they_are_made_of(name, better, label):
    assert (metric_info(name).better, metric_info(name).label) == (better, label)
    assert metric_info(name).name == name


def test_plots_show_a_distance_before_a_figure():
    assert headline(["digit_residual", "evaluator_fd", "digit_speed"]) == "evaluator_fd"
    assert headline(["digit_speed", "new_fd"]) == "new_fd"
    assert headline(["frame_contrast"]) is None


def test_the_directory_is_read_without_torch():
    code = "import sys, videodiff.metrics.directory; assert not {'torch', 'numpy', 'torchmetrics'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
