"""Two maps set against each other in the background, with a picture: no Qt, no viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionlens.compare import Pair, by_largest, correlations, pair_of
from lesionlens.heatmap import Heatmap
from lesionlens.progress import Progress
from lesionlens.report.matrices import draw_matrix
from lesionlens.ui.drawn import pixels_of

__all__ = ["LETTERS", "Compared", "compare"]

# A matrix of more has cells that a dock has no room for; nor has it any for long names.
_MOST_MAPS = 6
LETTERS = "ABCDEF"


@dataclass(frozen=True, eq=False)
class Compared:
    """What two maps have in common.

    Parameters
    ----------
    pair
        Difference and overlap.
    names
        Of all maps that were correlated; the first two are those that were compared. In the picture they are A, B, C...
    shown
        Both maps on the scale on which they were compared.
    pearson, spearman
        Of the two maps, over all valid voxels; NaN where one is constant.
    matrix
        Picture of the correlations of all maps: (rows, columns, 4) uint8, RGBA.
    """

    pair: Pair
    names: tuple[str, ...]
    shown: tuple[Heatmap, Heatmap]
    pearson: float
    spearman: float
    matrix: NDArray[np.uint8]


def compare(
    maps: Sequence[tuple[str, Heatmap]], first: int, second: int, threshold: float, progress: Progress
) -> Compared:
    """Compare two of several named maps.

    Parameters
    ----------
    maps
        Names and maps; the others are in the picture, where they lie on the same grid.
    first, second
        Numbers of the two.
    threshold
        Probability from which voxels belong to a class, in (0, 1].
    progress
        Called between the steps; raise ``Cancelled`` from it to stop.

    Raises
    ------
    InputError
        If the two do not lie on one grid.
    """
    a, b = maps[first][1], maps[second][1]
    progress("Subtracting", 0, 3)
    pair = pair_of(a, b, thresholds=(threshold, threshold))
    raw = pair.difference.heatmap.provenance.options["scale"] == "raw"
    shown = (a, b) if raw else (by_largest(a), by_largest(b))
    progress("Correlating", 1, 3)
    spearman = float(correlations((a, b), kind="spearman")[0, 1])
    progress("Correlating", 2, 3)
    others = [one for n, one in enumerate(maps) if n not in (first, second) and one[1].grid.same_as(a.grid)]
    names, drawn = zip(*[maps[first], maps[second], *others][:_MOST_MAPS], strict=True)
    matrix = correlations(drawn)
    figure = draw_matrix(matrix, LETTERS[: len(drawn)], kind="correlation", title="Pearson correlation of maps")
    return Compared(pair, names, shown, float(matrix[0, 1]), spearman, pixels_of(figure))
