"""Read a scan, or list what could be read, from whatever path a user gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from lesionlens.errors import ReadError
from lesionlens.io.early import OnSlice
from lesionlens.io.policy import Irregular, Wanted
from lesionlens.io.series import ITK_SUFFIXES, NIFTI_SUFFIXES, SeriesInfo
from lesionlens.progress import Progress, silent
from lesionlens.volume import Volume

__all__ = ["existing_path", "is_dicom", "list_series", "read"]

_Kind = Literal["dicom", "nifti", "itk", "archive"]


def read(
    path: str | os.PathLike[str],
    *,
    series: str | int | None = None,
    stack: str | int | None = None,
    irregular: Irregular = "refuse",
    identified: bool = False,
    progress: Progress = silent,
    on_slice: OnSlice | None = None,
) -> Volume:
    """Read a scan.

    Parameters
    ----------
    path
        A NIfTI file (``.nii``, ``.nii.gz``, ``.hdr``/``.img``), an NRRD (``.nrrd``, ``.nhdr``) or MetaImage file
        (``.mha``, ``.mhd``), a folder with DICOM files of any name, one DICOM file, which stands for its series, a
        DICOMDIR, which stands for its folder, or a zip of any of these.
    series
        Which series of several: SeriesInstanceUID, series number, or description. DICOM only.
    stack
        Which of several volumes in one series or file (echoes, time points, b-values): name as listed (``"t=3"``), or
        number from 0.
    irregular
        What to do with DICOM slices that do not lie on one regular grid (tilt, gap, changing distances): ``"refuse"``;
        ``"resample"`` puts them on a regular grid at their true positions, with ``Volume.valid`` False where there is
        no data; ``"as-is"`` keeps the voxels in slice order with the affine that fits best. What was done is in
        ``source.verdict`` and ``source.decisions``. Files of other formats hold one grid; for them it changes nothing.
    identified
        Keep what a DICOM header says about the patient wherever it comes along (names of files and folders,
        descriptions), and put it into ``source.identity``. By default it is removed.
    progress
        Called as the work advances; raise :class:`~lesionlens.errors.Cancelled` from it to stop.
    on_slice
        Called with the slices of a DICOM series while it is still being read: the middle one as soon as the headers are
        known, then each as it is decoded (:class:`~lesionlens.io.early.EarlySlice`). For showing them, not for work: of
        a scan that turns out to be damaged, some slices are handed out before the error.

    Returns
    -------
    Volume
        Values as stored or rescaled, on a grid in RAS+ mm; ``source`` says where they came from and what was decided.

    Raises
    ------
    InputError
        If ``irregular`` is none of the three.
    ReadError
        If there is nothing to read, or it is not one 3D volume of real, finite numbers on a known, regular grid.
        Its children say that a choice is needed (:class:`~lesionlens.errors.AmbiguousSeriesError`,
        :class:`~lesionlens.errors.AmbiguousStackError`) or where the slices are irregular
        (:class:`~lesionlens.errors.IrregularSeriesError`).

    Examples
    --------
    >>> volume = read("scan.nii.gz")                       # doctest: +SKIP
    >>> volume = read("dicom_folder", series=4)            # doctest: +SKIP
    >>> volume = read("tilted_ct", irregular="resample")   # doctest: +SKIP
    """
    wanted = Wanted(series, stack, irregular, identified)
    return _read(existing_path(path), wanted, progress=progress, on_slice=on_slice)


def _read(place: Path, wanted: Wanted, *, progress: Progress, on_slice: OnSlice | None) -> Volume:
    kind = _kind(place)
    if kind == "nifti":
        from lesionlens.io.nifti.reader import read_nifti

        _refuse_series(place, wanted.series, "NIfTI")
        return read_nifti(place, stack=wanted.stack, progress=progress)
    if kind == "itk":
        from lesionlens.io.itk_formats import read_itk

        _refuse_series(place, wanted.series, "NRRD or MetaImage")
        return read_itk(place, stack=wanted.stack, progress=progress)
    if kind == "archive":
        from lesionlens.io.archive import unpacked

        with unpacked(place, progress=progress) as inside:
            return _read(inside, wanted, progress=progress, on_slice=on_slice)
    from lesionlens.io.dicom.reader import read_dicom

    return read_dicom(place, wanted, progress=progress, on_slice=on_slice)


def list_series(
    path: str | os.PathLike[str], *, identified: bool = False, progress: Progress = silent
) -> list[SeriesInfo]:
    """List what a path holds, from headers alone.

    Parameters
    ----------
    path
        As for :func:`read`.
    identified
        As for :func:`read`; ``identity`` of each series says who it is of.
    progress
        Called as headers are read.

    Returns
    -------
    list of SeriesInfo
        Readable or not: each says its geometry verdict, or why it cannot be read.

    Raises
    ------
    ReadError
        If there is nothing to list.
    """
    return _list(existing_path(path), identified=identified, progress=progress)


def _list(place: Path, *, identified: bool, progress: Progress) -> list[SeriesInfo]:
    kind = _kind(place)
    if kind == "nifti":
        from lesionlens.io.nifti.reader import describe_nifti

        return [describe_nifti(place)]
    if kind == "itk":
        from lesionlens.io.itk_formats import describe_itk

        return [describe_itk(place)]
    if kind == "archive":
        from lesionlens.io.archive import unpacked

        with unpacked(place, progress=progress) as inside:
            return _list(inside, identified=identified, progress=progress)
    from lesionlens.io.dicom.reader import list_dicom

    return list_dicom(place, identified=identified, progress=progress)


def existing_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that leads to a file or folder.

    Raises
    ------
    ReadError
        If it leads nowhere.
    """
    if not isinstance(path, str | os.PathLike):
        raise ReadError(f"Expected the path of a file or folder; found {type(path).__name__}.")
    if not os.fspath(path):
        raise ReadError("Expected the path of a file or folder; found an empty text. Give a path.")
    place = Path(path)
    if os.path.isdir(place) or os.path.isfile(place):
        return place
    if os.path.lexists(place):
        raise ReadError(f"Expected a file or folder; {place.name} is neither, or a link to nothing. Check the path.")
    raise ReadError(f"There is no file or folder {place.name}. Check the path.")


def is_dicom(place: Path) -> bool:
    """Say whether a file is DICOM: begins like it, and is not named like another format unless it has a preamble."""
    from lesionlens.io.dicom.scan import looks_like_dicom

    return not (_is_nifti(place) or _is_itk(place)) and looks_like_dicom(place, place.name)


def _is_nifti(place: Path) -> bool:
    return place.name.lower().endswith(NIFTI_SUFFIXES) and not _has_preamble(place)


def _is_itk(place: Path) -> bool:
    return place.name.lower().endswith(ITK_SUFFIXES) and not _has_preamble(place)


def _has_preamble(place: Path) -> bool:
    """Say whether a file is DICOM whatever it is called; some scanners name their images .img."""
    from lesionlens.io.dicom.scan import has_preamble

    return has_preamble(place, place.name)


def _refuse_series(place: Path, series: str | int | None, format_name: str) -> None:
    if series is not None:
        todo = "--series (series= in Python)"
        raise ReadError(f"{place.name} is a {format_name} file, which holds no series; leave out {todo}.")


def _kind(place: Path) -> _Kind:
    """Say which reader a path is for; what is none of theirs is refused."""
    if place.is_dir():
        return "dicom"
    if _is_nifti(place):
        return "nifti"
    if _is_itk(place):
        return "itk"
    from lesionlens.io.archive import is_archive

    if is_archive(place):
        return "archive"
    if place.stat().st_size == 0:
        raise ReadError(f"{place.name} is empty (0 bytes). Copy the file again.")
    if not is_dicom(place):
        raise ReadError(
            "Expected NIfTI (.nii, .nii.gz, .hdr/.img), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), DICOM or a zip of "
            f"them; {place.name} is none. Check the file, or convert it to NIfTI."
        )
    return "dicom"
