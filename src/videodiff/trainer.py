"""What a Lightning trainer holds and does not declare: its connectors set these attributes, which its class lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytorch_lightning import Callback


def data_of(trainer: Any) -> Any:
    """The data module, or None where a run was given loaders."""
    return trainer.datamodule


def callbacks_of(trainer: Any) -> list[Callback]:
    """The callbacks, in the order in which they are called."""
    return trainer.callbacks


def steps_between_logs(trainer: Any) -> int:
    """After how many steps loggers are told; 0 for never."""
    return trainer.log_every_n_steps
