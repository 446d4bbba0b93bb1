import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from report_records import clips_of, comparison, draw, entry, model, moving_squares
from videodiff.comparison.answers import answers
from videodiff.comparison.formats import markdown
from videodiff.comparison.record import Clips, Comparison, ModelClips
from videodiff.metrics.directory import metric_info
from videodiff.report import build_page, write_page
from videodiff.report.markup import VOID, element
from videodiff.report.page_template import part


class Reader(HTMLParser):
    """Checks that elements close in order; collects tags, attributes and the text outside of style and script."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.words = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def record():
    return comparison([model("A", 4.0, latent=False), model("B", 7.0), model("C", 7.2)])


@pytest.fixture(scope="module")
def page(record):
    return build_page(record, clips_of(record, count=4))


def section(page, key):
    found = re.search(rf'<section id="{key}".*?</section>', page, re.S)
    return found[0] if found else None


def test_nothing_on_the_page_refers_to_anything_outside(page):
    seen = Reader(page).seen
    for tag, attributes in seen:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for key in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            if key in attributes:
                assert attributes[key].startswith(("#", "data:image/")), (tag, attributes[key][:80])
        assert not any(key.startswith("on") for key in attributes)
    assert "url(" not in part("page.css")
    assert "@import" not in part("page.css")
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?:", part("page.js"))
    policy = next(a["content"] for t, a in seen if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_anchors_lead_somewhere_and_ids_are_unique(page):
    seen = Reader(page).seen
    ids = [a["id"] for _, a in seen if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in seen if t == "a"}
    assert targets <= set(ids)
    assert {"results", "samples", "tradeoffs", "curves", "protocol", "made"} <= targets
    sheets = {f"sheet-{a['data-sheet']}" for t, a in seen if t == "canvas"}
    assert sheets == {i for i in ids if i.startswith("sheet-")}


def test_everything_to_press_or_look_at_has_a_name(page):
    for tag, attributes in Reader(page).seen:
        if tag in ("canvas", "svg") and attributes.get("aria-hidden") != "true":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"]) > 3
        if tag == "input":
            assert attributes["aria-label"]
        if attributes.get("tabindex") == "0" and tag == "div":
            assert attributes["aria-label"]
            assert attributes["role"] == "region"


def test_three_models_of_sixteen_noisy_clips_stay_below_two_megabytes(tmp_path):
    record = comparison([model(name) for name in "ABC"])
    path = write_page(record, clips_of(record, size=64, noise=10), tmp_path / "deep" / "index.html")
    assert 200_000 < path.stat().st_size < 2_000_000
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]


def test_equal_input_gives_equal_bytes_and_time_only_shows_where_it_is_marked(record):
    clips = clips_of(record, count=2, size=16)
    page = build_page(record, clips)
    assert build_page(record, clips_of(record, count=2, size=16)) == page
    assert build_page(Comparison.from_dict(record.to_dict()), clips) == page
    slower = [
        replace(
            m,
            draws=[replace(d, timing={"seconds_per_video": 3.21, "peak_memory_bytes": 7e9}) for d in m.draws],
        )
        for m in record.models
    ]
    other = build_page(replace(record, models=slower), clips)
    assert other != page
    timed = re.compile(r"<(td|figure|dt|dd)\b[^>]*\bdata-timing\b.*?</\1>", re.S)
    assert timed.sub("", other) == timed.sub("", page)


def test_the_best_is_starred_where_intervals_separate_and_nowhere_else(record, page):
    results = section(page, "results")
    rows = {re.search(r"<span>(\w)</span></th>", row)[1]: row for row in re.findall(r"<tr>.*?</tr>", results)
            if re.search(r"<span>\w</span></th>", row)}  # fmt: skip
    starred = {name: len(re.findall(r'class="star"', row)) for name, row in rows.items()}
    assert starred == {"A": 2, "B": 0, "C": 0}  # 4 +- 0.4 against 7 and 7.2; the score has no interval
    tied = comparison([model("A", 4.0), model("B", 4.3)])
    assert 'class="star"' not in section(build_page(tied, clips_of(tied, count=1, size=16)), "results")


def test_the_first_thing_on_the_page_is_what_it_says_in_words(record, page):
    body = page[page.index("<body>") :]
    assert (
        body.index('id="answers"') < body.index("<nav") < body.index("<canvas") < body.index('id="results"')
    )
    text = Reader(section(page, "answers")).text
    assert all(answer.topic in text and answer.says in text for answer in answers(record))
    assert len(answers(record)) >= 7
    assert f"Protocol evaluator [{record.protocol['hash']}], 64 clips of each model" in text


def test_a_model_worse_than_none_is_told_first_and_starred_nowhere():
    worse = [{"name": "noise", "metrics": {"evaluator_fd": entry(3.0, 0.1)}}]
    record = comparison([model("A", 4.0), model("B", 7.0)], baselines=worse)
    page = build_page(record, clips_of(record, count=1, size=16))
    assert 'class="star"' not in section(page, "results")
    assert "no model beats noise 3.00 [2.90, 3.10]; A is worse than noise" in page


def test_no_drift_is_drawn_without_intervals_and_every_curve_says_its_count():
    models = [model(name, 4.0 + k) for k, name in enumerate("AB")]
    for one in models:
        for k, window in enumerate(one.drift):
            window["metrics"] |= {
                "evaluator_fd": entry(4.0 + k, 0.3, count=4), "evaluator_is_splits1": entry(3.0, count=4),
                "digit_residual": entry(1.0, 0.2 if k else None, count=4), "frame_detail": entry(5.0, 0.0, count=4),
            }  # fmt: skip
    record = comparison(models)
    drift = section(build_page(record, clips_of(record, count=1, size=16)), "drift")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", drift)
    assert captions == [
        "evaluator-FD along the video, 4 videos of each model",
        "path residual along the video, 4 videos of each model; 2 windows without an interval left out",
    ]
    assert (
        drift.count('class="interval"') == drift.count('class="mark"') - 2 == 8 + 6
    )  # two marks of the legend
    assert "as 4 videos of each model give no interval: evaluator IS, detail." in drift
    assert "A, frames 16 to 31, 4 videos: 5.000 (4.700 to 5.300)" in drift
    for one in models:
        one.drift = [{"frames": [0, 15], "metrics": {"evaluator_fd": entry(4.0, count=2)}}]
    drift = section(build_page(record, clips_of(record, count=1, size=16)), "drift")
    assert "<figure" not in drift
    assert "Without a curve, as 2 videos of each model give no interval: evaluator-FD." in drift


def test_baselines_floor_and_papers_stand_apart(page):
    results = section(page, "results")
    assert 'class="star"' not in results[results.index("made without a model") :]
    assert results.index("made without a model") < results.index("other real clips, equally many")
    assert "343.6" not in results
    assert "343.6" in section(page, "published")
    assert "cannot be compared" in section(page, "published")


def test_the_page_tells_all_that_shaped_the_numbers(record, page):
    text = Reader(page).text
    for value in [*record.protocol.values(), *record.versions.values(), record.command, "a" * 64, "bouncing_digits",
                  "runs/torn no checkpoint", "fewer clips than the protocol wants", "a note on all"]:  # fmt: skip
        assert str(value) in text


def test_what_is_to_be_said_of_several_models_is_said_once(record):
    for one in record.models:
        one.warnings = ["drawn in haste"]
    record.models[0].warnings += [
        "of the first alone",
        "8 clips with 128 numbers",
        "8 clips with 336 numbers",
    ]
    text = Reader(build_page(record, clips_of(record, count=2, size=16))).text
    assert text.count("drawn in haste") == 1
    assert " ".join(one.name for one in record.models) + " drawn in haste" in text
    assert f"{record.models[0].name} of the first alone" in text
    assert f"{record.models[0].name} 8 clips with 128 and 336 numbers" in text
    lines = markdown(record).splitlines()
    names = ", ".join(one.name for one in record.models)
    assert [line for line in lines if line.endswith("haste")] == [f"Note on {names}: drawn in haste"]


def test_notes_stand_in_one_place_and_the_top_refers_to_it(record, page):
    assert page.count("a note on all") == page.count("fewer clips than the protocol wants") == 1
    assert "a note on all" in section(page, "warnings")
    assert '<a href="#warnings">2 things to know before you quote a number</a>' in section(page, "answers")
    assert '<a href="#skipped">1 run not compared</a>' in section(page, "answers")


def test_settings_are_folded_away_where_a_link_opens_them(page):
    folded = re.findall(r'<details class="fold"><summary><h2>.*?</h2></summary><section id="(\w+)"', page)
    assert folded == ["protocol", "models", "made"]
    assert not page[page.rindex("</details>") :].count("<section")


def test_every_column_of_numbers_says_what_it_measures_to_pointer_finger_and_keyboard(record, page):
    heads = re.findall(
        r"<th scope=\"col\"><span class=\"told\" tabindex=\"0\">.*?</th>", section(page, "results")
    )
    names = list(record.models[0].draws[0].metrics)
    assert len(heads) == len(names)
    for head, name in zip(heads, names, strict=True):
        assert f'role="tooltip">{element("i", metric_info(name).explanation)[3:-4]}' in head
        assert "title=" not in head
    assert len(re.findall('class="told"', section(page, "costs"))) == 9
    assert ".told:hover > .tip, .told:focus > .tip { display: block; }" in part("page.css")


def test_hostile_names_stay_text():
    name = """<img src=x onerror="alert(1)">'&</script><script>alert(2)//"""
    hostile = model(name)
    hostile.warnings = [name]
    hostile.nearest[0]["name"] = name
    hostile.draws[0].metrics[name] = entry(1.0, 0.1)
    record = comparison([hostile, model("B")], command=name, skipped=[{"run": name, "reason": name}],
                        published=[{"model": name, "metric": name, "value": 1}], versions={name: name},
                        baselines=[{"name": name, "metrics": {}}], settings={name: [name]})  # fmt: skip
    page = build_page(record, clips_of(record, count=2, size=16))
    reader = Reader(page)
    assert [t for t, _ in reader.seen if t == "script"] == ["script"]
    assert all("onerror" not in a for _, a in reader.seen)
    assert all(a["src"].startswith("data:") for t, a in reader.seen if t == "img")
    assert name in "".join(reader.words)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"first_stage": None}, ["stages", "reconstructions"]),
        ({"drift": []}, ["drift"]),
        ({"warnings": []}, []),
    ],
)
def test_what_a_comparison_lacks_leaves_no_empty_section(change, gone):
    record = comparison([replace(model(name), **change) for name in "AB"])
    page = build_page(record, clips_of(record, count=2, size=16))
    there = set(re.findall(r'<section id="(\w+)"', page))
    assert not there & set(gone)
    assert set(re.findall(r'href="#(\w+)"', page)) == there - {"answers"}


def test_the_least_comparison_gives_a_page():
    bare = model("only", latent=False, draws=1)
    bare.training.curves, bare.drift, bare.nearest, bare.warnings = {}, [], [], []
    bare.draws[0] = replace(bare.draws[0], timing={}, flop_per_video=None)
    record = Comparison(protocol={}, settings={}, data={}, models=[bare])
    none = Clips(torch.zeros(0, 16, 32, 32, 3, dtype=torch.uint8), {})
    page = build_page(record, none)
    Reader(page)
    assert "<canvas" not in page
    assert 'class="controls"' not in page
    one = build_page(record, Clips(moving_squares(1), {"only": ModelClips(moving_squares(1))}))
    assert one.count("<canvas") == 2
    there = ["answers", "samples", "results", "tradeoffs", "costs", "protocol", "models", "made"]
    assert re.findall(r'<section id="(\w+)"', one) == there


def test_many_models_and_uneven_draws_give_a_page():
    models = [model(f"model {i}", 3.0 + i) for i in range(11)]
    models[3].draws.append(replace(draw(5.0, 10), sampler="AncestralSampler", count=7))
    models[4].draws[0].metrics.clear()
    models[5].draws[0].metrics["evaluator_fd"] = entry(None)
    models[6].training.curves["train/loss"] = [[1, float("nan")], [2, float("inf")], [3, 0.0]]
    record = comparison(models)
    Reader(build_page(record, clips_of(record, count=1, size=16)))


def test_clips_of_a_stranger_are_refused(record):
    with pytest.raises(ValueError, match="clips of 'Z', but the comparison has A, B, C"):
        build_page(record, Clips(moving_squares(1), {"Z": ModelClips(moving_squares(1))}))


def test_a_failed_write_leaves_the_old_page(tmp_path, record, monkeypatch):
    path = tmp_path / "index.html"
    path.write_text("old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_page(record, clips_of(record, count=1, size=16), path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("index.html", "old")]


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_colours_have_the_contrast_of_wcag(theme):
    colours = {
        name: pair[theme]
        for name, *pair in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", part("page.css"))
    }
    for ground in ("paper", "raised", "tint"):
        for ink in ("ink", "soft", "accent"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert all(contrast(colours[f"c{k}"], colours["paper"]) >= 3 for k in range(8))


def test_elements_escape_what_is_not_markup():
    assert element("td", "<b>", element("i", "&"), None, class_="x", title='a"b', hidden=True, id=None) == (
        '<td class="x" title="a&quot;b" hidden>&lt;b&gt;<i>&amp;</i></td>'
    )
