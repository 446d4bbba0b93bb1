"""An autoencoder through the command line: fit, validate, predict, generate; overlays that speak to several models."""

import json

import pytest

from videodiff.cli import main
from videodiff.config import load_yaml
from videodiff.config.overlay import plain_config
from videodiff.data import video_io
from videodiff.usage import UsageError

DIGITS = ["--config", "lvdm_autoencoder_digits", "--config", "with/smoke", "--data.layout", "auto"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    words = [
        "fit",
        *DIGITS,
        "--out",
        str(folder / "run"),
        "--samples.every_n_steps",
        "2",
        "--samples.num_videos",
        "2",
    ]
    assert main(words) == 0
    return folder / "run"


def test_fit_shows_clips_beside_their_reconstructions(run):
    sheet = video_io.read_video(run / "samples" / "step_000002.mp4")
    frames, height, width = sheet.shape[:3]
    assert frames == 4
    assert height >= 128  # of 16, enlarged
    assert width >= 2 * 128
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_fit_records_scores_of_reconstructions(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = next(line for line in lines if "val/psnr" in line)
    assert {"val/l1", "val/loss", "val/ssim", "val/latent_mean", "val/latent_std"} <= set(scores)
    assert any("throughput/tflop_per_step" in line for line in lines)


def test_validate_reports_reconstruction_metrics(run, capsys):
    assert main(["validate", "--ckpt_path", str(run), "--trainer.limit_val_batches", "1"]) == 0
    assert "val/psnr" in capsys.readouterr().out


def test_predict_writes_reconstructions_with_their_psnr(run):
    assert main(["predict", "--ckpt_path", str(run), "--trainer.limit_predict_batches", "1"]) == 0
    folder = run / "predict" / "1"
    record = json.loads((folder / "predictions.json").read_text())
    assert record["given"] == 0
    assert "psnr_repeat_last" not in record
    assert record["count"] == len(list(folder.glob("clip_*.mkv"))) == 2
    assert record["psnr"] == pytest.approx(sum(c["psnr"] for c in record["clips"]) / 2)
    sheet = video_io.probe(folder / "sheet.mp4")  # two clips of 16 pixels side by side, the truth above each
    assert (sheet.height, sheet.width) == (8 * 32, 8 * 34)


def test_generate_refuses_an_autoencoder_in_one_line(run, capsys):
    assert main(["generate", "--ckpt_path", str(run)]) == 2
    error = capsys.readouterr().err.strip()
    assert "generates none" in error
    assert f"videodiff predict --ckpt_path {run}" in error
    assert len(error.splitlines()) == 1


def test_still_images_beside_clips_are_refused(tmp_path, capsys):
    words = ["fit", *DIGITS, "--out", str(tmp_path / "run"), "--data.images_per_video", "1"]
    assert main(words) == 2
    assert "images_per_video must be 0" in capsys.readouterr().err


OVERLAY = """
trainer: {max_steps: 1}
for:
  UNet3D: {model: {init_args: {a: 1}}}
  Autoencoder3D: {model: {init_args: {b: 2}}, trainer: {max_steps: 2}}
"""


def test_an_overlay_gives_each_model_its_part(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(OVERLAY)
    model = {
        "class_path": "AutoencoderModule",
        "init_args": {"autoencoder": {"class_path": "x.y.Autoencoder3D"}},
    }
    assert plain_config(load_yaml(overlay), {"model": model}, "overlay") == {
        "trainer": {"max_steps": 2},
        "model": {"init_args": {"b": 2}},
    }
    with pytest.raises(
        UsageError, match=r"made for UNet3D, Autoencoder3D; the model before it uses LVDM"
    ) as error:
        plain_config(load_yaml(overlay), {"model": {"class_path": "LVDM"}}, "overlay")
    assert "\n" not in str(error.value)
    overlay.write_text("for: [UNet3D]")
    with pytest.raises(UsageError, match="'for' must map"):
        plain_config(load_yaml(overlay), {}, "overlay")
