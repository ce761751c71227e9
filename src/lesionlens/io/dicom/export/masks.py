"""Regions as DICOM segmentations, one segment each; probabilities as fractional ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lesionlens.io.boundary import quiet
from lesionlens.io.dicom.export.objects import Algorithm, Place, category_of, one_line, type_of
from lesionlens.volume import Array

__all__ = ["FRACTION_STEPS", "Making", "Segment", "fractional_segmentation", "numbered", "segmentation", "tracking_uid"]

# A byte holds 0 to 255: a fraction is the nearest of so many steps, so off by half a step at most.
FRACTION_STEPS = 255

# What the name of a segment may hold.
_NAME_LETTERS = 64

#: In DICOM's words: by the model, by a reader over what the model drew, by a reader alone.
Making = Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]


@dataclass(frozen=True)
class Segment:
    """One segment: its class, its name, by what it is followed from object to object, and who drew it."""

    label: str
    name: str
    tracking_uid: str = ""
    made: Making = "AUTOMATIC"


def numbered(label: str, number: int) -> str:
    """Return the name of a region as DICOM has room for it, which ends in its number."""
    return f"{one_line(label, _NAME_LETTERS - len(f' {number}'))} {number}"


def tracking_uid(*facts: str) -> str:
    """Return a UID by which a region is followed: the same for the same facts."""
    return str(generate_uid(entropy_srcs=list(facts)))


def segmentation(place: Place, labels: Array, segments: Sequence[Segment], algorithm: Algorithm) -> Dataset:
    """Return regions as a binary segmentation.

    Parameters
    ----------
    place
        Where it belongs.
    labels
        (i, j, k) whole numbers on the grid of the scan; n is ``segments[n - 1]``.
    segments
        What they are; at least one.
    algorithm
        What made them.
    """
    described = [_description(n, one, algorithm) for n, one in enumerate(segments, 1)]
    return _made(place, np.asarray(labels, dtype=np.uint16), described, "BINARY", "REGIONS")


def fractional_segmentation(place: Place, values: NDArray[np.float32], segment: Segment, algorithm: Algorithm) -> Any:
    """Return probabilities in [0, 1], (i, j, k), as a fractional segmentation of one segment."""
    described = [_description(1, segment, algorithm)]
    bounded = np.clip(np.asarray(values, dtype=np.float32), 0, 1)[..., np.newaxis]
    return _made(place, bounded, described, "FRACTIONAL", "PROBABILITY")


def _made(place: Place, array: Array, described: list[Any], kind: str, content: str) -> Dataset:
    from highdicom.seg import Segmentation

    with quiet():
        made: Dataset = Segmentation(
            source_images=place.frames.images(),
            pixel_array=np.ascontiguousarray(np.moveaxis(array, (0, 1, 2), (2, 1, 0))),
            segmentation_type=kind,
            segment_descriptions=described,
            content_label=content,
            max_fractional_value=FRACTION_STEPS,
            **place.words(),
        )
    return made


def _description(number: int, segment: Segment, algorithm: Algorithm) -> Any:
    from highdicom.seg import SegmentDescription

    return SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=category_of(segment.label),
        segmented_property_type=type_of(segment.label),
        algorithm_type=segment.made,
        algorithm_identification=None if segment.made == "MANUAL" else algorithm.identification(),
        tracking_uid=segment.tracking_uid or None,
        tracking_id=segment.name if segment.tracking_uid else None,
    )
