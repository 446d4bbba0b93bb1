"""The LightningCLI behind fit, validate, test and predict: what a run is made of, assembled in one place."""

import logging
import re
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger

from videodiff import callbacks
from videodiff.checkpoints.files import AtomicCheckpointIO
from videodiff.cli.launch import say
from videodiff.config.trust import any_file_names
from videodiff.names import is_text
from videodiff.precision import default_precision

DEFAULTS = Path(__file__).resolve().parent.parent / "defaults.yaml"

# Config key -> callback. "fit" ones change or save the training state; the others only look on.
FIT_CALLBACKS = {
    "ema": callbacks.EMA,
    "guard": callbacks.NonFiniteGuard,
    "samples": callbacks.SampleLogger,
    "throughput": callbacks.Throughput,
    "checkpoint": callbacks.RunCheckpoint,
    "watchdog": callbacks.Watchdog,
}
COMMON_CALLBACKS = {
    "record": callbacks.RunRecord,
    "progress": callbacks.Progress,
    "signals": callbacks.StopOnSignal,
}


class RunCLI(LightningCLI):
    """Parse one run's configuration and build its trainer, model and data; running them is the caller's business.

    Args:
        verb: fit, validate, test or predict; only ``fit`` gets the callbacks that change or save training state.
        run_directory: where the run leaves its record; None writes nothing.
        args: command-line arguments without the verb.
        written: the merged config as its author wrote it, if known.
    """

    def __init__(
        self, verb: str, run_directory: Path | None, args: list[str], written: dict[str, Any] | None = None
    ) -> None:
        self.verb, self.run_directory = verb, run_directory
        self.written = (written or {}).get("trainer") or {}
        quiet_lightning()
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*args parameter is intended to run from within Python.*"
            )
            super().__init__(
                pl.LightningModule,
                pl.LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                save_config_callback=None,
                seed_everything_default=0,
                parser_kwargs={"default_config_files": [str(DEFAULTS)], "exit_on_error": False},
                args=args,
                run=False,
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # Every verb accepts every key, so that a run's own config.yaml serves them all.
        for key, callback in {**FIT_CALLBACKS, **COMMON_CALLBACKS}.items():
            parser.add_lightning_class_args(callback, key)

    def _add_instantiators(self) -> None:
        """Not Lightning's: they dump the whole config a second time for ``save_hyperparameters``, which no run uses."""

    def before_instantiate_classes(self) -> None:
        seed = self.config.seed_everything
        seed = 0 if isinstance(seed, bool) else seed
        for part in (self.config.model, self.config.data):
            # A seed of its own, written into a part, wins; 0 is every part's default.
            if part.get("init_args", {}).get("seed", None) == 0:
                part.init_args.seed = seed
        self.restore_integers(self.config.trainer)

    def restore_integers(self, trainer: Any) -> None:
        """Undo jsonargparse's floats where the author wrote an integer.

        typing caches Union[int, float] and Union[float, int] as one, so that "limit_val_batches: 1" (one batch) may
        become 1.0 (all of them), in the trainer and in the run's config.yaml.
        """
        for key, value in self.written.items():
            if type(trainer.get(key)) is float and str(value).isdigit():
                trainer[key] = int(value)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        self.restore_integers(config)
        keys = {**COMMON_CALLBACKS, **(FIT_CALLBACKS if self.verb == "fit" else {})}
        if self.run_directory is None:
            keys = {
                key: value for key, value in keys.items() if key not in ("record", "samples", "checkpoint")
            }
        if config.get("precision") is None:
            config["precision"] = default_precision(config.get("accelerator") or "auto")
        if config.get("logger") in (None, True):
            # One folder, no version_N below it: the run directory already is one run's.
            config["logger"] = self.run_directory is not None and tensorboard(self.run_directory)
        config.update(
            default_root_dir=str(self.run_directory or Path.cwd()),
            plugins=[*(config.get("plugins") or []), AtomicCheckpointIO()],
            # Our samplers know rank and world; Lightning's would pad the set with repeated clips.
            use_distributed_sampler=False,
            # With min_steps Lightning would ask for one whole epoch too, which never ends: nothing could stop the run.
            min_epochs=0,
            enable_checkpointing=False if "checkpoint" not in keys else config.get("enable_checkpointing"),
        )
        return self._instantiate_trainer(config, [self._get(self.config_init, key) for key in keys])

    def config_text(self) -> str:
        """The whole effective configuration as YAML."""
        with any_file_names():  # not validated a second time: parsing has checked every value
            text = self.parser.dump(self.config, skip_none=False, skip_validation=True)
        for key, value in self.config.trainer.items():
            if type(value) is int:  # dumped as a float again
                text = re.sub(rf"^(  {re.escape(key)}: {value})\.0$", r"\1", text, flags=re.MULTILINE)
        return text


def tensorboard(folder: Path) -> TensorBoardLogger | bool:
    """TensorBoard's files in a folder; False where its name is not text, which TensorBoard cannot open."""
    if not is_text(str(folder)):
        say(f"no TensorBoard files in {folder}: its name is not UTF-8; metrics.jsonl has all there is")
        return False
    return TensorBoardLogger(folder, name="", version="", default_hp_metric=False)


def quiet_lightning() -> None:
    """Drop Lightning's advertising tips and start-up lines; its warnings stay."""
    for name in (
        "pytorch_lightning.utilities.rank_zero",
        "pytorch_lightning.accelerators.cuda",
        "lightning_fabric.utilities.seed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*isinstance.treespec, LeafSpec.*",
        ".*callbacks used to create the checkpoint need to be provided.*",
        ".*using a custom batch sampler.*",
        ".*`weights_only` was not set.*",
        ".*does not have many workers.*",
        ".*Found .* module.* in eval mode.*",
        ".*no .* hook.*DataLoader length.*",
        ".*Trying to infer the `batch_size`.*",
        ".*Checkpoint directory .* exists and is not empty.*",
    ):
        warnings.filterwarnings("ignore", message=message)
