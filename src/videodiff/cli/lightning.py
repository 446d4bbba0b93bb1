"""The LightningCLI behind fit, validate, test and predict: what a run is made of, assembled in one place."""

import logging
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger

from videodiff import callbacks
from videodiff.checkpoints.files import AtomicCheckpointIO
from videodiff.config.build import share_seed, with_full_paths
from videodiff.config.trust import any_file_names
from videodiff.names import is_text
from videodiff.precision import default_precision
from videodiff.say import say

DEFAULTS = Path(__file__).resolve().parent.parent / "defaults.yaml"


class RunCLI(LightningCLI):
    """Parse one run's configuration and build its trainer, model and data; running them is the caller's business.

    Args:
        verb: fit, validate, test or predict; only ``fit`` gets the callbacks that change or save training state.
        run_directory: where the run leaves its record; None writes nothing.
        config: merged and checked; or words of the command line that ask for help.
        printed: how to print the config, with its defaults, instead of building anything; see ``config_text``.
    """

    def __init__(
        self,
        verb: str,
        run_directory: Path | None,
        config: dict[str, Any] | list[str],
        printed: dict[str, bool] | None = None,
    ) -> None:
        self.verb, self.run_directory, self.printed = verb, run_directory, printed
        self.written = (config.get("trainer") or {}) if isinstance(config, dict) else {}
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
                args=with_full_paths(config) if isinstance(config, dict) else config,
                run=False,
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # Every verb accepts every key, so that a run's own config.yaml serves them all.
        for key, callback in {**callbacks.TRAINING, **callbacks.WATCHING}.items():
            parser.add_lightning_class_args(callback, key)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        self.restore_integers(self.config.trainer)
        if self.printed is not None:
            sys.stdout.write(self.config_text(**self.printed))
            raise SystemExit(0)

    def _add_instantiators(self) -> None:
        """Not Lightning's: they dump the whole config a second time for ``save_hyperparameters``, which no run uses."""

    def before_instantiate_classes(self) -> None:
        share_seed(self.config)

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
        keys = {**callbacks.WATCHING, **(callbacks.TRAINING if self.verb == "fit" else {})}
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

    def config_text(self, skip_none: bool = False, **how: bool) -> str:
        """The whole effective configuration as YAML; ``how`` is as jsonargparse's ``dump`` has it."""
        with any_file_names():  # not validated a second time: parsing has checked every value
            text = self.parser.dump(self.config, skip_none=skip_none, skip_validation=True, **how)
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
