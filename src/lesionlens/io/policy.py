"""What is wanted of a path: which of several scans, and what to do with slices off a regular grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lesionlens.errors import InputError, unknown_name

__all__ = ["Irregular", "Wanted"]

# refuse: raise IrregularSeriesError. resample: onto a regular grid, at the true positions. as-is: keep the voxels in
# slice order, with the affine that fits best. docs/reference/geometry.md says what each does.
Irregular = Literal["refuse", "resample", "as-is"]


@dataclass(frozen=True)
class Wanted:
    """What :func:`lesionlens.io.read` was asked for; the fields are its parameters.

    Raises
    ------
    InputError
        If there is no such way to read irregular slices; the message names those that there are.
    """

    series: str | int | None = None
    stack: str | int | None = None
    irregular: Irregular = "refuse"
    identified: bool = False

    def __post_init__(self) -> None:
        if self.irregular not in get_args(Irregular):
            raise InputError(unknown_name("way to read irregular slices", self.irregular, get_args(Irregular)))
