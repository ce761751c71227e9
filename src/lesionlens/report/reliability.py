"""The reliability diagram of a calibration: what was said against what came true."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lesionlens.calibration import Calibration
from lesionlens.report.montage import NOTICE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_reliability", "write_reliability"]

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


def draw_reliability(calibration: Calibration) -> Figure:
    """Draw frequency against probability before and after calibration, one panel for each set of voxels.

    On the diagonal a model means what it says; below it, it is too sure. The area of a dot grows with the count of its
    bin.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(calibration.scores), 4.8), layout="constrained")
    for axes, (name, found) in zip(
        figure.subplots(1, len(calibration.scores), squeeze=False)[0], calibration.scores.items(), strict=True
    ):
        axes.plot((0, 1), (0, 1), color="0.6", linewidth=1)
        for when, colour in (("before", "tab:orange"), ("after", "tab:blue")):
            diagram = found[when]["reliability"]
            counts = np.array(diagram["counts"], dtype=float)
            sizes = np.maximum(_SMALLEST_DOT, _LARGEST_DOT * np.sqrt(counts / counts.max()))
            x, y = (np.array(diagram[key], dtype=float) for key in ("mean_probability", "frequency"))
            axes.plot(x, y, color=colour, linewidth=1)
            axes.scatter(x, y, sizes, color=colour, label=f"{when}: ECE {found[when]['ece']:.3f}")
        axes.set(xlabel="probability", ylabel="frequency", title=_TITLES.get(name, name), xlim=(0, 1), ylim=(0, 1))
        axes.set_aspect("equal")
        axes.legend(loc="upper left")
    figure.suptitle(f"{calibration.bundle}, temperature {calibration.temperature:.3g}")
    figure.supxlabel(NOTICE, fontsize=7, color="0.4")
    return figure
