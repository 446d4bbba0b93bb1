"""CLIP's cosines of words and frames, and of successive frames: against closed forms, and through a folder."""

import math

import numpy as np
import pytest
import torch

from clip_folders import write_clip
from eval_fakes import fake_detector
from eval_run import Follows, data, run, truth_of
from published_files import needs_assets
from videodiff.cli import main
from videodiff.data.pixels import to_float
from videodiff.evaluation.against import beside
from videodiff.evaluation.clip_judge import ClipJudge
from videodiff.evaluation.names import record_name
from videodiff.evaluation.observed import observe
from videodiff.evaluation.protocol import get_protocol
from videodiff.evaluation.results import Result
from videodiff.evaluation.score import score
from videodiff.metrics.directory import metric_info

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 2.0, 0.0), "yellow": (1.0, 1.0, 0.0)}


def of_colours():
    """A CLIP that sees the mean colour of an image, and knows three words of it."""
    return ClipJudge(
        lambda images: (images.mean((2, 3)) + 1) / 2,
        lambda texts: torch.tensor([COLOURS[t] for t in texts]),
        "c" * 64,
    )


def painted(*frames):
    """A clip uint8 ``[1, T, 8, 8, 3]`` of these colours."""
    return (255 * torch.tensor(frames)).byte()[None, :, None, None].expand(-1, -1, 8, 8, -1)


def test_similarity_is_the_mean_cosine_of_the_words_and_the_frames():
    judge = of_colours()
    red, green = (1.0, 0, 0), (0, 1.0, 0)
    clips = torch.cat([painted(red, red), painted(red, green), painted(green, green)])
    side = observe(clips.split(2), [judge.detector()])
    assert side.figures["frame_consistency"] == pytest.approx([1, 0, 1], abs=1e-6)
    judge.put_similarity(side, ["red", "yellow", ""])
    found = side.figures["text_similarity"]
    assert found[:2] == pytest.approx([1, math.sqrt(0.5)], abs=1e-6)
    assert np.isnan(found[2])  # a clip without a caption
    for words in (None, ["", "", ""]):
        untold = observe([clips], [judge.detector()])
        judge.put_similarity(untold, words)
        assert "text_similarity" not in untold.figures
    assert "frame_consistency" not in observe([clips[:, :1]], [judge.detector()]).figures


def test_both_are_metrics_with_intervals_and_the_floor_of_real_clips():
    judge, draw = of_colours(), torch.Generator().manual_seed(0)
    clips = torch.randint(0, 255, (40, 4, 8, 8, 3), dtype=torch.uint8, generator=draw)
    clips[:, :, :, :, 2] = 0
    sides = [observe(part.split(7), [fake_detector("random"), judge.detector()]) for part in clips.split(20)]
    for side, word in zip(sides, ("yellow", "red"), strict=True):
        judge.put_similarity(side, [word] * 20)
    metrics, _ = score(*sides, get_protocol("random:4"))
    told, moves = metrics["text_similarity"], metrics["frame_consistency"]
    assert told["value"] == pytest.approx(math.sqrt(0.5), abs=0.05)
    assert told["floor"] == pytest.approx(1, abs=0.01)
    assert told["interval"][0] < told["value"] < told["interval"][1]
    assert moves["count"] == 20
    assert moves["floor"] > 0.99
    assert (metric_info("text_similarity").better, metric_info("frame_consistency").better) == (
        "higher",
        "real",
    )


def test_values_of_two_clips_never_stand_beside_each_other_nor_in_one_record():
    def result(digest):
        metrics = {"text_similarity": {"value": 0.3, "network_sha256": digest}, "rand_fd": {"value": 1.0}}
        return Result("random", get_protocol("random").record(None), metrics, 2, 2, 0, {})

    assert "text_similarity" in beside(result("a"), result("a"), "B")
    assert "text_similarity" not in beside(result("a"), result("b"), "B")
    assert "rand_fd" in beside(result("a"), result("b"), "B")
    assert record_name(result("a")) != record_name(result("b"))


@needs_assets
def test_a_folder_of_clip_judges_clips_by_the_words_that_they_were_told(tmp_path):
    whole = write_clip(tmp_path / "clip")
    fakes = {"protocol": "random:8", "make_detectors": lambda p: [fake_detector("random")], "num_clips": 4}
    fakes["clip_model"] = str(tmp_path / "clip")
    found = run(tmp_path / "told", Follows(), data(captions="generated"), **fakes)[0].result
    entry = found.metrics["text_similarity"]
    assert entry["value"] == pytest.approx(
        entry["floor"], abs=1e-6
    )  # the real clips, with their own captions
    assert len(entry["network_sha256"]) == 64
    judge = ClipJudge.of_folder(str(tmp_path / "clip"))
    texts = [data(captions="generated").source("test").captions_of(i, 0, 8, 1)[0] for i in range(4)]
    frames = torch.stack([to_float(truth_of(i)) for i in range(4)]).flatten(0, 1).permute(0, 3, 1, 2)
    words = judge.texts.words.tokens(texts, 77)
    with torch.no_grad():
        theirs = whole.get_text_features(input_ids=words.ids, attention_mask=words.mask.long())
    theirs = getattr(theirs, "pooler_output", theirs)
    expected = torch.cosine_similarity(judge.images(frames).unflatten(0, (4, 8)), theirs[:, None], dim=-1)
    assert entry["value"] == pytest.approx(expected.mean().item(), abs=1e-5)
    again = run(tmp_path / "told", Follows(), data(captions="generated"), **fakes)[0].result  # from the cache
    assert again.metrics == found.metrics
    own = {**fakes, "conditions": {"prompt": ["a red ball"]}}
    theirs = run(tmp_path / "own", Follows(), data(captions="generated"), **own)[0].result
    assert theirs.metrics["text_similarity"]["value"] != entry["value"]
    untold = run(tmp_path / "untold", Follows(), data(), **fakes)[0].result
    assert "text_similarity" not in untold.metrics
    assert "text_similarity is not measured of clips that were told no words" in untold.warnings
    assert untold.metrics["frame_consistency"]["value"] == pytest.approx(
        found.metrics["frame_consistency"]["value"]
    )


@pytest.mark.parametrize("verb", [["test", "demo/vdm_digits"], ["compare", "demo/vdm_digits"]])
def test_a_folder_that_is_no_clip_is_one_line_before_anything_is_loaded(tmp_path, monkeypatch, capsys, verb):
    monkeypatch.chdir(tmp_path)
    assert main([*verb, "--clip_model", "nowhere"]) == 2
    assert "no folder 'nowhere' of CLIP's image encoder" in (said := capsys.readouterr().err)
    assert "--clip_model" in said
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/config.json").write_text('{"model_type": "bert"}')
    assert main([*verb, "--clip_model", "bert"]) == 2
    assert "is of model_type 'bert', and CLIP's image encoder is one of CLIP" in capsys.readouterr().err
