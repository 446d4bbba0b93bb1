"""What a sample is told: a field of Request with its flag is taken by every command that draws, by itself."""

import json
import shlex
from dataclasses import dataclass, field, replace
from functools import wraps

import pytest
import torch
from torch import Tensor

from videodiff.cli import main
from videodiff.cli.commands import completion
from videodiff.conditioning import Conditioner, Request, request
from videodiff.conditioning.asked import conditioned_on, continuation, request_of
from videodiff.conditioning.request import Flag, Generated, class_words, flags, one_number
from videodiff.data import video_io
from videodiff.models import VDM
from videodiff.words import real

COMMANDS = ("generate", "predict", "test", "compare")
FEW = "--num_clips 2 --protocol random"
SHAPE = (3, 4, 16, 16)


@dataclass(frozen=True, eq=False)
class WithTempo(Request):
    """A request that may say how fast what is seen moves."""

    tempo: Tensor | None = field(
        default=None,
        metadata={"flag": Flag("tempo", real(0, 9), "how fast things move, 0 to 9", "X", one_number)},
    )


class Tempo(Conditioner):
    """Adds what it was told to every estimate: told 9, all is white."""

    answers = ("tempo",)

    def around(self, denoiser, view):
        told = view.request.tempo
        if told is None:
            return denoiser
        return lambda z, t, cond: denoiser(z, t, cond) + told.view(-1, 1, 1, 1, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("told") / "run"
    words = ["--config", "vdm_digits", "--config", "with/smoke", "--data.num_train_clips", "8"]
    assert main(["fit", *words, "--trainer.limit_val_batches", "0", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def tempo(monkeypatch):
    """The field, and a conditioner that answers it in every model of pixels."""
    monkeypatch.setattr(request, "Request", WithTempo)
    init = VDM.__init__

    @wraps(init)
    def with_tempo(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.conditioners.append(Tempo())

    monkeypatch.setattr(VDM, "__init__", with_tempo)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_new_field_is_a_flag_of_every_command_that_draws(command, tempo, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    for flag in flags().values():
        assert f"--{flag.name} {flag.metavar}" in shown
    assert "how fast things move, 0 to 9" in shown
    assert completion.candidates([command, "--tem"]) == ["--tempo"]
    run = [] if command == "compare" else ["--ckpt_path"]
    assert main([command, *run, "none", "--tempo", "x"]) == 2
    assert "--tempo must be a number, got 'x'" in capsys.readouterr().err
    assert main([command, *run, "none", "--tmepo", "3"]) == 2
    assert "did you mean '--tempo'?" in capsys.readouterr().err


def test_what_it_says_reaches_every_video_and_every_record(run, tempo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    white, once = "--tempo 9", "--model.sampler.num_steps 2 --trainer.limit_test_batches 1"
    for line in (
        f"generate --ckpt_path {run} --num_samples 1 --steps 2 --out drawn {white}",
        f"predict --ckpt_path {run} --model.sampler.num_steps 2 --trainer.limit_predict_batches 1 --out on {white}",
        f"test --ckpt_path {run} {FEW} {once} --out tested {white}",
        f"compare {run} {FEW} --steps 2 --out compared {white} --json",
    ):
        assert main(shlex.split(line)) == 0, capsys.readouterr().err
    drawn = video_io.read_video("drawn/clip_00000.mkv")
    assert drawn.min() == 255
    assert json.loads((tmp_path / "drawn/samples.json").read_text())["tempo"] == 9
    clip = next((tmp_path / "on").glob("clip_*.mkv"))
    assert video_io.read_video(clip)[1:].min() == 255  # what is drawn after the first frame, which is given
    (record,) = (tmp_path / "tested/eval").glob("*.json")
    record = json.loads(record.read_text())
    assert record["model"]["told"] == {"tempo": 9}
    assert any("given tempo 9" in warning for warning in record["warnings"])
    assert json.loads((tmp_path / "compared/results.json").read_text())["settings"]["told"] == {"tempo": 9}


def test_a_model_that_does_not_answer_refuses_in_one_line(run, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(request, "Request", WithTempo)
    for line in (
        f"generate --ckpt_path {run} --tempo 3",
        f"test --ckpt_path {run} --num_clips 2 --protocol random --tempo 3 --out tested",
        f"compare {run} {FEW} --steps 2 --tempo 3",
    ):
        assert main(shlex.split(line)) == 2, line
        assert "cannot be given tempo" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(tmp_path.glob("tested*"))


def test_flags_of_today_are_told_to_test_and_predict_too(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    short = f"--ckpt_path {run} --model.sampler.num_steps 2"
    assert main(shlex.split(
        f"test {short} --num_clips 2 --protocol random --guidance 3 --frames 6 --class_id 1 --out a "
        "--trainer.limit_test_batches 1"
    )) == 0, capsys.readouterr().err  # fmt: skip
    (record,) = (tmp_path / "a/eval").glob("*.json")
    record = json.loads(record.read_text())
    assert (record["guidance"], record["model"]["told"]) == (3, {"class_id": 1})
    assert record["protocol"]["frames"] == 6
    assert record["model"]["conditioned_on"] == "class 1"
    (file,) = (tmp_path / "a/eval").glob("*.json")
    again = f"test {short} --num_clips 2 --protocol random --frames 6 --out c --trainer.limit_test_batches 1"
    assert main(shlex.split(f"{again} --against {file}")) == 2  # before a clip is generated
    said = capsys.readouterr()
    assert "clips conditioned on classes of the real clips against class 1" in said.err.splitlines()[-1]
    assert not (tmp_path / "c/eval").exists()
    assert main(shlex.split(
        f"predict {short} --frames 3 --condition_frames 0:2 --guidance 2 --class_id 1 --out b "
        "--trainer.limit_predict_batches 1"
    )) == 0, capsys.readouterr().err  # fmt: skip
    assert json.loads((tmp_path / "b/predictions.json").read_text())["given"] == 2
    assert len(video_io.read_video(next((tmp_path / "b").glob("clip_*.mkv")))) == 3
    for words, said in (
        ("predict --frames 99", "the clips to predict have 4 frames"),
        (f"predict --condition {tmp_path}", "--condition: every clip is predicted from its own first frames"),
        ("predict --given 2 --condition_frames 0:2", "--given N and --condition_frames 0:N say the same"),
        (
            "predict --given 4",
            "known frames 0:4: predicted frames follow the given ones; give 0:N, N below 4 (--given",
        ),
        ("predict --condition_frames 1,2", "predicted frames follow the given ones; give 0:N, N below 4"),
        (
            "test --class_id 1 --protocol none",
            "--class_id is of generated clips, and --protocol none generates none",
        ),
    ):
        verb, _, rest = words.partition(" ")
        assert main(shlex.split(f"{verb} {short} {rest}")) == 2, words
        assert said in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("3", [3] * 6),
        ("3,4", [3, 4, 3, 4, 3, 4]),
        ("all", [0, 1, 2, 0, 1, 2]),
        ("none", [-1] * 6),
        ("random", None),
    ],
)
def test_videos_take_the_classes_in_turn_whatever_the_batch(word, expected):
    asked = request_of({"class_id": class_words(word)}, Generated(SHAPE, 3))
    label = asked.of_videos(range(6)).label
    assert expected is None or label.tolist() == expected
    assert torch.equal(label[4:], asked.of_videos([4, 5]).label)
    many = asked.of_videos(range(3000)).label
    if word == "random":
        counts = torch.bincount(many, minlength=3)
        assert len(counts) == 3
        assert (counts - 1000).abs().max() < 4 * (3000 * 2 / 9) ** 0.5  # four standard deviations


def test_the_kind_of_condition_has_words():
    kinds = [{"class_id": 3}, {"class_id": "3,4"}, {"class_id": "none"}, {"frames": 9, "guidance": 2.0}, {}]
    assert [conditioned_on(kind, True) for kind in kinds] == [
        "class 3", "classes 3,4", "no class", *["classes of the real clips"] * 2,
    ]  # fmt: skip
    assert conditioned_on({"condition": "a.mp4", "condition_frames": "0:4"}, False) == "given frames"
    assert conditioned_on({}, False) == "nothing"
    assert conditioned_on({"guidance": 0.0}, True) == "nothing"  # the unconditional estimate alone
    assert conditioned_on({}, True, 4) == "classes of the real clips, the first 4 frames of the real clips"
    assert request_of({"class_id": "none"}, Generated(SHAPE)).label is None  # of a model without classes


def test_words_that_are_no_classes_and_models_without_are_refused(run, capsys):
    for word in ("3,", "al", "-1", "2.5"):
        assert main(["generate", "--ckpt_path", str(run), "--class_id", word]) == 2
        assert "or give a list 3,4, all, random or none" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--class_id all: this model has no classes"):
        request_of({"class_id": "all"}, Generated(SHAPE))


def test_the_record_of_generated_clips_has_their_classes(run, tmp_path):
    words = ["--num_samples", "3", "--steps", "1", "--batch_size", "2", "--class_id", "4,7"]
    assert main(["generate", "--ckpt_path", str(run), *words, "--out", str(tmp_path / "a")]) == 0
    record = json.loads((tmp_path / "a" / "samples.json").read_text())
    assert (record["class_id"], record["classes"]) == ("4,7", [4, 7, 4])


def test_nothing_told_is_the_request_of_before():
    asked = request_of({}, Generated(SHAPE))
    assert (asked.tensors(), asked.positions, asked.num_frames) == ({}, (), 4)
    clips = torch.rand(2, 3, 8, 16, 16)
    told = continuation({}, Generated(SHAPE), clips, [0, 1], lambda length: length // 4, print)
    assert torch.equal(told.frames, clips[:, :, :2])
    assert (told.positions, told.num_frames, told.guidance) == ((0, 1), 8, None)


def test_a_request_is_the_length_and_the_scale_of_a_drawing_that_names_none(run):
    from videodiff.checkpoints import load_run

    model = load_run(str(run))
    model.sampler.num_steps = 2
    label = torch.tensor([3])
    asked = replace(Request(label), num_frames=6, guidance=2.0)
    assert torch.equal(
        model.generate(1, request=asked), model.generate(1, 6, request=Request(label), guidance_scale=2.0)
    )
