"""Which voxels the findings of an open case have, after all that a reader did to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.errors import InputError, ReadError
from lesionlens.review.cases import Finding
from lesionlens.review.drawn import changes_of
from lesionlens.review.events import Act, Event, counting
from lesionlens.review.state import FindingState, Measurement, fold
from lesionlens.review.voxels import Voxels, changed, labelled, pack, pieces, statistics_of
from lesionlens.volume import Grid

__all__ = ["EditedVolumes", "added", "edited", "lines_of", "measured", "merged", "original", "split", "voxels_of"]

_EMPTY: Voxels = np.empty(0, np.int64)
# Less than a tenth of the finest voxel is a click, not a line.
_LEAST_LINE_MM = 0.05


def original(finding: Finding, labels: Mapping[str, NDArray[Any]]) -> Voxels:
    """Return the voxels that the model gave a finding, which nothing ever changes.

    Parameters
    ----------
    finding
        One of the model.
    labels
        (i, j, k) regions of each class.

    Raises
    ------
    ReadError
        If the region is not there: the results are not those that the session was made of.
    """
    found = _EMPTY
    if finding.label_class in labels:
        found = labelled(labels[finding.label_class], finding.label, finding.statistics.get("bbox_ijk"))
    if not len(found):
        raise ReadError(
            f"Region {finding.label} of {finding.label_class!r} is not in the results any more; they have changed since"
            " the session was made. Restore them, or make a new session."
        )
    return found


def voxels_of(finding: str, start: Voxels, events: Sequence[Event], grid: Grid) -> Voxels:
    """Return the voxels of a finding as a reader left them.

    Parameters
    ----------
    finding
        Its name.
    start
        Those of the model; none for one that the reader drew.
    events
        Those of the reader in the case.
    grid
        Of the scan.
    """
    return changed(start, changes_of(counting(events), finding, grid.shape))


def edited(finding: str, before: Voxels, after: Voxels, grid: Grid) -> Act:
    """Return the change of a finding as an act."""
    return Act("edit", finding, mask=pack(changed(before, after), grid.shape))


def added(finding: str, voxels: Voxels, grid: Grid) -> Act:
    """Return a new finding as an act."""
    return Act("added", finding, {"statistics": statistics_of(voxels, grid)}, pack(voxels, grid.shape))


def measured(finding: str, ends_ras: ArrayLike) -> Act:
    """Return a line over a finding as an act.

    Parameters
    ----------
    finding
        Its name.
    ends_ras
        (2, 3) its ends in world mm, RAS+.

    Raises
    ------
    InputError
        If it has no length, as after a click without a drag.
    """
    ends = np.asarray(ends_ras, dtype=np.float64)
    length = float(np.linalg.norm(ends[1] - ends[0]))
    if not length >= _LEAST_LINE_MM:
        raise InputError("A line goes from one point to another: press, drag, and let go.")
    return Act("measured", finding, {"length_mm": length, "ends_ras": ends.tolist()})


def lines_of(finding: str, events: Sequence[Event]) -> tuple[Measurement, ...]:
    """Return the lines over a finding that a reader drew and did not take back."""
    state = fold([finding], events).findings.get(finding)
    return () if state is None else state.measurements


def split(finding: str, voxels: Voxels, names: Iterable[str], grid: Grid) -> list[Act]:
    """Return what makes findings of their own of the pieces of one, under the next names.

    Raises
    ------
    InputError
        If it is in one piece, or holds no voxels.
    """
    found = pieces(voxels, grid.shape)
    if not found:
        raise InputError(f"{finding or 'What is shown'} holds no voxels; there is nothing to split.")
    if len(found) < 2:
        raise InputError(f"{finding} is in one piece; erase what connects its parts, then split it.")
    named = list(zip(names, found, strict=False))
    acts = [added(name, piece, grid) for name, piece in named]
    return [*acts, Act("split", finding, {"into": [name for name, _ in named]})]


def merged(parts: Mapping[str, Voxels], name: str, grid: Grid) -> list[Act]:
    """Return what makes one finding of several, under a new name.

    Raises
    ------
    InputError
        If none of them holds a voxel.
    """
    together = reduce(np.union1d, parts.values())
    if not len(together):
        raise InputError(f"{' and '.join(parts)} hold no voxels; there is nothing to merge.")
    return [added(name, together, grid), *(Act("merged", part, {"into": name}) for part in parts)]


class EditedVolumes:
    """Volumes of the findings that a reader edited, as they are now: a stroke costs no more than itself.

    Parameters
    ----------
    grid
        Of the scan.
    start_of
        Returns the voxels that a finding had from the model; none for one that the reader drew.
    """

    def __init__(self, grid: Grid, start_of: Callable[[str], Voxels]) -> None:
        self._grid = grid
        self._start_of = start_of
        self._known: dict[str, tuple[tuple[int, ...], Voxels]] = {}

    def of(self, findings: Iterable[FindingState], events: Sequence[Event]) -> dict[str, float]:
        """Return the volumes in mm³, by name, of those of some findings that were edited."""
        found = {}
        for one in (finding for finding in findings if finding.edits):
            edits, voxels = self._known.get(one.id, ((), _EMPTY))
            if edits and one.edits[: len(edits)] == edits:
                new = [event for event in events if event.id in one.edits[len(edits) :]]
                voxels = changed(voxels, changes_of(new, one.id, self._grid.shape))
            else:
                voxels = voxels_of(one.id, self._start_of(one.id), events, self._grid)
            self._known[one.id] = one.edits, voxels
            found[one.id] = len(voxels) * self._grid.voxel_volume_mm3
        return found
