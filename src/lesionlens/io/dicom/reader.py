"""DICOM folders and files to volumes: classic series of single images, mosaics, and enhanced files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lesionlens.errors import ReadError
from lesionlens.io.boundary import counted, named, reading
from lesionlens.io.dicom.dicomdir import is_dicomdir, scan_folder
from lesionlens.io.dicom.geometry import Stack
from lesionlens.io.dicom.group import Series, choose, group, refuse_no_scan
from lesionlens.io.dicom.header import read_instance
from lesionlens.io.dicom.irregular import Layout, lay_down
from lesionlens.io.dicom.listing import describe
from lesionlens.io.dicom.masked import folder_name, masked_scan
from lesionlens.io.dicom.scan import Scan, scan
from lesionlens.io.dicom.slices import Slice
from lesionlens.io.dicom.stacks import NamedStack, split
from lesionlens.io.dicom.traits import MEASURED_ALIKE
from lesionlens.io.dicom.values import OnImage, read_image, read_values, refuse_different
from lesionlens.io.dicom.voi import stored_windows
from lesionlens.io.early import EarlySlice, OnSlice
from lesionlens.io.identity import Identities, hide_uids
from lesionlens.io.policy import Wanted
from lesionlens.io.series import ITK_SUFFIXES, SeriesInfo
from lesionlens.io.stack_choice import choose_stack
from lesionlens.progress import Progress, silent
from lesionlens.volume import Source, Volume

__all__ = ["list_dicom", "read_dicom", "read_with_slices"]


def read_dicom(path: Path, wanted: Wanted, *, progress: Progress = silent, on_slice: OnSlice | None = None) -> Volume:
    """Read a series of a folder (and the folders in it), or the series that a file belongs to, as a volume.

    Array axes are i = column, j = row, k = slice; the affine is RAS+ mm. Values are the stored ones, rescaled where the
    file says so; MONOCHROME1 (dark means high) is noted and not inverted, because rescaled values keep their meaning.

    Parameters
    ----------
    path
        A folder, whose files may have any name; the DICOMDIR of one; a multi-frame file, which is read alone; or any
        other DICOM file, which is read with the files of its series beside it.
    wanted
        Which series and stack, and how.
    progress
        Called as headers and slices are read.
    on_slice
        Called with slices as they are decoded; not where they are resampled, as they lie elsewhere then.

    Raises
    ------
    AmbiguousSeriesError
        If several series could be meant.
    AmbiguousStackError
        If the series holds several volumes.
    IrregularSeriesError
        If the slices do not lie on one regular grid and shall be refused, or cannot be resampled.
    ReadError
        If there is no such scan, or it cannot be read.
    """
    return read_with_slices(path, wanted, progress=progress, on_slice=on_slice)[0]


def read_with_slices(
    path: Path, wanted: Wanted, *, progress: Progress = silent, on_slice: OnSlice | None = None
) -> tuple[Volume, Stack, Layout]:
    """Read a series as :func:`read_dicom` does; also return its slices in order, and how they became the volume."""
    identities = Identities(identified=wanted.identified)
    if _is_folder(path, identities):
        series, aside = _chosen(path, wanted, identities, progress)
    else:
        series, aside = _series_of(path, identities, progress)
        if wanted.series is not None:
            choose([series], identities.wanted(wanted.series), identities.mask(path.name))
    volume, stack, layout = _volume(series, aside, wanted, identities, progress, on_slice)
    return _on_record(volume, series, wanted, identities), stack, layout


def list_dicom(path: Path, *, identified: bool = False, progress: Progress = silent) -> list[SeriesInfo]:
    """List the series at a path by their headers, damaged files last.

    Parameters
    ----------
    path
        As for :func:`read_dicom`.
    identified
        Keep what leads to the patient, and say who it is.
    progress
        Called as headers are read.

    Raises
    ------
    ReadError
        If there is nothing to list.
    """
    identities = Identities(identified=identified)
    if not _is_folder(path, identities):
        return [describe(_series_of(path, identities, progress)[0], identities)]
    found = _scan(path, identities, progress)
    if not found.instances and not found.damaged:
        raise ReadError(_nothing_found(folder_name(path, identities), found))
    series = group(found.instances)
    return [describe(one, identities, among=series) for one in series] + [
        SeriesInfo("", None, "", "", 0, (), None, "", damaged.reason, "dicom", (damaged.name,), kind="damaged file")
        for damaged in found.damaged
    ]


def _is_folder(path: Path, identities: Identities) -> bool:
    """Say whether a path stands for a folder: it is one, or the DICOMDIR of one."""
    if path.is_dir():
        return True
    with identities.masking():
        return is_dicomdir(path, identities)


def _chosen(root: Path, wanted: Wanted, identities: Identities, progress: Progress) -> tuple[Series, tuple[str, ...]]:
    """Return the series of a folder that is meant, and what is said of the rest."""
    found = _scan(root, identities, progress)
    _refuse_damaged(found)
    name = folder_name(root, identities)
    if not found.instances:
        raise ReadError(_nothing_found(name, found))
    series, aside = choose(group(found.instances), identities.wanted(wanted.series), name)
    return series, (*aside, *_strangers(found))


def _scan(root: Path, identities: Identities, progress: Progress) -> Scan:
    """Read the headers of a folder, or of the folder of a DICOMDIR."""
    with identities.masking():
        found = scan_folder(root, identities=identities, progress=progress)
    return masked_scan(found, identities)


def _series_of(path: Path, identities: Identities, progress: Progress) -> tuple[Series, tuple[str, ...]]:
    with identities.masking():
        instance = read_instance(path, path.name, identities)
    if (instance.n_frames > 1 and not instance.concatenation) or not instance.rows:
        alone = (f"{identities.mask(path.name)} was read alone, as it holds several images.",)
        (mine,) = group(masked_scan(Scan((instance,), (), ()), identities).instances)
        return mine, alone if instance.n_frames > 1 else ()
    with identities.masking():
        with reading("Cannot open the folder of the file", todo="Check its permissions."):
            beside = sorted(entry for entry in path.parent.iterdir() if entry.is_file())
        found = masked_scan(scan(path.parent, beside, identities=identities, progress=progress), identities)
    _refuse_damaged(found)
    everything = group(found.instances)
    mine = next(one for one in everything if one.uid == instance.series_uid)
    with_it = counted(len(mine.instances) - 1, "other file")
    notes = [f"{identities.mask(path.name)} was read with {with_it} of its series beside it."]
    n = sum(len(one.instances) for one in everything if one is not mine)
    if n:
        notes.append(f"Left aside: {counted(n, 'file')} of other series.")
    return mine, (*notes, *_strangers(found))


def _volume(
    series: Series,
    aside: tuple[str, ...],
    wanted: Wanted,
    identities: Identities,
    progress: Progress,
    on_slice: OnSlice | None,
) -> tuple[Volume, Stack, Layout]:
    refuse_no_scan(series)
    stacks = split(series.slices, series.label)
    chosen = stacks[choose_stack(wanted.stack, [one.name for one in stacks], series.label)]
    label = f"{series.label}, {chosen.name}" if chosen.name else series.label
    stack = chosen.lay_out(series.label)
    layout = lay_down(stack, label, wanted.irregular)
    read_files = {item.instance.name for item in stack.slices}
    refuse_different([pair for pair in series.copies if pair[0].name in read_files], progress=progress)
    on_image = None if on_slice is None else _hand_out(stack, layout, label, on_slice)
    values, sha256 = read_values(stack.slices, progress=progress, on_image=on_image)
    array, valid, left_empty = layout.fill(values, progress=progress)
    files = tuple(dict.fromkeys(item.instance.name for item in stack.slices))
    windows, window_notes = stored_windows(stack.slices, identities)
    source = Source(
        format="dicom",
        files=files,
        sha256=sha256,
        uids=tuple(dict.fromkeys(item.instance.uid for item in stack.slices)),
        modality=series.modality,
        decisions=(
            *aside,
            *series.decisions,
            *_one_of(stacks, chosen),
            *_notes(stack),
            *_padding_notes(stack, layout),
            *layout.decisions,
            *left_empty,
            *window_notes,
        ),
        verdict=layout.verdict,
        stack=chosen.name,
        frame_of_reference=stack.slices[0].instance.frame_of_reference,
        windows=windows,
    )
    return Volume(array, layout.grid, name=label, unit=_unit(stack), source=source, valid=valid), stack, layout


def _on_record(volume: Volume, series: Series, wanted: Wanted, identities: Identities) -> Volume:
    """Return a volume whose notes may be written down: without UIDs, or, where asked for, with the patient."""
    asked_for = "" if wanted.series is None else str(identities.wanted(wanted.series))
    source = replace(volume.source, series=asked_for, identity=identities.of_series(series.uid))
    if not identities.identified:
        verdict = replace(source.verdict, problems=tuple(map(hide_uids, source.verdict.problems)))
        decisions = tuple(map(hide_uids, source.decisions))
        source = replace(source, series=hide_uids(asked_for), decisions=decisions, verdict=verdict)
    return replace(volume, source=source)


def _hand_out(stack: Stack, layout: Layout, label: str, on_slice: OnSlice) -> OnImage | None:
    """Hand out the middle slice, and return what hands out the others; None where slices are no planes of the grid."""
    if layout.resampling is not None:
        return None
    unit = _unit(stack)

    def on_image(k: int, values: NDArray[Any]) -> None:
        on_slice(EarlySlice(layout.grid, label, unit, k, values))

    middle = len(stack.slices) // 2
    on_image(middle, read_image(stack.slices[middle]))
    return on_image


def _one_of(stacks: Sequence[NamedStack], chosen: NamedStack) -> tuple[str, ...]:
    if len(stacks) == 1:
        return ()
    return (f"Volume {stacks.index(chosen)} of {len(stacks)} in the series was read: {chosen.name}.",)


def _notes(stack: Stack) -> tuple[str, ...]:
    """Say what a reader of the values or places must know."""
    first = stack.slices[0].instance
    notes = []
    dark = [item.name for item in stack.slices if item.instance.photometric == "MONOCHROME1"]
    if dark:
        some = "" if len(dark) == len(stack.slices) else f" in some slices alone ({named(dark)})"
        notes.append(f"MONOCHROME1{some}: high values are meant to be shown dark; the values are kept as they are.")
    kinds = sorted({item.frame.rescale_type for item in stack.slices} - {""})
    if len(kinds) > 1:
        notes.append(f"The slices hold different quantities ({', '.join(kinds)}); they do not compare.")
    plain = [item.name for item in stack.slices if not _is_rescaled(item)]
    if 0 < len(plain) < len(stack.slices):
        notes.append(f"Not rescaled, where the other slices are: {named(plain)}.")
    if any(item.instance.lossy for item in stack.slices):
        notes.append("The images were compressed with loss; their values are not exactly those of the scanner.")
    notes += dict.fromkeys(item.instance.note for item in stack.slices if item.instance.note)
    if first.concatenation and not first.concatenation.total:
        notes.append("The files are parts of one object and do not say how many there are; the last may be missing.")
    mixed = [word for word in MEASURED_ALIKE if len({item.frame.traits.get(word, "") for item in stack.slices}) > 1]
    if mixed:
        notes.append(f"The slices were not measured alike: they differ in {', '.join(mixed)}.")
    if len(stack.slices) == 2:
        notes.append("Two slices only: whether one is missing between them cannot be checked.")
    return tuple(notes)


def _padding_notes(stack: Stack, layout: Layout) -> tuple[str, ...]:
    """Say which values are none, and what became of them."""
    known = dict.fromkeys(item.instance.padding for item in stack.slices if item.instance.padding)
    if not known:
        return ()
    shown = ", ".join(f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in known)
    resampled = layout.resampling is not None and not any(item.instance.modality_lut for item in stack.slices)
    done = "they hold no data, and nothing is interpolated from them" if resampled else "kept"
    return (f"Pixels outside the scan hold the padding value {shown} (before rescaling); {done}.",)


def _unit(stack: Stack) -> str:
    """Return "HU" for CT whose values were rescaled, as long as the file does not name another type."""
    silent = [item for item in stack.slices if item.frame.rescale_type != "HU"]
    # A table says what it gives; a slice that is neither rescaled nor says what it holds has its stored values.
    is_hu = not any(item.frame.rescale_type or item.instance.modality_lut or not _is_rescaled(item) for item in silent)
    changed = any(item.instance.modality_lut or _is_rescaled(item) for item in stack.slices)
    return "HU" if stack.slices[0].instance.modality == "CT" and changed and is_hu else ""


def _is_rescaled(item: Slice) -> bool:
    return (item.frame.slope, item.frame.intercept) != (1.0, 0.0)


def _refuse_damaged(found: Scan) -> None:
    """Refuse a folder with damaged DICOM files: one of them may be a slice of the series, and nobody would miss it."""
    if found.damaged:
        more = f" ({len(found.damaged) - 1} more are damaged)" if len(found.damaged) > 1 else ""
        raise ReadError(found.damaged[0].reason + more)


def _strangers(found: Scan) -> tuple[str, ...]:
    """Name the files that are no DICOM images: whoever misses a slice can look for it among them."""
    links = [name for name in found.others if name.endswith("/")]
    files = [name for name in found.others if name not in links]
    notes = []
    if files:
        notes.append(f"Left aside: {counted(len(files), 'file')} without DICOM images: {named(files)}.")
    if links:
        notes.append(f"Left aside: {counted(len(links), 'link')} to folders, which are not followed: {named(links)}.")
    return tuple(notes)


def _nothing_found(name: str, found: Scan) -> str:
    if not found.others:
        return f"Folder {name} is empty. Give a folder with DICOM files, or a NIfTI file."
    images = [file for file in found.others if file.lower().endswith((".nii", ".nii.gz", ".hdr", *ITK_SUFFIXES))]
    if images:
        return f"Folder {name} holds no DICOM but other images; give the file itself: {named(images)}."
    return f"Folder {name} holds no DICOM file among its {len(found.others)} files. Give the folder of the scan."
