"""Scales that a file has beside the rescaling of the standard: said, and not applied.

A volume holds the stored values after the Modality rescale or Modality LUT (PS3.3 C.11.1). Real world value mappings
(C.7.6.16.2.11) and makers' private scales lead to other numbers; which ones are meant must not be guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from lesionlens.io.dicom.elements import value_of
from lesionlens.io.dicom.traits import has_private_scale, trait

__all__ = ["scale_notes"]

_PRIVATE_SCALE = (
    "The values are those of the standard's slope; the private scale slope of Philips, which makes several scans "
    "comparable, is not applied."
)

_MAPPING = "RealWorldValueMappingSequence"


def scale_notes(dataset: Dataset, rescaled: Sequence[tuple[float, float]]) -> Iterator[str]:
    """Yield a sentence for each scale that is present and would give other values.

    Parameters
    ----------
    dataset
        A header, with functional groups where it has them.
    rescaled
        Slope and intercept of each image of the file.
    """
    if has_private_scale(dataset):
        yield _PRIVATE_SCALE
    units = list(dict.fromkeys(_other_units(dataset, set(rescaled))))
    if units:
        yield (
            f"A real world value mapping with unit {', '.join(units)} is present and not applied; the values are those "
            "of the Modality rescale."
        )


def _other_units(dataset: Dataset, rescaled: set[tuple[float, float]]) -> Iterator[str]:
    """Yield the unit of each mapping that gives other values than the rescaling of all images does."""
    for item in _mappings(dataset):
        mapped = tuple(value_of(item, f"RealWorldValue{part}") for part in ("Slope", "Intercept"))
        if {mapped} != rescaled:
            units = value_of(item, "MeasurementUnitsCodeSequence") or [Dataset()]
            yield trait(value_of(units[0], "CodeValue")) or "unknown"


def _mappings(dataset: Dataset) -> Iterator[Dataset]:
    """Yield the mappings of a classic image, or of all frames of a file with functional groups."""
    yield from value_of(dataset, _MAPPING) or []
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in value_of(dataset, groups) or []:
            yield from value_of(group, _MAPPING) or []
