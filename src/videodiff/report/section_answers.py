"""The top of the page: what the comparison says, in words."""

from __future__ import annotations

from collections.abc import Sequence

from videodiff.comparison.answers import answers
from videodiff.comparison.record import Comparison
from videodiff.report.chart import mark_of
from videodiff.report.markup import Html, element, join
from videodiff.say import counted


def answers_section(comparison: Comparison, facts: Sequence[str]) -> Html:
    """Question and answer, each with the mark of the model that is ahead; what all numbers rest on below.

    Args:
        comparison: the record.
        facts: sentences.
    """
    places = {model.name: i for i, model in enumerate(comparison.models)}
    items = []
    for answer in answers(comparison):
        mark = None if answer.best is None else mark_of(places[answer.best])
        timed = {"data_timing": answer.timed}
        items += [element("dt", answer.topic, mark, **timed), element("dd", answer.says, **timed)]
    notes = len(comparison.warnings()) + len(comparison.settings.get("notes") or [])
    links = []
    if notes:
        links.append(
            element("a", f"{counted(notes, 'thing')} to know before you quote a number", href="#warnings")
        )
    if comparison.skipped:
        links.append(element("a", f"{counted(len(comparison.skipped), 'run')} not compared", href="#skipped"))
    below = [join(sentence, " ") for sentence in facts]
    pointers = [join(link, ". ") for link in links]
    return join(element("dl", items, class_="answers"), element("p", below, pointers, class_="note"))
