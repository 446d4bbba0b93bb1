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

from videodiff.report.markup import Html, element, join

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
        short: its name in the navigation; None is the title.
        folded: shown by its heading until a reader opens it, looks for a word in it, or follows a link to it.
    """

    key: str
    title: str
    body: Html | None
    short: str | None = None
    folded: bool = False


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


def page_shell(title: str, answer: Section, sections: Sequence[Section], images: Html) -> str:
    """The whole document.

    Args:
        title: of the page.
        answer: what the page says in words; above everything else.
        sections: in order; those without a body are left out.
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
        element("a", "Skip the links", href=f"#{there[0].key}" if there else "#", class_="skip"),
        element("header", _bar(title), _open(answer, "unseen"), navigation(there)),
        element("noscript", element("p", NO_SCRIPT, class_="note")),
        element("main", join("\n", [join(_block(section), "\n") for section in there])),
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


def _open(section: Section, kind: str | None = None) -> Html:
    heading = element("h2", section.title, class_=kind)
    return element("section", heading, section.body, id=section.key, aria_label=section.title)


def _block(section: Section) -> Html:
    """A section; of a folded one the anchor lies inside of what is folded, so that a link to it opens it."""
    if not section.folded:
        return _open(section)
    inside = element("section", section.body, id=section.key, aria_label=section.title)
    return element("details", element("summary", element("h2", section.title)), inside, class_="fold")
