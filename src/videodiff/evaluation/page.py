"""One self-contained HTML page: clips that play, curves as SVG, no reference to the network."""

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin:2rem 0 .3rem}p{margin:.3rem 0}
video{image-rendering:pixelated;background:#000;display:block;margin:.5rem 0;max-width:100%}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left}
code{background:#f3f3f3;padding:0 .2rem}
button{font:inherit;margin-right:.4rem}
"""
SCRIPT = """
const videos=()=>[...document.querySelectorAll('video')];
function toggle(){const p=videos().some(v=>!v.paused);videos().forEach(v=>p?v.pause():v.play())}
function step(){videos().forEach(v=>{v.pause();v.currentTime=(v.currentTime+1/(v.dataset.fps||8))%v.duration})}
function speed(f){videos().forEach(v=>v.playbackRate=f)}
"""
COLOURS = ("#1f6fb2", "#d1495b", "#3a7d44", "#8e6c8a")


def page(title: str, blocks: Sequence[str]) -> str:
    """The whole document, from blocks of HTML."""
    controls = (
        '<p><button onclick="toggle()">pause / play</button><button onclick="step()">one frame</button>'
        '<button onclick="speed(.25)">quarter speed</button><button onclick="speed(1)">full speed</button></p>'
    )
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join([f"<h1>{html.escape(title)}</h1>", controls, *blocks])
    return f"<!doctype html><html lang=en><head>{head}</head><body>{body}<script>{SCRIPT}</script></body></html>\n"


def section(title: str, text: str, *blocks: str) -> str:
    """A heading, a sentence and what belongs under it."""
    return f"<h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>" + "".join(blocks)


def video(path: Path, width: int | None = None, fps: int = 8) -> str:
    """An mp4 file, inside the page itself."""
    data = base64.b64encode(path.read_bytes()).decode()
    size = f' width="{width}"' if width else ""
    return (
        f'<video autoplay loop muted playsinline controls data-fps="{fps}"{size} '
        f'src="data:video/mp4;base64,{data}"></video>'
    )


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns: name and value."""
    cells = "".join(f"<tr><th>{html.escape(a)}</th><td>{html.escape(b)}</td></tr>" for a, b in rows)
    return f"<table>{cells}</table>"


def line_chart(
    series: dict[str, list[tuple[float, float]]], x_label: str, size: tuple[int, int] = (900, 280)
) -> str:
    """Curves as an SVG; each series is a list of (x, y)."""
    points = [p for values in series.values() for p in values]
    if not points:
        return "<p>no points</p>"
    width, height, left, bottom = *size, 50, 30
    x_low, x_high = min(p[0] for p in points), max(p[0] for p in points)
    y_low, y_high = min(0.0, min(p[1] for p in points)), max(p[1] for p in points)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1.0)
        up = (y - y_low) / ((y_high - y_low) or 1.0)
        return left + across * (width - left - 10), 10 + (1 - up) * (height - bottom - 10)

    parts = []
    for k in range(5):
        y = y_low + (y_high - y_low) * k / 4
        row = place(x_low, y)[1]
        parts.append(f'<line x1="{left}" x2="{width - 10}" y1="{row:.1f}" y2="{row:.1f}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{left - 6}" y="{row + 4:.1f}" text-anchor="end" font-size="12">{y:.3g}</text>'
        )
    for k, (name, values) in enumerate(series.items()):
        colour = COLOURS[k % len(COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*place(*p)) for p in values)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{width - 12}" y="{24 + 16 * k}" text-anchor="end" fill="{colour}" font-size="13">'
            f"{html.escape(name)}</text>"
        )
    label = f"{html.escape(x_label)} {x_low:g} to {x_high:g}"
    parts.append(f'<text x="{left}" y="{height - 8}" font-size="12">{label}</text>')
    return f'<svg viewBox="0 0 {width} {height}" width="100%">{"".join(parts)}</svg>'


def read_metrics(path: Path, *keys: str) -> dict[str, list[tuple[float, float]]]:
    """Curves of a ``metrics.jsonl``: key -> list of (step, value), for the keys that occur."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        for key in keys:
            if isinstance(record.get(key), int | float):
                curves.setdefault(key, []).append((record["step"], record[key]))
    return curves
