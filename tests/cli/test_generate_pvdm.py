"""PVDM through generate: frames that neighbouring clips share, and a weight on them where there are none."""

import json

from videodiff.cli import main
from videodiff.data import video_io

SMALL = ["--config", "with/smoke", "--trainer.max_steps", "1"]


def test_shared_frames_are_weighed_in_generate_and_only_where_there_are_some(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (
        ["pvdm_autoencoder_digits", "--name", "pvdm_autoencoder_digits"],
        ["pvdm_digits", "--out", "apart"],
        ["pvdm_digits", "--out", "shared", "--model.overlap_frames", "1", "--model.net.concat_overlap", "1",
         "--data.num_frames", "7"],
    ):  # fmt: skip
        assert main(["fit", "--config", words[0], *SMALL, *words[1:]]) == 0, capsys.readouterr().err
    draw = ["generate", "--num_samples", "1", "--frames", "7", "--steps", "2", "--reconstruction_weight", "1"]
    capsys.readouterr()
    assert main([*draw, "--ckpt_path", "shared", "--out", "long", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reconstruction_weight"] == 1
    assert video_io.read_video("long/clip_00000.mkv").shape == (7, 16, 16, 3)

    assert main([*draw, "--ckpt_path", "apart", "--out", "jumps"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "reconstruction_weight" in line
    assert "overlap_frames 0" in line
