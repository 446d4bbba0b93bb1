"""docs/forcing.md shows nothing that does not run: its commands, small, its list of histories, its figures."""

import re
from pathlib import Path

import pytest
import yaml

from test_docs_lvdm import run
from videodiff.config import read_configs
from videodiff.data import BouncingDigits, video_io

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "forcing.md").read_text()
SMALLER = {"fit": "--config with/smoke", "generate": "--steps 2 --num_samples 1"}


@pytest.mark.slow
def test_every_command_runs_in_its_order_and_histories_are_read_from_a_config(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    video_io.write_mp4("clip.mp4", BouncingDigits("test", 1, 64, 16).read(0, 0, 64, 1))
    (lines,) = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.S)
    for line in lines.splitlines():
        run(line, capsys, SMALLER[line.split()[1]])
    generated = sorted(Path("runs/forcing_digits/1/generate").glob("*/clip*"))
    assert [video_io.probe(path).num_frames for path in generated] == [20, 64, 64]

    (listed,) = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.S)
    config = read_configs(["forcing_digits", "with/smoke"], "fit")
    options = config["model"]["init_args"]
    for name in ("condition_drop", "overlap_units", "stabilise", "delay"):
        options.pop(name, None)
    config["model"]["class_path"] = "videodiff.models.DiffusionModule"
    options["conditioners"] = yaml.safe_load(listed)
    options["plan"] = {"class_path": "videodiff.sampling.Rolling", "init_args": {"overlap": 2}}
    Path("temporal.yaml").write_text(yaml.safe_dump(config))
    run("videodiff fit --config temporal.yaml --name temporal", capsys)
    more = SMALLER["generate"]
    run("videodiff generate --ckpt_path runs/temporal --frames 40", capsys, more)
    run(
        "videodiff generate --ckpt_path runs/forcing_digits --model.history_guidance 2 --frames 40",
        capsys,
        "--steps 2",
    )
