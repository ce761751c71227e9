"""Parametric maps of other makers: integers with a scale, several quantities in one file, and what is no map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_factory import Plan, make_series, oblique
from lesionlens.errors import ReadError
from lesionlens.io import read, read_overlay
from lesionlens.io.dicom.maps import read_parametric_map
from lesionlens.volume import Volume

PLAN = Plan(shape=(7, 6, 5), orientation=oblique((15, 0, 10)))
ADC = Code("113041", "DCM", "Apparent Diffusion Coefficient")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, list[Dataset]]:
    """Return a scan, and its images for highdicom."""
    folder = tmp_path_factory.mktemp("scan")
    images = [dcmread(path) for path in make_series(folder, PLAN)]
    for image in images:
        for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            setattr(image, keyword, "")
    return read(folder), images


def mapping(label: str, quantity: Code, slope: float, intercept: float, *, real: bool) -> Any:
    """Return how stored values become real ones."""
    return hd.pm.RealWorldValueMapping(
        lut_label=label,
        lut_explanation=f"{label} of another maker",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1e4) if real else (0, 10_000),
        slope=slope,
        intercept=intercept,
        quantity_definition=quantity,
    )


def write_map(
    path: Path,
    images: list[Dataset],
    values: NDArray[Any],
    mappings: Any,
    change: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write (i, j, k) or (i, j, k, quantity) values by highdicom."""
    made = hd.pm.ParametricMap(
        source_images=images,
        pixel_array=np.ascontiguousarray(np.moveaxis(values, (0, 1, 2), (2, 1, 0))),
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="other",
        manufacturer_model_name="other",
        software_versions="1",
        device_serial_number="1",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=mappings,
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=1, window_width=2)],
    )
    if change:
        change(made)
    made.save_as(path)
    return path


def random_values(*shape: int) -> NDArray[np.uint16]:
    """Return numbers that a byte does not hold."""
    return np.random.default_rng(3).integers(0, 10_000, shape).astype(np.uint16)


def test_integers_become_real_values(scan: tuple[Volume, list[Dataset]], tmp_path: Path) -> None:
    """Stored whole numbers are scaled as the file says, and lie where their frames lie."""
    volume, images = scan
    stored = random_values(*PLAN.shape)
    saliency = mapping("saliency", codes.DCM.Saliency, 0.25, -500, real=False)
    (found,) = read_overlay(write_map(tmp_path / "map.dcm", images, stored, [saliency]), volume)

    np.testing.assert_array_equal(found.array, (stored * 0.25 - 500).astype(np.float32))
    assert (found.kind, found.label, found.signed) == ("attribution", "saliency of another maker", True)


def test_double_precision_is_rounded_once(scan: tuple[Volume, list[Dataset]], tmp_path: Path) -> None:
    """Numbers of 64 bits become the nearest of 32."""
    volume, images = scan
    stored = np.random.default_rng(1).uniform(0, 1, PLAN.shape)
    fraction = mapping("p", codes.DCM.FractionalProbabilisticSegmentation, 1, 0, real=True)
    (found,) = read_overlay(write_map(tmp_path / "map.dcm", images, stored, [fraction]), volume)

    np.testing.assert_array_equal(found.array, stored.astype(np.float32))
    assert (found.kind, found.volume.unit) == ("probability", "probability")


def test_several_quantities_are_several_maps(scan: tuple[Volume, list[Dataset]], tmp_path: Path) -> None:
    """One file may hold the maps of several classes; their frames are told apart."""
    volume, images = scan
    stored = random_values(*PLAN.shape, 2)
    mappings = [[mapping(f"class {n}", codes.DCM.ClassActivation, 1, n, real=False)] for n in range(2)]
    found = read_overlay(write_map(tmp_path / "map.dcm", images, stored, mappings), volume)

    assert [one.label for one in found] == ["class 0 of another maker", "class 1 of another maker"]
    for n, one in enumerate(found):
        np.testing.assert_array_equal(one.array, (stored[..., n] + n).astype(np.float32))


def test_what_values_are_is_never_guessed(scan: tuple[Volume, list[Dataset]], tmp_path: Path) -> None:
    """A diffusion coefficient is none of the kinds; somebody has to say as what it is to be shown."""
    volume, images = scan
    path = write_map(tmp_path / "map.dcm", images, random_values(*PLAN.shape), [mapping("ADC", ADC, 1, 0, real=False)])

    with pytest.raises(ReadError, match=r"does not say what its values 'ADC of another maker' are; say by kind="):
        read_overlay(path, volume)
    (found,) = read_overlay(path, volume, kind="feature")
    assert found.kind == "feature"


def _drop_a_frame(dataset: Dataset) -> None:
    dataset.FloatPixelData = dataset.FloatPixelData[:-4]


def _not_finite(dataset: Dataset) -> None:
    dataset.FloatPixelData = np.full(7 * 6 * 5, np.nan, "<f4").tobytes()


@pytest.mark.parametrize(("change", "says"), [(_drop_a_frame, "209 values where"), (_not_finite, "not finite")])
def test_damage_is_named(
    scan: tuple[Volume, list[Dataset]], tmp_path: Path, change: Callable[[Dataset], None], says: str
) -> None:
    """A map that lost its end, or holds no numbers, is refused."""
    _, images = scan
    real = [mapping("p", codes.DCM.ClassActivation, 1, 0, real=True)]
    path = write_map(tmp_path / "map.dcm", images, np.ones(PLAN.shape, np.float32), real, change)

    with pytest.raises(ReadError, match=says):
        read_parametric_map(path)


def test_another_object_is_no_map(scan: tuple[Volume, list[Dataset]], tmp_path: Path) -> None:
    """An image in the place of a map is named."""
    scan[1][0].save_as(tmp_path / "image.dcm")

    with pytest.raises(ReadError, match=r"Expected a DICOM parametric map in image\.dcm"):
        read_parametric_map(tmp_path / "image.dcm")
