"""The reference of an anomaly bundle: what healthy scans are like, and the scale of its score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import BundleError
from lesionlens.io.atomic import atomic_path
from lesionlens.volume import Array

__all__ = ["Reference", "read_reference", "reference_path", "write_reference"]

# Version of the file; a newer one is refused, not guessed at.
_SCHEMA = 1
_SCALE = ("schema", "levels", "scores", "n_scans", "n_voxels")


@dataclass(frozen=True, eq=False)
class Reference:
    """What an anomaly bundle knows of scans in which nothing is wrong.

    Parameters
    ----------
    levels
        Shares of voxels, rising in (0, 1), (n,).
    scores
        The raw score that this share of the reference's voxels lies below, (n,), not falling.
    n_scans, n_voxels
        How many scans and voxels were pooled.
    arrays
        What the method compares with: ``mean`` (channels,) and ``precision`` (channels, channels) of features for
        ``"gaussian"``; ``features`` (kept, channels) with ``mean`` and ``sd`` (channels,) for ``"nearest"``; ``mean``
        and ``sd`` (i, j, k) with ``affine`` (4, 4) to RAS mm for ``"template"``; nothing for ``"reconstruction"``.
    """

    levels: NDArray[np.float64]
    scores: NDArray[np.float64]
    n_scans: int
    n_voxels: int
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        levels, scores = np.asarray(self.levels, np.float64), np.asarray(self.scores, np.float64)
        rising = levels.ndim == 1 and len(levels) > 1 and bool((np.diff(levels) > 0).all())
        if not rising or levels[0] < 0 or levels[-1] > 1:
            raise BundleError("The levels of an anomaly reference rise within [0, 1].")
        if scores.shape != levels.shape or not np.isfinite(scores).all() or (np.diff(scores) < 0).any():
            raise BundleError("The scores of an anomaly reference are finite, one for each level, and do not fall.")
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "arrays", MappingProxyType(dict(self.arrays)))

    def unit(self, level: float) -> float:
        """Return the raw score that stands for 1: the one this share of the reference's voxels lies below.

        Raises
        ------
        BundleError
            If the reference does not reach the level, or nothing in it differs from anything.
        """
        if not self.levels[0] <= level <= self.levels[-1]:
            raise BundleError(
                f"The anomaly reference knows levels from {self.levels[0]:g} to {self.levels[-1]:g}; the bundle asks"
                f" for {level:g}."
            )
        unit = float(np.interp(level, self.levels, self.scores))
        if unit <= 0:
            raise BundleError(
                f"The score of {100 * level:g} % of the reference's voxels is {unit:g}, which is no unit; choose a"
                " higher level, or other reference scans."
            )
        return unit


def reference_path(folder: Path) -> Path:
    """Return where an opened bundle keeps its reference."""
    return folder / "models" / "reference.npz"


def read_reference(folder: Path) -> Reference:
    """Read the reference of an opened bundle: plain arrays, no pickles.

    Raises
    ------
    BundleError
        If it is missing, holds something else, or is of a newer version.
    """
    path = reference_path(folder)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: dict[str, Any] = dict(stored)
        schema = int(arrays["schema"])
        if schema != _SCHEMA:
            raise BundleError(f"{path.name} has version {schema}; this LesionLens reads version {_SCHEMA}.")
        levels, scores, n_scans, n_voxels = (arrays.pop(name) for name in _SCALE[1:])
    except FileNotFoundError:
        raise BundleError(
            f"{folder.name} scores anomaly and has no reference ({path.parent.name}/{path.name}); make one from scans"
            " in which nothing is wrong: lesionlens bundles reference BUNDLE SCAN ..."
        ) from None
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BundleError(f"{path} is no anomaly reference: {type(error).__name__} {error}.") from None
    arrays.pop("schema")
    return Reference(levels, scores, int(n_scans), int(n_voxels), arrays)


def write_reference(reference: Reference, path: Path, *, overwrite: bool = False) -> None:
    """Write a reference: all of it, or nothing.

    Raises
    ------
    OutputError
        If the file exists, or cannot be written.
    """
    content: dict[str, Any] = {
        "schema": _SCHEMA,
        "levels": reference.levels,
        "scores": reference.scores,
        "n_scans": reference.n_scans,
        "n_voxels": reference.n_voxels,
        **reference.arrays,
    }
    with atomic_path(path, overwrite=overwrite) as hidden, hidden.open("wb") as stream:
        np.savez_compressed(stream, **content)
