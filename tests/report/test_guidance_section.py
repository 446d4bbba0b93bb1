"""The curve of what guidance trades: a mark for each scale, and nothing where there is one scale."""

from dataclasses import replace

from report_records import comparison, entry, model
from videodiff.report.section_guidance import guidance_section, scales_of


def guided(found, scales):
    """The model with one draw for each scale; class accuracy rises with it, and the distance is least in the middle."""
    first, draws = found.draws[0], []
    for scale in scales:
        metrics = {**first.metrics, "evaluator_fd": entry(10 + (scale - 2) ** 2, 0.4)}
        if scale:
            metrics["class_accuracy"] = entry(1 - 0.5 / scale, 0.02, floor=0.99)
        told = "classes of the real clips" if scale else "nothing"
        draws.append(replace(first, guidance=float(scale), metrics=metrics, conditioned_on=told))
    return replace(found, draws=draws)


def test_every_scale_has_its_mark_and_its_row():
    found = comparison([guided(model("A"), (4, 0, 1, 2)), model("B")])
    assert [draw.guidance for draw in scales_of(found.models[0])] == [0, 1, 2, 4]
    page = str(guidance_section(found))
    assert page.count('class="chart"') == 5  # two trade-offs, and three metrics against the scale
    assert "evaluator-FD against class accuracy, by guidance" in page
    assert "A, guidance 2 (classes of the real clips): evaluator-FD 10.00, class accuracy 0.7500" in page
    assert "nothing" in page
    accuracy, score = page.split('class="chart"')[1:3]
    assert [f">{scale}</text>" in accuracy.split("</g>")[-2] for scale in (0, 1, 2, 4)] == [
        False,
        True,
        True,
        True,
    ]
    assert "guidance 0 (nothing" not in accuracy
    assert "guidance 0 (nothing" in score  # unconditional clips have no class, but a score


def test_one_scale_is_no_curve():
    assert guidance_section(comparison([model("A"), model("B")])) is None
    assert guidance_section(comparison([replace(model("A"), draws=[])])) is None
