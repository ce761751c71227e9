from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_factory import AXIAL, SAGITTAL, Plan, make_enhanced, make_series, make_slice, oblique
from lesionlens.errors import IrregularSeriesError, ReadError
from lesionlens.io import list_series, read
from lesionlens.volume import GeometryVerdict

NAMES: Callable[[int], str] = "slice-{}".format


def refusal(folder: Path, plan: Plan) -> tuple[str, GeometryVerdict]:
    """Return the message of the refusal, and the verdict that the list gives."""
    make_series(folder, plan, names=NAMES)
    with pytest.raises(IrregularSeriesError, match="do not lie on one regular grid") as caught:
        read(folder)
    (info,) = list_series(folder)
    assert isinstance(info.verdict, GeometryVerdict)
    assert not info.readable
    assert "\n" not in str(caught.value)
    return str(caught.value), info.verdict


def test_a_gap_is_refused_with_its_place_and_size(tmp_path: Path) -> None:
    """A missing slice would shift everything above it by one step."""
    steps = (0.0, 2.5, 5.0, 10.0, 12.5)

    message, verdict = refusal(tmp_path, Plan(offsets=tuple((0.0, 0.0, z) for z in steps)))

    assert "gap: between k=2 and k=3 (slice-2, slice-3) 5 mm instead of 2.5 mm" in message
    assert verdict.worst_error_mm == pytest.approx(2.5)
    assert "worst position error 2.5 mm" in message


def test_a_tilt_is_refused_with_its_angle(tmp_path: Path) -> None:
    """Slices stacked at an angle to their normal would be sheared into a box."""
    angle = np.radians(10.0)
    offsets = tuple((0.0, -2.5 * k * np.sin(angle), 2.5 * k * np.cos(angle)) for k in range(5))

    message, verdict = refusal(tmp_path, Plan(offsets=offsets))

    assert "tilt: the slices are stacked 10 degrees off their normal, 1.74 mm sideways from k=0 to k=4" in message
    assert verdict.worst_error_mm == pytest.approx(4 * 2.5 * np.sin(angle), abs=1e-5)


def test_a_gap_in_a_tilted_series_is_reported_beside_the_tilt(tmp_path: Path) -> None:
    """All that is wrong is said at once."""
    offsets = tuple((0.5 * k, 0.0, 2.0 * k) for k in (0, 1, 2, 3, 4, 6))

    message, _ = refusal(tmp_path, Plan(shape=(7, 6, 6), offsets=offsets))

    assert "gap: between k=4 and k=5" in message
    assert "tilt: the slices are stacked 14 degrees" in message


def test_duplicates_are_refused_by_name(tmp_path: Path) -> None:
    """Two different images at one place: one of them would silently win."""
    offsets = tuple((0.0, 0.0, z) for z in (0.0, 2.5, 2.5, 5.0, 7.5))

    message, verdict = refusal(tmp_path, Plan(offsets=offsets))

    assert "duplicate slices at one position: k=1 and k=2 (slice-1, slice-2)" in message
    assert verdict.worst_error_mm == pytest.approx(2.5)


def test_time_points_in_one_enhanced_file_are_refused(tmp_path: Path) -> None:
    """Frames that repeat positions are a time series, whatever the file calls them."""
    make_enhanced(tmp_path / "all.dcm", Plan(), order=[0, 1, 2, 3, 4, 0, 1, 2, 3, 4])

    with pytest.raises(IrregularSeriesError, match="2 images at each of 5 positions"):
        read(tmp_path)


def test_mixed_orientation_is_refused_with_the_strays(tmp_path: Path) -> None:
    """A slice that lies another way cannot be part of the volume."""

    def turn(dataset: Dataset, k: int) -> None:
        dataset.ImageOrientationPatient = list(SAGITTAL if k == 3 else AXIAL)

    message, verdict = refusal(tmp_path, Plan(change=turn))

    assert "mixed orientation: 4 slices lie one way, 1 another: k=3 (slice-3)" in message
    # The far corner, 6 columns of 0.8 mm and 5 rows of 1.1 mm away: each edge vector turns by 90 degrees.
    assert verdict.worst_error_mm == pytest.approx(np.sqrt(2) * (6 * 0.8 + 5 * 1.1))


def test_uneven_distances_are_refused(tmp_path: Path) -> None:
    """Distances that grow slice by slice have no single missing slice to name."""
    offsets = tuple((0.0, 0.0, z) for z in (0.0, 1.0, 2.4, 4.2, 6.4))

    message, _ = refusal(tmp_path, Plan(offsets=offsets))

    assert "uneven slice distances of 1 to 2.2 mm" in message


def test_slow_drift_is_refused_by_the_error_it_adds_up_to(tmp_path: Path) -> None:
    """Steps that each stay within tolerance can still bend the stack."""
    z = np.cumsum([0.0] + [2.5 + 0.012 * k for k in range(15)])
    plan = Plan(shape=(7, 6, 16), offsets=tuple((0.0, 0.0, float(x)) for x in z))

    message, verdict = refusal(tmp_path, plan)

    straight = z[-1] / 15 * np.arange(16)
    assert "uneven slice distances of 2.5 to 2.668 mm" in message
    assert verdict.worst_error_mm == pytest.approx(np.abs(z - straight).max(), abs=1e-5)


@pytest.mark.parametrize(("jitter", "regular"), [(0.09, True), (0.11, False)], ids=["below", "above"])
def test_the_position_tolerance_is_a_tenth_of_a_millimetre(tmp_path: Path, jitter: float, regular: bool) -> None:
    """Scanners that write one decimal pass; what a model could notice does not."""
    offsets = tuple((0.0, 0.0, 3.0 * k + (jitter if k == 2 else 0.0)) for k in range(5))
    make_series(tmp_path, Plan(offsets=offsets))

    (info,) = list_series(tmp_path)

    assert info.readable is regular
    assert isinstance(info.verdict, GeometryVerdict)
    if regular:
        assert info.verdict.worst_error_mm == pytest.approx(jitter, abs=1e-5)


def test_a_missing_thin_slice_cannot_hide_below_the_tolerance(tmp_path: Path) -> None:
    """With steps of a tenth of a millimetre the tolerance shrinks with the step."""
    offsets = tuple((0.0, 0.0, 0.1 * k) for k in (0, 1, 2, 3, 5, 6, 7))

    message, _ = refusal(tmp_path, Plan(shape=(7, 6, 7), offsets=offsets))

    assert "gap: between k=3 and k=4" in message


@pytest.mark.parametrize(("degrees", "regular"), [(0.09, True), (0.11, False)], ids=["below", "above"])
def test_the_tilt_tolerance_is_a_tenth_of_a_degree(tmp_path: Path, degrees: float, regular: bool) -> None:
    """Rounded direction cosines are no tilt; the smallest tilt of a gantry is."""
    side = float(np.tan(np.radians(degrees)))
    make_series(tmp_path, Plan(offsets=tuple((20.0 * k * side, 0.0, 20.0 * k) for k in range(5))))

    (info,) = list_series(tmp_path)

    assert info.readable is regular


def test_a_short_stack_that_leans_within_the_position_tolerance_is_no_tilt(tmp_path: Path) -> None:
    """Positions with one decimal make five thin slices lean by half a degree, and nothing is wrong with them."""
    make_series(tmp_path, Plan(offsets=tuple((0.02 * k, 0.0, 2.5 * k) for k in range(5))))

    assert read(tmp_path).source.verdict.regular


def test_a_slightly_sheared_stack_keeps_its_true_places(tmp_path: Path) -> None:
    """Within tolerance the affine follows the positions in the file, not an ideal box."""
    side = float(np.tan(np.radians(0.05)))
    plan = Plan(offsets=tuple((2.5 * k * side, 0.0, 2.5 * k) for k in range(5)))
    make_series(tmp_path, plan)

    volume = read(tmp_path)

    np.testing.assert_allclose(volume.grid.world([0, 0, 4]), plan.position(4) * [-1, -1, 1], atol=1e-5)


def drop(keyword: str) -> Callable[[Dataset, int], None]:
    """Return a change that removes an attribute from the third slice."""

    def change(dataset: Dataset, k: int) -> None:
        if k == 2:
            delattr(dataset, keyword)

    return change


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_a_slice_without_place_is_refused_by_name(tmp_path: Path, keyword: str) -> None:
    """No affine is ever made up for a slice that does not say where it lies."""
    make_series(tmp_path, Plan(change=drop(keyword)), names=NAMES)

    with pytest.raises(ReadError, match=f"slice-2 has no usable {keyword}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "value", "found"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 0.1, 1, 0], "not two perpendicular unit vectors"),
        ("ImageOrientationPatient", [0, 0, 0, 0, 1, 0], "not two perpendicular unit vectors"),
        ("PixelSpacing", [0, 1], r"PixelSpacing of slice-2 is \[0.0, 1.0\]"),
        ("PixelSpacing", [1.1, 0.9], r"PixelSpacing \(1.1, 0.8\) mm in .* do not fit|do not fit together"),
        ("FrameOfReferenceUID", "1.2.3", "different frames of reference in .* and slice-2"),
        ("SeriesNumber", None, ""),
    ],
)
def test_slices_that_do_not_fit_together_are_refused(tmp_path: Path, keyword: str, value: object, found: str) -> None:
    """One slice with another direction, spacing or frame of reference makes the whole series unplaceable."""

    def change(dataset: Dataset, k: int) -> None:
        if k == 2:
            setattr(dataset, keyword, value)

    make_series(tmp_path, Plan(shape=(27, 26, 5), change=change), names=NAMES)

    if not found:  # what does not bear on the geometry is no reason to refuse
        assert read(tmp_path).grid.shape == (27, 26, 5)
        return
    with pytest.raises(ReadError, match=found):
        read(tmp_path)


def test_slices_of_different_size_are_refused(tmp_path: Path) -> None:
    """Images of two sizes in one series cannot be stacked."""
    plan = Plan()
    make_series(tmp_path, plan, names=NAMES)
    make_slice(replace(plan, shape=(9, 6, 5)), 2).save_as(tmp_path / "slice-2", enforce_file_format=True)

    with pytest.raises(IrregularSeriesError, match="6x7 pixels in slice-0, 6x9 in slice-2"):
        read(tmp_path)


def test_cosines_with_four_decimals_are_accepted(tmp_path: Path) -> None:
    """Real files miss unit length and right angles by 1e-4."""
    cosines = tuple(round(x, 4) for x in oblique((11.0, 7.0, -31.0)))
    make_series(tmp_path, Plan(orientation=cosines))

    assert read(tmp_path).source.verdict.regular


def test_a_single_slice_is_refused(tmp_path: Path) -> None:
    """One image is no volume, whether its folder or the file itself is given."""
    (path,) = make_series(tmp_path, Plan(shape=(7, 6, 1)), names=NAMES)

    for given in (tmp_path, path):
        with pytest.raises(ReadError, match=r"Expected a 3D volume; found a single slice in MR series 4 \(slice-0\)"):
            read(given)
