"""The one mask or label image that a file holds, on the grid of a scan."""

from __future__ import annotations

import os

from lesionlens.errors import ReadError
from lesionlens.heatmap import LabelMap
from lesionlens.io.overlay import read_overlay
from lesionlens.progress import Progress, silent
from lesionlens.volume import Volume

__all__ = ["read_labels"]


def read_labels(
    path: str | os.PathLike[str],
    volume: Volume,
    *,
    other_frame: bool = False,
    identified: bool = False,
    progress: Progress = silent,
) -> LabelMap:
    """Read a file that has to hold one mask; see :func:`~lesionlens.io.read_overlay` for the parameters.

    Raises
    ------
    ReadError
        If the file holds no mask or several, or cannot be read onto the scan.
    """
    found = read_overlay(path, volume, other_frame=other_frame, identified=identified, progress=progress)
    masks = [each for each in found if isinstance(each, LabelMap)]
    if len(masks) != 1 or len(found) != 1:
        held = ", ".join(f"{each.kind} {each.label!r}" for each in found)
        raise ReadError(
            f"Expected one mask of whole numbers in {os.path.basename(path)}; found {held}. Give a file with one mask,"
            " 0 outside."
        )
    return masks[0]
