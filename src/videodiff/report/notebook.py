"""Clips, pictures and curves inside a notebook: objects that Jupyter shows by itself, without a dependency."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from videodiff.data.video_io import gif_bytes, to_uint8, video_grid
from videodiff.report.chart import Chart, Point, Series, legend
from videodiff.report.markup import Html, element

# The colours of the page's charts are in its stylesheet; a notebook has none, so the few rules needed travel along.
STYLE = """
.videodiff figure{margin:.4em 1em .4em 0;display:inline-block;vertical-align:top}.videodiff figcaption{font-size:.9em}
.videodiff svg text{font:11px sans-serif;fill:currentColor}.videodiff .end{text-anchor:end}
.videodiff .middle{text-anchor:middle}.videodiff .grid{stroke:currentColor;opacity:.15}
.videodiff .axis{stroke:currentColor;fill:none}.videodiff .level{stroke:currentColor;stroke-dasharray:2 3;opacity:.6}
.videodiff svg.swatch{width:14px;height:14px;vertical-align:middle}.videodiff svg[role]{width:420px;max-width:100%}
.videodiff .line{stroke:var(--c);fill:none;stroke-width:1.8}.videodiff .dashed{stroke-dasharray:5 4}
.videodiff .mark{fill:var(--c)}.videodiff ul.legend{list-style:none;padding:0}
.videodiff .legend li{display:inline-block;margin-right:1em}
"""
COLOURS = ("#1f6fb2", "#d1495b", "#3a7d44", "#8e6c8a", "#c77d0a", "#0a8f8f", "#7a7a7a", "#a0522d")


class Shown(str):
    """HTML that a notebook renders where it is the last value of a cell, or given to ``display``."""

    def _repr_html_(self) -> str:
        return str(self)

    def join_with(self, *others: Shown) -> Shown:
        """This and others, below each other."""
        return Shown("".join((self, *others)))


def show_clips(
    videos: Tensor | Mapping[str, Tensor], columns: int = 8, scale: int = 4, fps: float = 8.0
) -> Shown:
    """Clips as one moving sheet, or several sheets with a title each.

    Args:
        videos: fp32 ``[N, 3, T, H, W]`` in [-1, 1] or uint8 ``[N, T, H, W, 3]``; or such clips by title.
        columns: clips in a row.
        scale: pixels on the screen along the side of a pixel.
        fps: frames per second.

    Raises:
        ValueError: if clips have another shape.
    """
    titled = videos if isinstance(videos, Mapping) else {"": videos}
    return _figures([_sheet(title, clips, columns, scale, fps) for title, clips in titled.items()])


def show_frames(videos: Tensor | Mapping[str, Tensor], scale: int = 4, every: int = 1) -> Shown:
    """Frames beside each other, a row for each clip: what a page that does not move can show.

    Args:
        videos: as :func:`show_clips` takes them.
        scale: pixels on the screen along the side of a pixel.
        every: show every n-th frame.
    """
    titled = videos if isinstance(videos, Mapping) else {"": videos}
    figures = []
    for title, clips in titled.items():
        frames = _as_uint8(clips)[:, ::every]
        sheet = video_grid(frames.flatten(0, 1)[:, None], columns=frames.shape[1])
        figures.append(_image(title, sheet, scale, 1.0))
    return _figures(figures)


def show_picture(picture: Tensor, scale: int = 4, title: str = "") -> Shown:
    """A uint8 picture, grey ``[H, W]`` or RGB ``[H, W, 3]``, with sharp pixels."""
    rgb = picture[..., None].expand(*picture.shape, 3) if picture.ndim == 2 else picture
    return _figures([_image(title, rgb[None], scale, 1.0)])


def show_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
) -> Shown:
    """Curves by name, each a list of ``(x, y)``, on labelled axes with a legend."""
    series = [
        Series(name, index, [Point(float(x), float(y)) for x, y in points])
        for index, (name, points) in enumerate(curves.items())
    ]
    chart = Chart(title or f"{y_label} against {x_label}", x_label, y_label, series, log_x=log_x, log_y=log_y)
    return _figures([chart.figure(), legend(list(curves))])


def _sheet(title: str, videos: Tensor, columns: int, scale: int, fps: float) -> Html:
    clips = _as_uint8(videos)
    return _image(title, video_grid(clips, columns=min(columns, len(clips))), scale, fps)


def _as_uint8(videos: Tensor) -> Tensor:
    """``[N, T, H, W, 3]`` of clips in either form."""
    if videos.ndim == 5 and videos.dtype == torch.uint8 and videos.shape[-1] == 3:
        return videos.cpu()
    if videos.ndim == 5 and videos.is_floating_point() and videos.shape[1] == 3:
        return to_uint8(videos).movedim(1, -1).cpu()
    raise ValueError(
        "clips must be float [N, 3, T, H, W] in [-1, 1] or uint8 [N, T, H, W, 3], "
        f"got {videos.dtype} {list(videos.shape)}"
    )


def _image(title: str, video: Tensor, scale: int, fps: float) -> Html:
    """uint8 ``[T, H, W, 3]`` as a GIF inside the page, enlarged by the browser."""
    data = base64.b64encode(gif_bytes(video, fps)).decode()
    style = f"image-rendering:pixelated;width:{video.shape[2] * scale}px;max-width:none"
    image = element("img", src=f"data:image/gif;base64,{data}", alt=title or "clips", style=style)
    return element("figure", element("figcaption", title) if title else None, image)


def _figures(figures: Sequence[Html]) -> Shown:
    colours = "".join(f".videodiff .s{i}{{--c:{colour}}}" for i, colour in enumerate(COLOURS))
    return Shown(element("div", element("style", Html(STYLE + colours)), *figures, class_="videodiff"))
