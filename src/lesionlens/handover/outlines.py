"""The regions of a run as a reader left them: by class, numbered, each with its statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lesionlens.errors import counted
from lesionlens.handover.measuring import Read, measure_reads
from lesionlens.report.table import Cell
from lesionlens.results import CaseResult
from lesionlens.review import Session
from lesionlens.review.voxels import paint
from lesionlens.volume import Array

__all__ = ["Outline", "Outlines", "outlines_of"]

Origin = Literal["model", "edited", "drawn"]

# Of findings that a reader drew where the model knows several classes, and nobody says which it is.
_NO_CLASS = "drawn"


@dataclass(frozen=True)
class Outline:
    """One region.

    Parameters
    ----------
    finding
        Its name in the session, which may hold the reader's.
    number
        The model's number of the region; 0 where the reader drew it.
    origin
        Who drew what it is now: the model, the reader over the model's, or the reader alone.
    row
        Its statistics: the columns of ``regions.csv``.
    """

    finding: str
    number: int
    origin: Origin
    row: Mapping[str, Cell] = field(repr=False)


@dataclass(frozen=True)
class Outlines:
    """The regions of one case as one reader left them.

    Parameters
    ----------
    labels
        By class: (i, j, k) whole numbers on the grid of the scan; n is ``found[class][n - 1]``.
    found
        What they are.
    notes
        What a user must know: one sentence each.
    """

    labels: Mapping[str, Array] = field(repr=False)
    found: Mapping[str, tuple[Outline, ...]]
    notes: tuple[str, ...] = ()


def outlines_of(session: Session, case: str, reader: str, result: CaseResult) -> Outlines:
    """Return the regions of a case as a reader left them; what was rejected is there too, what was replaced is not.

    Parameters
    ----------
    session, case, reader
        Who left which case.
    result
        Results of the case, with the regions that the session was made of; statistics of those that nobody changed
        are there if they were measured.
    """
    findings = session.case(case).findings
    (read,) = measure_reads(session, case, result, readers=(reader,))
    classes = {one.id: (one.label_class, one.label) for one in findings}
    only = next(iter(result.labels)) if len(result.labels) == 1 else _NO_CLASS
    wanted = [name for name, one in read.state.findings.items() if not one.replaced_by and len(read.voxels[name])]
    labels, found, covered = {}, {}, []
    for label in dict.fromkeys([*result.labels, *(classes.get(name, (only, 0))[0] for name in wanted)]):
        names = [name for name in wanted if classes.get(name, (only, 0))[0] == label]
        labels[label], seen = _numbered([read.voxels[name] for name in names], result.volume.grid.shape)
        found[label] = tuple(_outline(names[n], read, classes) for n in seen)
        covered += [names[n] for n in range(len(names)) if n not in seen]
    return Outlines(labels, found, tuple(_notes(read, wanted, labels, covered)))


def _numbered(voxels: Sequence[Array], shape: tuple[int, int, int]) -> tuple[Array, list[int]]:
    """Return regions numbered without gaps, later ones on top, and which of them are seen."""
    canvas = np.zeros(shape, dtype=np.uint16)
    for number, one in enumerate(voxels, start=1):
        paint(canvas, one, number)
    seen = [int(number) for number in np.unique(canvas) if number]
    numbers = np.zeros(len(voxels) + 1, dtype=np.uint16)
    numbers[seen] = np.arange(1, len(seen) + 1)
    return numbers[canvas], [number - 1 for number in seen]


def _outline(name: str, read: Read, classes: Mapping[str, tuple[str, int]]) -> Outline:
    number = classes[name][1] if name in classes else 0
    origin: Origin = "drawn" if not number else "edited" if name in read.changed else "model"
    return Outline(name, number, origin, read.rows.get(name, {}))


def _notes(read: Read, wanted: Sequence[str], labels: Mapping[str, Array], covered: Sequence[str]) -> list[str]:
    drawn = counted(len(read.changed.intersection(wanted)), "region")
    notes = [f"{drawn} of {len(wanted)} as {read.reader!r} drew or changed them, the others as the model drew them."]
    shown = sum(int(np.count_nonzero(array)) for array in labels.values())
    if twice := sum(len(read.voxels[name]) for name in wanted) - shown:
        notes.append(f"{counted(twice, 'voxel')} in several regions: they belong to the one that was made last.")
    if covered:
        notes.append(f"Left out, as they lie wholly in regions that were made later: {', '.join(covered)}.")
    return notes
