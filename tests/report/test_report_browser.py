"""The page in a real browser: it checks itself (page.js, #selftest) and its findings are read here."""

import json

import pytest
import torch

from browser import CHROMIUM, NAMES, Browser
from report_records import clips_of, comparison, entry, model
from videodiff.comparison.record import Clips
from videodiff.metrics.directory import METRICS
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
    for i in range(2):
        players += [(i, m.long) for m in clips.models.values()]
    for i in range(4):
        latent = [m.reconstructions for m in clips.models.values() if m.reconstructions is not None]
        players += [(i, shown) for shown in (clips.real, *latent)]
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
    assert found["counts"] == ["3 / 16", "19 / 64", "3 / 16", "3 / 16"]  # one bar above each grid
    assert found["tap_plays"]
    assert found["tap_pauses"]
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


def test_controls_and_heads_of_columns_are_reached_by_tab_and_show_it(made, browser):
    browser.open(made[0].as_uri(), width=360)
    browser.wait_for("(document.querySelector('.play') || {}).textContent === 'Pause' || null")
    seen = []
    for _ in range(60):
        for kind in ("rawKeyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        active = "document.activeElement"
        seen.append(
            browser.value(f"[{active}.id || {active}.className, getComputedStyle({active}).outlineStyle]")
        )
    reached = dict(seen)
    wanted = {"theme", "back", "play", "forth", "frame", "speed", "told"}
    assert wanted <= set(reached)
    assert all(reached[key] == "solid" for key in wanted)


COVERED = """(() => {
  const covered = []; let seen = 0;
  for (let y = 0; y < document.documentElement.scrollHeight; y += 211) {
    scrollTo(0, y);
    for (const canvas of document.querySelectorAll("canvas")) {
      const r = canvas.getBoundingClientRect(), box = canvas.closest(".box").getBoundingClientRect();
      const [x, up] = [r.left + r.width / 2, r.top + r.height / 2];
      if (up < 0 || up >= innerHeight || x > box.right || x >= innerWidth) continue;
      seen += 1;
      if (document.elementFromPoint(x, up) !== canvas) covered.push([y, canvas.ariaLabel]);
    }
  }
  return [seen, covered];
})()"""
SIZES = """[...document.querySelectorAll("canvas")].map((c) => c.getBoundingClientRect().width / c.width)"""
TIP = """(() => {
  const tip = [...document.querySelectorAll(".tip")].filter((one) => getComputedStyle(one).display !== "none");
  if (tip.length !== 1) return [tip.length, "", false];
  const r = tip[0].getBoundingClientRect();
  return [1, tip[0].textContent, r.left >= 0 && r.top >= 0 && r.right <= innerWidth && r.bottom <= innerHeight];
})()"""
HEADS = "[...document.querySelectorAll('#results .told')]"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A page with all that the built-in digits are measured by."""
    models = [model(name) for name in ("vdm_digits", "lvdm_digits", "pvdm_digits")]
    told = ("class_accuracy", "diversity")
    names = [
        *models[0].draws[0].metrics,
        "rand_fd",
        *told,
        *(name for name in METRICS if name.startswith("digit_")),
    ]
    for one in models:
        one.draws[0].metrics = {name: entry(0.1234 + i, 0.05) for i, name in enumerate(dict.fromkeys(names))}
    record = comparison(models)
    return write_page(
        record, clips_of(record, count=4), tmp_path_factory.mktemp("measured") / "index.html"
    ), len(dict.fromkeys(names))


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_lies_on_a_clip_no_column_is_cut_off_and_each_says_what_it_is(measured, browser, width):
    page, count = measured
    browser.open(page.as_uri(), width=width, still=True)
    browser.wait_for("(document.querySelector('.play') || {}).textContent === 'Play' || null")
    seen, covered = browser.value(COVERED)
    assert seen >= 40
    assert covered == []
    assert min(browser.value(SIZES)) >= (2 if width == 1280 else 1.4)  # 32 pixels are never shown at 32
    wide = browser.value(
        "[...document.querySelectorAll('.box')].map((box) => box.scrollWidth - box.clientWidth)"
    )
    assert width == 390 or set(wide) == {0}
    assert not browser.value("document.documentElement.scrollWidth > innerWidth")
    last = f"{HEADS}[{count - 1}]"
    browser.value(f"{last}.scrollIntoView({{ block: 'center', inline: 'nearest' }})")
    kept = "document.querySelector('#results tbody th').getBoundingClientRect()"
    shown = f"{HEADS}.filter((head) => head.getBoundingClientRect().left >= {kept}.right - 1).length"
    assert browser.value(f"{kept}.left >= 0 && {kept}.right > 60")  # the first column stays
    assert browser.value(shown) >= (count if width == 1280 else 3)
    assert browser.value(TIP)[0] == 0
    browser.value(f"{last}.focus()")
    one, text, inside = browser.value(TIP)
    assert (one, inside) == (1, True)
    assert text.startswith(METRICS["digit_identity"].says)
    browser.call(
        "Input.dispatchKeyEvent", type="rawKeyDown", key="Escape", code="Escape", windowsVirtualKeyCode=27
    )
    assert browser.value(TIP)[0] == 0
    x, y = browser.value(
        f"(() => {{ const r = {last}.getBoundingClientRect(); return [r.left + 9, r.top + 9]; }})()"
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert browser.value(TIP) == [1, text, True]
    assert browser.complaints() == []


def test_without_script_a_tap_says_what_a_column_is_and_link_and_print_open_what_is_folded(measured, browser):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(f"{measured[0].as_uri()}#protocol", width=390)
    browser.wait_for("document.readyState === 'complete' || null")
    folded = "[...document.querySelectorAll('.fold')].map((one) => one.open)"
    assert browser.value(folded) == [True, False, False]
    seen = "[...document.querySelectorAll('.fold section')].map((one) => one.checkVisibility())"
    assert browser.value(seen) == [True, False, False]
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.value(seen) == [True, True, True]  # on paper nothing is folded
    browser.call("Emulation.setEmulatedMedia", media="screen")
    first = f"{HEADS}[0]"
    browser.value(f"{first}.scrollIntoView({{ block: 'center' }})")
    x, y = browser.value(
        f"(() => {{ const r = {first}.getBoundingClientRect(); return [r.left + 9, r.top + 9]; }})()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    one, text, inside = browser.value(TIP)
    assert (one, inside) == (1, True)
    assert text.startswith(METRICS["evaluator_fd"].says)


def test_a_page_without_clips_has_no_error_either(browser, tmp_path):
    record = comparison([model("A")])
    page = write_page(
        record, Clips(torch.zeros(0, 16, 32, 32, 3, dtype=torch.uint8), {}), tmp_path / "index.html"
    )
    found = selftest(browser, page)
    assert (found["players"], found["errors"], found["requests"]) == (0, [], 0)
    assert browser.complaints() == []
