"""What is done at each frame as a condition: learnt, dropped, told, and taken from real clips."""

import shlex

import pytest
import torch

from data.test_layouts import bair
from models.test_vdm import batch, trained_vdm
from videodiff.cli import main
from videodiff.conditioning import Request
from videodiff.conditioning.asked import conditioned_on
from videodiff.conditioning.request import Generated, loaded
from videodiff.sampling.continuation import continued


def model(**options):
    net = {"width": 16, "head_dim": 8, "vector_dim": 4}
    return trained_vdm(net=net, conditioning="replacement", **{"condition_drop": 0.0, **options})


def actions(n=2, frames=4, seed=5):
    return torch.randn(n, frames, 4, generator=torch.Generator().manual_seed(seed))


def test_each_frame_is_learnt_by_its_own_action_and_a_dropped_one_is_the_null():
    told, clips = model(), batch(2, actions=actions())
    other = {**clips, "actions": clips["actions"].flip(1)}
    assert not torch.equal(told.losses(clips, "val"), told.losses(other, "val"))
    assert torch.equal(told.example(clips, "val").cond.vector, clips["actions"])
    null = {**clips, "actions": torch.zeros(2, 4, 4)}
    dropped = model(condition_drop=1.0)
    assert torch.equal(dropped.losses(clips, "train"), dropped.losses(null, "train"))
    without = trained_vdm(net={"width": 16, "head_dim": 8})
    assert torch.equal(without.losses(clips, "val"), without.losses(batch(2), "val"))


def test_a_window_of_a_long_video_sees_the_actions_of_its_own_frames(monkeypatch):
    told, seen = model(overlap_frames=2), []
    conditioner = told.conditioners[1]
    tell = conditioner.tell
    monkeypatch.setattr(
        conditioner, "tell", lambda cond, view: seen.append((view.units, tell(cond, view))) or seen[-1][1]
    )
    done = actions(1, 7)
    told.generate(1, 8, request=Request(actions=done, num_frames=8))
    padded = torch.cat([done, torch.zeros(1, 1, 4)], dim=1)  # nothing follows the last frame
    assert len(seen) == 3
    for units, cond in seen:
        assert torch.equal(cond.vector, padded[:, units])


def test_a_prediction_takes_the_actions_of_its_own_clip_and_guidance_moves_away_from_none():
    told, clips = model(condition_drop=0.1), batch(2, actions=actions())
    predicted = continued(told, clips, seed=3)["video"]
    request = Request(frames=clips["video"][:, :, :1], positions=(0,), actions=clips["actions"], num_frames=4)
    assert torch.equal(predicted, told.generate(2, 4, 3, request))
    assert not torch.equal(predicted, continued(told, batch(2), seed=3)["video"])
    guided = told.generate(2, 4, 3, Request(actions=clips["actions"]), guidance_scale=3.0)
    assert not torch.equal(guided, told.generate(2, 4, 3, Request(actions=clips["actions"])))


@pytest.mark.parametrize(
    ("made", "request_", "words"),
    [
        (
            lambda: trained_vdm(),
            Request(actions=actions()),
            "cannot be given actions: none of its conditioners",
        ),
        (model, Request(actions=torch.zeros(2, 4, 3)), "an action of this model is 4 numbers, got 3"),
        (
            model,
            Request(actions=actions(2, 2), num_frames=4),
            "of 4 frames has 3 actions that lead from one to the",
        ),
    ],
)
def test_actions_that_fit_no_frame_are_refused(made, request_, words):
    with pytest.raises(ValueError, match=words):
        made().generate(2, 4, request=request_)


def test_a_file_of_actions_is_a_table_or_an_array(tmp_path):
    (tmp_path / "a.csv").write_text("0.5,0,0,1\n0,-1,0,1\n")
    told = loaded({"actions": str(tmp_path / "a.csv")}, Generated((3, 4, 8, 8)))["actions"]
    assert told.tolist() == [[[0.5, 0, 0, 1], [0, -1, 0, 1]]]
    (tmp_path / "b.csv").write_text("up,down\n")
    with pytest.raises(ValueError, match=r"b\.csv: no array .npy and no table .csv of numbers"):
        loaded({"actions": str(tmp_path / "b.csv")}, Generated((3, 4, 8, 8)))


def test_results_with_actions_of_the_real_clips_say_so():
    assert (
        conditioned_on({}, False, 1, True) == "actions of the real clips, the first 1 frame of the real clips"
    )
    assert conditioned_on({"actions": "a.csv"}, False, 0, True) == "actions of a file"


@pytest.mark.slow
def test_bair_trains_predicts_and_is_measured_with_its_actions_and_without(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bair(tmp_path / "robot", num_frames=30)
    small = "--config with/smoke --data.root robot --data.view image_aux1 --data.val_fraction 0 --data.batch_size 1"
    for name, overlay in (("with", "--config with/actions"), ("without", "")):
        fit = f"fit --config vdm_bair {overlay} {small} --name {name} --trainer.max_steps 2"
        assert main(shlex.split(fit)) == 0, capsys.readouterr().err
        assert ("with actions" in capsys.readouterr().err) == (name == "with")
        assert main(shlex.split(f"predict --ckpt_path runs/{name}")) == 0, capsys.readouterr().err
