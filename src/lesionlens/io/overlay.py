"""Masks and probability maps from elsewhere, brought to the grid of a scan."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from lesionlens import __version__
from lesionlens.errors import OtherFrameError, ReadError
from lesionlens.heatmap import Heatmap, Kind, LabelMap, Provenance
from lesionlens.io.reader import existing_path, is_dicom, read
from lesionlens.progress import Progress, silent
from lesionlens.volume import Volume, resample

__all__ = ["ForeignMap", "is_dicom_overlay", "read_overlay"]

# An image with more different whole numbers than this is a scan, not a mask: FreeSurfer's atlases, the largest in use,
# have about 200 labels.
MOST_LABELS = 1024
# Of neighbours inside of an atlas nearly all have one label (0.99 in a CT atlas of 41 organs), of those in a scan
# hardly any have one value (0.03 to 0.06). A mask of few labels may be a speckle, so only files of more are asked.
LEAST_ALIKE = 0.5
FEW_LABELS = 16

# Labels are resampled in single precision, which holds whole numbers exactly up to here.
LARGEST_LABEL = 2**24


@dataclass(frozen=True, eq=False)
class ForeignMap:
    """A map as its file holds it, on its own grid.

    Parameters
    ----------
    volume
        Labels or values.
    kind
        ``"mask"``, or a kind of heatmap.
    label, names
        What the map shows, and what its numbers mean.
    notes
        What a reader must know: one sentence each.
    """

    volume: Volume
    kind: Kind | Literal["mask"]
    label: str
    names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.volume.source.files[-1]


@overload
def read_overlay(
    path: str | os.PathLike[str],
    volume: Volume,
    *,
    kind: Literal["mask"],
    label: str | None = None,
    stack: str | int | None = None,
    other_frame: bool = False,
    identified: bool = False,
    progress: Progress = silent,
) -> list[LabelMap]: ...


@overload
def read_overlay(
    path: str | os.PathLike[str],
    volume: Volume,
    *,
    kind: Kind,
    label: str | None = None,
    stack: str | int | None = None,
    other_frame: bool = False,
    identified: bool = False,
    progress: Progress = silent,
) -> list[Heatmap]: ...


@overload
def read_overlay(
    path: str | os.PathLike[str],
    volume: Volume,
    *,
    kind: Kind | Literal["mask"] | None = None,
    label: str | None = None,
    stack: str | int | None = None,
    other_frame: bool = False,
    identified: bool = False,
    progress: Progress = silent,
) -> list[Heatmap | LabelMap]: ...


def read_overlay(
    path: str | os.PathLike[str],
    volume: Volume,
    *,
    kind: Kind | Literal["mask"] | None = None,
    label: str | None = None,
    stack: str | int | None = None,
    other_frame: bool = False,
    identified: bool = False,
    progress: Progress = silent,
) -> list[LabelMap] | list[Heatmap] | list[Heatmap | LabelMap]:
    """Read masks or maps that another program or a reader made, on the grid of a scan.

    A map on the scan's grid is taken as it is. Any other is resampled through both affines, masks to the nearest voxel,
    other maps trilinearly; ``provenance.notes`` of the result says so. Beyond the map's own grid the result is 0.

    Parameters
    ----------
    path
        A NIfTI, NRRD or MetaImage file, a DICOM segmentation, parametric map, or report of
        findings (TID 1500) whose segmentations lie beside it.
    volume
        The scan.
    kind
        What an image file holds: ``"mask"`` (whole numbers, 0 outside) or a kind of
        :class:`~lesionlens.heatmap.Heatmap`. By default whole numbers from 0 are a mask, and other numbers within
        [0, 1] a probability map. A DICOM segmentation says itself what it holds, a parametric map most often.
    label
        What the map shows; by default the file's name, or the names of the segments.
    stack
        Which of several volumes in one image file.
    other_frame
        Accept a DICOM segmentation whose frame of reference is not the scan's: somebody knows that both lie in the same
        space all the same.
    identified
        Keep what leads to the patient in the names of files and segments; see :func:`~lesionlens.io.read`.
    progress
        Called as files are read.

    Returns
    -------
    list of Heatmap or LabelMap
        One map for an image file, one for each quantity of a parametric map. For a DICOM segmentation one heatmap for
        each fractional segment, or as few label maps as hold the binary segments without overlap.

    Raises
    ------
    ReadError
        If the file cannot be read as a map, lies in another frame of reference, or nowhere on the scan.

    Examples
    --------
    >>> (mask,) = read_overlay("lesions.nii.gz", volume)                      # doctest: +SKIP
    >>> for region in measure(volume, mask):                                  # doctest: +SKIP
    ...     print(region.label, region.volume_mm3)
    """
    place = existing_path(path)
    if place.is_dir():
        raise ReadError(f"Expected the file of a mask or map; {place.name} is a folder. Give the file itself.")
    if is_dicom(place):
        found = _objects(place, kind, stack, identified, progress)
        found = [replace(one, label=label) for one in found] if label else found
    else:
        found = [_foreign(read(place, stack=stack, identified=identified, progress=progress), kind, label)]
    return [_on_scan(one, volume, other_frame=other_frame) for one in found]


def _objects(
    place: Path, kind: Kind | Literal["mask"] | None, stack: str | int | None, identified: bool, progress: Progress
) -> list[ForeignMap]:
    """Read a DICOM segmentation, parametric map, or report whose findings are marked in segmentations beside it."""
    from lesionlens.io.dicom.findings import REPORTS, read_reported_masks
    from lesionlens.io.dicom.maps import PARAMETRIC_MAP, class_of, read_parametric_map
    from lesionlens.io.dicom.seg import read_segmentation

    found = class_of(place)
    if found == PARAMETRIC_MAP and kind != "mask" and stack is None:
        return read_parametric_map(place, kind, identified=identified, progress=progress)
    if kind is not None or stack is not None:
        raise ReadError(f"{place.name} says itself what it holds; leave out kind= and stack=.")
    if found in REPORTS:
        return read_reported_masks(place, identified=identified, progress=progress)
    return read_segmentation(place, identified=identified, progress=progress)


def is_dicom_overlay(path: Path) -> bool:
    """Say whether a file is a DICOM segmentation, parametric map or report, which are laid over a scan."""
    if not path.is_file() or not is_dicom(path):
        return False
    from lesionlens.io.dicom.findings import REPORTS
    from lesionlens.io.dicom.maps import PARAMETRIC_MAP, class_of
    from lesionlens.io.dicom.seg import SEGMENTATIONS

    return class_of(path) in {PARAMETRIC_MAP, *SEGMENTATIONS, *REPORTS}


def _foreign(image: Volume, kind: Kind | Literal["mask"] | None, label: str | None) -> ForeignMap:
    """Find out what an image file holds."""
    found = ForeignMap(image, kind or _guess(image), label or image.name, notes=image.source.decisions)
    if found.kind == "mask":
        _check_labels(image.array, found.file)
        if kind is None:
            _check_no_scan(image.array, found.file)
        return replace(found, volume=image.with_array(image.array.astype(np.int32, copy=False), unit=""))
    unit = "probability" if found.kind == "probability" else ""
    return replace(found, volume=image.with_array(image.array.astype(np.float32, copy=False), unit=unit))


def _guess(image: Volume) -> Kind | Literal["mask"]:
    if Path(image.source.files[-1]).name.startswith("difference_"):
        return "difference"  # as comparisons name their maps: nothing in the numbers tells them from attributions
    low, high = image.array.min(), image.array.max()
    if low >= 0 and _is_whole(image.array):
        return "mask"
    if low >= 0 and high <= 1:
        return "probability"
    raise ReadError(
        f"Expected a mask (whole numbers from 0) or probabilities (from 0 to 1) in {image.source.files[-1]}; found "
        f"values from {low:g} to {high:g}. Say by kind= what it holds, or give the mask's file."
    )


def _is_whole(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "iu" or bool(np.array_equal(array, np.rint(array)))


def _check_labels(array: NDArray[Any], file: str) -> None:
    if not _is_whole(array) or array.min() < 0 or array.max() > LARGEST_LABEL:
        raise ReadError(
            f"Expected a mask in {file}, whole numbers from 0 to {LARGEST_LABEL:,}; found {array.dtype} from "
            f"{array.min():g} to {array.max():g}. Give the mask's file, or say by kind= what this one holds."
        )
    if array.max() > MOST_LABELS and len(np.unique(array)) > MOST_LABELS:
        raise ReadError(
            f"Expected a mask in {file}; found more than {MOST_LABELS} different numbers, as a scan has them. "
            "Give the mask's file."
        )


def _check_no_scan(array: NDArray[Any], file: str) -> None:
    """Refuse whole numbers that change from voxel to voxel, unless somebody says that they are labels."""
    if array.max() <= FEW_LABELS or len(np.unique(array)) <= FEW_LABELS:
        return
    alike = inside = 0
    for axis in range(array.ndim):
        first, second = np.moveaxis(array, axis, 0)[:-1], np.moveaxis(array, axis, 0)[1:]
        both = (first != 0) & (second != 0)
        inside += int(np.count_nonzero(both))
        alike += int(np.count_nonzero(both & (first == second)))
    if alike < LEAST_ALIKE * inside:
        raise ReadError(
            f"Expected a mask in {file}; found numbers that change from voxel to voxel, as in a scan: of neighbours"
            f" that are not 0 only {100 * alike / inside:.0f} % are alike. Give the mask's file, or say kind='mask'."
        )


def _on_scan(found: ForeignMap, scan: Volume, *, other_frame: bool) -> Heatmap | LabelMap:
    spaces = _space_notes(found, scan, other_frame=other_frame)
    array, notes = _resampled(found, scan)
    source = found.volume.source
    provenance = Provenance(
        method="read from a file",
        options={"file": found.file, "sha256": source.sha256, "format": source.format, "stack": source.stack},
        versions={"lesionlens": __version__},
        notes=(*found.notes, *spaces, *notes),
    )
    on_grid = scan.with_array(array, name=found.label, unit=found.volume.unit)
    if found.kind == "mask":
        return LabelMap(on_grid, found.label, found.names, provenance)
    return Heatmap(on_grid, found.kind, found.label, signed=bool(array.min() < 0), provenance=provenance)


def _space_notes(found: ForeignMap, scan: Volume, *, other_frame: bool) -> tuple[str, ...]:
    """Return what had to be assumed about the spaces of both; refuse spaces that are known to differ."""
    mine, its = scan.source.frame_of_reference, found.volume.source.frame_of_reference
    if mine and its and mine != its:
        if not other_frame:
            raise OtherFrameError(
                f"{found.file} lies in another frame of reference than the scan {scan.name!r}, so their positions "
                "cannot be compared. Give the scan that it was made on; or, where both are known to lie in one space, "
                "other_frame=True or --other-frame."
            )
        return (f"{found.file} and the scan have different frames of reference; they were compared all the same.",)
    if (mine and its) or found.volume.grid.same_as(scan.grid):
        return ()
    return (f"Whether {found.file} and the scan share a frame of reference is not on record; it was assumed.",)


def _resampled(found: ForeignMap, scan: Volume) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the map on the scan's grid, and what was done to bring it there."""
    image, is_mask = found.volume, found.kind == "mask"
    if image.grid.same_as(scan.grid):
        return image.array, ()
    array = resample(image.array, image.grid, scan.grid, order=0 if is_mask else 1, fill=np.nan)
    outside = np.isnan(array)
    if outside.all():
        raise ReadError(
            f"{found.file} lies nowhere on the scan {scan.name!r}: their grids do not overlap. "
            "Give the map that belongs to this scan."
        )
    array[outside] = 0
    how = "nearest voxel" if is_mask else "trilinear"
    note = f"Resampled ({how}) from {_size(image)} to {_size(scan)}; covers {1 - outside.mean():.0%} of the scan."
    if not is_mask:
        return array, (note,)
    labels = array.astype(np.int32)
    return labels, (note, f"Marked before: {_marked_ml(image)}, on the scan's grid: {_marked_ml(scan, labels)}.")


def _marked_ml(image: Volume, labels: NDArray[Any] | None = None) -> str:
    marked = np.count_nonzero(image.array if labels is None else labels)
    return f"{marked * image.grid.voxel_volume_mm3 / 1000:.4g} mL"


def _size(volume: Volume) -> str:
    shape = " x ".join(map(str, volume.grid.shape))
    return f"{shape} voxels of {' x '.join(f'{mm:.3g}' for mm in volume.grid.spacing_mm)} mm"
