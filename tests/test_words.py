"""One word for each idea: words that have gone from code, YAML, help and docs stay gone."""

import ast
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLACES = (
    "src/videodiff",
    "configs",
    "docs",
    "notebooks",
    "benchmarks",
    "scripts",
    "README.md",
    "CONTRIBUTING.md",
)
# Where earlier names are translated, or belong to others.
EXCEPT = ("src/videodiff/config/renamed.py", "src/videodiff/migrations.py")

GONE = {
    r"fakes?|fake_\w+": "generated",
    r"draws_video|draw_latent|drawing_record|drawing_options|sample_window": "generates_video, generate_latent, ...",
    r"(?:draws?|drew|drawn|drawing) (?:the |a |some |new |long |such |its )?(?:videos?|clips?)": "generate videos",
    r"videos? (?:is|are|was|were) drawn|clips? (?:is|are|was|were) drawn|drawn (?:videos?|clips?)": "generated videos",
    r"told_of|told_by|told_record|check_told|unfit": "what is told is a condition",
    r"shared_frames|concat_shared|SharedFrames": "overlap",
    r"clip_loss|clip_through": "clamp: a clip is a piece of video",
    r"with/still": "with/low_motion",
    r"Contestants?|of_run|judging": "run",
    r"masked_diffusion_loss": "diffusion_loss(known=)",
}


def files() -> list[Path]:
    found = [ROOT / place for place in PLACES if (ROOT / place).is_file()]
    for place in PLACES:
        found += [p for p in (ROOT / place).rglob("*") if p.suffix in (".py", ".md", ".yaml", ".ipynb")]
    return [p for p in found if p.is_file() and p.relative_to(ROOT).as_posix() not in EXCEPT]


def gone_from(text: str) -> list[str]:
    """The words of a text that have gone, each with the line's number and the word of today."""
    return [
        f"{number}: {match[0]!r} is {word!r} now"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, word in GONE.items()
        if (match := re.search(rf"\b(?:{pattern})\b", line.replace('"fake"', "")))  # a key of stored results
    ]


def test_words_that_have_gone_stay_gone():
    found = [
        f"{p.relative_to(ROOT)}:{line}" for p in files() for line in gone_from(p.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text", ["fake clips", "the model draws videos", "clip_loss: true", "two fake sides"]
)
def test_a_gone_word_is_seen(text):
    (found,) = gone_from(f"first line\n{text}")
    assert found.startswith("2: ")


def test_a_count_agrees_with_its_noun():
    """``{len(x)} clips`` says "1 clips"; ``counted`` does not. After "of" the noun is that of the whole."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for k, (value, after) in enumerate(itertools.pairwise(parts)):
                before = parts[k - 1].value if k and isinstance(parts[k - 1], ast.Constant) else ""
                if (
                    isinstance(value, ast.FormattedValue)
                    and ast.unparse(value.value).startswith("len(")
                    and isinstance(after, ast.Constant)
                    and re.match(r" (?:[a-z]+ )?[a-z]+[^s]s\b", after.value)
                    and not before.endswith(("of ", "of the "))
                ):
                    found.append(
                        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(value.value)}{after.value}"
                    )
    assert found == []
