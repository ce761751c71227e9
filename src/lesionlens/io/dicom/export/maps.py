"""Heatmaps as DICOM parametric maps: the raw values, as 32-bit floating point numbers."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lesionlens.heatmap import Heatmap
from lesionlens.io.boundary import quiet
from lesionlens.io.dicom.codes import (
    CLASS_ACTIVATION,
    FRACTIONAL,
    GRADIENT_WEIGHTED,
    NO_UNITS,
    SALIENCY,
    SCHEME,
)
from lesionlens.io.dicom.export.objects import Place, one_line

__all__ = ["parametric_map"]

_TISSUE = Code("85756007", "SCT", "Tissue")

# What a label of a mapping may hold.
_SHORT = 16

# Width of the window of a map with one value.
_NARROWEST = 1e-6


def parametric_map(place: Place, heatmap: Heatmap) -> Dataset:
    """Return a heatmap as a parametric map: its values as they are, and what they mean."""
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping

    low, high = heatmap.extremes
    method = heatmap.provenance.method
    mapping = RealWorldValueMapping(
        lut_label=heatmap.kind[:_SHORT],
        lut_explanation=one_line(heatmap.label),
        unit=NO_UNITS,
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity_of(heatmap),
    )
    # Only the exact function may be narrower than 1.
    window = VOILUTTransformation(
        window_center=(low + high) / 2, window_width=max(high - low, _NARROWEST), voi_lut_function="LINEAR_EXACT"
    )
    with quiet():
        made: Dataset = ParametricMap(
            source_images=place.frames.images(),
            pixel_array=np.ascontiguousarray(np.moveaxis(heatmap.array, (0, 1, 2), (2, 1, 0)), dtype=np.float32),
            contains_recognizable_visual_features=heatmap.kind in ("feature", "attention"),
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[window],
            content_label=heatmap.kind.upper()[:_SHORT],
            content_description=one_line(f"{heatmap.kind} of {heatmap.label} by {method}"),
            **place.words(),
        )
    _ascend(made)
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy()]
    return made


def _ascend(made: Dataset) -> None:
    """Put the frames in ascending order along their normal: dcmqi takes the order for the place of a frame."""
    frames = list(made.PerFrameFunctionalGroupsSequence)
    positions = np.array([one.PlanePositionSequence[0].ImagePositionPatient for one in frames], dtype=float)
    orientation = made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    row, column = np.array(orientation, dtype=float).reshape(2, 3)
    order = np.argsort(positions @ np.cross(row, column))
    values = np.frombuffer(made.FloatPixelData, dtype="<f4").reshape(len(frames), -1)
    made.FloatPixelData = values[order].tobytes()
    made.PerFrameFunctionalGroupsSequence = [frames[n] for n in order]
    for place, one in enumerate(made.PerFrameFunctionalGroupsSequence, 1):
        one.FrameContentSequence[0].DimensionIndexValues = [place]


def _anatomy() -> Dataset:
    """Return what part of the body a map shows: tissue, as nothing here knows more. dcmqi fails without it."""
    region, item = Dataset(), Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = _TISSUE[:3]
    item.AnatomicRegionSequence, item.FrameLaterality = [region], "U"
    return item


def quantity_of(heatmap: Heatmap) -> Code:
    """Return the code of what the values are; one of LesionLens where the standard has none."""
    if heatmap.kind == "probability":
        return FRACTIONAL
    if heatmap.kind != "attribution":
        return Code(heatmap.kind, SCHEME, heatmap.kind)
    method = heatmap.provenance.method
    if "gradcam" in method.replace("_", ""):
        return GRADIENT_WEIGHTED
    return CLASS_ACTIVATION if "cam" in method else SALIENCY
