"""Hooks of the documentation site: notebooks and benchmarks, which lie outside docs/, become pages of it.

A notebook is shown from its ``.py`` half, text as text and code as code; what it draws is drawn when it is run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CELL = re.compile(r"^# %%(?P<kind>.*)$", flags=re.M)


def cells(text: str) -> list[tuple[str, str]]:
    """``(kind, source)`` of the cells of a notebook in percent format, kind being markdown or code."""
    found = []
    marks = list(CELL.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        source = text[mark.end() : following.start() if following else len(text)].strip("\n")
        is_text = "[markdown]" in mark["kind"]
        if is_text:
            source = "\n".join(line.removeprefix("#").removeprefix(" ") for line in source.splitlines())
        found.append(("markdown" if is_text else "code", source))
    return found


def notebook_page(path: Path) -> str:
    """A notebook as Markdown, with links that hold within the site."""
    parts = [
        source if kind == "markdown" else f"```python\n{source}\n```"
        for kind, source in cells(path.read_text())
    ]
    text = "\n\n".join(parts).replace("](../docs/", "](../")
    return re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.md)", text)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    for path in sorted((ROOT / "notebooks").glob("*.py")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    benchmarks = (ROOT / "benchmarks" / "README.md").read_text().replace("](../docs/", "](")
    files.append(File.generated(config, "benchmarks.md", content=benchmarks))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Turn links that leave docs/ into links within the site."""
    return markdown.replace("](../benchmarks/README.md", "](benchmarks.md")
