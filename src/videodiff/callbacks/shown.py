"""Samples where a logger can show them: TensorBoard, Weights & Biases, MLflow; for others the files in the run folder.

Loggers are known by the methods that they offer, so that none of their packages is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from videodiff.data.video_io import gif_bytes


def show_video(
    loggers: Sequence[Any], tag: str, file: Path, video: Tensor, step: int, fps: float, scale: int = 1
) -> None:
    """Hand a video to every logger that can show one.

    Args:
        loggers: of the trainer.
        tag: what it is called there.
        file: the same as an mp4, which may be absent where the disk was full.
        video: uint8 ``[T, H, W, 3]``.
        step: optimizer step.
        fps: frames per second.
        scale: whole number by which it is enlarged.
    """
    for logger in loggers:
        if is_tensorboard(logger):
            add_gif(logger.experiment, tag, video, step, fps, scale)
        elif not file.is_file():
            continue
        elif hasattr(logger, "log_video"):  # Weights & Biases
            logger.log_video(tag, [str(file)], step=step)
        elif takes_artifacts(logger):
            logger.experiment.log_artifact(logger.run_id, str(file), tag)


def show_picture(loggers: Sequence[Any], tag: str, picture: Tensor, step: int) -> None:
    """Hand a picture, uint8 ``[height, width]``, to every logger that can show one."""
    for logger in loggers:
        if is_tensorboard(logger):
            logger.experiment.add_image(tag, picture.numpy(), step, dataformats="HW")
            logger.experiment.flush()
        elif hasattr(logger, "log_image"):
            logger.log_image(tag, [picture.numpy()], step=step)
        elif takes_artifacts(logger):
            logger.experiment.log_image(logger.run_id, picture.numpy(), f"{tag}/step_{step:06d}.png")


def is_tensorboard(logger: Any) -> bool:
    """Whether it writes events of TensorBoard."""
    return hasattr(getattr(logger, "experiment", None), "_get_file_writer")


def takes_artifacts(logger: Any) -> bool:
    """Whether files are stored with its run, as MLflow does."""
    return hasattr(logger, "run_id") and hasattr(getattr(logger, "experiment", None), "log_artifact")


def add_gif(writer: Any, tag: str, video: Tensor, step: int, fps: float, scale: int = 1) -> None:
    """Add uint8 ``[T, H, W, 3]`` to a ``SummaryWriter`` as an image that moves; ``add_video`` needs an old moviepy."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    height, width = (scale * side for side in video.shape[1:3])
    data = gif_bytes(video, fps=fps, scale=scale)
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
    writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
    writer.flush()
