"""A leaderboard's rows: means over seeds with clips and seeds in one interval, in order, in every form."""

import csv
import math

import pytest

from report_records import clips_of, comparison, entry, model
from videodiff.comparison import leaderboard_rows, leaderboard_tables
from videodiff.comparison.leaderboard import (
    Entry,
    Leaderboard,
    Trained,
    TrainedStage,
    read_leaderboard,
    run_folder,
)
from videodiff.comparison.leaderboard_rows import comparison_of, rows_of
from videodiff.comparison.over_seeds import over_seeds, system_record
from videodiff.comparison.record import Clips
from videodiff.comparison.results import write_results
from videodiff.comparison.stored_clips import read_clips, write_clips
from videodiff.report.leaderboard_page import write_leaderboard_page


def test_the_interval_joins_seeds_and_clips_in_squares():
    # Two seeds 4 apart: t of one degree, tan(0.475 pi) = 12.7062, times sd / sqrt(2) = 2.
    found = over_seeds([entry(10.0, 3.0, floor=1.0), entry(14.0, 4.0)])
    seeds, clips = 2 * math.tan(0.475 * math.pi), math.sqrt((9 + 16) / 2)
    assert found["value"] == 12
    assert found["over_seeds"] == pytest.approx([12 - seeds, 12 + seeds])
    assert found["over_clips"] == pytest.approx([12 - clips, 12 + clips])
    assert found["interval"] == pytest.approx([0.0, 12 + math.hypot(seeds, clips)])  # no distance is below 0
    assert (found["seeds"], found["count"], found["floor"]) == ([10.0, 14.0], 64, 1.0)


def test_one_seed_has_the_interval_over_clips_and_equal_seeds_add_nothing_to_it():
    one = over_seeds([entry(10.0, 3.0)])
    assert (one["interval"], one["over_seeds"]) == ([7.0, 13.0], None)
    assert over_seeds([entry(10.0, 3.0)] * 3)["interval"] == pytest.approx([7.0, 13.0])
    assert over_seeds([entry(1.0), entry(3.0)])["over_clips"] is None  # unknown over clips: over seeds alone
    assert over_seeds([None, {"value": None}])["value"] is None
    assert over_seeds([entry(-0.5, 0.1), entry(-0.5, 0.1)])["interval"] == pytest.approx([-0.6, -0.4])


def test_the_cost_of_a_system_is_the_mean_over_its_seeds():
    one, other = model("a", 4.0), model("a", 6.0)
    other.training.steps, other.training.seconds = 3000, None
    found = system_record("both", [one, other])
    assert (found.name, found.training.steps, found.training.seconds) == ("both", 2500, None)
    assert found.draws[0].metrics["evaluator_fd"]["value"] == 5.0
    assert found.first_stage["metrics"]["psnr"]["value"] == 27.0
    with pytest.raises(ValueError, match="no training"):
        system_record("none", [])


@pytest.fixture
def board(tmp_path):
    """Two systems with two seeds each, measured, and one that is not; the better one comes second."""
    found = Leaderboard(
        {"seconds": 20.0, "first_stage_share": 0.4, "device": "cpu"}, {"dataset": "bouncing_digits"}
    )
    for name, distances, latent in (("pixels", (9.0, 9.5), False), ("latents", (3.0, 3.1), True)):
        added = Entry(name, [f"{name}_digits"], [], "0" * 16, probe_seconds=1.5 if latent else 0.0)
        for seed, distance in enumerate(distances):
            stages = [TrainedStage("first stage", 300, 8.0, 2.0)] if latent else []
            stages.append(TrainedStage("model", 500 + seed, 12.0 if latent else 20.0, 2.0))
            added.runs.append(Trained(seed, stages, 30.0))
            record = comparison([model("run", distance, latent)])
            out = run_folder(tmp_path, name, seed, "evaluation")
            write_results(record, out)
            clips = clips_of(record, count=2)
            write_clips(Clips(clips.real, clips.models), out)
        found.entries.append(added)
    found.entries.append(Entry("waiting", ["c"], [], "1" * 16))
    found.write(tmp_path)
    return found


def test_the_record_comes_back_and_its_rows_have_the_best_first(board, tmp_path):
    again = read_leaderboard(tmp_path)
    assert again == board
    rows = rows_of(again, tmp_path)
    assert [row.entry.name for row in rows] == ["latents", "pixels"]
    whole = comparison_of(again, rows, "videodiff leaderboard ...")
    said = dict(leaderboard_tables.sentences(again, whole))
    assert "latents, evaluator-FD 3.050" in said["Ahead"]
    assert "apart from all others" in said["Ahead"]
    assert "20 CPU seconds" in said["Equal seconds"]
    assert "40 %" in said["Equal seconds"]
    leaderboard_tables.write_texts(tmp_path, whole, rows, list(said.items()))
    text = (tmp_path / "leaderboard.md").read_text()
    assert "| **latents** |" not in text  # a value is best, a name is none
    assert "**3.050 [" in text
    assert "| latents | 2 | 15,000,000 | 500 | 300 | 12.0 | 8.0 | 4.00 s | 1.50 s | 30.0 s |" in text
    lines = list(csv.DictReader((tmp_path / "leaderboard.csv").open()))
    assert [(line["system"], line["seed"]) for line in lines] == [
        ("latents", "0"), ("latents", "1"), ("latents", "mean"), ("pixels", "0"), ("pixels", "1"), ("pixels", "mean"),
    ]  # fmt: skip
    assert (lines[0]["first_stage_seconds"], lines[3]["first_stage_seconds"]) == ("8.0", "")
    assert float(lines[2]["evaluator_fd"]) == pytest.approx(3.05)


def test_the_page_shows_the_clips_of_every_system_and_fetches_nothing(board, tmp_path):
    rows = rows_of(board, tmp_path)
    whole = comparison_of(board, rows, "videodiff leaderboard ...")
    clips = leaderboard_rows.clips_of(tmp_path, rows)
    assert set(clips.models) == {"latents", "pixels"}
    page = tmp_path / "index.html"
    tables = [leaderboard_tables.spent(rows), leaderboard_tables.by_seed(rows)]
    write_leaderboard_page(whole, clips, leaderboard_tables.sentences(board, whole), tables, page)
    text = page.read_text()
    assert "Leaderboard at 20 equal seconds" in text
    assert text.count("<canvas") == 2 * 3 + 2 * 2  # samples and reconstructions, with real clips beside both
    assert "http" not in text.replace("http-equiv", "")
    assert text.index('id="results"') < text.index('id="seconds"') < text.index('id="samples"')


def test_kept_clips_come_back_pixel_for_pixel(tmp_path):
    record = comparison([model("a"), model("b", latent=False)])
    clips = clips_of(record, count=2)
    write_clips(clips, tmp_path)
    again = read_clips(tmp_path)
    assert again.real.equal(clips.real)
    assert again.models["a"].reconstructions.equal(clips.models["a"].reconstructions)
    assert again.models["b"].samples.equal(clips.models["b"].samples)
    assert again.models["b"].reconstructions is None


def test_systems_that_were_measured_otherwise_do_not_stand_in_one_table(board, tmp_path):
    out = run_folder(tmp_path, "pixels", 0, "evaluation")
    for file in out.iterdir():
        file.unlink()
    write_results(comparison([model("run")], protocol={"name": "random", "hash": "f" * 16}), out)
    with pytest.raises(ValueError, match="protocols of 2 kinds"):
        rows_of(board, tmp_path)


def test_a_file_that_is_no_leaderboard_is_refused_in_one_line(tmp_path):
    assert read_leaderboard(tmp_path) is None
    (tmp_path / "leaderboard.json").write_text('{"entries": [{"name": "a"}]}')
    with pytest.raises(ValueError, match=r"leaderboard.json is no record of a leaderboard \((Type|Key)Error"):
        read_leaderboard(tmp_path)
