"""What several verbs do with the same code: every input meets one of them in the suite, and all of them in the soak."""

import pytest


def by_turns(cases, ways):
    """Parameters of a test: each case (a tuple) with one of the ways behind it, in turn; the other pairs are slow."""
    return [
        pytest.param(*case, way, marks=() if place == number % len(ways) else pytest.mark.slow)
        for number, case in enumerate(cases)
        for place, way in enumerate(ways)
    ]
