"""What the page of a batch needs of all cases, taken from one after the other: numbers, and few cases as a whole.

A case takes some hundred bytes and a region twenty, so that a million cases fit into the memory of any machine.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.batch.cohort import COMPARED, OF_REGIONS, Compared, Correlations
from lesionlens.batch.summary import FEATURES, CaseSummary

__all__ = ["Gathered"]

Floats = NDArray[np.float64]

_VOLUME, _HIGHEST = FEATURES.index("volume_mm3"), FEATURES.index("probability_max")
_NO_REGIONS: Final = np.empty((0, len(FEATURES)))


class Gathered:
    """What was found in the cases so far.

    Parameters
    ----------
    keep
        So many cases of those that failed, and of the others, are kept as a whole: the first.
    again
        Gives a case again by its name, for those that were not kept.

    Attributes
    ----------
    names : list of str
        Of all cases, in their order.
    states, bases : Counter, dict of Counter
        How many cases are done, failed and waiting; what the results rest on, by name, with the number of cases.
    regions : Correlations
        Of the features of all regions.
    """

    def __init__(self, keep: int, again: Callable[[str], CaseSummary]) -> None:
        self.names: list[str] = []
        self.states: Counter[str] = Counter()
        self.bases: dict[str, Counter[str]] = {}
        self.regions = Correlations(len(FEATURES))
        self._keep, self._again = keep, again
        self._kept: dict[int, CaseSummary] = {}
        self._failed = array("q")
        # By class: the number of each case that has it, and the columns beside it; NaN where there is no value.
        self._of_class: dict[str, tuple[array[int], dict[str, array[float]]]] = {}
        self._volumes: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._highest, self._counts = array("d"), array("d")
        self._done = array("q")
        self._medians = {feature: array("d") for feature in OF_REGIONS}

    def add(self, one: CaseSummary) -> None:
        """Take what there is to say of the next case."""
        number = len(self.names)
        self.names.append(one.name)
        failed = one.status == "failed"
        if failed:
            self._failed.append(number)
        if (len(self._failed) if failed else number + 1 - len(self._failed)) <= self._keep:
            self._kept[number] = replace(one, regions=_NO_REGIONS, classes=())
        self.states[one.status] += 1
        if one.status == "done":
            self._add_done(number, one)

    def _add_done(self, number: int, one: CaseSummary) -> None:
        for name, value in one.basis:
            if value:
                self.bases.setdefault(name, Counter())[value] += 1
        for row in one.rows:
            numbers, columns = self._of_class.setdefault(
                str(row["class"]), (array("q"), {column: array("d") for column in COMPARED})
            )
            numbers.append(number)
            for column, values in columns.items():
                values.append(np.nan if row[column] is None else row[column])
        self._add_regions(number, one)

    def _add_regions(self, number: int, one: CaseSummary) -> None:
        self._done.append(number)
        self._counts.append(len(one.regions))
        self.regions.add(one.regions)
        highest = one.regions[:, _HIGHEST]
        self._highest.extend(highest[np.isfinite(highest)].tolist())
        for label, volume in zip(one.classes, one.regions[:, _VOLUME].tolist(), strict=True):
            self._volumes[label].append(volume)
        for feature, medians in self._medians.items():
            column = one.regions[:, FEATURES.index(feature)]
            known = column[~np.isnan(column)]
            medians.append(float(np.median(known)) if len(known) else np.nan)

    @property
    def labels(self) -> list[str]:
        """The classes, in the order in which they came."""
        return list(self._of_class)

    def values(self, label: str, column: str) -> Floats:
        """Return a column of ``summary.csv`` for a class, without the cases that have no value."""
        found = _floats(self._of_class[label][1][column])
        return found[~np.isnan(found)]

    def volumes(self, label: str | None = None) -> Floats:
        """Return the volume of each region in mm³, of a class or of all."""
        if label is not None:
            return _floats(self._volumes.get(label, array("d")))
        return np.concatenate([np.empty(0), *map(_floats, self._volumes.values())])

    @property
    def highest(self) -> Floats:
        """The highest probability in each region that has one."""
        return _floats(self._highest)

    @property
    def counts(self) -> Floats:
        """How many regions each case that is done has."""
        return _floats(self._counts)

    def compared(self) -> Iterator[Compared]:
        """Yield what cases are compared by."""
        for label, (numbers, columns) in self._of_class.items():
            for column, values in columns.items():
                yield _known(label, column, numbers, values)
        for feature, medians in self._medians.items():
            yield _known("", f"median {feature} of the regions", self._done, medians)

    def listed(self, most: int, unusual: set[int]) -> list[tuple[int, CaseSummary]]:
        """Return the cases to show, in their order, with their numbers from 1: all, or those to look at first.

        Parameters
        ----------
        most
            So many.
        unusual
            Those that come first; after them those that failed, then the others.
        """
        wanted: Any = range(len(self.names))
        if len(self.names) > most:
            failed = set(self._failed)
            wanted = sorted(wanted, key=lambda n: (0 if n in unusual else 1 if n in failed else 2, n))[:most]
        return [(n + 1, self._kept[n] if n in self._kept else self._again(self.names[n])) for n in sorted(wanted)]


def _known(label: str, feature: str, numbers: array[int], values: array[float]) -> Compared:
    found = _floats(values)
    known = ~np.isnan(found)
    return Compared(label, feature, np.array(numbers, dtype=np.int64)[known], found[known])


def _floats(values: array[float]) -> Floats:
    return np.array(values, dtype=np.float64)
