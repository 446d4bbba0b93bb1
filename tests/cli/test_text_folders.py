"""A frozen text encoder from the command line: captions encoded once, runs that move, and what is refused at once."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from image_folders import write_folder
from text_folders import WEIGHTS, write_bert
from videodiff.cli import main
from videodiff.data import BouncingDigits
from videodiff.data.video_io import write_mp4
from videodiff.text import TransformersEncoder

CONFIG = """
seed_everything: 0
model:
  class_path: videodiff.models.VDM
  init_args:
    net:
      class_path: videodiff.networks.UNet3D
      init_args: {channels: 3, num_frames: 4, resolution: 16, width: 8, channel_multipliers: [1, 1], num_blocks: 1,
                  attention_resolutions: [8], heads: 1, context_dim: 16}
    schedule: {class_path: videodiff.diffusion.CosineSchedule}
    sampler: {class_path: videodiff.diffusion.DDIMSampler, init_args: {num_steps: 2}}
    text: {class_path: videodiff.text.TransformersEncoder, init_args: {folder: bert}}
data:
  class_path: videodiff.data.VideoDataModule
  init_args: {dataset: folder, root: clips, captions: txt, num_frames: 4, resolution: 16, batch_size: 2, num_workers: 0}
trainer: {accelerator: cpu, devices: 1, max_steps: 3, val_check_interval: 3, limit_val_batches: 1}
samples: {every_n_steps: 0}
"""

SAID = {
    "pointer": "git lfs pull",
    "words": "holds no tokenizer",
    "gone": "no folder 'bert'",
    "package": "pip install 'videodiff[text]'",
}


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder with clips that have captions, an encoder and a config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_bert("bert")
    source = BouncingDigits("train", 6, 8, 16)
    for split, numbers in (("train", range(4)), ("val", (4,)), ("test", (5,))):
        for number in numbers:
            name = Path("clips") / split / f"{number}.mp4"
            name.parent.mkdir(parents=True, exist_ok=True)
            write_mp4(name, source.read(number, 0, 8, 1))
            name.with_suffix(".txt").write_text(f"the red ball moves {'s' * number}\na ball")
    Path("text.yaml").write_text(CONFIG)
    return tmp_path


def deaf(monkeypatch):
    """From now on no text is encoded."""

    def refused(*args):
        raise AssertionError("a text was encoded")

    monkeypatch.setattr(TransformersEncoder, "forward", refused)


def losses(run):
    lines = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


def test_captions_are_encoded_once_and_a_run_finds_its_encoder_wherever_it_lies(there, monkeypatch, capsys):
    fit = ["fit", "--config", "text.yaml", "--out"]
    assert main([*fit, "runs/text/1"]) == 0
    said = capsys.readouterr().err
    assert "text encoder bert: 7 captions (" in said  # of five clips, the one they share, and the empty one
    assert "in fp16) are encoded once and kept in" in said
    assert len(list((there / "cache/videodiff/text").glob("text-*-12-00000.safetensors"))) == 1
    weights = torch.load("runs/text/1/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert [name.partition(".encoder.")[2] for name in weights if ".encoder." in name] == ["sha256"]
    shutil.rmtree(there / "cache")
    assert main(["encode", "--config", "text.yaml", "--out", "texts", "--dtype", "fp32"]) == 0
    told = capsys.readouterr()
    assert "8 captions" in told.err
    assert "in fp32" in told.err
    assert "vectors of 8 texts by bert" in told.out
    assert "train with --model.text.kept texts" in told.out
    with monkeypatch.context() as patch:
        deaf(patch)
        assert main([*fit, "runs/text/2", "--model.text.kept", "texts"]) == 0
        assert "encoded once" not in capsys.readouterr().err
    assert not (there / "cache").exists()
    assert losses("runs/text/2") == pytest.approx(losses("runs/text/1"), rel=1e-2)  # of fp16

    prompt = ["--prompt", "the digit three", "--num_samples", "1", "--out"]
    assert main(["generate", "--ckpt_path", "runs/text/1", *prompt, "one"]) == 0
    elsewhere = there / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["generate", "--ckpt_path", str(there / "runs/text/1"), *prompt, "two"]) == 0
    assert main(["info", str(there / "runs/text/1"), "--quick"]) == 0
    (one,), (two,) = ((there / "one").glob("*.mp4"), Path("two").glob("*.mp4"))
    assert one.read_bytes() == two.read_bytes()
    assert main(["export", "--ckpt_path", str(there / "runs/text/1"), "--out", "out"]) == 0
    named = json.loads(Path("out/videodiff.json").read_text())["text_encoders"]
    digest = TransformersEncoder(str(there / "bert")).digest
    assert named == [{"place": str(there / "bert"), "sha256": digest}]
    assert digest in Path("out/README.md").read_text()

    write_bert(there / "bert", seed=1)
    capsys.readouterr()
    assert main(["generate", "--ckpt_path", str(there / "runs/text/1"), *prompt, "three"]) == 2
    said = capsys.readouterr().err
    assert "was trained with another text encoder" in said
    assert said.count("\n") == 1
    shutil.rmtree(there / "bert")
    assert main(["generate", "--ckpt_path", str(there / "runs/text/1"), *prompt, "three"]) == 2
    said = capsys.readouterr().err
    assert "no folder 'bert' of a text encoder" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("what", ["pointer", "words", "gone", "package"])
def test_a_folder_that_cannot_be_read_stops_fit_in_one_line_before_a_run_begins(
    there, monkeypatch, capsys, what
):
    if what == "pointer":
        Path("bert", WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    elif what == "words":
        Path("bert/vocab.txt").unlink()
    elif what == "gone":
        shutil.rmtree("bert")
    else:
        monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["fit", "--config", "text.yaml", "--out", "run"]) == 2
    said = capsys.readouterr().err
    assert SAID[what] in said
    assert said.count("\n") == 1
    assert not Path("run").exists()
    if what != "pointer":  # weights are not read where costs are counted
        assert main(["info", "text.yaml"]) == 2
        said = capsys.readouterr().err
        assert SAID[what] in said
        assert said.count("\n") == 1


def test_encode_without_captions_of_files_says_so(there, capsys):
    words = ["--data.dataset", "bouncing_digits", "--data.captions", "generated", "--data.root", "null"]
    assert main(["encode", "--config", "text.yaml", *words, "--out", "texts"]) == 2
    said = capsys.readouterr().err
    assert "no captions in files to encode (--data.captions)" in said
    assert said.count("\n") == 1


def test_encode_writes_captions_beside_latents_and_training_finds_both(there, monkeypatch, capsys):
    write_folder(there / "vae")
    changes = {"channels: 3": "channels: 4", "resolution: 16, width": "resolution: 8, width"}
    text = CONFIG.replace(
        "    text:", "    autoencoder: {class_path: ImageFirstStage, init_args: {folder: vae}}\n    text:"
    )
    for old, new in changes.items():
        text = text.replace(old, new)
    Path("latent.yaml").write_text(text)
    assert main(["encode", "--config", "latent.yaml", "--out", "kept", "--splits", "train,val"]) == 0
    assert "vectors of 7 texts by bert" in capsys.readouterr().out
    deaf(monkeypatch)
    assert main(["fit", "--config", "latent.yaml", "--data.latents", "kept", "--out", "run"]) == 0
    assert not (there / "cache").exists()
