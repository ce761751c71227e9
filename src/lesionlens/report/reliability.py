"""The reliability diagram of a calibration: what was said against what came true."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lesionlens.calibration import Calibration, Reliability
from lesionlens.report.montage import NOTICE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_frequencies", "draw_reliability", "write_reliability"]

_TITLES = {"all": "all voxels or cases", "band": "within 5 mm of lesions"}
_DPI = 120
# Bins of few voxels jump about: they are drawn small, never left out.
_LARGEST_DOT, _SMALLEST_DOT = 120.0, 6.0


def write_reliability(path: str | Path, calibration: Calibration) -> Path:
    """Write the diagram as a PNG; see :func:`draw_reliability`. An existing file is replaced in one piece."""
    picture = BytesIO()
    draw_reliability(calibration).savefig(picture, format="png", dpi=_DPI, metadata={"Description": NOTICE})
    target = Path(path)
    target.write_bytes(picture.getvalue())
    return target


def draw_reliability(calibration: Calibration, *, stacked: bool = False) -> Figure:
    """Draw frequency against probability before and after calibration, one panel for each set of voxels.

    On the diagonal a model means what it says; below it, it is too sure. The area of a dot grows with the count of its
    bin.

    Parameters
    ----------
    calibration
        What was found on labelled cases.
    stacked
        Put the panels below each other, for a narrow place on a screen.
    """
    from matplotlib.figure import Figure

    shape = (len(calibration.scores), 1) if stacked else (1, len(calibration.scores))
    figure = Figure(figsize=(4.6 * shape[1], 4.8 * shape[0]), layout="constrained")
    for axes, (name, found) in zip(
        figure.subplots(*shape, squeeze=False).flat, calibration.scores.items(), strict=True
    ):
        for when, colour in (("before", "tab:orange"), ("after", "tab:blue")):
            diagram = found[when]["reliability"]
            counts, x, y = (np.array(diagram[key], dtype=float) for key in ("counts", "mean_probability", "frequency"))
            _draw_dots(axes, Reliability(x, y, counts), colour, f"{when}: ECE {found[when]['ece']:.3f}")
        _finish(axes, _TITLES.get(name, name))
    figure.suptitle(f"{calibration.bundle}, temperature {calibration.temperature:.3g}")
    figure.supxlabel(NOTICE, fontsize=7, color="0.4")
    return figure


def draw_frequencies(found: Reliability | Mapping[str, Reliability], *, title: str) -> Figure:
    """Draw how often what maps give a probability to was marked.

    Parameters
    ----------
    found
        Of maps against masks; or several, by the name of the voxels that they are of.
    title
        Words above.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.8), layout="constrained")
    axes = figure.add_subplot()
    named = {"": found} if isinstance(found, Reliability) else found
    for (name, one), colour in zip(named.items(), ("tab:blue", "tab:orange"), strict=False):
        label = f"{name and f'{name}: '}ECE {one.expected_error:.3f}, ACE {one.average_error:.3f}"
        _draw_dots(axes, one, colour, label)
    _finish(axes, title)
    figure.supxlabel(NOTICE, fontsize=7, color="0.4")
    return figure


def _draw_dots(axes: Axes, found: Reliability, colour: str, label: str) -> None:
    sizes = np.maximum(_SMALLEST_DOT, _LARGEST_DOT * np.sqrt(found.counts / found.counts.max()))
    axes.plot(found.mean_probability, found.frequency, color=colour, linewidth=1)
    axes.scatter(found.mean_probability, found.frequency, sizes, color=colour, label=label)


def _finish(axes: Axes, title: str) -> None:
    axes.plot((0, 1), (0, 1), color="0.6", linewidth=1, zorder=0)
    axes.set(xlabel="probability", ylabel="frequency", title=title, xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.legend(loc="upper left")
