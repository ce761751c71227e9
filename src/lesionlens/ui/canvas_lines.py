"""Lines of text that have room on a canvas: the notices at the bottom left, and the legend at the top left."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from lesionlens.display import DisplayView
from lesionlens.ui.layers import heatmap_of, is_foreign_image, is_loading, volume_of
from lesionlens.ui.legend import LONGEST_LINE, legend
from lesionlens.ui.sight import unseen_words

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = [
    "LETTER_POINTS",
    "RESEARCH_USE_ONLY",
    "TEXT_POINTS",
    "TITLE_POINTS",
    "boxed",
    "legend_on",
    "notices_on",
]

RESEARCH_USE_ONLY = "Research use only — not a medical device"

LETTER_POINTS, TITLE_POINTS, TEXT_POINTS = 16, 10, 8
# Of ordinary text, measured on the canvas, and a little more.
_TEXT_PIXELS = 8.0
# Half of a letter, which is in the middle, and the margins of napari at both sides of a text.
_MARGIN_PIXELS = 32
_SHORTEST_NOTICE, _LONGEST_NOTICE, _SHORTEST_LEGEND = 12, 60, 16
_BELOW_LETTER = "\n" * (LETTER_POINTS // TEXT_POINTS)
# The box that napari draws behind a text is 8 % of a line too low for each line; its padding hides that of a few.
_LINES_IN_BOX = 5
_BLANK = "\N{NO-BREAK SPACE}"  # an empty line at an end would not count
# Slices of scans that are meant to be straight are often turned by a fraction of a degree.
_TILT_DEG = 1.0


def notices_on(viewer: ViewerModel, *, brief: bool) -> str:
    """Return what must be known about the picture, in lines that end before the letter in the middle.

    Parameters
    ----------
    viewer
        Whose canvas.
    brief
        Only what holds for every picture.
    """
    room = int((_width(viewer) / 2 - _MARGIN_PIXELS) / _TEXT_PIXELS)
    longest = min(_LONGEST_NOTICE, max(_SHORTEST_NOTICE, room))
    notices = [RESEARCH_USE_ONLY] if brief else _notices(viewer)
    parts = (textwrap.wrap(notice, longest, break_on_hyphens=False) for notice in notices)
    return "\n".join(line for part in parts for line in part)


def legend_on(viewer: ViewerModel) -> str:
    """Return the legend in lines that end before the letter in the middle; on a narrow canvas they begin below it."""
    width = _width(viewer)
    if width / 2 - _MARGIN_PIXELS >= LONGEST_LINE * _TEXT_PIXELS:
        return legend(viewer)
    room = int((width - _MARGIN_PIXELS) / _TEXT_PIXELS)
    text = legend(viewer, longest=min(LONGEST_LINE, max(_SHORTEST_LEGEND, room)))
    return text and _BELOW_LETTER + text


def boxed(text: str, *, upwards: bool = False) -> str:
    """Return a text with so many blank lines at its far end that the box behind it reaches all of it.

    Parameters
    ----------
    text
        To stand in a corner of the canvas.
    upwards
        The corner is at the bottom: the far end is the top.
    """
    blank = [_BLANK] * (len(text.split("\n")) // _LINES_IN_BOX)
    return "\n".join([*blank, text] if upwards else [text, *blank])


def _width(viewer: ViewerModel) -> int:
    _, width = viewer.canvas.size
    return int(width)


def _notices(viewer: ViewerModel) -> list[str]:
    """Return what must be known about the picture as long as it is seen."""
    lines = [RESEARCH_USE_ONLY]
    lines += [
        f"{layer.name} — not complete; black slices are not read yet" for layer in viewer.layers if is_loading(layer)
    ]
    for volume in filter(None, map(volume_of, viewer.layers)):
        tilt_deg = DisplayView(volume.grid).tilt_deg
        if tilt_deg >= _TILT_DEG:
            lines.append(f"{volume.name}: oblique by up to {tilt_deg:.0f}°, shown along its own axes")
        if not volume.source.verdict.regular:
            lines.append(f"{volume.name}: geometry {volume.source.verdict.in_short}")
    for layer in viewer.layers:
        heatmap = heatmap_of(layer)
        if heatmap is not None and heatmap.unseen and layer.visible:
            lines.append(f"{heatmap.label}: {unseen_words(heatmap)}")
    # The letters hold for scans of LesionLens; beside them they would seem to hold for every picture on the canvas.
    foreign = (layer.name for layer in viewer.layers if is_foreign_image(layer))
    lines += [f"{name}: not opened by LesionLens, sides unknown" for name in foreign]
    return lines
