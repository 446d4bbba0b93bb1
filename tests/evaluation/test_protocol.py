from dataclasses import fields, replace

import pytest

from videodiff.evaluation.protocol import (
    CHOICES,
    LATER,
    PROTOCOLS,
    STORED_AS,
    Protocol,
    as_hashed,
    differences,
    get_protocol,
    read_switches,
)

OTHER = {"eps": 1e-5, "inception_shuffle": 42, "fps": 8.0}
LATER_DEFAULTS = {"fps": None, "given": 0, "draws": 1, "best_of": 1, "context": "counted"}
# As results were stored with them before there was a switch of LATER.
STORED = {
    "styleganv": "06b1d96b7fa68bb3",
    "tf_original": "f680c9f3b838d383",
    "videogpt": "c4ad9cc7e9687733",
    "pvdm": "c4ad9cc7e9687733",
    "lvdm": "05820758f22973a2",
    "tats": "05820758f22973a2",
    "vdm": "6abee98b77067a14",
    "digan": "c4ad9cc7e9687733",
    "latte": "f73b4818e2fdd215",
    "evaluator": "3388686fc227371a",
    "random": "a86093623929f9fd",
    "styleganv:128": "fb48ecd9f7b54964",
    "custom:eps=1e-5:stride=4": "e70e7b3014337413",
    "evaluator:4": "79399aacee631b7b",
    "vdm_bair": "ba63cbbb3d705070",
    "vdm_kinetics600": "6de01c2347225461",
}


def another(protocol, switch):
    value = getattr(protocol, switch)
    if switch in CHOICES:
        return next(choice for choice in CHOICES[switch] if choice != value)
    return OTHER.get(switch, 1 - value if switch == "ddof" else (value or 0) + 1)


@pytest.mark.parametrize("switch", [f.name for f in fields(Protocol) if f.name not in ("name", "base")])
def test_any_switch_changes_the_hash_and_is_told(switch):
    before = get_protocol("styleganv:given=4:draws=2" if switch in LATER[2:] else "styleganv")
    others = {"num_generated": 6144} if switch == "draws" else {}
    after = replace(before, **{switch: another(before, switch)}, **others)
    assert after.hash != before.hash
    told = {(name, getattr(before, name), getattr(after, name)) for name in (switch, *others)}
    assert {*differences(before, after)} == told
    assert after.record()[STORED_AS.get(switch, switch)] == getattr(after, switch)


def test_hashes_of_stored_results_hold():
    assert {name: get_protocol(name).hash for name in STORED} == STORED
    assert get_protocol("custom:eps=1e-5:stride=4").label == "custom_e70e7b"
    assert {*PROTOCOLS} <= {*STORED}


def test_a_later_switch_at_its_default_enters_no_hash():
    assert {
        switch for switch in LATER if as_hashed({switch: getattr(PROTOCOLS["styleganv"], switch)})
    } == set()
    assert as_hashed({"fps": 8.0, "stride": 1}) == {"fps": 8.0, "stride": 1}
    assert get_protocol("styleganv:fps=none") == PROTOCOLS["styleganv"]
    assert get_protocol("latte:fps=8").fps == 8.0


def test_a_record_without_a_later_switch_reads_as_its_default():
    """Before `fps` was a switch, real clips were read as the data said."""
    old = {"stride": 2}
    assert read_switches(old, {}) == {"stride": 2, **LATER_DEFAULTS}
    assert read_switches(old, {"fps": 8.0}) == {"stride": 2, **LATER_DEFAULTS, "fps": 8.0}
    assert read_switches({"fps": None}, {"fps": 8.0}) == LATER_DEFAULTS


def test_the_hash_does_not_follow_the_name():
    assert replace(PROTOCOLS["styleganv"], name="custom").hash == PROTOCOLS["styleganv"].hash


def test_published_protocols_differ_where_their_code_differs():
    def of(name):
        p = PROTOCOLS[name]
        return p.eps, p.resize, p.ddof, p.rounding

    assert of("styleganv") == (1e-3, "bilinear", 0, "round")
    assert of("tf_original") == (1e-3, "tf1", 1, "round")
    for name in ("videogpt", "pvdm", "digan"):
        assert of(name) == (1e-5, "crop", 1, "truncate")
    for name in ("lvdm", "tats"):
        assert of(name) == (1e-5, "bilinear", 1, "truncate")
    assert [s for s, _, _ in differences(PROTOCOLS["styleganv"], PROTOCOLS["latte"])] == ["stride"]
    others = ("vdm", "vdm_bair", "vdm_kinetics600", "evaluator", "random")
    assert all(p.num_real == 2048 for n, p in PROTOCOLS.items() if n not in others)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_has_a_16_and_a_128_frame_form(name):
    short, long = get_protocol(name), get_protocol(f"{name}:128")
    assert (short.frames, long.frames) == (16, 128)
    assert (short.label, long.label) == (name, f"{name}_128f")
    assert short.hash != long.hash
    assert long == get_protocol(name, frames=128)


def test_overrides_make_a_custom_protocol_that_knows_its_base():
    p = get_protocol("pvdm:128:eps=1e-3:ddof=0")
    assert (p.name, p.base, p.frames, p.eps, p.ddof, p.resize) == ("custom", "pvdm", 128, 1e-3, 0, "crop")
    assert p.label.startswith("custom_")
    assert get_protocol("custom:inception_shuffle=42:inception_splits=10").base == "styleganv"
    assert get_protocol("custom").hash == PROTOCOLS["styleganv"].hash
    assert get_protocol("styleganv:128:subsample=8").seen_frames == 16
    assert get_protocol("latte").span == 46


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fvd", "no protocol 'fvd'; there are styleganv"),
        ("styleganv:epss=1", "no switch 'epss'; there are network, eps"),
        ("styleganv:abc", "frames must be a whole number, got 'abc'"),
        ("styleganv:eps=x", "eps must be a number"),
        ("styleganv:eps=2", "eps must lie between"),
        ("styleganv:resize=lanczos", "resize must be one of bilinear, crop, tf1"),
        ("styleganv:fps=0", "fps must be above 0, got 0"),
        ("styleganv:fps=slow", "fps must be a number, got 'slow'"),
        ("styleganv:num_real=1", "num_real must be at least 2, got 1"),
        ("styleganv:0", "frames must be at least 1"),
        ("styleganv:ddof=2", "ddof must be 0 or 1"),
        ("styleganv:given=16", "given must be below frames, or nothing is predicted; got 16 of 16"),
        ("styleganv:given=4:best_of=3", "best_of must be at most draws, got 3 of 1"),
        ("styleganv:draws=3", "draws 3 needs given frames, e.g. given=4"),
        ("styleganv:context=truth", "context truth needs given frames"),
        ("styleganv:given=4:context=seen", "context must be one of counted, excluded, truth"),
        ("styleganv:given=4:subsample=2", "a prediction is compared frame by frame, got subsample 2"),
        ("styleganv:given=4:num_generated=9", "num_generated must be 2048, got 9; leave it out"),
    ],
)
def test_a_wrong_protocol_is_one_line_with_the_way_out(text, says):
    with pytest.raises(ValueError, match=says) as caught:
        get_protocol(text)
    assert len(str(caught.value).splitlines()) == 1


def test_the_count_of_generated_clips_is_stored_by_its_older_name():
    protocol = get_protocol("random:num_generated=64")
    assert protocol == get_protocol("random:num_fake=64")
    assert protocol.record()["num_fake"] == 64
    assert "num_generated" not in protocol.record()
    assert read_switches(protocol.record(), {})["num_generated"] == 64
