"""From what a header promises to a volume: the way that NIfTI, NRRD and MetaImage files share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import ReadError, printable
from lesionlens.io.series import SeriesInfo
from lesionlens.io.stack_choice import choose_stack, stack_names
from lesionlens.io.voxels import Stored, hash_file, read_voxels, refuse_non_finite, room_problem
from lesionlens.progress import Progress, silent
from lesionlens.volume import GeometryVerdict, Grid, Source, Volume

__all__ = ["SHEAR_DEGREES", "ImageFile", "shear_notes"]

# Axes of an affine that deviate more than this from a right angle are reported (0.1 mm over a head of 200 mm).
SHEAR_DEGREES = 0.03


@dataclass(frozen=True, eq=False)
class ImageFile:
    """An image by its header.

    Parameters
    ----------
    path
        The file that was given.
    files
        Header and voxels, or the one file that holds both; the voxels come last.
    name
        The image's name: that of the file without its suffix.
    format
        As in :class:`~lesionlens.volume.Source`.
    stored
        Where the voxels are.
    affine
        Voxel index to RAS+ mm; None where ``problem`` says why there is none.
    decisions
        One sentence for everything that was not obvious.
    problem
        Why no volume can be read from the file; empty when one can.
    """

    path: Path
    files: tuple[Path, ...]
    name: str
    format: str
    stored: Stored
    affine: NDArray[np.float64] | None
    decisions: tuple[str, ...]
    problem: str = ""

    def grid(self) -> Grid:
        """Return the grid; only where there is no problem."""
        if self.affine is None or self._problem:
            raise ReadError(self._problem)
        i, j, k = self.stored.shape[:3]
        return Grid((i, j, k), self.affine)

    def read(self, *, stack: str | int | None = None, progress: Progress = silent) -> Volume:
        """Read one volume.

        Raises
        ------
        AmbiguousStackError
            If the file holds several volumes and none was chosen.
        ReadError
            If no volume can be read; the message says why and what to do.
        """
        grid = self.grid()
        names = self._stacks
        chosen = choose_stack(stack, names, self.path.name)
        digest = hashlib.sha256()
        for file in self.files[:-1]:
            hash_file(file, digest)
        array, notes = read_voxels(self.stored, volume=chosen, digest=digest, progress=progress)
        refuse_non_finite(array, self.path.name)
        stack_name = names[chosen] if names else ""
        chosen_note = (f"Of {len(names)} volumes, {stack_name} was read.",) if names else ()
        source = Source(
            format=self.format,
            files=tuple(file.name for file in self.files),
            sha256=digest.hexdigest(),
            decisions=(*chosen_note, *self.decisions, *notes),
            stack=stack_name,
        )
        return Volume(array, grid, name=f"{self.name} {stack_name}".rstrip(), source=source)

    def describe(self) -> SeriesInfo:
        """Return what the header says, without reading the voxels; that a file is too short, its size says."""
        problem = self._problem or room_problem(self.stored)
        grid = None if problem else self.grid()
        return SeriesInfo(
            uid="",
            number=None,
            description=printable(self.name),
            modality="",
            n_slices=self.stored.shape[2],
            shape=self.stored.shape,
            spacing_mm=grid.spacing_mm if grid else None,
            axcodes=grid.axcodes if grid else "",
            verdict=GeometryVerdict() if grid else problem,
            format=self.format,
            files=tuple(file.name for file in self.files),
            stacks=self._stacks,
        )

    @property
    def _stacks(self) -> tuple[str, ...]:
        return stack_names(self.stored.shape[3:], self.path.name)

    @property
    def _problem(self) -> str:
        shape = self.stored.shape
        if min(shape[:3]) == 1:
            return (
                f"Expected a 3D volume in {self.path.name}; found a single slice, shape {shape}. "
                "Give a file with all slices."
            )
        return self.problem


def shear_notes(affine: NDArray[np.float64]) -> tuple[str, ...]:
    """Say by how many degrees two voxel axes deviate from a right angle; nothing where they do not."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs((axes.T @ axes)[np.triu_indices(3, 1)])
    degrees = float(np.degrees(np.arcsin(min(1.0, cosines.max()))))
    if degrees <= SHEAR_DEGREES:
        return ()
    return (f"The axes are not at right angles (by {degrees:.2g} degrees); they are kept as they are.",)
