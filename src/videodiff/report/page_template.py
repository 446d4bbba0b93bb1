"""The page around the sections: head, style, script, navigation, and the choice of light or dark.

The page carries all it needs. Its content security policy forbids every request, and lets only our script run, by its
checksum: markup that came in with a name would do nothing even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from videodiff.report.markup import Html, element, join, text

NO_SCRIPT = (
    "The players and the choice of colours need JavaScript, which is off; all numbers and plots can be read."
)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        key: its anchor.
        title: its heading.
        body: what it holds; a section without is left out.
        players: it holds players, which the controls move.
        short: its name in the navigation; None is the title.
    """

    key: str
    title: str
    body: Html | None
    players: bool = False
    short: str | None = None


def part(name: str) -> str:
    """The text of a file beside this one."""
    return files("videodiff.report").joinpath(name).read_text(encoding="utf-8")


def policy(script: str) -> str:
    """The content security policy of a page that loads nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def page_shell(
    title: str, lead: Html, sections: Sequence[Section], controls: Html | None, images: Html
) -> str:
    """The whole document.

    Args:
        title: of the page.
        lead: under the title.
        sections: in order; those without a body are left out, those with players stand together.
        controls: of the players, or None where there are none.
        images: the hidden pictures that players are drawn from.
    """
    script, style = part("page.js"), part("page.css")
    there = [section for section in sections if section.body]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(style)),
    )
    body = element(
        "body",
        element("a", "Skip to the results", href=f"#{there[0].key}" if there else "#", class_="skip"),
        element("header", _bar(title), lead, navigation(there)),
        element("noscript", element("p", NO_SCRIPT, class_="note")),
        element("main", _main(there, controls)),
        images,
        element("script", Html(script)),
    )
    return "<!doctype html>\n" + element("html", head, "\n", body, lang="en") + "\n"


def _bar(title: str) -> Html:
    button = element(
        "button", "Colours: auto", type="button", id="theme", title="light, dark, or as the system has it"
    )
    return element("div", element("h1", title), button, class_="bar")


def navigation(sections: Sequence[Section]) -> Html:
    """Links to all sections."""
    links = [element("li", element("a", s.short or s.title, href=f"#{s.key}")) for s in sections]
    return element("nav", element("ul", links), aria_label="sections")


def _main(sections: Sequence[Section], controls: Html | None) -> Html:
    parts: list[Html] = []
    together: list[Html] = []
    for section in sections:
        block = element(
            "section", element("h2", section.title), section.body, id=section.key, aria_label=section.title
        )
        if section.players:
            together.append(block)
            continue
        if together:
            parts.append(element("div", together, controls, class_="players"))
            together = []
        parts.append(block)
    if together:
        parts.append(element("div", together, controls, class_="players"))
    return join("\n", [join(text(p), "\n") for p in parts])
