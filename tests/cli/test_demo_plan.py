"""What a demo trains, by values: of the speed of the machine and the minutes that the user gives."""

import pytest

from videodiff.cli.demo_plan import LONGEST, MODELS, WORTH_SEEING, Lanes, in_order, makespan, plan


@pytest.mark.parametrize(
    ("slowness", "minutes", "models", "share", "total"),
    [
        (1.0, None, 3, 1.0, 7.0),
        (0.25, None, 3, 4.0, 7.0),  # sixteen cores see four times the clips
        (2.0, None, 3, 0.5, 7.0),
        (4.0, None, 3, 0.5, 14.0),  # longer, but all of them
        (6.0, None, 3, 0.5, 21.0),
        (7.0, None, 2, 0.642857, 21.0),
        (12.0, None, 1, 0.75, 21.0),
        (40.0, None, 1, 0.5, 46.666667),  # one is always worth seeing
        (1.0, 14.0, 3, 2.0, 14.0),  # minutes of the user are kept to
        (1.0, 3.5, 3, 0.5, 3.5),
        (2.0, 5.0, 2, 0.535714, 5.0),
        (2.0, 3.0, 1, 0.642857, 3.0),
        (2.0, 1.0, 3, 0.071429, 1.0),  # nothing fits, so nothing is gained by leaving out
    ],
)
def test_a_slow_machine_takes_longer_then_trains_fewer_models(slowness, minutes, models, share, total):
    found = plan(slowness, minutes)
    assert found.models == models
    assert found.share == pytest.approx(share, rel=1e-5)
    assert found.minutes == pytest.approx(total)
    # The line stands exactly where less is trained, for longer, or too little.
    as_asked = models == 3 and total == (minutes or 7.0) and share >= WORTH_SEEING
    assert bool(found.line) != as_asked


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_planned_steps_take_the_planned_minutes(lanes):
    for slowness in (0.3, 1.0, 3.0, 9.0, 30.0):
        found = plan(slowness, lanes=lanes)
        assert found.minutes <= LONGEST or found.models == 1
        assert 60 * found.minutes == pytest.approx(found.share * slowness * makespan(found.names, lanes))
        stages = [stage for name in found.names for stage in MODELS[name]]
        per_step = [slowness * stage.seconds / stage.steps for stage in stages]
        taken = [found.steps(stage) * each for stage, each in zip(stages, per_step, strict=True)]
        assert taken == pytest.approx([found.seconds(stage) for stage in stages], rel=0.01)
        per_model = [found.model_seconds(name) for name in found.names]
        assert per_model == pytest.approx(per_model[:1] * found.models)  # all models get the same time


@pytest.mark.parametrize("lanes", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_lanes_hold_every_stage_once_and_after_its_first_stage(lanes, count):
    names = list(MODELS)[:count]
    order = [stage.config for stage in in_order(names, lanes)]
    assert sorted(order) == sorted(stage.config for name in names for stage in MODELS[name])
    for name in names:
        assert [order.index(stage.config) for stage in MODELS[name]] == sorted(
            order.index(stage.config) for stage in MODELS[name]
        )
    whole, longest = 140.0 * count, 140.0
    least = max(whole / lanes, longest)
    assert least <= makespan(names, lanes) + 1e-9
    assert makespan(names, lanes) <= 1.1 * least  # no core is idle for long


def test_two_trainings_at_a_time_are_counted_with_the_speed_that_they_have_together():
    # Two idle cores: each of two trainings takes 1.65 times as long as one alone with both threads.
    alone, beside = plan(1.0), plan(1.65, lanes=2)
    assert beside.minutes == alone.minutes
    assert beside.share == pytest.approx(7 / (1.65 * 224 / 60))
    assert beside.share > alone.share


@pytest.mark.parametrize(
    ("cores", "count", "threads"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 3, 1), (6, 3, 2), (64, 3, 4)]
)
def test_cores_are_shared_by_as_many_trainings_as_there_are_models_and_then_by_threads(cores, count, threads):
    assert Lanes.of(cores) == Lanes(count, threads)


def test_the_line_says_how_slow_what_is_left_and_how_long():
    assert plan(7.0).line == (
        "too busy or too slow for 7 minutes: a step takes 7.0 times that of the plan; "
        "VDM, LVDM alone, in about 21 minutes"
    )
    assert "all models, in about 14 minutes" in plan(4.0).line
    assert "too slow for 1 minutes" in plan(2.0, 1.0).line
    assert "blurs" in plan(2.0, 1.0).line
