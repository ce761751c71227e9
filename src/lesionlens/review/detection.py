"""Who found which lesion, and how alike two readers drew it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.review.blinding import blinded_events
from lesionlens.review.drawn import final_voxels, held, model_voxels
from lesionlens.review.rules import MODEL
from lesionlens.review.store import Session
from lesionlens.review.voxels import Voxels

__all__ = ["LEAST_DICE", "Detection", "Lesion", "detection_agreement", "dice", "match_voxels"]

# Outlines of one small lesion by two readers may share a third; what shares less than a tenth touches by chance.
LEAST_DICE = 0.1

# By class, (i, j, k) numbers of the model's regions; None where they cannot be read.
Labels = Mapping[str, NDArray[Any]]


def dice(first: Voxels, second: Voxels) -> float | None:
    """Return twice the voxels in both lists by the sum of their lengths; None where both are empty."""
    total = len(first) + len(second)
    return 2 * len(np.intersect1d(first, second, assume_unique=True)) / total if total else None


def match_voxels(
    first: Mapping[str, Voxels], second: Mapping[str, Voxels], *, same: Collection[str] = ()
) -> list[tuple[str | None, str | None, float | None]]:
    """Say which of two readers' lesions are the same: by name, else the highest Dice first, each once.

    Parameters
    ----------
    first, second
        Voxels by name, ascending.
    same
        Names that mean one finding for both: those of the model. Others are paired from a Dice of :data:`LEAST_DICE`.

    Returns
    -------
    list of tuple
        Name of the first, name of the second, and Dice of the two; None for a reader who has no such lesion.
    """
    shared = [name for name in first if name in second and name in same]
    pairs: list[tuple[str | None, str | None, float | None]]
    pairs = [(name, name, dice(first[name], second[name])) for name in shared]
    left = {name: voxels for name, voxels in first.items() if name not in shared}
    right = {name: voxels for name, voxels in second.items() if name not in shared}
    values = [(dice(a, b) or 0.0, n, m) for n, a in left.items() for m, b in right.items() if _may_meet(a, b)]
    for value, n, m in sorted(values, key=lambda one: (-one[0], one[1], one[2])):
        if value >= LEAST_DICE and n in left and m in right:
            pairs.append((n, m, value))
            del left[n], right[m]
    return [*pairs, *((n, None, None) for n in left), *((None, m, None) for m in right)]


def _may_meet(a: Voxels, b: Voxels) -> bool:
    return bool(len(a) and len(b) and a[0] <= b[-1] and b[0] <= a[-1])


@dataclass(frozen=True)
class Lesion:
    """One lesion of a case, as two readers have it.

    Parameters
    ----------
    case
        Where.
    first, second
        Name of the finding in each reader's list; None where that reader holds no such lesion.
    dice
        Of their voxels; None where one has it alone.
    """

    case: str
    first: str | None
    second: str | None
    dice: float | None


@dataclass(frozen=True)
class Detection:
    """What two readers, or a reader and the model, found: lesions that they hold to be real, in cases both closed.

    Parameters
    ----------
    first, second
        Who.
    lesions
        All of them.
    """

    first: str
    second: str
    lesions: tuple[Lesion, ...] = field(repr=False)

    @property
    def both(self) -> int:
        """Lesions that both have."""
        return sum(one.first is not None and one.second is not None for one in self.lesions)

    @property
    def first_only(self) -> int:
        """Lesions that the first alone has."""
        return sum(one.second is None for one in self.lesions)

    @property
    def second_only(self) -> int:
        """Lesions that the second alone has."""
        return sum(one.first is None for one in self.lesions)

    @property
    def agreement(self) -> float | None:
        """Positive agreement: twice those of both, by the sum of each one's; None where nobody has any."""
        total = 2 * self.both + self.first_only + self.second_only
        return 2 * self.both / total if total else None

    @property
    def mean_dice(self) -> float | None:
        """Mean Dice of the lesions that both have; None where there are none."""
        values = [one.dice for one in self.lesions if one.dice is not None]
        return float(np.mean(values)) if values else None


def detection_agreement(
    session: Session, labels_of: Callable[[str], Labels | None]
) -> tuple[tuple[Detection, ...], tuple[str, ...]]:
    """Compare what every two readers, and each reader and the model, found.

    Parameters
    ----------
    session
        Readers count with what they said before they saw others, in the cases that they had closed by then.
    labels_of
        Gives the regions of the model of a case, by class; None where they cannot be read.

    Returns
    -------
    detections, left_out
        For each pair, and the cases whose regions could not be read.
    """
    found: dict[tuple[str, str], list[Lesion]] = {}
    left_out: list[str] = []
    for case in session.case_ids:
        events = {reader: blinded_events(session.events(case, reader)) for reader in session.readers}
        if not any(events.values()):
            continue
        labels = labels_of(case)
        if not labels:
            left_out.append(case)
            continue
        for pair, lesions in _of_case(session, case, events, labels):
            found.setdefault(pair, []).extend(lesions)
    return tuple(Detection(*pair, tuple(found[pair])) for pair in _in_order(found)), tuple(left_out)


def _of_case(
    session: Session, case: str, events: Mapping[str, Sequence[Any]], labels: Labels
) -> list[tuple[tuple[str, str], list[Lesion]]]:
    model = model_voxels(session.case(case).findings, labels)
    shape = next(iter(labels.values())).shape
    lists: dict[str, dict[str, Voxels]] = {}
    for reader, done in events.items():
        state, voxels = final_voxels(model, done, (shape[0], shape[1], shape[2]))
        if state.status == "complete":
            lists[reader] = held(state, voxels)
    readers = list(lists)
    lists[MODEL] = model
    pairs = [*combinations(readers, 2), *((reader, MODEL) for reader in readers)]
    return [
        (pair, [Lesion(case, *one) for one in match_voxels(*(lists[who] for who in pair), same=model)])
        for pair in pairs
    ]


def _in_order(found: Mapping[tuple[str, str], object]) -> list[tuple[str, str]]:
    """Return pairs of readers first, then those with the model, by name."""
    return sorted(found, key=lambda pair: (pair[1] == MODEL, pair))
