from dataclasses import fields, replace

import pytest

from videodiff.evaluation.protocol import CHOICES, PROTOCOLS, Protocol, differences, get_protocol

OTHER = {"eps": 1e-5, "inception_shuffle": 42}


def another(protocol, switch):
    value = getattr(protocol, switch)
    if switch in CHOICES:
        return next(choice for choice in CHOICES[switch] if choice != value)
    return OTHER.get(switch, 1 - value if switch == "ddof" else (value or 0) + 1)


@pytest.mark.parametrize("switch", [f.name for f in fields(Protocol) if f.name not in ("name", "base")])
def test_any_switch_changes_the_hash_and_is_told(switch):
    before = PROTOCOLS["styleganv"]
    after = replace(before, **{switch: another(before, switch)})
    assert after.hash != before.hash
    assert differences(before, after) == [(switch, getattr(before, switch), getattr(after, switch))]
    assert after.record()[switch] == getattr(after, switch)


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
    assert all(p.num_real == 2048 for n, p in PROTOCOLS.items() if n not in ("vdm", "evaluator", "random"))


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
        ("styleganv:num_real=1", "num_real must be at least 2, got 1"),
        ("styleganv:0", "frames must be at least 1"),
        ("styleganv:ddof=2", "ddof must be 0 or 1"),
    ],
)
def test_a_wrong_protocol_is_one_line_with_the_way_out(text, says):
    with pytest.raises(ValueError, match=says) as caught:
        get_protocol(text)
    assert len(str(caught.value).splitlines()) == 1
