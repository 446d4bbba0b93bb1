"""What mypy is told to pass over."""

import re
import tokenize
from pathlib import Path

import videodiff

PACKAGE = Path(videodiff.__file__).parent
RULE = re.compile(r"# type: ignore\[[a-z-]+(, [a-z-]+)*\]  # \S+ .*\S")


def test_an_ignored_type_error_names_its_code_and_its_reason():
    comments = []
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "mypy:" not in text and "type: ignore" not in text:
            continue
        with file.open("rb") as lines:
            found = [token for token in tokenize.tokenize(lines.readline) if token.type == tokenize.COMMENT]
        comments += [(f"{file.relative_to(PACKAGE)}:{token.start[0]}", token.string) for token in found]
    ignored = [(place, text) for place, text in comments if re.search(r"type:\s*ignore|mypy:", text)]
    assert ignored
    assert [place for place, text in ignored if not RULE.fullmatch(text)] == []


def test_no_part_of_the_package_is_exempt_from_types():
    settings = (Path(__file__).parent.parent / "pyproject.toml").read_text().partition("[tool.mypy]")[2]
    for flag in ("disallow_untyped_defs", "check_untyped_defs", "warn_unused_ignores"):
        assert re.search(rf"^{flag} = true$", settings, re.MULTILINE), flag
    assert re.findall(r'"(videodiff\.[^"]*)"', settings) == []
    assert "ignore_errors" not in settings
    assert "exclude" not in settings
