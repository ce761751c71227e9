"""DICOM folders and files to volumes: classic series of single images, and enhanced files of one stack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lesionlens.errors import InputError, IrregularSeriesError, ReadError
from lesionlens.io.boundary import counted, named, one_line, reading
from lesionlens.io.dicom_geometry import Stack, lay_out
from lesionlens.io.dicom_group import Series, choose, group, refuse_no_scan
from lesionlens.io.dicom_header import read_instance
from lesionlens.io.dicom_pixels import read_values
from lesionlens.io.dicom_scan import Scan, scan
from lesionlens.io.series import SeriesInfo
from lesionlens.progress import Progress, silent
from lesionlens.volume import GeometryVerdict, Grid, Source, Volume

__all__ = ["list_dicom", "list_dicom_file", "read_dicom", "read_dicom_file"]


def read_dicom(root: Path, *, series: str | int | None = None, progress: Progress = silent) -> Volume:
    """Read a series of a folder (and the folders in it) as a volume.

    Array axes are i = column, j = row, k = slice; the affine is RAS+ mm. Values are the stored ones, rescaled where the
    file says so; MONOCHROME1 (dark means high) is noted and not inverted, because rescaled values keep their meaning.

    Parameters
    ----------
    root
        The folder. Files may have any name.
    series
        SeriesInstanceUID, series number or description; None where there is only one scan.

    Raises
    ------
    AmbiguousSeriesError
        If several series could be meant.
    IrregularSeriesError
        If the slices do not lie on one regular grid.
    ReadError
        If there is no such scan, or it cannot be read.
    """
    found = scan(root, progress=progress)
    _refuse_damaged(found)
    if not found.instances:
        raise ReadError(_nothing_found(root, found))
    chosen, aside = choose(group(found.instances), series, str(root))
    return _volume(chosen, (*aside, *_strangers(found)), progress)


def read_dicom_file(path: Path, *, series: str | int | None = None, progress: Progress = silent) -> Volume:
    """Read the series that a file belongs to: a multi-frame file alone, else with the files of its series beside it.

    Raises
    ------
    ReadError
        As :func:`read_dicom`.
    """
    mine, aside = _series_of(path, progress)
    if series is not None:
        choose([mine], series, path.name)
    return _volume(mine, aside, progress)


def list_dicom(root: Path, *, progress: Progress = silent) -> list[SeriesInfo]:
    """List the series of a folder by their headers, damaged files last."""
    found = scan(root, progress=progress)
    if not found.instances and not found.damaged:
        raise ReadError(_nothing_found(root, found))
    return [_info(one) for one in group(found.instances)] + [
        SeriesInfo("", None, "", "", 0, (), None, "", damaged.reason, "dicom", (damaged.name,))
        for damaged in found.damaged
    ]


def list_dicom_file(path: Path) -> list[SeriesInfo]:
    """Describe the series that :func:`read_dicom_file` would read."""
    return [_info(_series_of(path, silent)[0])]


def _series_of(path: Path, progress: Progress) -> tuple[Series, tuple[str, ...]]:
    instance = read_instance(path, path.name)
    if instance.n_frames > 1 or not instance.rows:
        return group([instance])[0], ()
    with reading(f"Cannot open folder {path.parent}", todo="Check its permissions."):
        beside = sorted(entry for entry in path.parent.iterdir() if entry.is_file())
    found = scan(path.parent, beside, progress=progress)
    _refuse_damaged(found)
    everything = group(found.instances)
    mine = next(one for one in everything if one.uid == instance.series_uid)
    with_it = counted(len(mine.instances) - 1, "other file")
    notes = [f"{path.name} was read with {with_it} of its series beside it."]
    n = sum(len(one.instances) for one in everything if one is not mine)
    if n:
        notes.append(f"Left aside: {counted(n, 'file')} of other series.")
    return mine, (*notes, *_strangers(found))


def _volume(series: Series, aside: tuple[str, ...], progress: Progress) -> Volume:
    refuse_no_scan(series)
    stack = lay_out(series.slices, series.label)
    if not stack.verdict.regular:
        raise IrregularSeriesError(_irregular(stack.verdict, series.label))
    grid = _grid(stack, series.label)
    array, sha256 = read_values(stack.slices, progress=progress)
    files = tuple(dict.fromkeys(item.instance.name for item in stack.slices))
    source = Source(
        format="dicom",
        files=files,
        sha256=sha256,
        uids=tuple(dict.fromkeys(item.instance.uid for item in stack.slices)),
        modality=series.modality,
        decisions=aside + series.decisions + _notes(stack),
        verdict=stack.verdict,
        frame_of_reference=stack.slices[0].instance.frame_of_reference,
    )
    return Volume(array, grid, name=series.label, unit=_unit(stack), source=source)


def _irregular(verdict: GeometryVerdict, label: str) -> str:
    found = "; ".join(verdict.problems)
    return (
        f"The slices of {label} do not lie on one regular grid: {found}; worst position error "
        f"{verdict.worst_error_mm:.3g} mm. Export the series again complete and alone, or convert it with dcm2niix."
    )


def _notes(stack: Stack) -> tuple[str, ...]:
    """Say what a reader of the values or places must know."""
    first = stack.slices[0].instance
    notes = []
    if first.photometric == "MONOCHROME1":
        notes.append("MONOCHROME1: high values are meant to be shown dark; the values are kept as they are.")
    if first.padding is not None:
        notes.append(f"Pixels outside the scan hold the padding value {first.padding:g} (before rescaling); kept.")
    if any(item.instance.lossy for item in stack.slices):
        notes.append("The images were compressed with loss; their values are not exactly those of the scanner.")
    if len(stack.slices) == 2:
        notes.append("Two slices only: whether one is missing between them cannot be checked.")
    return tuple(notes)


def _unit(stack: Stack) -> str:
    """Return "HU" for CT whose values were rescaled, as long as the file does not name another type."""
    frames = [item.frame for item in stack.slices]
    is_ct = stack.slices[0].instance.modality == "CT"
    rescaled = any((frame.slope, frame.intercept) != (1.0, 0.0) for frame in frames)
    return "HU" if is_ct and rescaled and all(frame.rescale_type in ("", "HU") for frame in frames) else ""


def _info(series: Series) -> SeriesInfo:
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
    )
    try:
        refuse_no_scan(series)
        stack = lay_out(series.slices, series.label)
        grid = _grid(stack, series.label) if stack.verdict.regular else None
    except ReadError as error:
        return replace(info, verdict=one_line(error))
    ordered = tuple(dict.fromkeys(item.instance.name for item in stack.slices))
    info = replace(info, shape=stack.shape, verdict=stack.verdict, files=ordered)
    return replace(info, spacing_mm=grid.spacing_mm, axcodes=grid.axcodes) if grid else info


def _grid(stack: Stack, label: str) -> Grid:
    try:
        return Grid(stack.shape, stack.affine)
    except InputError as error:
        raise ReadError(f"{label} cannot be placed in space: {one_line(error)} Export it again.") from error


def _refuse_damaged(found: Scan) -> None:
    """Refuse a folder with damaged DICOM files: one of them may be a slice of the series, and nobody would miss it."""
    if found.damaged:
        more = f" ({len(found.damaged) - 1} more are damaged)" if len(found.damaged) > 1 else ""
        raise ReadError(found.damaged[0].reason + more)


def _strangers(found: Scan) -> tuple[str, ...]:
    """Name the files that are no DICOM images: whoever misses a slice can look for it among them."""
    n = len(found.others)
    return (f"Left aside: {counted(n, 'file')} without DICOM images: {named(found.others)}.",) if n else ()


def _nothing_found(root: Path, found: Scan) -> str:
    if not found.others:
        return f"Folder {root} is empty. Give a folder with DICOM files, or a NIfTI file."
    nifti = [name for name in found.others if name.lower().endswith((".nii", ".nii.gz", ".hdr"))]
    if nifti:
        return f"Folder {root} holds no DICOM but NIfTI files; give the file itself: {', '.join(nifti[:5])}."
    return f"Folder {root} holds no DICOM file among its {len(found.others)} files. Give the folder of the scan."
