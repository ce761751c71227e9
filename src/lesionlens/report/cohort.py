"""Figures of many cases: distributions, correlations of features, and small copies of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.report.matrices import draw_matrix
from lesionlens.report.montage import NOTICE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["THUMBNAIL_PIXELS", "correlation_png", "distributions_png", "thumbnail"]

#: Longest side of a small picture: a slice in it is still a slice, and a hundred of them take less than 14 MB.
THUMBNAIL_PIXELS: Final = 320
_COLOURS: Final = 128
_DPI: Final = 110
_BINS: Final = 24
_FILL, _EDGE = "#3d94d1", "white"


def thumbnail(path: Path) -> bytes | None:
    """Return a PNG of a picture made small, on white; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
            small = Image.new("RGBA", picture.size, "white")
            small.alpha_composite(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError):  # what Pillow raises for damaged files
        return None
    found = BytesIO()
    small.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(found, "PNG", optimize=True)
    return found.getvalue()


def correlation_png(values: NDArray[np.float64], features: Sequence[str]) -> bytes:
    """Draw a correlation matrix; see :func:`~lesionlens.report.matrices.draw_matrix`."""
    return _png(draw_matrix(values, features, kind="correlation"))


def distributions_png(
    volumes_mm3: NDArray[np.float64], counts: NDArray[np.float64], probabilities: NDArray[np.float64]
) -> bytes:
    """Draw three histograms beside each other.

    Parameters
    ----------
    volumes_mm3
        Of each region, above 0; drawn on a scale of powers of ten.
    counts
        Regions of each case.
    probabilities
        Highest in each region, in [0, 1].
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    volume, count, probability = figure.subplots(1, 3)
    low, high = volumes_mm3.min() / 1.05, volumes_mm3.max() * 1.05
    _bars(volume, volumes_mm3, np.geomspace(low, high, _BINS + 1))
    volume.set(xscale="log", xlabel="volume of a region in mm³", ylabel="regions")
    step = max(1, int(np.ceil((counts.max() + 1) / _BINS)))
    _bars(count, counts, np.arange(-0.5, counts.max() + step, step))
    count.set(xlabel="regions of a case", ylabel="cases")
    count.xaxis.set_major_locator(MaxNLocator(integer=True))
    _bars(probability, probabilities, np.linspace(0, 1, 21))
    probability.set(xlabel="highest probability in a region", ylabel="regions", xlim=(0, 1))
    for axes in (volume, count, probability):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(NOTICE, fontsize=7, color="0.4")
    return _png(figure)


def _bars(axes: Axes, values: NDArray[np.float64], edges: NDArray[np.float64]) -> None:
    axes.hist(values, bins=edges.tolist(), color=_FILL, edgecolor=_EDGE, linewidth=0.5)


def _png(figure: Figure) -> bytes:
    found = BytesIO()
    figure.savefig(found, format="png", dpi=_DPI, metadata={"Description": NOTICE})
    return found.getvalue()
