"""The voxels of findings as a reader left them: the model's, with what the reader changed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import ReadError
from lesionlens.review.cases import Finding
from lesionlens.review.events import WITH_MASK, Event, counting
from lesionlens.review.state import CaseState, fold
from lesionlens.review.voxels import Voxels, changed, unpack

__all__ = ["Shape", "changes_of", "final_voxels", "held", "model_voxels", "shape_of"]

Shape = tuple[int, int, int]

_EMPTY = np.empty(0, np.int64)
_HEAD = 12  # bytes: three numbers of four


def shape_of(counted: Iterable[Event], finding: str) -> Shape | None:
    """Return the shape of the scan that voxels of a finding were packed for; None where none were."""
    for event in counted:
        if event.act.finding == finding and event.act.mask:
            try:
                i, j, k = np.frombuffer(zlib.decompressobj().decompress(event.act.mask, _HEAD), "<u4").tolist()
            except (zlib.error, ValueError) as error:
                raise ReadError(f"A saved edit of {finding!r} is damaged ({error}); restore a copy.") from None
            return i, j, k
    return None


def changes_of(counted: Iterable[Event], finding: str, shape: Shape) -> Voxels:
    """Return the voxels that all edits of a finding together change; of one that was drawn, all its voxels."""
    found = _EMPTY
    for event in counted:
        if event.act.finding == finding and event.act.kind in WITH_MASK:
            found = changed(found, unpack(event.act.mask, shape))
    return found


def model_voxels(findings: Sequence[Finding], labels: Mapping[str, NDArray[Any]]) -> dict[str, Voxels]:
    """Return the voxels of the model's findings.

    Parameters
    ----------
    findings
        Of one case.
    labels
        By class: (i, j, k) integers that number the regions.
    """
    found: dict[str, Voxels] = {}
    for name in dict.fromkeys(finding.label_class for finding in findings):
        flat = np.ascontiguousarray(labels[name]).reshape(-1)
        places = np.flatnonzero(flat)
        numbers = flat[places]
        order = np.argsort(numbers, kind="stable")
        places, numbers = places[order], numbers[order]
        for finding in (f for f in findings if f.label_class == name):
            first, last = np.searchsorted(numbers, (finding.label, finding.label + 1))
            found[finding.id] = places[first:last]
    return found


def final_voxels(
    model: Mapping[str, Voxels], events: Sequence[Event], shape: Shape
) -> tuple[CaseState, dict[str, Voxels]]:
    """Return a case as one reader left it, and the voxels of every finding then.

    Parameters
    ----------
    model
        Voxels of the model's findings, in their order.
    events
        Of one reader in that case.
    shape
        Of the scan.

    Raises
    ------
    ReadError
        If an edit is damaged or was made for a scan of another shape.
    """
    state, counted = fold(list(model), events), counting(events)
    edited = {event.act.finding for event in counted if event.act.kind in WITH_MASK}
    return state, {
        name: changed(model.get(name, _EMPTY), changes_of(counted, name, shape))
        if name in edited
        else model.get(name, _EMPTY)
        for name in state.findings
    }


def held(state: CaseState, voxels: Mapping[str, Voxels]) -> dict[str, Voxels]:
    """Return the voxels of the findings that a reader holds to be real: accepted, not replaced, and not empty."""
    return {
        name: voxels[name]
        for name, finding in state.findings.items()
        if finding.verdict == "accept" and not finding.replaced_by and len(voxels[name])
    }
