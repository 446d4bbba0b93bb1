"""Make the runs of one format that later code must go on opening: ``python tests/old_runs/make.py FOLDER``.

Run it with the code whose format is to be kept (``PYTHONPATH=src`` of that commit). FOLDER must be absent; all is done
inside it with relative names, so that what is written depends on no machine. It then holds a tiny run of each family
and of each first stage, an export of two of them, latents, results of ``test``, a comparison, and in ``expected`` what
that code made of them next: the numbers of further steps, and clips.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from videodiff import __version__
from videodiff.callbacks.record import VOLATILE, read_metrics
from videodiff.cli import main
from videodiff.data.video_io import read_video

STEPS, MORE = 6, 3
COMMON = """
data: {init_args: {batch_size: 2, num_val_clips: 2, num_test_clips: 8}}
trainer: {val_check_interval: 3, limit_val_batches: 1, log_every_n_steps: 1, logger: false}
ema: {decay: 0.9}
"""
# Below the sizes of with/smoke: what is kept in a repository is counted in kilobytes.
SMALLER = {
    "lvdm_autoencoder": """
model:
  init_args:
    autoencoder: {init_args: {width: 2}}
    start_step: 1
    frame_discriminator:
      class_path: videodiff.networks.PatchDiscriminator
      init_args: {width: 4, num_halvings: 1, norm: group}
""",
    "pvdm_autoencoder": """
model:
  init_args:
    autoencoder: {init_args: {width: 8, heads: 1, head_dim: 4, latent_channels: 4}}
    start_step: 2
    clip_discriminator: {init_args: {width: 4}}
""",
    "vdm": """
model:
  init_args:
    net: {init_args: {width: 4, channel_multipliers: [1, 1], head_dim: 4, embedding_dim: 16}}
    sampler: {init_args: {num_steps: 2}}
""",
    "lvdm": """
model:
  init_args:
    autoencoder: {init_args: {checkpoint: lvdm_autoencoder}}
    net:
      init_args:
        {num_frames: 3, width: 4, channel_multipliers: [1], attention_resolutions: [4], heads: 1, embedding_dim: 16}
    strides: [1, 2]
    sampler: {init_args: {num_steps: 2}}
data: {init_args: {num_frames: 20, num_train_clips: 6}}
""",
    "pvdm": """
model:
  init_args:
    autoencoder: {init_args: {checkpoint: pvdm_autoencoder}}
    net: {init_args: {channels: 4, concat_channels: 4, width: 4, channel_multipliers: [1], heads: 1}}
    sampler: {init_args: {num_steps: 2}}
""",
}
DRAWS, EXPORTED, ON_LATENTS = ("vdm", "lvdm", "pvdm"), ("vdm", "lvdm"), "lvdm_on_latents"
TEST = ["--protocol", "random:4", "--num_clips", "4"]
GENERATE = ["--num_samples", "2", "--steps", "2", "--seed", "3"]
COMPARE = ["--protocol", "random:4", "--num_clips", "4", "--steps", "2", "--frames", "4", "--shown", "2"]


def call(*words: str) -> None:
    """One command, in this process."""
    sys.argv = ["videodiff", *words]  # which a run records
    if (code := main(list(words))) != 0:
        raise SystemExit(f"videodiff {' '.join(words)}: exit {code}")


def fit(name: str) -> None:
    """Train one run to its first checkpoint."""
    overlays = {"common": COMMON, name: SMALLER[name]}
    for key, text in overlays.items():
        Path(f"{key}.yaml").write_text(text)
    files = [f"{name}_digits", "with/smoke", *(f"{key}.yaml" for key in overlays)]
    words = [word for file in files for word in ("--config", file)]
    call("fit", *words, "--trainer.max_steps", str(STEPS), "--out", name)
    for made in (*Path().glob("*.yaml"), Path(name, "checkpoints", "best.ckpt")):
        made.unlink()


def make() -> None:
    """Everything of one format, in the current folder."""
    for name in SMALLER:
        fit(name)
    call("encode", "--ckpt_path", "lvdm", "--out", "lvdm_latents")
    for name in DRAWS:
        call("test", "--ckpt_path", name, *TEST)
    call("compare", *DRAWS, *COMPARE, "--out", "report")
    for file in ("report/index.html", *map(str, Path().glob("*/test/*/events.*"))):  # nothing reads them
        Path(file).unlink()
    for name in EXPORTED:
        call("export", name, "--out", f"{name}_export")


def foresee(folder: Path) -> None:
    """Do with copies of the runs what the tests will do, and keep what comes out in ``expected``."""
    expected = folder / "expected"
    expected.mkdir()
    numbers, clips = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / folder.name
        shutil.copytree(folder, copy)
        os.chdir(copy)
        for name in DRAWS:
            call("generate", "--ckpt_path", name, *GENERATE, "--out", f"{name}_clips")
            clips[name] = np.stack([read_video(path) for path in sorted(Path(f"{name}_clips").glob("*.mkv"))])
        call(*train_on_latents())
        numbers[ON_LATENTS] = lines_after(Path(ON_LATENTS), 0)
        for name in reversed(SMALLER):  # a latent model before the first stage that it stands on changes
            call(*go_on(name))
            numbers[name] = lines_after(Path(name), STEPS)
        os.chdir(folder)
    np.savez_compressed(expected / "clips.npz", **clips)
    made = {"videodiff": __version__, "torch": torch.__version__,
            "cpu": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}  # fmt: skip
    text = json.dumps({"made_with": made, "next_lines": numbers}, indent=1)
    (expected / "expected.json").write_text(text + "\n")


def go_on(name: str) -> list[str]:
    """The command that takes a run further."""
    return ["fit", "--out", name, "--trainer.max_steps", str(STEPS + MORE)]


def train_on_latents() -> list[str]:
    """The command that trains a new run on the stored latents."""
    words = ["--config", "lvdm/config.yaml", "--data.latents", "lvdm_latents", "--out", ON_LATENTS]
    return ["fit", *words, "--trainer.max_steps", str(MORE)]


def lines_after(run: Path, step: int) -> list[dict]:
    """What ``metrics.jsonl`` says of the steps after one, but for what differs between two equal runs."""
    lines = [line for line in read_metrics(run / "metrics.jsonl") if line["step"] > step]
    return [{k: v for k, v in line.items() if not k.startswith(VOLATILE)} for line in lines]


def hide_machine(folder: Path) -> None:
    """Take the name of the machine, and the number of the process, out of ``env.json``."""
    for file in folder.glob("*/env.json"):
        record = json.loads(file.read_text())
        file.write_text(
            json.dumps({**record, "host": "host", "pid": 1, "platform": "Linux"}, indent=2) + "\n"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1]).resolve()
    target.mkdir(parents=True)
    os.chdir(target)
    make()
    hide_machine(target)
    foresee(target)
