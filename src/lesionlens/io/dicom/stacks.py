"""Several volumes in one series: found, told apart by what the headers say, named by it, and never shuffled together.

Images are split by what makes two volumes of them, in this order:

1. the StackID of enhanced objects;
2. what was measured in turns, where no two images share a place; else nothing, where all lie on one regular grid;
3. the plane in which they are cut (a scout with few slices stays one);
4. the smallest set of traits (echo time, b-value, temporal position, ...) that leaves one image at each position;
5. the order in time, or else of InstanceNumber, where one volume was acquired or numbered after the other;
6. several orientations within one plane, or acquisitions that lie apart: blocks.

Where nothing of this explains the images, they stay together, and the geometry says what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import IrregularSeriesError
from lesionlens.io.boundary import counted
from lesionlens.io.dicom.geometry import Stack, lay_out
from lesionlens.io.dicom.group import SCOUT_SLICES, orientations
from lesionlens.io.dicom.slices import SAME_POSITION_MM, Slice, Vectors, starts_of_positions
from lesionlens.io.dicom.traits import CLOCK_TRAITS, NEVER_IN_TURNS, number_or_none, sortable, trait_name

__all__ = ["NamedStack", "split"]

# Images of two volumes are at the same place when they are closer than this part of the step between slices. Heads
# move between time points, and scanners that follow them move the slices; but slices that were acquired in turns, odd
# and even ones apart, are half a step away from each other.
SAME_PLACE_STEPS = 0.2

# Acquisitions are blocks of their own when more than this many steps lie between them: fewer are lost slices, or a
# change of the step, in one scan.
BLOCK_GAP_STEPS = 3.0

# ... and when they overlap by no more than this part of the shorter one.
MOST_OVERLAP = 0.5

# Values that return in turns so often are a pattern, and no chance: ABAB is a one.
LEAST_TURNS = 2

# At most so many traits are combined: echo, component and time point. More would explain anything.
MOST_TRAITS = 3

# What was measured differently, best name first; and what is only counted or timed, which explains less.
_MEASURED = (
    "echo time",
    "echo number",
    "b-value",
    "gradient direction",
    "diffusion",
    "inversion time",
    "flip angle",
    "trigger time",
    "cardiac phase",
    "contrast phase",
    "tube voltage",
    "kernel",
    "metabolite",
    "spin label",
    "complex component",
    "image type",
    "frame type",
)
# The number of a classic image counts through the series: only its order says something.
_NUMBERED = "instance order"
_COUNTED = ("temporal position", "frame reference time", "acquisition", "instance", *CLOCK_TRAITS)

# Volumes that were acquired one after the other: images of one position in the order of these.
_ORDERS = ("trigger time", *CLOCK_TRAITS, _NUMBERED)

_PLANES = ("sagittal", "coronal", "axial")  # by the axis of LPS that the normal is closest to

Labels = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class NamedStack:
    """The images of one of several volumes in a series.

    Parameters
    ----------
    name
        What tells it from the others: ``"echo time 4.9 ms"``; empty where a series is one volume.
    slices
        Its images, in any order.
    lack
        What it lacks compared with the others, or empty.
    """

    name: str
    slices: tuple[Slice, ...]
    lack: str = ""

    def lay_out(self, label: str) -> Stack:
        """Order the images and judge their positions; see :func:`lesionlens.io.dicom.geometry.lay_out`."""
        stack = lay_out(self.slices, f"{label}, {self.name}" if self.name else label)
        if not self.lack:
            return stack
        return replace(stack, verdict=replace(stack.verdict, problems=(*stack.verdict.problems, self.lack)))


def split(slices: Sequence[Slice], label: str) -> tuple[NamedStack, ...]:
    """Split the images of a series into the volumes that they are.

    Parameters
    ----------
    slices
        All images of one series.
    label
        Series for messages.

    Returns
    -------
    tuple of NamedStack
        One without a name where the images are one volume, or nothing explains why there are several at one place.

    Raises
    ------
    ReadError
        If an image has no place.
    IrregularSeriesError
        If the images do not fit together (size, pixel spacing) and are not of different planes either.
    """
    by_id = _partition(slices, lambda item: item.frame.traits.get("stack", ""))
    if len(by_id) > 1 and max(map(len, by_id.values())) > 1:
        return tuple(_each({f"stack {name}": members for name, members in _sorted(by_id)}, label))
    try:
        whole = lay_out(slices, label)
    except IrregularSeriesError:
        planes = _planes(slices)
        if not planes:
            raise
        return tuple(_each(planes, label))
    in_turns = () if whole.tangled else _in_turns(whole.slices)
    if in_turns:
        return in_turns
    if whole.verdict.regular:
        return (NamedStack("", tuple(slices)),)
    planes = _planes(slices)
    if planes and not any("block" in name for name in planes):
        return tuple(_each(planes, label))
    found = _by_traits(slices)
    if found is None:
        return (NamedStack("", tuple(slices)),)
    found = found or _by_time(whole) or _by_acquisition(slices, label)
    if found:
        return tuple(found)
    return tuple(_each(planes, label)) if planes else (NamedStack("", tuple(slices)),)


def _in_turns(slices: Sequence[Slice]) -> tuple[NamedStack, ...]:
    """Split slices at different places where a measure changes from each to the next and back: ABAB, or ABCABC.

    They are volumes that lie a part of a step apart, on one regular grid or not. What changes once (AABB) leaves one
    volume, and is said.
    """
    for word in NEVER_IN_TURNS:
        values = [item.frame.traits.get(word, "") for item in slices]
        own = list(dict.fromkeys(values))
        n = len(own)
        if 1 < n <= len(slices) // LEAST_TURNS and all(value == own[k % n] for k, value in enumerate(values)):
            parts = sorted(((value, tuple(slices[k::n])) for k, value in enumerate(own)), key=lambda p: sortable(p[0]))
            return tuple(NamedStack(trait_name(word, value, values), members) for value, members in parts)
    return ()


def _each(parts: dict[str, list[Slice]], label: str) -> Iterator[NamedStack]:
    """Split every part again: a plane can hold several echoes."""
    for name, members in parts.items():
        inner = split(members, f"{label}, {name}") if len(members) > 1 else (NamedStack("", tuple(members)),)
        for stack in inner:
            yield replace(stack, name=f"{name}, {stack.name}" if stack.name else name)


def _partition(slices: Sequence[Slice], key: Callable[[Slice], str]) -> dict[str, list[Slice]]:
    parts: dict[str, list[Slice]] = {}
    for item in slices:
        parts.setdefault(key(item), []).append(item)
    return parts


def _sorted(parts: dict[str, list[Slice]]) -> list[tuple[str, list[Slice]]]:
    return sorted(parts.items(), key=lambda part: sortable(part[0]))


def _planes(slices: Sequence[Slice]) -> dict[str, list[Slice]]:
    """Return the images by the plane in which they are cut; none for one plane, a scout, or a single stray image."""
    ways = orientations([item.frame.orientation for item in slices])
    sizes = [len(members) for members in ways]
    if len(ways) < 2 or min(sizes) < 2 or max(sizes) <= SCOUT_SLICES:
        return {}
    blocks = sorted((_plane_and_place([slices[n] for n in members]), members) for members in ways)
    axes = [axis for (axis, _), _ in blocks]
    named = {}
    for n, ((axis, _), members) in enumerate(blocks):
        block = f" block {axes[:n].count(axis) + 1}" if axes.count(axis) > 1 else ""
        named[f"{_PLANES[-axis]}{block}"] = [slices[k] for k in members]
    return named


def _plane_and_place(members: Sequence[Slice]) -> tuple[int, float]:
    """Return the axis of LPS closest to the normal, as a number that sorts axial first, and the mean place along it."""
    orientation = np.array(members[0].frame.orientation)
    axis = int(np.abs(np.cross(orientation[:3], orientation[3:])).argmax())
    return -axis, float(np.mean([item.frame.position[axis] for item in members if item.frame.position]))


def _by_traits(slices: Sequence[Slice]) -> list[NamedStack] | None:
    """Split by the smallest set of traits that leaves one image at each position.

    Empty where no set does; None where two sets do and contradict each other.
    """
    along = _along(slices)
    values = {word: [item.frame.traits.get(word, "") for item in slices] for word in _words(slices)}
    codes = {word: np.unique(list(found), return_inverse=True)[1] for word, found in values.items()}
    for complete in (True, False):
        for size in range(1, MOST_TRAITS + 1):
            found = [
                (words, labels, lacks)
                for words in combinations(codes, size)
                for labels in (_labels([codes[word] for word in words]),)
                for lacks in (_lacks(labels, along, complete=complete),)
                if lacks is not None
            ]
            if found:
                return _agreed(found, slices, values)
    return []


def _words(slices: Sequence[Slice]) -> list[str]:
    """Return the traits that differ between images, best names first."""
    known = [*_MEASURED, *_COUNTED]
    rest = sorted({word for item in slices for word in item.frame.traits} - {*known, _NUMBERED})
    return [word for word in (*known, *rest) if len({item.frame.traits.get(word, "") for item in slices}) > 1]


def _along(slices: Sequence[Slice]) -> Vectors:
    """Return the places of the images in mm along the normal of the first."""
    orientation = np.array(slices[0].frame.orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    return np.array([item.frame.position for item in slices], dtype=np.float64) @ normal


def _labels(codes: Sequence[Labels]) -> Labels:
    """Return for each image the number of its combination of values."""
    combined = codes[0]
    for code in codes[1:]:
        combined = combined * (int(code.max()) + 1) + code
    return np.unique(combined, return_inverse=True)[1]


def _lacks(labels: Labels, along: Vectors, *, complete: bool) -> list[int] | None:
    """Return how many positions each part lacks, or None where the parts are not volumes at one place.

    In every part one image stands at each position. Complete parts all hold all positions; otherwise each holds more
    than half of those of the largest.
    """
    counts = np.bincount(labels)
    if counts.size < 2 or counts.min() < 2 or (complete and counts.min() < counts.max()):
        return None
    if 2 * counts.min() <= counts.max():
        return None
    parts = [np.sort(along[labels == n]) for n in range(counts.size)]
    reference = parts[int(counts.argmax())]
    step = float(np.diff(reference).min())
    if step < SAME_POSITION_MM:
        return None
    for part in parts:
        nearest = np.abs(part[:, None] - reference).argmin(axis=1)
        apart = np.abs(part - reference[nearest]).max()
        if apart > SAME_PLACE_STEPS * step or np.unique(nearest).size < part.size:
            return None
    return [int(n) for n in counts.max() - counts]


Split = tuple[tuple[str, ...], Labels, list[int]]


def _agreed(found: Sequence[Split], slices: Sequence[Slice], values: dict[str, list[str]]) -> list[NamedStack] | None:
    """Name the parts by the best traits that explain them; None where equally good traits explain them differently."""
    counted_traits = [sum(word not in _MEASURED for word in words) for words, _, _ in found]
    best = [one for one, n in zip(found, counted_traits, strict=True) if n == min(counted_traits)]
    words, labels, lacks = best[0]
    if any(not np.array_equal(_canonical(labels), _canonical(other)) for _, other, _ in best):
        return None
    parts = []
    for n, lack in enumerate(lacks):
        members = [int(k) for k in np.flatnonzero(labels == n)]
        own = tuple(values[word][members[0]] for word in words)
        parts.append((tuple(sortable(value) for value in own), own, members, lack))
    parts.sort(key=lambda part: part[0])
    names = [
        ", ".join(trait_name(word, part, values[word]) for word, part in zip(words, own, strict=True))
        for _, own, _, _ in parts
    ]
    if len(set(names)) < len(names):  # values that are closer than what is shown of them
        names = [f"{name} ({n})" for n, name in enumerate(names)]
    return [
        NamedStack(name, tuple(slices[k] for k in members), _lack(lack, len(members)))
        for name, (_, _, members, lack) in zip(names, parts, strict=True)
    ]


def _canonical(labels: Labels) -> Labels:
    """Return labels by the first image of each part, so that two ways of telling apart can be compared."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.reshape(-1)], dtype=np.intp)


def _lack(lack: int, size: int) -> str:
    return f"{counted(size, 'slice')} where the other volumes of the series have {size + lack}" if lack else ""


def _by_time(whole: Stack) -> list[NamedStack]:
    """Split by the order in time or number, where every image of one volume comes before every image of the next.

    Some time series of GE say nothing else of the images but their number.
    """
    along = _along(whole.slices)
    starts = [*starts_of_positions(along), len(along)]
    sizes = np.diff(starts)
    if sizes.size < 2 or sizes[0] < 2 or (sizes != sizes[0]).any():
        return []
    for word in _ORDERS:
        times = np.array([number_or_none(item.frame.traits.get(word, "")) for item in whole.slices], dtype=np.float64)
        table = times.reshape(sizes.size, sizes[0])
        order = table.argsort(axis=1)
        table = np.take_along_axis(table, order, axis=1)
        if np.isfinite(table).all() and (table[:, :-1].max(axis=0) < table[:, 1:].min(axis=0)).all():
            volumes = [tuple(whole.slices[a + k] for a, k in zip(starts, ks, strict=False)) for ks in order.T]
            return [
                NamedStack(", ".join([f"{word} {n + 1} of {sizes[0]}", *_measures(volume, whole.slices)]), volume)
                for n, volume in enumerate(volumes)
            ]
    return []


def _measures(volume: Sequence[Slice], among: Sequence[Slice]) -> Iterator[str]:
    """Yield what was measured in the same way in all images of a volume, and in another way in other images."""
    for word in _MEASURED:
        values = [item.frame.traits.get(word, "") for item in among]
        own = {item.frame.traits.get(word, "") for item in volume}
        if len(own) == 1 < len(set(values)):
            yield trait_name(word, own.pop(), values)


def _by_acquisition(slices: Sequence[Slice], label: str) -> list[NamedStack]:
    """Split by acquisition where each is a regular block, and blocks lie far apart or overlap at their ends.

    Acquisitions that overlap further are odd and even slices, acquired in turns: halves of one volume.
    """
    parts = _sorted(_partition(slices, lambda item: item.frame.traits.get("acquisition", "")))
    if len(parts) < 2 or min(len(members) for _, members in parts) < 2:
        return []
    if not all(lay_out(members, label).verdict.regular for _, members in parts):
        return []
    spans = sorted((np.sort(_along([slices[0], *members])[1:]) for _, members in parts), key=lambda span: span[0])
    for before, after in pairwise(spans):
        step = max(np.diff(before).max(), np.diff(after).max())
        gap = float(after[0] - before[-1])
        shorter = min(np.ptp(before), np.ptp(after))
        if SAME_POSITION_MM <= gap <= BLOCK_GAP_STEPS * step or gap < -MOST_OVERLAP * shorter:
            return []
    return [NamedStack(f"acquisition {name}" if name else "no acquisition", tuple(found)) for name, found in parts]
