"""DICOM parametric maps: frames of real numbers, put together to maps on the map's own grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ParametricMapStorage

from lesionlens.errors import ReadError
from lesionlens.heatmap import Kind
from lesionlens.io.boundary import quiet, reading
from lesionlens.io.dicom.codes import KINDS, SCHEME
from lesionlens.io.dicom.enhanced import enhanced_frames
from lesionlens.io.dicom.header import PYDICOM_ERRORS, text
from lesionlens.io.dicom.parse import parse
from lesionlens.io.dicom.pixels import one_by_one
from lesionlens.io.dicom.planes import lay_out_planes, shared_groups
from lesionlens.io.identity import Identities
from lesionlens.io.limits import read_whole, require_memory
from lesionlens.io.overlay import ForeignMap
from lesionlens.progress import Progress, silent
from lesionlens.volume import Grid, Source, Volume

__all__ = ["PARAMETRIC_MAP", "class_of", "read_parametric_map"]

PARAMETRIC_MAP = str(ParametricMapStorage)

_AGAIN = "Export the map again."

_FLOATS = {"FloatPixelData": "<f4", "DoubleFloatPixelData": "<f8"}


@dataclass(frozen=True)
class _Quantity:
    """What frames of a map show: name, unit, code of the quantity, and how stored values become real ones."""

    label: str
    explanation: str
    unit: str
    scheme: str
    code: str
    slope: float
    intercept: float

    @property
    def kind(self) -> Kind | None:
        """What it is here; None where nothing says so."""
        own = self.code if self.scheme == SCHEME else self.label
        found = KINDS.get((self.scheme, self.code)) or own
        return cast(Kind, found) if found in get_args(Kind) else None

    @property
    def title(self) -> str:
        """What it shows, for people."""
        return self.explanation or self.label


def class_of(path: Path) -> str:
    """Return the SOP class of a DICOM file; empty where it cannot be read."""
    try:
        with reading("", *PYDICOM_ERRORS), quiet(), path.open("rb") as stream:
            return text(parse(stream, tags=[Tag("SOPClassUID")], stop_before_pixels=True), "SOPClassUID")
    except ReadError:
        return ""


def read_parametric_map(
    path: Path, kind: Kind | None = None, *, identified: bool = False, progress: Progress = silent
) -> list[ForeignMap]:
    """Read a DICOM parametric map: one map for each quantity that it holds.

    Parameters
    ----------
    path
        The file.
    kind
        What the values are, where the file does not say so.
    identified
        Keep what leads to the patient in names.
    progress
        Called as frames are read.

    Raises
    ------
    ReadError
        If the file is something else or damaged, its frames do not lie on one regular grid, or nothing says what its
        values are.
    """
    identities = Identities(identified=identified)
    with identities.masking(), reading(f"Cannot read {path.name}", *PYDICOM_ERRORS, todo=_AGAIN), quiet():
        content = read_whole(path, path.name)
        dataset = parse(BytesIO(content))
        identities.remember(dataset)
        name = identities.mask(path.name)
        if text(dataset, "SOPClassUID") != PARAMETRIC_MAP:
            raise ReadError(f"Expected a DICOM parametric map in {name}; found another object. Give the map's file.")
        frames = enhanced_frames(dataset, int(dataset.NumberOfFrames), name)
        grid, k, notes = lay_out_planes(dataset, frames, name)
        source = Source(
            format="dicom",
            files=(name,),
            sha256=hashlib.sha256(content).hexdigest(),
            uids=(text(dataset, "SOPInstanceUID"),),
            modality=text(dataset, "Modality"),
            frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        )
        quantities = [_quantity(own, dataset) for own in dataset.PerFrameFunctionalGroupsSequence]
        values = _stored(dataset, name)
        found: list[ForeignMap] = []
        for quantity in dict.fromkeys(quantities):
            progress("Reading maps", len(found), len(set(quantities)))
            planes = {k[n]: n for n, one in enumerate(quantities) if one == quantity}
            if len(planes) != quantities.count(quantity):
                raise ReadError(f"{name} shows {quantity.title!r} twice on one plane. {_AGAIN}")
            array = _filled(values, planes, quantity, grid, name)
            known = kind or quantity.kind
            if known is None:
                raise ReadError(f"{name} does not say what its values {quantity.title!r} are; say by kind=.")
            unit = "probability" if known == "probability" else quantity.unit
            volume = Volume(array, grid, name=Path(name).stem, unit=unit, source=source)
            found.append(ForeignMap(volume, known, identities.mask(quantity.title), notes=notes))
        return found


def _quantity(own: Dataset, dataset: Dataset) -> _Quantity:
    """Return what a frame shows."""
    keyword = "RealWorldValueMappingSequence"
    item = next(iter(own.get(keyword) or shared_groups(dataset).get(keyword) or []), Dataset())
    defined = next(iter(item.get("QuantityDefinitionSequence") or []), Dataset())
    codes = next(iter(defined.get("ConceptCodeSequence") or []), Dataset())
    units = next(iter(item.get("MeasurementUnitsCodeSequence") or []), Dataset())
    unit = text(units, "CodeValue")
    return _Quantity(
        label=text(item, "LUTLabel"),
        explanation=text(item, "LUTExplanation"),
        unit="" if unit in ("1", "{no units}") else unit,
        scheme=text(codes, "CodingSchemeDesignator"),
        code=text(codes, "CodeValue"),
        slope=float(item.get("RealWorldValueSlope", 1)),
        intercept=float(item.get("RealWorldValueIntercept", 0)),
    )


def _stored(dataset: Dataset, name: str) -> NDArray[Any]:
    """Return the (frame, row, column) values as they are stored."""
    n, shape = int(dataset.NumberOfFrames), (int(dataset.Rows), int(dataset.Columns))
    for keyword, dtype in _FLOATS.items():
        if keyword in dataset:
            values = np.frombuffer(dataset[keyword].value, dtype=dtype)
            if values.size != n * shape[0] * shape[1]:
                raise ReadError(f"{name} holds {values.size} values where it promises {n} frames. {_AGAIN}")
            return values.reshape(n, *shape)
    return np.stack(list(one_by_one(dataset, name, range(n))))


def _filled(
    values: NDArray[Any], planes: dict[int, int], quantity: _Quantity, grid: Grid, name: str
) -> NDArray[np.float32]:
    require_memory(4 * grid.n_voxels, f"A map of {name}")
    array = np.zeros(grid.shape, np.float32, order="F")
    for k, n in planes.items():
        frame = values[n].T
        plain = (quantity.slope, quantity.intercept) == (1, 0)
        array[:, :, k] = frame if plain else frame * quantity.slope + quantity.intercept
    if not np.isfinite(array).all():
        raise ReadError(f"{name} holds values that are not finite. {_AGAIN}")
    return array
