"""The page of a comparison that is still being made: what it shows, and what a reload keeps."""

import re
import time

import pytest

from browser import CHROMIUM, NAMES, Browser
from report_records import comparison, model, moving_squares
from videodiff.comparison.folder import check_folder
from videodiff.comparison.record import Clips, ModelClips
from videodiff.report.growing import Growing, StageLine, write_growing_page
from videodiff.report.section_clips import ClipSections

STAGES = [
    StageLine("A, first stage", "trained", 600, 600, 0.031, 40.0),
    StageLine("A, second stage", "runs", 120, 830, 0.2, 8.0),
    StageLine("B", "waits", 0, 632),
]


def grown(path, **more):
    """A page with one model whose clips are there and one that has none yet."""
    models = [model("A", draws=0), model("B", latent=False, draws=0)]
    clips = Clips(moving_squares(2), {"A": ModelClips(moving_squares(2, seed=1))})
    growing = Growing(
        "A and B", "Training: about 4 minutes are left.", STAGES, ["A: <b>comes</b> with it."], **more
    )
    return write_growing_page(comparison(models, baselines=[]), clips, growing, path / "index.html")


def test_a_growing_page_says_what_happens_and_how_far_every_training_is(tmp_path):
    text = grown(tmp_path, written=time.time()).read_text()
    assert "Training: about 4 minutes are left." in text
    assert text.count("<canvas") == 4
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", text)]
    assert any(row[:7] == ["A,", "first", "stage", "trained", "600", "of", "600"] for row in rows)
    assert any(
        row[:4] == ["A,", "second", "stage", "runs"] and row[4:7] == ["120", "of", "830"] for row in rows
    )
    assert ["B", "waits", "0", "of", "632", "–", "–"] in rows
    assert "train/loss from" in text  # the curves so far
    assert "A: &lt;b&gt;comes&lt;/b&gt; with it." in text
    assert 'data-every="15"' in text
    assert not re.search(r"https?:|src=\"(?!data:)", text.replace("http-equiv", ""))


def test_a_model_whose_first_stage_alone_is_trained_has_no_column_of_samples():
    clips = moving_squares(2)
    there = {"A": ModelClips(clips), "B": ModelClips(clips[:0], reconstructions=clips)}
    sections = ClipSections(
        comparison([model("A", draws=0), model("B", draws=0)], baselines=[]), Clips(clips, there)
    )
    samples, rebuilt = str(sections.samples_section()), str(sections.reconstructions_section())
    assert "A, sample 0" in samples
    assert ">B<" not in samples
    assert "B, reconstruction 0" in rebuilt


def test_a_page_that_has_ended_does_not_reload_itself(tmp_path):
    assert 'id="growing"' not in grown(tmp_path, every=0.0).read_text()


def test_a_growing_page_may_be_replaced_by_a_report_and_another_file_not(tmp_path):
    page = grown(tmp_path)
    check_folder(tmp_path)
    page.write_text("<!doctype html><title>mine</title>")
    with pytest.raises(FileExistsError, match=r"index\.html, which is not a report"):
        check_folder(tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason=f"no browser on this machine ({', '.join(NAMES)})")
def test_a_page_that_reloads_itself_goes_on_where_its_reader_was(tmp_path):
    page = grown(tmp_path, written=time.time(), every=1.0)
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        browser.wait_for("document.querySelector('.play').textContent === 'Pause' || null")
        browser.value(
            "document.querySelector('.speed').value = '2',"
            "document.querySelector('.speed').dispatchEvent(new Event('change')),"
            "document.querySelector('.frame').value = '5',"
            "document.querySelector('.frame').dispatchEvent(new Event('input')), scrollTo(0, 60), window.before = 1"
        )
        of = "document.querySelector('{}').{}".format
        parts = [of(".count", "textContent"), of(".play", "textContent"), of(".speed", "value"), "scrollY"]
        state = f"[{', '.join(parts)}, {of('#reloading', 'textContent')}]"
        assert browser.value(state) == ["6 / 16", "Play", "2", 60, "Reloading: on"]
        # What was written meanwhile is there, and the player stands as it did.
        page.write_text(page.read_text().replace("about 4 minutes", "about 3 minutes"))
        browser.wait_for("(!window.before && document.body.textContent.includes('about 3 minutes')) || null")
        browser.wait_for("document.querySelector('.count').textContent === '6 / 16' || null")
        assert browser.value(state) == ["6 / 16", "Play", "2", 60, "Reloading: on"]
        # A reader can switch it off.
        browser.value("document.getElementById('reloading').click(), window.before = 2")
        time.sleep(2.0)
        assert browser.value("window.before") == 2
        assert browser.value(state)[-1] == "Reloading: off"
        # A page whose command has ended without a word says so.
        page.write_text(re.sub(r'data-written="\d+"', 'data-written="1000"', page.read_text()))
        browser.open(page.as_uri())
        note = browser.wait_for("(t => t.includes('has ended') ? t : null)"
                                "(document.getElementById('growing-note')?.textContent || '')")  # fmt: skip
        assert "Nothing has been written here for" in note
        assert browser.complaints() == []
