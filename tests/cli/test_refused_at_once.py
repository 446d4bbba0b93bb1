"""What the texts alone show to be wrong is refused before torch and Lightning are imported, which takes seconds."""

import json
import os
import shlex
import subprocess
import sys

import pytest

LINES = {  # a command line -> a word of its refusal
    "trian": "unknown command 'trian'",
    "fit": "fit needs --config",
    "fit --config vdm_digts": "'vdm_digits'",
    "fit --config vdm_digits --config with/smok": "'with/smoke'",
    "fit --config vdm_digits --trainer.max_stpes 3": "'max_steps'",
    "fit --config vdm_digits --data.dataset bouncing_digit": "'bouncing_digits'",
    "fit --config vdm_digits --data.batch_size 0": "1 or above",
    "fit --config vdm_digits --trainer.precision bf17-mixed": "'bf16-mixed'",
    "fit --config vdm_digits --model.net.widht 3": "'width'",
    "fit --config vdm_digits --model VDMX": "'VDM'",
    "fit --config vdm_digits --model.sampler DIMSampler": "'DDIMSampler'",
    "fit --config vdm_digits --model.optimizer AdmaW": "'AdamW'",
    "fit --config vdm_digits --config with/low_motion": "made for Autoencoder3D",
    "fit --config wrong.yaml": "did you mean 'num_steps'",
    "fit --config group.yaml": "did you mean 'trainer'",
    "fit --max_steps 3": "'--trainer.max_steps'",
    "fit --ckpt_path runs/none --name x": "no run or checkpoint 'runs/none'",
    "fit --init_from runs/none --name x": "no run or checkpoint 'runs/none'",
    "generate --ckpt_path runs/none": "no run or checkpoint",
    "generate --ckpt_path runs/none --model.samplr.num_steps 3": "no run or checkpoint",
    "generate --ckpt_path runs/one --model.sampler.num_step 3": "'num_steps'",
    "generate --ckpt_path runs/empty": "no checkpoint in runs/empty",
    "test --ckpt_path runs/none": "no run or checkpoint",
    "test --ckpt_path runs/one --model.sampler.num_step 3": "'num_steps'",
    "test --ckpt_path runs/none --protocol stylegan": "no protocol 'stylegan'",
    "test --ckpt_path runs/one --config with/smok": "'with/smoke'",
    "test --protocl x": "'--protocol'",
    "validate --ckpt_path runs/none --model.sampler.num_steps 3": "no run or checkpoint",
    "predict --ckpt_path runs/none": "no run or checkpoint",
    "export runs/none --out x": "no run or checkpoint",
    "compare runs/none runs/none2": "no run or checkpoint",
    "compare runs/none --protocol stylegan": "no protocol 'stylegan'",
    "evaluate a b": "no such folder",
    "evaluate . . --protocol stylegan": "no protocol 'stylegan'",
    "prepare nowhere --out x": "no public data set 'nowhere'",
    "generate --ckpt_path runs/one --out file/x": "file/x cannot be written (not a directory)",
    "predict --ckpt_path runs/one --out file/x": "file/x cannot be written (not a directory)",
    "compare runs/one --out file/x": "file/x cannot be written (not a directory)",
    "evaluate . . --out file/x.json": "file/x.json cannot be written (not a directory)",
    "export runs/one --out file/x": "file/x cannot be written (not a directory)",
    "encode --config vdm_digits --out file/x": "file/x cannot be written (not a directory)",
    "prepare . --out file/x": "file/x cannot be written (not a directory)",
    "fit --config vdm_digits --out file/x": "file/x cannot be written (not a directory)",
    "encode --config vdm_digts --out x": "'vdm_digits'",
    "info vdm_digts": "'vdm_digits'",
    "info vdm_digits --card foo": "--card must be",
    "info vdm_digits --model.net.widht 3": "'width'",
}
WRONG = """
model:
  class_path: VDM
  init_args:
    net: UNet3D
    sampler: {class_path: DDIMSampler, init_args: {num_step: 4}}
"""
HEAVY = ("torch", "pytorch_lightning", "torchmetrics", "numpy", "av", "jsonargparse")
RUN = f"""
import contextlib, io, json, sys
from videodiff.cli import main
found = {{}}
for line, words in json.load(sys.stdin).items():
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = main(words)
    found[line] = code, err.getvalue(), [name for name in {HEAVY} if name in sys.modules]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Exit code, message and heavy modules after each command line, all in one process."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "wrong.yaml").write_text(WRONG)
    (folder / "file").touch()
    (folder / "group.yaml").write_text("trianer: {max_steps: 3}\n")
    (folder / "runs" / "empty" / "1" / "checkpoints").mkdir(parents=True)
    one = folder / "runs" / "one" / "1"
    (one / "checkpoints").mkdir(parents=True)
    (one / "checkpoints" / "last.ckpt").write_bytes(b"")  # what is asked of it is looked at first
    (one / "config.yaml").write_text(WRONG.replace("num_step:", "num_steps:"))
    given = json.dumps({line: shlex.split(line) for line in LINES})
    words = [sys.executable, "-c", RUN]
    done = subprocess.run(
        words, input=given, cwd=folder, capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("line", LINES)
def test_what_the_texts_show_to_be_wrong_is_refused_without_torch(line, answers):
    code, said, heavy = answers[line]
    assert code == 2, said
    assert len(said.splitlines()) == 1, said
    assert LINES[line] in said
    assert heavy == []
