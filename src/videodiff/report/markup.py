"""HTML and SVG from Python: elements whose text is always escaped."""

from __future__ import annotations

import re
from html import escape
from typing import Any

VOID = frozenset(("meta", "link", "br", "img", "input", "wbr"))


class Html(str):
    """Text that is markup already; every other string is escaped where it enters the page."""

    __slots__ = ()


def text(value: object) -> Html:
    """`value` as markup: as it is if it is :class:`Html`, escaped otherwise."""
    return value if isinstance(value, Html) else Html(escape(str(value), quote=True))


def join(*parts: object) -> Html:
    """Parts one after another; None is left out, lists and tuples are opened."""
    found = []
    for part in parts:
        if isinstance(part, list | tuple):
            found.append(join(*part))
        elif part is not None:
            found.append(text(part))
    return Html("".join(found))


def breakable(name: str) -> Html:
    """A name that may be broken after an underscore, a slash or a hyphen, and only in need elsewhere."""
    *parts, last = re.split(r"(?<=[_/-])(?=.)", name)
    return join([[part, element("wbr")] for part in parts], last)


def element(tag: str, *children: object, **attributes: Any) -> Html:
    """One element, ``element("td", 3, class_="number", data_timing=True)``.

    Args:
        tag: its name.
        children: as :func:`join` takes them.
        attributes: a trailing underscore is dropped and others become hyphens; True gives a bare attribute, None and
            False give none.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{escape(str(value), quote=True)}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening) if tag in VOID else Html(f"{opening}{join(*children)}</{tag}>")
