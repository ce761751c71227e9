"""What to do with slices that do not lie on one regular grid: the names, and what they stand for."""

from __future__ import annotations

from typing import Literal, get_args

from lesionlens.errors import InputError, unknown_name

__all__ = ["Irregular", "check_irregular"]

# refuse: raise IrregularSeriesError. resample: onto a regular grid, at the true positions. as-is: keep the voxels in
# slice order, with the affine that fits best. docs/reference/geometry.md says what each does.
Irregular = Literal["refuse", "resample", "as-is"]


def check_irregular(wanted: str) -> None:
    """Refuse a policy that does not exist.

    Raises
    ------
    InputError
        With those that do.
    """
    if wanted not in get_args(Irregular):
        raise InputError(unknown_name("way to read irregular slices", wanted, get_args(Irregular)))
