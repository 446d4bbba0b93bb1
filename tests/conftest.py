"""At the end of a long run: the files that took the most CPU seconds, for whoever adds a test to see."""

import gc
import resource
from collections import Counter

import pytest

BEGAN = pytest.StashKey[float]()
SHOWN, LONG = 12, 60.0
seconds: Counter[str] = Counter()


def cpu_seconds() -> float:
    """Of this process and of all that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def pytest_collection_finish():
    """What is there before the first test stays: looking through it for garbage takes a third of a second each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    item.stash[BEGAN] = cpu_seconds()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    if call.when == "teardown":  # the last of a test; workers of xdist send it on with what stands here
        item.user_properties.append(("cpu_seconds", cpu_seconds() - item.stash[BEGAN]))
    return (yield)


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        seconds[report.nodeid.split("::")[0]] += dict(report.user_properties).get("cpu_seconds", 0.0)


def pytest_terminal_summary(terminalreporter):
    total = sum(seconds.values())
    if total > LONG:
        terminalreporter.section(f"{total:.0f} CPU seconds of tests, the dearest files")
        for name, spent in seconds.most_common(SHOWN):
            terminalreporter.write_line(f"{spent:7.1f} {name}")


@pytest.fixture
def said(capfd):
    """Run a command; its exit code and what it said on stderr."""

    from videodiff.cli import main

    def call(*words):
        capfd.readouterr()
        code = main([str(word) for word in words])
        return code, capfd.readouterr().err

    return call
