"""What is wrong with the places of a series' slices, in words that name them, and how far in mm the grid is off.

Slices come in order along the normal of the images; ``starts`` are the first k at each position, as several images may
share one, and ``typical`` is the typical step between positions in mm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lesionlens.io.dicom.slices import (
    POSITION_TOLERANCE_MM,
    Slice,
    Vectors,
    orientation_of,
    position_of,
    step_tolerance_mm,
    turn_error_mm,
)
from lesionlens.io.dicom.traits import CLOCK_TRAITS
from lesionlens.volume import GeometryVerdict

__all__ = ["GAP_STEPS", "gap_steps", "grid_error_mm", "judge", "judge_mixed"]

# Angle between the stacking direction and the images' normal up to which a stack counts as upright: gantries tilt by
# 0.5 degrees and more, direction cosines with four decimals are good to 0.01 degrees.
TILT_TOLERANCE_DEGREES = 0.1

# A step between slices more than this many typical ones wide may hide a missing slice (which makes it two steps wide);
# neighbouring steps of one series differ less for any other reason than a change of spacing.
GAP_STEPS = 1.5

# So many equal steps in a row are a spacing of their own, as where a head CT goes from 3 mm to 5 mm; fewer that are
# whole multiples of the typical step are slices that are missing.
SPACING_RUN = 3

# At most this many places are spelled out in a message.
_MOST_PLACES = 3


def judge(
    ordered: Sequence[Slice], affine: Vectors, normal: Vectors, *, starts: Sequence[int], typical: float
) -> GeometryVerdict:
    """Say where slices of one orientation lie off a regular grid.

    Parameters
    ----------
    ordered
        The slices along their normal.
    affine
        (4, 4) LPS mm grid on which they would lie.
    normal
        (3,) unit vector, LPS.
    starts
        First k at each position.
    typical
        Typical step between positions in mm.

    Returns
    -------
    GeometryVerdict
        Its error is that of ``affine`` where nothing is wrong, else of an upright grid.
    """
    positions = np.array([position_of(s) for s in ordered])
    along = positions @ normal
    problems, judged = _duplicates(ordered, starts)
    problems += _spacings(ordered, along, starts, typical)
    problems += _tilt(positions[starts], normal) + _shift(ordered, positions, normal, starts, typical)
    if problems:
        return GeometryVerdict(problems, _upright_error(positions[judged], normal, typical))
    worst = grid_error_mm(ordered, affine)
    uneven = worst > step_tolerance_mm(typical)
    return GeometryVerdict((_uneven(np.diff(along), starts),) if uneven else (), worst)


def judge_mixed(ordered: Sequence[Slice], reference: Vectors) -> GeometryVerdict:
    """Name the slices that do not lie as the reference orientation (row, then column direction) says."""
    errors = [turn_error_mm(s, reference) for s in ordered]
    strays = [f"k={k} ({s.name})" for k, s in enumerate(ordered) if errors[k] > POSITION_TOLERANCE_MM]
    text = f"mixed orientation: {len(ordered) - len(strays)} slices lie one way, {len(strays)} another: {_some(strays)}"
    return GeometryVerdict((text,), max(errors))


def gap_steps(steps: Vectors, typical: float) -> list[int]:
    """Return which steps between slices are gaps, where a slice may be missing.

    A gap is wider than :data:`GAP_STEPS` typical steps and either stands alone among narrower ones or is, with fewer
    than :data:`SPACING_RUN` in a row, a whole multiple of the typical step. Other wide steps are a spacing.

    Parameters
    ----------
    steps
        Distances between neighbouring slices along their normal in mm.
    typical
        The typical one.
    """
    gaps: list[int] = []
    for first, last in _runs(steps, typical):
        width = float(steps[first:last].mean())
        if width <= GAP_STEPS * typical:
            continue
        beside = [steps[n] for n in (first - 1, last) if 0 <= n < len(steps)]
        alone = last - first == 1 and width > GAP_STEPS * min(beside)
        off = abs(width - round(width / typical) * typical)
        if alone or (last - first < SPACING_RUN and off <= 2 * step_tolerance_mm(typical)):
            gaps.extend(range(first, last))
    return gaps


def grid_error_mm(ordered: Sequence[Slice], affine: Vectors) -> float:
    """Return the largest distance in mm between a corner voxel's true place and its place on an LPS affine grid."""
    columns, rows = ordered[0].instance.columns - 1, ordered[0].instance.rows - 1
    worst = 0.0
    for k, item in enumerate(ordered):
        between_rows, between_columns = item.frame.spacing or (1.0, 1.0)
        orientation = orientation_of(item)
        for i, j in ((0, 0), (columns, 0), (0, rows), (columns, rows)):
            true = position_of(item) + i * between_columns * orientation[:3] + j * between_rows * orientation[3:]
            worst = max(worst, float(np.linalg.norm(true - (affine @ [i, j, k, 1])[:3])))
    return worst


def _upright_error(positions: Vectors, normal: Vectors, step: float) -> float:
    """Return the largest distance in mm of a slice from an upright grid: from the first slice, a step along the normal.

    This is what a program that counts slices, and so knows nothing of gaps and tilts, would get wrong.
    """
    grid = positions[0] + np.arange(len(positions))[:, None] * step * normal
    return float(np.linalg.norm(positions - grid, axis=1).max())


def _duplicates(ordered: Sequence[Slice], starts: Sequence[int]) -> tuple[tuple[str, ...], list[int]]:
    """Return the problem, and the k to judge positions by: one volume of several, or all slices as they stand."""
    groups = [ordered[a:b] for a, b in zip(starts, [*starts[1:], len(ordered)], strict=True)]
    sizes = {len(group) for group in groups}
    if sizes == {1}:
        return (), list(starts)
    differing = _what_differs(max(groups, key=len))
    if len(sizes) == 1:
        text = f"{sizes.pop()} images at each of {len(groups)} positions, several volumes in one series{differing}"
        return (text,), list(starts)
    places = [
        f"k={start} and k={start + 1} ({group[0].name}, {group[1].name})"
        for start, group in zip(starts, groups, strict=True)
        if len(group) > 1
    ]
    return (f"duplicate slices at one position: {_some(places)}{differing}",), list(range(len(ordered)))


def _what_differs(group: Sequence[Slice]) -> str:
    """Name the header values in which images at one position differ: they are what a user would choose by."""
    differing = []
    for word in group[0].frame.traits:
        values = {item.frame.traits.get(word, "") for item in group}
        if len(values) > 1:
            shown = sorted(values)[:_MOST_PLACES]
            more = ", …" if len(values) > len(shown) else ""
            differing.append(word if word in CLOCK_TRAITS else f"{word} ({', '.join(shown)}{more})")
    return f" that differ in {', '.join(differing)}" if differing else ""


def _spacings(ordered: Sequence[Slice], along: Vectors, starts: Sequence[int], typical: float) -> tuple[str, ...]:
    """Name the gaps, and where the spacing changes besides; ``starts`` are the first k at each position."""
    steps = np.diff(along[starts])
    if not steps.size or np.abs(steps - typical).max() <= 2 * step_tolerance_mm(typical):
        return ()
    gaps = gap_steps(steps, typical)
    problems = []
    if gaps:
        pairs = [(starts[n + 1] - 1, starts[n + 1], steps[n]) for n in gaps]
        places = [f"between k={a} and k={b} ({ordered[a].name}, {ordered[b].name}) {mm:.4g} mm" for a, b, mm in pairs]
        problems.append(f"gap: {_some(places)} instead of {typical:.4g} mm")
    rest = [(first, last) for first, last in _runs(steps, typical) if first not in gaps]
    widths = np.array([steps[first:last].mean() for first, last in rest])
    if np.ptp(widths) <= 2 * step_tolerance_mm(typical):
        return tuple(problems)
    if len(rest) > _MOST_PLACES:
        return (*problems, _uneven(np.delete(steps, gaps), [s for n, s in enumerate(starts) if n not in gaps]))
    parts = [f"{mm:.4g} mm from k={starts[a]} to k={starts[b]}" for (a, b), mm in zip(rest, widths, strict=True)]
    return (*problems, f"spacing changes: {', '.join(parts)}")


def _runs(steps: Vectors, typical: float) -> list[tuple[int, int]]:
    """Return the first step of each run of equal ones, and the step after its last."""
    runs: list[tuple[int, int]] = []
    for n, step in enumerate(steps):
        # Both ends of a step may be off by the tolerance.
        if runs and abs(step - steps[runs[-1][0]]) <= 2 * step_tolerance_mm(typical):
            runs[-1] = (runs[-1][0], n + 1)
        else:
            runs.append((n, n + 1))
    return runs


def _uneven(steps: Vectors, starts: Sequence[int]) -> str:
    """Name the range of the steps; ``starts`` are the k that they begin at."""
    low, high = (starts[int(n)] for n in (steps.argmin(), steps.argmax()))
    return (
        f"uneven slice distances of {steps.min():.4g} to {steps.max():.4g} mm, least after k={low}, most after k={high}"
    )


def _tilt(positions: Vectors, normal: Vectors) -> tuple[str, ...]:
    forward, beside = _beside(positions, normal)
    sideways = float(np.linalg.norm(beside[-1]))
    angle = float(np.degrees(np.arctan2(sideways, forward[-1])))
    if angle <= TILT_TOLERANCE_DEGREES or sideways <= POSITION_TOLERANCE_MM:  # rounding makes short stacks lean
        return ()
    return (
        f"tilt: the slices are stacked {angle:.3g} degrees off their normal, {sideways:.3g} mm sideways from k=0 to "
        f"k={len(positions) - 1}",
    )


def _shift(
    ordered: Sequence[Slice], positions: Vectors, normal: Vectors, starts: Sequence[int], typical: float
) -> tuple[str, ...]:
    """Name the slice that lies furthest beside the line from the first slice to the last."""
    forward, beside = _beside(positions[starts], normal)
    if len(starts) < 3:
        return ()
    off = np.linalg.norm(beside - np.outer(forward / forward[-1], beside[-1]), axis=1)
    if off.max() <= step_tolerance_mm(typical):
        return ()
    k = starts[int(off.argmax())]
    return (
        f"shift: slices lie up to {off.max():.3g} mm beside the line of the others, most k={k} ({ordered[k].name})",
    )


def _beside(positions: Vectors, normal: Vectors) -> tuple[Vectors, Vectors]:
    """Return how far each position lies along the normal from the first, and the (k, 3) way that it lies beside."""
    way = positions - positions[0]
    forward = way @ normal
    return forward, way - forward[:, None] * normal


def _some(places: Sequence[str]) -> str:
    more = len(places) - _MOST_PLACES
    return ", ".join(places[:_MOST_PLACES]) + (f" and {more} more" if more > 0 else "")
