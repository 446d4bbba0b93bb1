"""The curve of what guidance trades: a mark for each scale, and nothing where there is one scale."""

from dataclasses import replace

from report_records import comparison, entry, model
from videodiff.comparison.tables import of_words
from videodiff.report.section_guidance import guidance_section, scales_of
from videodiff.report.section_results import results_section


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


def worded(found, scales):
    """The model with one draw for each scale; clips show what captions name the more, and vary the less, with it."""
    first, draws = found.draws[0], []
    for scale in scales:
        metrics = dict(first.metrics)
        if scale:
            metrics["named_digit"] = entry(1 - 0.5 / scale, 0.02, floor=0.98, chance=0.1)
            metrics["named_direction"] = entry(1 - 0.6 / scale, 0.03, floor=1.0, chance=0.125)
            metrics["diversity"] = entry(1 / scale, 0.05, floor=1.0)
        draws.append(replace(first, guidance=float(scale), metrics=metrics, conditioned_on="captions"))
    return replace(found, draws=draws)


def test_what_captions_name_stands_against_the_diversity_it_costs():
    found = comparison([worded(model("A"), (1, 0, 2, 4))])
    page = str(guidance_section(found))
    assert "named digit against diversity, by guidance" in page
    assert "A, guidance 4 (captions): named direction 0.8500, diversity 0.2500" in page
    assert "diversity against guidance" in page
    shares = next(
        part for part in page.split('class="chart"') if "named digit against guidance" in part[:2000]
    )
    assert "chance" in shares
    assert "real clips" in shares
    whole = str(results_section(found))
    assert "a guess" in whole
    assert "a guess" not in str(results_section(comparison([model("A")])))
    rows = {row[0].text: [cell.text for cell in row] for row in of_words(found).apart}
    assert {"0.1000", "0.1250"} <= {*rows["a guess (chance)"]}


def test_one_scale_is_no_curve():
    assert guidance_section(comparison([model("A"), model("B")])) is None
    assert guidance_section(comparison([replace(model("A"), draws=[])])) is None
