"""What a comparison says in words, on made-up results whose answers are known."""

import pytest

from report_records import comparison, model
from videodiff.comparison import Comparison, Training
from videodiff.comparison.answers import answers
from videodiff.comparison.formats import markdown, terminal
from videodiff.comparison.tables import tables

FROZEN = {"name": "frozen frames", "metrics": {
    "evaluator_fd": {"value": 137.0, "interval": [130.0, 144.0], "count": 64},
    "digit_speed_in_range": {"value": 0.0, "interval": [0.0, 0.01], "count": 64},
    "digit_identity": {"value": 1.0, "interval": [0.99, 1.0], "count": 64},
}}  # fmt: skip


def entry(value, half=None, count=64, **more):
    interval = {} if half is None else {"interval": [value - half, value + half]}
    return {"value": value, "count": count, **interval, **more}


def compared(models, baselines=(FROZEN,), **more):
    """Models by name, each with its metrics."""
    records = []
    for name, metrics in models.items():
        one = model(name, latent=False, draws=1)
        one.draws[0].metrics, one.drift = metrics, []
        records.append(one)
    return comparison(records, baselines=list(baselines), **more)


def said(found, topic):
    return {answer.topic: answer.says for answer in answers(found)}.get(topic)


DISTANCES = [
    (  # apart: who, by how much, and that the intervals allow it
        {"A": (28, 4), "B": (56, 8)},
        "A is ahead in evaluator-FD (lower is better): 28.0 [24.0, 32.0] against 56.0 [48.0, 64.0] of B, the next, "
        "50 % less; the intervals are apart.",
    ),
    (  # half widths of 4 + 4 over a gap of 2: four times as narrow with 16 times the clips
        {"A": (57, 4), "B": (59, 4)},
        "Evaluator-FD (lower is better): A 57.0 [53.0, 61.0] and B 59.0 [55.0, 63.0] cannot be told apart with 64 "
        "clips, as the intervals overlap; about 1,100 clips would part A and B if the values stay.",
    ),
    (
        {"A": (57, 4), "B": (57.1, 4)},
        "as the intervals overlap; not even 100 times as many clips would part A and B.",
    ),
    ({"A": (57, 4), "B": (57, 4)}, "as the intervals overlap; A and B are level."),
    (
        {"A": (57, 4), "B": (59, None)},
        "Evaluator-FD (lower is better): A 57.0 [53.0, 61.0] and B 59.0, with no intervals to say whether one "
        "is ahead.",
    ),
    (
        {"C": (90, 4), "A": (28, 4), "B": (57, 4)},
        "28.0 [24.0, 32.0] against 57.0 [53.0, 61.0] of B, the next, 51 % less, then C 90.0; the "
        "intervals are apart.",
    ),
    (
        {"A": (57, 4), "B": (59, 4), "C": (90, 4)},
        "would part A and B if the values stay. C 90.0 is behind A.",
    ),
    ({"A": (57, 4)}, "Evaluator-FD (lower is better) of A 57.0 [53.0, 61.0]."),
    (
        {"A": (200, 4), "B": (300, 4)},
        "But clips made without a model are closer to the data than those of A.",
    ),
]


@pytest.mark.parametrize(("models", "says"), DISTANCES)
def test_a_model_is_called_ahead_only_where_the_intervals_allow_it(models, says):
    found = compared({name: {"evaluator_fd": entry(*pair)} for name, pair in models.items()})
    assert says in said(found, "Likeness to the data")
    assert {a.best for a in answers(found)} - {None, *models} == set()
    ahead = [a.best for a in answers(found) if a.topic == "Likeness to the data"]
    assert ahead == ["A" if says.endswith("the intervals are apart.") else None]


BESIDE_NONE = [
    ({"A": 40, "B": 758}, "A beats frozen frames 137 [130, 144]; B is worse than frozen frames."),
    ({"A": 40, "B": 50}, "A and B beat frozen frames 137 [130, 144]."),
    ({"A": 137}, "no model beats frozen frames 137 [130, 144]; A does not beat frozen frames."),
]  # fmt: skip


def test_that_no_model_beats_frozen_frames_is_said_first_of_all():
    behind = compared({"A": {"evaluator_fd": entry(200, 4)}, "B": {"evaluator_fd": entry(300, 4)}})
    assert answers(behind)[0].says.startswith(
        "No model is shown to beat frozen frames; in likeness to the data the"
    )
    unmeasured = compared({"A": {"evaluator_fd": entry(20, 4)}, "B": {"evaluator_fd": entry(30, 4)}}, [])
    assert answers(unmeasured)[0].says.startswith(
        "No model is shown to beat noise and frozen frames; A is ahead"
    )


@pytest.mark.parametrize(("models", "says"), BESIDE_NONE)
def test_models_stand_beside_clips_that_no_model_made(models, says):
    found = compared({name: {"evaluator_fd": entry(value, 4)} for name, value in models.items()})
    first = answers(found)[len(models) > 1]
    assert (first.topic, first.says) == (
        "Against no model", f"By evaluator-FD and by more than the 95 % intervals: {says}",
    )  # fmt: skip


def test_two_of_many_that_cannot_be_told_apart_lead_the_others():
    values = {"A": 28, "B": 29, "C": 60}
    found = compared({name: {"evaluator_fd": entry(value, 4)} for name, value in values.items()})
    assert answers(found)[0].says == "In likeness to the data A and B lead, not told apart."


def test_what_was_not_measured_is_claimed_of_nobody():
    without = compared({"A": {"psnr": entry(30, 1)}}, [])
    assert "No distance from the data was measured, so nothing here says" in said(without, "Against no model")
    assert said(without, "Likeness to the data") is None
    alone = compared({"A": {"evaluator_fd": entry(28, 4)}, "B": {}}, [])
    assert "were not measured, so nothing here says" in said(alone, "Against no model")
    assert said(alone, "Likeness to the data").endswith("B was not measured.")
    assert said(alone, "Not measured").startswith("Motion (only the built-in data")
    assert "long video (--long_frames F)" in said(alone, "Not measured")


def test_a_figure_that_frozen_frames_reach_says_little_alone():
    found = compared({
        "A": {"evaluator_fd": entry(28, 4), "digit_identity": entry(0.9, 0.02, floor=0.98),
              "digit_speed_in_range": entry(0.95, 0.02)},
        "B": {"evaluator_fd": entry(56, 4), "digit_identity": entry(0.5, 0.05),
              "digit_speed_in_range": entry(0.9, 0.05)},
    })  # fmt: skip
    identity = said(found, "Identity")
    assert (
        "0.900 [0.880, 0.920] against 0.500 [0.450, 0.550] of B, the next, 40 percentage points more"
        in identity
    )
    assert "Other real clips have 0.980." in identity
    assert "As good without any model: frozen frames 1.00 [0.990, 1.00]; alone this says little." in identity
    assert "frozen" not in said(found, "Motion")
    assert said(found, "In short") == (
        "A is ahead in likeness to the data (50 % less) and identity (40 percentage points more); in motion the "
        "intervals allow no model to be called ahead."
    )


def test_another_protocol_is_called_by_its_own_distance_and_counts_are_never_mixed():
    found = compared({"A": {"fvd": entry(300, 9, 2048)}, "B": {"fvd": entry(400, 9, 2048)}}, [])
    assert said(found, "Likeness to the data").startswith(
        "A is ahead in FVD (lower is better): 300 [291, 309]"
    )
    mixed = compared({"A": {"fvd": entry(300, 9, 2048)}, "B": {"fvd": entry(400, 9, 64)}}, [])
    assert (
        "A 300 [291, 309] of 2048 clips and B 400 [391, 409] of 64 clips; not compared, as a distance"
        in said(mixed, "Likeness to the data")
    )


def test_a_model_does_what_it_is_told_only_where_its_interval_lies_above_chance():
    def told(digit, direction, half=0.05):
        return {
            "named_digit": entry(digit, half, chance=0.1),
            "named_direction": entry(direction, half, chance=0.125),
        }

    models = {"A": told(0.9, 0.7), "B": told(0.9, 0.15), "C": told(0.1, 0.12), "D": told(0.9, 0.7, None)}
    found = compared({**models, "E": {"evaluator_fd": entry(57, 4)}})
    assert said(found, "Words") == (
        "What captions named, beside a guess (named digit 0.100 and named direction 0.125): A does what it is told, "
        "above chance (named digit 0.900 [0.850, 0.950] and named direction 0.700 [0.650, 0.750]); B does a part of "
        "what it is told: named digit 0.900 [0.850, 0.950] above chance, named direction 0.150 [0.100, 0.200] not; C "
        "is not shown to do what it is told: not above chance (named digit 0.100 [0.0500, 0.150] and named direction "
        "0.120 [0.0700, 0.170]); D has no interval to tell it from a guess (named digit 0.900 and named direction "
        "0.700)."
    )
    assert said(compared({"E": {"evaluator_fd": entry(57, 4)}}), "Words") is None
    main, words = tables(found)[:2]
    assert main.head == ["model", "evaluator_fd (lower)"]  # the figures of words stand by themselves
    assert words.head == ["model", "named_digit (higher)", "named_direction (higher)"]
    assert [row[0].text for row in words.apart] == ["a guess (chance)"]


def test_long_video_says_who_gets_worse_and_what_so_few_videos_cannot_tell():
    found = compared({name: {"evaluator_fd": entry(28, 4)} for name in "ABC"})
    ends = {
        "A": (entry(30, 5, 8), entry(90, 9, 8)),
        "B": (entry(30, 5, 8), entry(33, 5, 8)),
        "C": (entry(30), entry(40)),
    }
    for one in found.models:
        one.drift = [
            {"frames": [first, first + 15], "metrics": {"evaluator_fd": entry}}
            for first, entry in zip((0, 48), ends[one.name], strict=True)
        ]
    assert said(found, "Long video") == (
        "Evaluator-FD (lower is better) in frames 0 to 15 and in frames 48 to 63, 8 videos of each model: "
        "A (30.0 to 90.0) gets worse; B (30.0 to 33.0) shows no change beyond the intervals; C has no intervals."
    )
    for one in found.models:
        one.drift = [{**part, "metrics": {"evaluator_fd": entry(30)}} for part in one.drift]
    assert "too few videos for intervals" in said(found, "Long video")


def test_speed_and_training_are_told_of_the_record():
    found = compared({name: {"evaluator_fd": entry(28, 4)} for name in ("A", "B", "C")})
    for one, seconds, trained in zip(found.models, (0.5, 0.52, 2.0), (600.0, 600.0, 3600.0), strict=True):
        one.draws[0].timing, one.training = {"seconds_per_video": seconds}, Training(10, seconds=trained)
    assert said(found, "Speed") == (
        "A and B take 0.500 s a video on this machine, alike within 10 %; C 4.0 times as long (2.00 s). A time has no "
        "interval."
    )
    assert "The longest is 6.0 times the shortest, which the figures above do not allow for." in said(
        found, "Training"
    )
    assert [a.topic for a in answers(found) if a.timed] == ["Speed"]


def test_a_first_stage_of_no_recorded_time_is_not_said_to_be_included():
    found = compared({name: {"evaluator_fd": entry(28, 4)} for name in ("A", "B", "C")})
    for one, stage in zip(
        found.models, (None, {"training": {"seconds": 60.0}}, {"metrics": {}}), strict=True
    ):
        one.training, one.first_stage = Training(10, seconds=600.0), stage
    assert "first stages included but for that of C, of which no time is recorded" in said(found, "Training")


def test_all_that_tells_says_the_same_and_a_stored_record_too():
    found = compared({"A": {"evaluator_fd": entry(28, 4)}, "B": {"evaluator_fd": entry(56, 4)}})
    told = answers(found)
    assert answers(Comparison.from_dict(found.to_dict())) == told
    assert terminal(found).splitlines()[: len(told)] == [f"{a.topic}: {a.says}" for a in told]
    assert markdown(found).splitlines()[2] == f"- In short: {told[0].says}"
