"""The frames of a source series as new objects take them over: their places, and references to them.

highdicom takes places, patient and references from the headers of the images that an object was made from, and knows
classic images and enhanced ones, but no part of an enhanced file, no mosaic, and no plane between two slices. So it is
given one plain image for each plane, with a name of its own, and afterwards each name is replaced by the files and
frames that the plane comes from.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

from lesionlens.errors import OutputError
from lesionlens.io.boundary import quiet
from lesionlens.io.dicom.export.patient import Pseudonyms, patient_header
from lesionlens.io.dicom.geometry import Stack
from lesionlens.io.dicom.irregular import Layout
from lesionlens.io.dicom.parse import parse
from lesionlens.io.dicom.reader import read_with_slices
from lesionlens.io.dicom.slices import LPS_TO_RAS, Slice, orientation_of, position_of
from lesionlens.io.policy import Wanted
from lesionlens.progress import Progress, silent
from lesionlens.volume import Volume

__all__ = ["Reference", "SourceFrames", "read_frames"]

# Sequences whose items may point at single frames of a file; all others point at whole files.
_OF_FRAMES = frozenset({"DerivationImageSequence", "ContentSequence"})

# Decimals of the numbers that are written: a nanometre, and fewer letters than DICOM has room for.
_DECIMALS = 6


@dataclass(frozen=True)
class Reference:
    """A source image: its SOP class, file, and number in the file from 1, or 0 where the file holds it alone."""

    class_uid: str
    uid: str
    frame: int = 0


@dataclass(frozen=True, eq=False)
class SourceFrames:
    """Where the planes of a scan lie, whose it is, and which images they are.

    Parameters
    ----------
    volume
        The scan; plane k of every object is ``array[:, :, k]``.
    header
        Patient and study, as new objects are to name them.
    series_uid, frame_of_reference
        As new objects are to name them.
    positions
        (k, 3) centre of the first pixel of each plane, LPS mm.
    orientation
        (6,) directions of growing column index and of growing row index, LPS.
    spacing_mm
        Between rows, between columns.
    thickness_mm
        Of each plane.
    references
        For each plane the images that it was made from.
    own
        Whether the planes are the source's own images; else they were computed from them.
    """

    volume: Volume
    header: Dataset
    series_uid: str
    frame_of_reference: str
    positions: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    thickness_mm: float
    references: tuple[tuple[Reference, ...], ...]
    own: bool
    _names: dict[str, tuple[Reference, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = {str(generate_uid(prefix=None)): of_plane for of_plane in self.references}
        object.__setattr__(self, "_names", names)

    @property
    def study_uid(self) -> str:
        """The study, as new objects are to name it."""
        return str(self.header.StudyInstanceUID)

    @property
    def files(self) -> tuple[Reference, ...]:
        """The files of the series, each once."""
        every = (replace(one, frame=0) for of_plane in self.references for one in of_plane)
        return tuple(dict.fromkeys(every))

    def images(self) -> list[Dataset]:
        """Return the header of a plain image for each plane, for highdicom; see :meth:`settle`."""
        columns, rows, _ = self.volume.grid.shape
        found: list[Dataset] = []
        for name, position in zip(self._names, self.positions.tolist(), strict=True):
            image = deepcopy(self.header) if not found else Dataset()
            image.SOPClassUID = CTImageStorage if self.volume.source.modality == "CT" else MRImageStorage
            image.SOPInstanceUID, image.SeriesInstanceUID = name, self.series_uid
            image.StudyInstanceUID, image.FrameOfReferenceUID = self.study_uid, self.frame_of_reference
            image.Modality, image.Rows, image.Columns = self.volume.source.modality or "OT", rows, columns
            image.ImagePositionPatient = position
            image.ImageOrientationPatient = self.orientation.tolist()
            image.PixelSpacing, image.SliceThickness = list(self.spacing_mm), self.thickness_mm
            found.append(image)
        return found

    def settle(self, dataset: Dataset, *, frames: bool = False) -> None:
        """Replace the names of plain images by the files and frames that they stand for, in all sequences."""
        for element in dataset:
            if element.VR != "SQ":
                continue
            inside = frames or element.keyword in _OF_FRAMES
            for item in element.value:
                self.settle(item, frames=inside)
            if any(item.get("ReferencedSOPInstanceUID") in self._names for item in element.value):
                element.value = list(self._settled(element.value, frames=inside))

    def _settled(self, items: Iterable[Dataset], *, frames: bool) -> Iterable[Dataset]:
        done: set[Reference] = set()
        for item in items:
            for reference in self._names.get(item.ReferencedSOPInstanceUID, ()):
                one = reference if frames else replace(reference, frame=0)
                if one in done:
                    continue
                done.add(one)
                yield self._pointing(item, one)
            if item.ReferencedSOPInstanceUID not in self._names:
                yield item

    def _pointing(self, item: Dataset, reference: Reference) -> Dataset:
        found = deepcopy(item)
        found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = reference.class_uid, reference.uid
        if reference.frame:
            found.ReferencedFrameNumber = reference.frame
        if "SpatialLocationsPreserved" in found:
            found.SpatialLocationsPreserved = "YES" if self.own else "NO"
        return found


def read_frames(
    path: Path, wanted: Wanted, pseudonyms: Pseudonyms | None, *, progress: Progress = silent
) -> SourceFrames:
    """Read a series, and what new objects need of it.

    Parameters
    ----------
    path, wanted
        As for :func:`~lesionlens.io.dicom.reader.read_dicom`.
    pseudonyms
        What stands for the patient and for UIDs; None to name the patient.
    progress
        Called as headers and slices are read.

    Raises
    ------
    ReadError
        If there is no such series.
    OutputError
        If its images cannot be told apart by where they lie.
    """
    volume, stack, layout = read_with_slices(path, wanted, progress=progress)
    if stack.tangled:
        raise OutputError(
            f"{volume.name} has several images at one place, or images in several orientations; DICOM objects cannot"
            " be laid over them. Separate them into series, and run those."
        )
    first = stack.slices[0].instance
    with quiet(), first.path.open("rb") as stream:
        header = patient_header(parse(stream, stop_before_pixels=True), pseudonyms)

    def named(uid: str) -> str:
        return uid if pseudonyms is None else pseudonyms.uid(uid)

    frame_of_reference = first.frame_of_reference or generate_uid(entropy_srcs=[first.series_uid, "frame"])
    references = [
        tuple(replace(reference, uid=named(reference.uid)) for reference in of_plane)
        for of_plane in _references(stack, layout)
    ]
    between_rows, between_columns = stack.slices[0].frame.spacing or (1.0, 1.0)
    return SourceFrames(
        volume=volume,
        header=header,
        series_uid=named(first.series_uid),
        frame_of_reference=named(frame_of_reference),
        positions=_positions(stack, layout),
        orientation=orientation_of(stack.slices[0]),
        spacing_mm=(between_rows, between_columns),
        thickness_mm=round(stack.typical_mm, _DECIMALS),
        references=tuple(references),
        own=layout.resampling is None and not _is_tiled(stack.slices[0]),
    )


def _positions(stack: Stack, layout: Layout) -> NDArray[np.float64]:
    """Return the (k, 3) places of the planes: those of the slices, or of the grid that they were resampled onto."""
    if layout.resampling is None:
        return np.array([position_of(item) for item in stack.slices])
    affine = LPS_TO_RAS @ layout.grid.affine
    places: NDArray[np.float64] = affine[:3, 3] + np.outer(np.arange(layout.grid.shape[2]), affine[:3, 2])
    return places.round(_DECIMALS)


def _references(stack: Stack, layout: Layout) -> list[tuple[Reference, ...]]:
    if layout.resampling is None:
        return [(_reference(item),) for item in stack.slices]
    return [
        tuple(_reference(stack.slices[k]) for k in (made_of or layout.resampling.nearest(plane)))
        for plane, made_of in enumerate(
            tuple(k for k, _ in weights) for weights in layout.resampling.weights(layout.grid.shape[2])
        )
    ]


def _reference(item: Slice) -> Reference:
    several = item.instance.n_frames > 1 and not _is_tiled(item)
    return Reference(item.instance.class_uid, item.instance.uid, item.frame.index + 1 if several else 0)


def _is_tiled(item: Slice) -> bool:
    return item.instance.tiles != (1, 1)
