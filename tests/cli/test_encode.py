"""videodiff encode and fit --data.latents, small: the same losses, no clip encoded, one line for every mistake."""

import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

import tiny_run as tiny
from prepared_sets import clip, contents
from videodiff.checkpoints import FirstStage
from videodiff.cli import main
from videodiff.data.video_io import write_lossless

CLIPS = ["--data.num_train_clips", "12", "--data.num_val_clips", "4", "--data.num_test_clips", "3"]
LVDM = ["--config", "lvdm_digits", "--config", "with/smoke", *CLIPS]
PVDM = ["--config", "pvdm_digits", "--config", "with/smoke", *CLIPS, "--model.conditional_share", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the runs of three first stages and latents of two."""
    folder, before = tmp_path_factory.mktemp("encode"), Path.cwd()
    os.chdir(folder)
    try:
        for name in ("lvdm", "pvdm"):
            assert main(["fit", "--config", f"{name}_autoencoder_digits", "--config", "with/smoke"]) == 0
        other = ["--name", "other", "--seed", "1", "--trainer.max_steps", "1"]
        assert main(["fit", "--config", "lvdm_autoencoder_digits", "--config", "with/smoke", *other]) == 0
        for name, words in (("lvdm", LVDM), ("pvdm", PVDM)):
            assert (
                main(["encode", *words, "--out", f"latents/{name}", "--dtype", "fp32", "--shard_clips", "5"])
                == 0
            )
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)


def losses(run):
    lines = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines for key in ("train/loss", "val/loss") if key in line]


def refused(capsys, words, *said):
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("videodiff: error: ")
    assert len(error.splitlines()) == 1
    for word in said:
        assert word in error


@pytest.mark.parametrize(
    ("name", "words"), [("lvdm", LVDM), pytest.param("pvdm", PVDM, marks=pytest.mark.slow)]
)
def test_training_from_latents_has_the_losses_of_training_from_clips_and_encodes_none(
    name, words, monkeypatch, tmp_path
):
    encode, count = FirstStage.encode, [0]

    def counting(self, video):
        count[0] += 1
        return encode(self, video)

    monkeypatch.setattr(FirstStage, "encode", counting)
    more = ["--trainer.max_steps", "2", "--samples.every_n_steps", "2", "--samples.num_videos", "1"]
    more += ["--model.sampler.num_steps", "2"]
    assert main(["fit", *words, *more, "--out", str(tmp_path / "clips")]) == 0
    assert count[0] == 2 + 1  # steps, and a validation batch after them
    count[0] = 0
    latents = ["--data.latents", f"latents/{name}"]
    assert main(["fit", *words, *more, *latents, "--out", str(tmp_path / "latents")]) == 0
    assert count[0] == 0
    ours, theirs = losses(tmp_path / "latents"), losses(tmp_path / "clips")
    assert len(ours) == len(theirs) == 3
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert (tmp_path / "latents" / "samples" / "step_000002.mp4").is_file()  # drawing decodes


@pytest.mark.slow
def test_a_run_from_latents_resumes_bit_for_bit_and_serves_the_other_verbs(tmp_path, capsys):
    words = ["fit", *LVDM, "--data.latents", "latents/lvdm", "--checkpoint.every_n_steps", "1"]
    assert main([*words, "--trainer.max_steps", "4", "--out", str(tmp_path / "whole")]) == 0
    assert main([*words, "--trainer.max_steps", "2", "--out", str(tmp_path / "parts")]) == 0
    assert (
        main(["fit", "--out", str(tmp_path / "parts"), "--trainer.max_steps", "4", "--data.num_workers", "1"])
        == 0
    )
    ends = [tiny.weights(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("whole", "parts")]
    assert tiny.same(*ends)
    run = str(tmp_path / "whole")
    assert main(["generate", "--ckpt_path", run, "--num_samples", "1", "--steps", "2"]) == 0
    assert main(["test", "--ckpt_path", run, "--protocol", "none"]) == 0
    assert "test/loss" in capsys.readouterr().out
    assert main(["fit", "--out", run, "--data.latents", "latents/again", "--trainer.max_steps", "6"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "latents/again has no latents.json; make it with videodiff encode" in error


def test_a_run_gives_the_same_latents_as_its_config(tmp_path, capsys):
    words = [
        *LVDM,
        "--data.latents",
        "latents/lvdm",
        "--trainer.max_steps",
        "1",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(["fit", *words]) == 0
    out = tmp_path / "latents"
    encode = ["encode", "--ckpt_path", str(tmp_path / "run"), "--out", str(out), "--dtype", "fp32"]
    assert main([*encode, "--shard_clips", "5"]) == 0
    assert contents(out) == contents("latents/lvdm")
    assert f"train with --data.latents {out}" in capsys.readouterr().out


def test_processes_share_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    out = tmp_path / "latents"
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        assert not (out / "latents.json").exists()
        assert main(["encode", *LVDM, "--out", str(out), "--dtype", "fp32", "--shard_clips", "5"]) == 0
        told = capsys.readouterr()
        assert ("train with" in told.out) == (rank == "0")
        assert ("process 1 of 2 is done" in told.err) == (rank == "1")
    assert contents(out) == contents("latents/lvdm")
    monkeypatch.setenv("RANK", "2")
    refused(
        capsys, ["encode", *LVDM, "--out", str(tmp_path / "more")], "RANK must be from 0 to WORLD_SIZE - 1"
    )


def test_videos_of_a_folder_are_kept_in_eight_windows_unless_asked(tmp_path, capsys):
    for number in range(8):
        (tmp_path / "videos").mkdir(exist_ok=True)
        write_lossless(tmp_path / "videos" / f"{number}.mkv", clip(number, 12, 16, 16))
    words = ["--config", "pvdm_digits", "--config", "with/smoke", "--data.root", str(tmp_path / "videos")]
    for more, windows in (([], 8), (["--windows_per_video", "2"], 2)):
        out = tmp_path / f"latents{windows}"
        assert main(["encode", *words, "--out", str(out), *more]) == 0
        split = json.loads((out / "latents.json").read_text())["splits"]["train"]
        assert (split["windows"], split["labels"]) == (windows, None)
        assert f"{split['videos']} videos x {windows} windows" in capsys.readouterr().out
    a, b = (
        safetensors.torch.load_file(tmp_path / f"latents{n}" / "train-00000.safetensors")["latent"]
        for n in (8, 2)
    )
    assert torch.equal(a[: len(b)], b)  # those of the first epochs
    assert len(a.flatten(1).unique(dim=0)) > len(b)  # windows differ


def test_the_manifest_says_whose_latents_they_are():
    scale = json.loads(Path("latents/lvdm/latents.json").read_text())["first_stage"]["scale"]
    assert scale == float(FirstStage("lvdm_autoencoder_digits").autoencoder.latent_scale.scale) != 1.0
    manifest = json.loads(Path("latents/pvdm/latents.json").read_text())
    stage = manifest["first_stage"]
    assert stage["checkpoint"] == "pvdm_autoencoder_digits"
    assert stage["sha256"] == bytes(FirstStage("pvdm_autoencoder_digits").sha256.tolist()).hex()
    assert stage["scale"] is None  # planes are not scaled
    assert (manifest["model"], manifest["dtype"], manifest["seed"]) == ("PVDM", "fp32", 0)
    assert manifest["shape"][:2] == [8, 2]
    assert manifest["data"]["num_frames"] == 8
    train = manifest["splits"]["train"]
    assert (train["videos"], train["windows"], len(train["labels"]), len(train["shards"])) == (12, 1, 12, 3)


def test_the_files_are_compared_with_their_hashes(tmp_path, capsys):
    assert main(["encode", *LVDM, "--out", str(tmp_path), "--splits", "val"]) == 0
    assert main(["encode", "--out", str(tmp_path), "--check"]) == 0
    shard = tmp_path / "val-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    refused(
        capsys,
        ["encode", "--out", str(tmp_path), "--check"],
        "val-00000.safetensors is damaged",
        "encode again",
    )
    refused(capsys, ["encode", "--out", str(tmp_path / "none"), "--check"], "has no latents.json")


def test_training_on_latents_that_rotted_stops_and_names_the_file(tmp_path, capsys):
    shutil.copytree("latents/lvdm", tmp_path / "latents")
    words = ["fit", *LVDM, "--data.latents", str(tmp_path / "latents"), "--trainer.max_steps", "2"]
    assert main([*words, "--out", str(tmp_path / "good")]) == 0
    found = capsys.readouterr().err
    assert "files of latents that were read are intact by their hashes" in found
    shards = [
        json.loads(line) for line in (tmp_path / "good/verified_latents.jsonl").read_text().splitlines()
    ]
    assert shards
    assert all(line["intact"] for line in shards)
    for shard in (tmp_path / "latents").glob("train-*.safetensors"):
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
    assert main([*words, "--out", str(tmp_path / "bad")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("videodiff: error: ")
    assert "train-0" in last
    assert "is damaged: its bytes are not those" in last


def test_latents_of_another_first_stage_or_other_data_are_refused(tmp_path, capsys):
    words = ["fit", *LVDM, "--data.latents", "latents/lvdm", "--out", str(tmp_path / "run")]
    refused(
        capsys,
        [*words, "--model.autoencoder.checkpoint", "other"],
        "are of another first stage (lvdm_autoencoder_digits",
        "than the model's (other",
        "--model.autoencoder.checkpoint",
    )
    refused(capsys, [*words, "--data.num_frames", "72"], "num_frames 68, the config's is 72")
    refused(capsys, [*words, "--data.num_train_clips", "11"], "num_train_clips 12, the config's is 11")
    refused(
        capsys,
        ["fit", *PVDM, "--data.latents", "latents/lvdm", "--out", str(tmp_path / "run")],
        "latents/lvdm",
    )
    vdm = ["fit", "--config", "vdm_digits", "--config", "with/smoke", *CLIPS, "--data.images_per_video", "0"]
    refused(
        capsys,
        [*vdm, "--data.num_frames", "68", "--data.latents", "latents/lvdm", "--out", str(tmp_path / "run")],
        "VDM has none; leave data.latents out",
    )
    assert not (tmp_path / "run").exists()


def test_encode_without_what_it_needs_says_so_in_one_line(tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    file = tmp_path / "file"
    file.write_text("text")
    for words, said in (
        ([*LVDM], ["needs --out DIR"]),
        ([*out], ["--config FILE or NAME, or --ckpt_path RUN"]),
        ([*LVDM, "--out", str(file)], ["is a file"]),
        ([*LVDM, "--out", str(file / "below")], ["cannot be written"]),
        (
            [*LVDM, *out, "--model.autoencoder.checkpoint", "nobody"],
            ["'nobody' is missing; make it with: videodiff fit"],
        ),
        ([*LVDM, *out, "--windows_per_video", "0"], ["--windows_per_video must be at least 1"]),
        ([*LVDM, *out, "--dtype", "bf16"], ["dtype must be one of fp16, fp32"]),
        ([*LVDM, *out, "--splits", "training"], ["splits must be among train, val, test"]),
        ([*LVDM, *out, "--device", "tpu"], ["--device must be auto, cpu or cuda"]),
        ([*LVDM, *out, "--data.frames", "3"], ["data", "frames"]),
        ([*LVDM, *out, "--windows", "3"], ["--windows"]),
        ([*LVDM, *out, "--data.num_frames", "20"], ["num_frames must be a multiple of 4 and at least 68"]),
        (["--config", "vdm_digits", *out], ["VDM has no trained first stage", "second stage"]),
        (["--config", "lvdm_autoencoder_digits", *out], ["AutoencoderModule is a first stage itself"]),
        (["--ckpt_path", "runs/lvdm_autoencoder_digits", *out], ["is a first stage itself"]),
        (["--ckpt_path", "nobody", *out], ["no run or checkpoint 'nobody'"]),
        (["--config", "lvdm_digit", *out], ["lvdm_digits"]),
        ([*LVDM, "--out", "latents/lvdm"], ["holds other latents", "name another directory"]),
        ([*LVDM, "--out", "runs"], ["is not empty and holds no latents"]),
    ):
        refused(capsys, ["encode", *words], *said)
    assert not (tmp_path / "out").exists()


def test_a_missing_first_stage_is_told_with_the_command_that_makes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(
        capsys,
        ["encode", *LVDM, "--out", "latents"],
        "the first stage 'lvdm_autoencoder_digits' is missing; make it with: "
        "videodiff fit --config lvdm_autoencoder_digits",
    )
    assert not Path("latents").exists()


def test_encode_is_listed_and_helps(capsys):
    assert main(["--help"]) == 0
    assert "\n  encode " in capsys.readouterr().out
    assert main(["encode", "--help"]) == 0
    assert "--windows_per_video" in capsys.readouterr().out
