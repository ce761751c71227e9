"""DICOM segmentations: frames that mark the voxels of segments, put together to maps on the segmentation's own grid.

A segmentation leaves out planes on which nothing is marked, so its planes may have gaps; they must lie on one regular,
upright grid all the same. Frames are decoded one by one, and binary segments are packed into as few label maps as hold
them without overlap, so that a hundred organs do not take a hundred volumes of memory.

highdicom reads segmentations as well, and the tests compare with it. It lets a stack lean by 2.5 degrees without a
word, takes a volume of memory for each segment, and more than a second to be imported.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from lesionlens.errors import ReadError
from lesionlens.io.boundary import named, quiet, reading
from lesionlens.io.dicom.enhanced import enhanced_frames
from lesionlens.io.dicom.header import PYDICOM_ERRORS, text
from lesionlens.io.dicom.parse import parse
from lesionlens.io.dicom.pixels import one_by_one
from lesionlens.io.dicom.planes import lay_out_planes, shared_groups
from lesionlens.io.identity import Identities
from lesionlens.io.limits import read_whole, require_memory
from lesionlens.io.overlay import ForeignMap
from lesionlens.progress import Progress, silent
from lesionlens.volume import Source, Volume

__all__ = ["SEGMENTATIONS", "read_segmentation"]

# Segmentation Storage, whose frames belong to one segment each, and Label Map Segmentation Storage.
SEGMENTATIONS = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}

_AGAIN = "Export the segmentation again."


def read_segmentation(path: Path, *, identified: bool = False, progress: Progress = silent) -> list[ForeignMap]:
    """Read a DICOM segmentation: binary, fractional, or of labels.

    Returns
    -------
    list of ForeignMap
        Fractional: a map in [0, 1] for each segment. Else: label maps whose numbers are the segment numbers, as few as
        hold all segments without overlap.

    Raises
    ------
    ReadError
        If the file is something else or damaged, or its frames do not lie on one regular grid.
    """
    identities = Identities(identified=identified)
    with identities.masking(), reading(f"Cannot read {path.name}", *PYDICOM_ERRORS, todo=_AGAIN), quiet():
        content = read_whole(path, path.name)
        dataset = parse(BytesIO(content))
        identities.remember(dataset)
        name = identities.mask(path.name)
        _refuse_other_objects(dataset, name)
        source = Source(
            format="dicom",
            files=(name,),
            sha256=hashlib.sha256(content).hexdigest(),
            uids=(text(dataset, "SOPInstanceUID"),),
            modality="SEG",
            frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        )
        reader = _Reader(dataset, name, source, progress)
        segments = {number: identities.mask(label) for number, label in _segments(dataset).items()}
        if text(dataset, "SegmentationType") == "FRACTIONAL":
            return [_fractions(reader, number, label) for number, label in segments.items()]
        return _label_maps(reader, segments)


def _refuse_other_objects(dataset: Dataset, name: str) -> None:
    class_uid = UID(text(dataset, "SOPClassUID"))
    if class_uid not in SEGMENTATIONS:
        found = class_uid.name or "an object without a class"
        raise ReadError(f"Expected a DICOM segmentation in {name}; found {found}. Give the segmentation's file.")
    kind = text(dataset, "SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise ReadError(f"Expected a binary, fractional or label segmentation in {name}; found {kind!r}. {_AGAIN}")


def _segments(dataset: Dataset) -> dict[int, str]:
    """Return the name of each segment by its number."""
    numbers = [int(item.SegmentNumber) for item in dataset.SegmentSequence]
    labels = [text(item, "SegmentLabel") for item in dataset.SegmentSequence]
    return {n: label or f"segment {n}" for n, label in zip(numbers, labels, strict=True) if n > 0}


class _Reader:
    """The frames of a segmentation: where they lie, and what they mark."""

    def __init__(self, dataset: Dataset, name: str, source: Source, progress: Progress) -> None:
        self.dataset, self.name, self.source = dataset, name, source
        self.of_labels = text(dataset, "SegmentationType") == "LABELMAP"
        frames = enhanced_frames(dataset, int(dataset.NumberOfFrames), name)
        self.owners = [0] * len(frames) if self.of_labels else _owners(dataset)
        self.grid, self.k, self.notes = lay_out_planes(dataset, frames, name)
        self._progress, self._done, self._taken = progress, 0, 0

    def frames_of(self, segment: int) -> dict[int, NDArray[Any]]:
        """Return the (i, j) frames of a segment by slice index; those of labels belong to segment 0."""
        indices = [index for index, owner in enumerate(self.owners) if owner == segment]
        found: dict[int, NDArray[Any]] = {}
        for index, frame in zip(indices, one_by_one(self.dataset, self.name, indices), strict=True):
            self._progress("Reading segments", self._done, len(self.owners))
            self._done += 1
            if self.k[index] in found:
                raise ReadError(f"{self.name} marks segment {segment} twice on one plane. {_AGAIN}")
            found[self.k[index]] = frame.T
        return found

    def empty(self, dtype: type) -> NDArray[Any]:
        """Return zeros on the grid."""
        self._taken += self.grid.n_voxels * np.dtype(dtype).itemsize
        require_memory(self._taken, f"The maps of {self.name}")
        return np.zeros(self.grid.shape, dtype, order="F")

    def volume(self, array: NDArray[Any], unit: str = "") -> Volume:
        """Return an array on the grid."""
        return Volume(array, self.grid, name=Path(self.name).stem, unit=unit, source=self.source)


def _owners(dataset: Dataset) -> list[int]:
    """Return the number of the segment that each frame belongs to."""
    shared = shared_groups(dataset).get("SegmentIdentificationSequence")
    groups = [own.get("SegmentIdentificationSequence") or shared for own in dataset.PerFrameFunctionalGroupsSequence]
    return [int(group[0].ReferencedSegmentNumber) for group in groups]


def _fractions(reader: _Reader, number: int, label: str) -> ForeignMap:
    """Return one fractional segment in [0, 1]."""
    highest = int(reader.dataset.get("MaximumFractionalValue") or 0)
    if not highest:
        raise ReadError(f"{reader.name} is fractional but does not say which value means 1. {_AGAIN}")
    values = reader.empty(np.float32)
    for k, frame in reader.frames_of(number).items():
        if frame.max() > highest:
            raise ReadError(f"{reader.name} holds {frame.max()}, more than its own maximum of {highest}. {_AGAIN}")
        values[:, :, k] = frame / np.float32(highest)
    notes = reader.notes
    if text(reader.dataset, "SegmentationFractionalType") == "OCCUPANCY":
        notes += ("The values are the part of each voxel that the segment takes up, not a probability.",)
    return ForeignMap(reader.volume(values, "probability"), "probability", label, {}, notes)


def _label_maps(reader: _Reader, segments: dict[int, str]) -> list[ForeignMap]:
    layers, names = _labels(reader, segments) if reader.of_labels else _packed(reader, segments)
    return [
        ForeignMap(reader.volume(layer), "mask", named(list(of.values())), of, reader.notes)
        for layer, of in zip(layers, names, strict=True)
    ]


def _labels(reader: _Reader, segments: dict[int, str]) -> tuple[list[NDArray[Any]], list[dict[int, str]]]:
    layer = reader.empty(np.uint16)
    for k, frame in reader.frames_of(0).items():
        layer[:, :, k] = frame
    return [layer], [segments]


def _packed(reader: _Reader, segments: dict[int, str]) -> tuple[list[NDArray[Any]], list[dict[int, str]]]:
    """Put each binary segment into the first label map in which it overlaps no other."""
    layers: list[NDArray[Any]] = []
    names: list[dict[int, str]] = []
    for number, label in segments.items():
        frames = {k: frame != 0 for k, frame in reader.frames_of(number).items()}
        free = (i for i, layer in enumerate(layers) if not any(layer[:, :, k][m].any() for k, m in frames.items()))
        at = next(free, len(layers))
        if at == len(layers):
            layers.append(reader.empty(np.uint16))
            names.append({})
        for k, marked in frames.items():
            layers[at][:, :, k][marked] = number
        names[at][number] = label
    return layers, names
