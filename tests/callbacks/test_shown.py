"""Samples reach every kind of logger, by calls that its class of Lightning takes."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from videodiff.callbacks.shown import show_picture, show_video


class Wandb:
    """Notes the calls that Lightning's own logger would take."""

    def __init__(self):
        self.calls = []

    def log_video(self, *args, **kwargs):
        self.calls.append(inspect.signature(WandbLogger.log_video).bind(self, *args, **kwargs).arguments)

    def log_image(self, *args, **kwargs):
        self.calls.append(inspect.signature(WandbLogger.log_image).bind(self, *args, **kwargs).arguments)


class MLflow:
    """As Lightning's: a client under ``experiment``, and the number of its run."""

    run_id = "7"

    def __init__(self):
        self.stored = []
        client = {
            name: lambda *args, n=name: self.stored.append((n, *args))
            for name in ("log_artifact", "log_image")
        }
        self.experiment = SimpleNamespace(**client)


@pytest.mark.parametrize("is_written", [True, False])
def test_a_sheet_and_a_picture_reach_every_logger_that_shows_them(tmp_path, is_written):
    file = tmp_path / "step_000004.mp4"
    if is_written:
        file.write_bytes(b"film")
    loggers = [Wandb(), MLflow(), CSVLogger(str(tmp_path))]
    show_video(loggers, "samples", file, torch.zeros(2, 4, 4, 3, dtype=torch.uint8), 4, 8.0)
    show_picture(loggers, "latents", torch.zeros(4, 4, dtype=torch.uint8), 4)
    calls, stored = loggers[0].calls, loggers[1].stored
    if is_written:
        assert (calls[0]["key"], calls[0]["videos"], calls[0]["step"]) == ("samples", [str(file)], 4)
        assert stored[0] == ("log_artifact", "7", str(file), "samples")
    assert len(calls) == len(stored) == 1 + is_written
    assert (calls[-1]["key"], calls[-1]["images"][0].shape, calls[-1]["step"]) == ("latents", (4, 4), 4)
    assert (stored[-1][0], stored[-1][1], stored[-1][3]) == ("log_image", "7", "latents/step_000004.png")
