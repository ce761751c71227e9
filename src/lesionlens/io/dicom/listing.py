"""A series as a list shows it: what its headers say, and whether it could be read, or why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lesionlens.errors import ReadError
from lesionlens.io.boundary import one_line
from lesionlens.io.dicom.group import Series, refuse_no_scan
from lesionlens.io.dicom.irregular import nominal_grid
from lesionlens.io.dicom.stacks import NamedStack, split
from lesionlens.io.identity import Identities
from lesionlens.io.series import SeriesInfo
from lesionlens.volume import GeometryVerdict

__all__ = ["describe"]

# At most so many problems of a long time series are spelled out; a volume that is chosen says all of its own.
_MOST_PROBLEMS = 5


def describe(series: Series, identities: Identities, *, among: Sequence[Series] = ()) -> SeriesInfo:
    """Describe a series, readable or not, by its headers.

    Parameters
    ----------
    series
        The series.
    identities
        Who it is of, and whether that is to be kept.
    among
        All series of the folder that was given; beside others, one that is no scan is left out.
    """
    info = SeriesInfo(
        uid=series.uid,
        number=series.number,
        description=series.description,
        modality=series.modality,
        n_slices=series.n_images,
        shape=(),
        spacing_mm=None,
        axcodes="",
        verdict="",
        format="dicom",
        files=tuple(instance.name for instance in series.instances),
        kind=series.aside or "scan",
        left_out=bool(series.aside) and len(among) > 1,
        notes=series.decisions,
        identity=identities.of_series(series.uid),
    )
    try:
        refuse_no_scan(series)
        stacks = split(series.slices, series.label)
        if len(stacks) > 1:
            return _info_of_several(info, stacks, series.label)
        stack = stacks[0].lay_out(series.label)
        grid = None if stack.tangled else nominal_grid(stack, series.label)
    except ReadError as error:
        return replace(info, verdict=one_line(error))
    ordered = tuple(dict.fromkeys(item.instance.name for item in stack.slices))
    info = replace(info, shape=stack.shape, verdict=stack.verdict, files=ordered)
    return replace(info, spacing_mm=grid.spacing_mm, axcodes=grid.axcodes) if grid else info


def _info_of_several(info: SeriesInfo, stacks: Sequence[NamedStack], label: str) -> SeriesInfo:
    """Describe what the volumes of a series have in common, and what is wrong with each."""
    shapes: set[tuple[int, ...]] = set()
    spacings: set[tuple[float, float, float]] = set()
    axes: set[str] = set()
    problems: list[str] = []
    refused: list[str] = []
    worst = 0.0
    for one in stacks:
        try:
            stack = one.lay_out(label)
            grid = None if stack.tangled else nominal_grid(stack, label)
        except ReadError as error:
            problems.append(f"{one.name}: {one_line(error)}")
            refused.append(one.name)
            continue
        problems += [f"{one.name}: {problem}" for problem in stack.verdict.problems]
        refused += [] if stack.verdict.regular else [one.name]
        worst = max(worst, stack.verdict.worst_error_mm)
        shapes.add(stack.shape)
        if grid is None:
            continue
        between_columns, between_rows, between_slices = (round(mm, 3) for mm in grid.spacing_mm)
        spacings.add((between_columns, between_rows, between_slices))
        axes.add(grid.axcodes)
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"and {len(problems) - _MOST_PROBLEMS} more problems"]
    shape = (*shapes.pop(), len(stacks)) if len(shapes) == 1 else ()
    spacing = spacings.pop() if len(spacings) == 1 else None
    return replace(
        info,
        stacks=tuple(stack.name for stack in stacks),
        refused_stacks=tuple(refused),
        shape=shape,
        spacing_mm=spacing,
        axcodes=axes.pop() if len(axes) == 1 else "",
        verdict=GeometryVerdict(tuple(problems), worst),
    )
