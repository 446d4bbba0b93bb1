"""The page in a real browser: it checks itself (page.js, #selftest) and its findings are read here."""

import json

import pytest
import torch

from browser import CHROMIUM, NAMES, Browser
from report_records import clips_of, comparison, model
from videodiff.comparison.record import Clips
from videodiff.report import write_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser on this machine ({', '.join(NAMES)})")

LIGHT, DARK = "rgb(253, 253, 251)", "rgb(20, 23, 26)"
FOUND = "document.getElementById('selftest') && document.getElementById('selftest').textContent"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    record = comparison([model("A", latent=False), model("B with quite a long name (runs/b/1)"), model("C")])
    clips = clips_of(record, count=4)
    clips.models["A"].samples[0, 3] = 255  # one frame that is like no other
    path = tmp_path_factory.mktemp("page") / "index.html"
    return write_page(record, clips, path, budget=10**8), clips  # room for lossless sheets


@pytest.fixture
def browser(tmp_path):
    with Browser(tmp_path / "profile") as running:
        yield running


def selftest(browser, page, **how):
    browser.open(f"{page.as_uri()}#selftest", **how)
    return json.loads(browser.wait_for(FOUND))


def sums(clips):
    """Sums of all pixels of each player in the order of the page, as a function of the clock."""
    players = []
    for i in range(4):
        players += [(i, clips.real), *((i, m.samples) for m in clips.models.values())]
    for i in range(4):
        latent = [m.reconstructions for m in clips.models.values() if m.reconstructions is not None]
        players += [(i, shown) for shown in (clips.real, *latent)]
    for i in range(2):
        players += [(i, m.long) for m in clips.models.values()]
    for i in range(4):
        for m in clips.models.values():
            players += [(i, m.samples), (i, m.nearest)]
    return lambda clock: [int(c[i, clock % c.shape[1]].to(torch.int64).sum()) for i, c in players]


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_clip_plays_in_step_and_nothing_goes_wrong(made, browser, width, dark):
    page, clips = made
    found = selftest(browser, page, width=width, dark=dark)
    assert found["errors"] == []
    assert browser.complaints() == []
    assert found["requests"] == 0
    expected = sums(clips)
    assert found["players"] == len(expected(0)) == 16 + 12 + 6 + 24
    for clock in (0, 5, -1):  # lossless: every player shows exactly its frame
        assert found["sums"][str(clock)] == expected(clock)
    assert (found["forth"], found["back"]) == (4, 2)
    assert (found["frames_per_second"], found["frames_at_double_speed"]) == (8, 16)
    assert found["slider"] == 18  # frame 2 of the round the clock was in
    assert (found["arrow_right"], found["arrow_left"]) == (8, 7)
    assert found["space_plays"]
    assert found["space_pauses"]
    assert found["started"]
    assert 2 <= found["ran"] <= 9  # eight in the second it had; fewer where the machine is busy
    assert found["theme"] == (DARK if dark else LIGHT)
    assert found["themes"] == [LIGHT, DARK, found["theme"]]
    assert found["width"] == width
    assert not found["page_scrolls"]


def test_nothing_moves_by_itself_for_those_who_asked_for_that(made, browser):
    found = selftest(browser, made[0], still=True)
    assert not found["started"]
    assert found["ran"] >= 2  # it plays when told to


def test_controls_are_reached_by_tab_and_show_it(made, browser):
    browser.open(made[0].as_uri(), width=360)
    browser.wait_for("document.getElementById('play').textContent === 'Pause' || null")
    seen = []
    for _ in range(60):
        for kind in ("rawKeyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        seen.append(browser.value(f"[document.activeElement.id, {outline}]"))
    reached = dict(seen)
    assert {"theme", "back", "play", "forth", "frame", "speed"} <= set(reached)
    assert all(reached[key] == "solid" for key in ("theme", "back", "play", "forth", "frame", "speed"))


def test_a_page_without_clips_has_no_error_either(browser, tmp_path):
    record = comparison([model("A")])
    page = write_page(
        record, Clips(torch.zeros(0, 16, 32, 32, 3, dtype=torch.uint8), {}), tmp_path / "index.html"
    )
    found = selftest(browser, page)
    assert (found["players"], found["errors"], found["requests"]) == (0, [], 0)
    assert browser.complaints() == []
