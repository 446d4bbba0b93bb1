"""What a demo trains, by values: of the speed of the machine and the minutes that the user gives."""

import pytest

from videodiff.cli.demo_plan import LONGEST, MODELS, WORTH_SEEING, plan


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


def test_planned_steps_take_the_planned_minutes():
    for slowness in (0.3, 1.0, 3.0, 9.0, 30.0):
        found = plan(slowness)
        stages = [stage for name in list(MODELS)[: found.models] for stage in MODELS[name]]
        seconds = sum(found.steps(stage) * slowness * stage.seconds / stage.steps for stage in stages)
        assert seconds == pytest.approx(60 * found.minutes, rel=0.01)
        assert found.minutes <= LONGEST or found.models == 1
        per_model = [sum(stage.seconds for stage in MODELS[name]) for name in MODELS]
        assert per_model == pytest.approx([140.0] * 3)


def test_the_line_says_how_slow_what_is_left_and_how_long():
    assert plan(7.0).line == (
        "too busy or too slow for 7 minutes: a step takes 7.0 times that of the plan; "
        "VDM, LVDM alone, in about 21 minutes"
    )
    assert "all models, in about 14 minutes" in plan(4.0).line
    assert "too slow for 1 minutes" in plan(2.0, 1.0).line
    assert "blurs" in plan(2.0, 1.0).line
