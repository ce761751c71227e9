"""Scales beside the rescaling of the standard: a volume holds one kind of values and says which others there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_factory import Plan, make_enhanced, make_mosaic, make_series
from lesionlens.io import read


def add_scale_slope(dataset: Dataset) -> None:
    """Write the scale slope of Philips."""
    dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 0.0125)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_private_scale_is_said_and_not_applied(tmp_path: Path, enhanced: bool, scaled: bool) -> None:
    """Philips' own scale gives other numbers than the standard's slope: which ones are meant must not be a guess."""
    plan = Plan(change=lambda dataset, _: add_scale_slope(dataset) if scaled and not enhanced else None)

    def private_frame(frame: Dataset, volume: int) -> None:
        del volume
        inner = Dataset()
        if scaled:
            add_scale_slope(inner)
        frame.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        frame.add_new((0x2005, 0x140F), "SQ", [inner])

    if enhanced:
        make_enhanced(tmp_path / "all.dcm", plan, mark=private_frame)
    else:
        make_series(tmp_path, plan)

    volume = read(tmp_path)

    np.testing.assert_array_equal(volume.array, plan.values())
    assert ("private scale slope of Philips" in " ".join(volume.source.decisions)) is scaled


def mapping(slope: float, intercept: float, unit: str) -> Dataset:
    """Return a real world value mapping."""
    item, code = Dataset(), Dataset()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    if unit:
        code.CodeValue = unit
        item.MeasurementUnitsCodeSequence = [code]
    return item


MAPPED = (
    "A real world value mapping with unit {} is present and not applied; the values are those of the Modality rescale."
)


@pytest.mark.parametrize("enhanced", ["classic", "shared", "each frame"])
@pytest.mark.parametrize(
    ("mappings", "said"),
    [
        ([], ""),
        ([mapping(0.25, 0.0, "mm2/s")], "mm2/s"),
        ([mapping(0.25, 0.0, "")], "unknown"),
        ([mapping(0.25, 0.0, "ms"), mapping(3.0, 1.0, "{SUVbw}g/ml")], "ms, {SUVbw}g/ml"),
        ([mapping(2.0, 1.0, "HU")], ""),
    ],
    ids=["none", "one", "no unit", "two", "that of the rescale"],
)
def test_a_real_world_mapping_is_said_and_not_applied(
    tmp_path: Path, enhanced: str, mappings: list[Dataset], said: str
) -> None:
    """One that gives other numbers than the rescale could be what is meant, so it must not pass in silence."""

    def change(dataset: Dataset, k: int) -> None:
        del k
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, 1
        if mappings:
            dataset.RealWorldValueMappingSequence = mappings

    def frame(group: Dataset, volume: int) -> None:
        del volume
        if mappings:
            group.RealWorldValueMappingSequence = mappings

    if enhanced == "classic":
        make_series(tmp_path, Plan(change=change))
    else:
        make_enhanced(tmp_path / "all.dcm", Plan(), mark=frame if enhanced == "each frame" else None)
        dataset = dcmread(tmp_path / "all.dcm")
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, 1
        if enhanced == "shared" and mappings:
            dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = mappings
        dataset.save_as(tmp_path / "all.dcm")

    volume = read(tmp_path)

    np.testing.assert_array_equal(volume.array, Plan().values() * 2 + 1)
    assert [d for d in volume.source.decisions if "real world" in d] == ([MAPPED.format(said)] if said else [])


def test_a_mosaic_says_it_beside_what_it_assumed_of_its_slices(tmp_path: Path) -> None:
    """Its own note, where the distance of the slices is missing, leaves that of its values where it is."""

    def change(dataset: Dataset, k: int) -> None:
        del k
        dataset.RealWorldValueMappingSequence = [mapping(0.25, 0.0, "ms")]
        del dataset.SpacingBetweenSlices

    make_mosaic(tmp_path / "mosaic", Plan(), change=change)

    (said,) = read(tmp_path).source.decisions

    assert said.startswith(MAPPED.format("ms"))
    assert "thickness" in said
