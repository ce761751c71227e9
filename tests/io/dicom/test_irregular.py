"""Irregular series against closed forms: functions of space, sampled where the standard puts every pixel."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nibabel.processing import resample_from_to
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_factory import AXIAL, CORONAL, SAGITTAL, Plan, make_enhanced, make_series, oblique, voxel_ras
from lesionlens.errors import InputError, IrregularSeriesError
from lesionlens.io import list_series, read
from lesionlens.io.dicom.geometry import lay_out
from lesionlens.io.dicom.group import group
from lesionlens.io.dicom.irregular import lay_down
from lesionlens.io.dicom.scan import scan
from lesionlens.io.dicom.slices import POSITION_TOLERANCE_MM
from lesionlens.volume import GeometryVerdict, Volume

Field = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Offsets = tuple[tuple[float, float, float], ...]

# Values are stored in steps of this; reading them back is good to half of it.
QUANTUM = 1e-3
LOWEST = -30.0

TAN_14 = float(np.tan(np.radians(14.0)))


GRADIENT = np.array([0.11, -0.17, 0.07])
SLOPE = float(np.linalg.norm(GRADIENT))


def linear(ras: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a function that linear interpolation must reproduce exactly: different along every axis."""
    return ras @ GRADIENT + 3.0


CENTRES = np.array([[10.0, -38.0, 4.0], [16.0, -35.0, 16.0], [6.0, -42.0, 28.0]])
SIGMA = 9.0


def blobs(ras: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a sum of Gaussian blobs of height 20."""
    return sum(20 * np.exp(-((ras - centre) ** 2).sum(axis=-1) / (2 * SIGMA**2)) for centre in CENTRES)


def sampled(plan: Plan, field: Field) -> Plan:
    """Return the plan with each pixel holding the field's value at its place."""

    def change(dataset: Dataset, k: int) -> None:
        columns, rows = plan.shape[:2]
        places = np.array([[voxel_ras(plan, (i, j, k)) for i in range(columns)] for j in range(rows)])
        stored = np.round((field(places) - LOWEST) / QUANTUM)
        assert 0 <= stored.min() <= stored.max() < 2**16
        dataset.PixelData = stored.astype("<u2").tobytes()
        dataset.RescaleSlope, dataset.RescaleIntercept = QUANTUM, LOWEST

    return replace(plan, change=change)


def upright(*along: float) -> Offsets:
    """Return offsets along the normal alone."""
    return tuple((0.0, 0.0, z) for z in along)


def leaning(sideways: tuple[float, float], *along: float) -> Offsets:
    """Return offsets that move by so many mm along rows and columns for each mm along the normal."""
    return tuple((sideways[0] * z, sideways[1] * z, z) for z in along)


@dataclass(frozen=True)
class Case:
    """An irregular series, the steps (from 0) that are gaps, and what its resampling gives in planes and spacing."""

    offsets: Offsets
    planes: int
    typical: float
    gaps: tuple[int, ...] = ()
    orientation: tuple[float, ...] = AXIAL

    @property
    def plan(self) -> Plan:
        """The series."""
        return Plan(shape=(13, 11, len(self.offsets)), offsets=self.offsets, orientation=self.orientation)


CASES = {
    "tilt": Case(leaning((0, TAN_14), 0, 3, 6, 9, 12, 15), 6, 3),
    "tilt the other way": Case(leaning((0, -TAN_14), 0, 3, 6, 9, 12, 15), 6, 3),
    "tilt along the rows": Case(leaning((TAN_14, 0), 0, 3, 6, 9, 12, 15), 6, 3, orientation=SAGITTAL),
    "oblique and tilted both ways": Case(
        leaning((0.2, -0.1), 0, 3, 6, 9, 12, 15), 6, 3, orientation=oblique((12.0, -7.0, 25.0))
    ),
    "gap": Case(upright(0, 2.5, 5, 10, 12.5), 6, 2.5, gaps=(2,)),
    "gap that is no whole step": Case(upright(0, 2.5, 5, 12.1, 14.6), 7, 2.5, gaps=(2,), orientation=CORONAL),
    "two neighbouring gaps": Case(upright(0, 2, 4, 6, 10, 14, 16, 18), 10, 2, gaps=(3, 4)),
    "gap in a tilt": Case(leaning((0, TAN_14), 0, 3, 6, 12, 15, 18), 7, 3, gaps=(2,)),
    "spacing 3 and 5": Case(upright(0, 3, 6, 9, 12, 17, 22, 27), 10, 3),
    "spacing 5 and 3": Case(upright(0, 5, 10, 15, 20, 23, 26, 29), 7, 5),
    "spacing 3 and 5, tilted": Case(leaning((0, TAN_14), 0, 3, 6, 9, 12, 17, 22, 27), 10, 3),
    "spacing 3 and 5, tilted, prone": Case(
        leaning((0, -TAN_14), 0, 3, 6, 9, 12, 17, 22, 27), 10, 3, orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    ),
    "gap in a tilt, decubitus, feet first": Case(
        leaning((0, TAN_14), 0, 3, 6, 12, 15, 18), 7, 3, gaps=(2,), orientation=(0.0, 1.0, 0.0, 1.0, 0.0, 0.0)
    ),
    "growing distances": Case(upright(0, 1, 2.4, 4.2, 6.4), 6, 1.4),
    "one slice aside": Case(((0, 0, 0), (0, 0, 3), (1.3, -0.4, 6), (0, 0, 9), (0, 0, 12)), 5, 3),
}


def bracket(case: Case, along: float) -> tuple[int, ...]:
    """Return the slices that a place between them (mm along the normal) is made of; none in a gap or beyond."""
    z = np.array([offset[2] for offset in case.offsets])
    on = np.flatnonzero(np.abs(z - along) < 1e-4)
    if on.size:
        return (int(on[0]),)
    k = int(np.searchsorted(z, along)) - 1
    return () if not 0 <= k < len(z) - 1 or k in case.gaps else (k, k + 1)


def holds_data(case: Case, volume: Volume) -> NDArray[np.bool_]:
    """Say for each voxel, one by one, whether the slices on both sides of it have pixels around its place."""
    plan = case.plan
    row, column = np.array(plan.orientation[:3]), np.array(plan.orientation[3:])
    found = np.zeros(volume.grid.shape, dtype=bool)
    for ijk in np.ndindex(*volume.grid.shape):
        place = volume.grid.world(ijk) * [-1, -1, 1]
        slices = bracket(case, float((place - plan.position(0)) @ np.cross(row, column)))
        ways = [place - plan.position(k) for k in slices]
        pixels = [(way @ row / plan.spacing[0], way @ column / plan.spacing[1]) for way in ways]
        limits = plan.shape[0] - 1, plan.shape[1] - 1
        found[ijk] = bool(pixels) and all(-1e-4 <= p[n] <= limits[n] + 1e-4 for p in pixels for n in (0, 1))
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_linear_function_of_space_is_resampled_exactly(tmp_path: Path, case: Case) -> None:
    """Every valid voxel holds the function's value at its own place, and the valid voxels are those with data."""
    make_series(tmp_path, sampled(case.plan, linear))

    volume = read(tmp_path, irregular="resample")

    valid = np.ones(volume.grid.shape, dtype=bool) if volume.valid is None else volume.valid
    wanted = linear(volume.grid.world(np.moveaxis(np.indices(volume.grid.shape), 0, -1)))
    np.testing.assert_allclose(volume.array[valid], wanted[valid], atol=0.51 * QUANTUM)
    np.testing.assert_array_equal(valid, holds_data(case, volume))
    assert valid.any()
    assert volume.array.dtype == np.float32


@pytest.mark.parametrize("limit", [None, 40], ids=["one value", "a range"])
def test_nothing_is_interpolated_from_padding(tmp_path: Path, limit: int | None) -> None:
    """Half air and half padding would be a value that nobody measured, all around a round field of view."""
    plan = sampled(replace(CASES["gap in a tilt"].plan, modality="CT"), linear)
    padded = slice(0, 3)  # columns; the tilt moves rows

    def change(dataset: Dataset, k: int) -> None:
        assert plan.change is not None
        plan.change(dataset, k)
        stored = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns).copy()
        stored[:, padded] = 0 if limit is None else np.arange(3) * limit // 2
        dataset.PixelData, dataset.PixelPaddingValue = stored.tobytes(), 0
        if limit is not None:
            dataset.PixelPaddingRangeLimit = limit

    make_series(tmp_path, replace(plan, change=change))

    volume = read(tmp_path, irregular="resample")

    expected = holds_data(CASES["gap in a tilt"], volume)
    expected[padded] = False
    np.testing.assert_array_equal(volume.valid, expected)
    wanted = linear(volume.grid.world(np.moveaxis(np.indices(volume.grid.shape), 0, -1)))
    np.testing.assert_allclose(volume.array[expected], wanted[expected], atol=0.51 * QUANTUM)
    measured = [linear(voxel_ras(plan, (i, j, k))) for i in range(3, 13) for j in range(11) for k in range(6)]
    np.testing.assert_allclose(volume.array[~expected], min(measured), atol=0.51 * QUANTUM)
    said = "0" if limit is None else "0 to 40"
    assert (
        f"Pixels outside the scan hold the padding value {said} (before rescaling); they hold no data, and nothing is "
        "interpolated from them."
    ) in volume.source.decisions


def regular_or_resampled(folder: str) -> Volume | None:
    """Read a series as it is, else resampled; None where its slices lie too far apart for that."""
    for irregular in ("refuse", "resample"):
        with suppress(IrregularSeriesError):
            return read(folder, irregular=irregular)  # type: ignore[arg-type]
    return None


@given(
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    lean=st.tuples(*[st.one_of(st.just(0.0), st.floats(-0.6, 0.6))] * 2),
    steps=st.one_of(
        st.builds(lambda step, n: [step] * n, st.floats(0.6, 8), st.integers(1, 9)),
        st.lists(st.floats(0.6, 8), min_size=1, max_size=9),
    ),
    decimals=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_read_is_where_the_standard_puts_it(
    turn: tuple[float, float, float], lean: tuple[float, float], steps: list[float], decimals: int, seed: int
) -> None:
    """Any orientation, tilt, spacing and order of files: a linear function of space comes back, or a refusal."""
    along = np.cumsum([0.0, *steps])
    offsets = leaning(lean, *along.tolist())
    plan = Plan(shape=(9, 7, len(along)), offsets=offsets, orientation=oblique(turn), decimals=decimals)
    order = np.random.default_rng(seed).permutation(len(along))
    with TemporaryDirectory() as folder:
        make_series(Path(folder), sampled(plan, linear), names=lambda k: f"{order[k]}")
        volume = regular_or_resampled(folder)
    assume(volume is not None)

    valid = np.ones(volume.grid.shape, dtype=bool) if volume.valid is None else volume.valid
    wanted = linear(volume.grid.world(np.moveaxis(np.indices(volume.grid.shape), 0, -1)))
    # A regular series may be off by its tolerance, and positions are written with few decimals.
    away = POSITION_TOLERANCE_MM + 2 * 10.0**-decimals
    np.testing.assert_allclose(volume.array[valid], wanted[valid], atol=away * SLOPE + 0.51 * QUANTUM)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_resampled_grid_is_orthogonal_and_holds_every_slice(tmp_path: Path, case: Case) -> None:
    """Axes are those of the images and their normal; pixels keep their size, planes lie a typical step apart."""
    plan = case.plan
    make_series(tmp_path, plan)

    grid = read(tmp_path, irregular="resample").grid

    row, column = np.array(plan.orientation[:3]), np.array(plan.orientation[3:])
    axes = np.column_stack([row, column, np.cross(row, column)]) * [[-1], [-1], [1]]
    np.testing.assert_allclose(grid.affine[:3, :3], axes * [0.8, 1.1, case.typical], atol=1e-5)
    assert grid.shape[2] == case.planes
    for k in range(plan.shape[2]):
        assert grid.contains([voxel_ras(plan, (0, 0, k)), voxel_ras(plan, (12, 10, k))]).all()


@pytest.mark.parametrize("name", ["tilt", "spacing 3 and 5, tilted", "gap in a tilt", "one slice aside"])
def test_a_smooth_function_is_resampled_within_the_error_of_interpolation(tmp_path: Path, name: str) -> None:
    """The error of linear interpolation is at most h²/8 times the second derivative, along each axis."""
    case = CASES[name]
    make_series(tmp_path, sampled(case.plan, blobs))

    volume = read(tmp_path, irregular="resample")

    valid = volume.valid if volume.valid is not None else np.ones(volume.grid.shape, dtype=bool)
    wanted = blobs(volume.grid.world(np.moveaxis(np.indices(volume.grid.shape), 0, -1)))
    widest = max(np.delete(np.diff([offset[2] for offset in case.offsets]), case.gaps))
    # The largest second derivative of a blob is its height / sigma²; three blobs, pixels and slices.
    bound = (0.8**2 + 1.1**2 + widest**2) / 8 * 3 * 20 / SIGMA**2
    error = np.abs(volume.array - wanted)[valid].max()
    assert error < bound
    # Were the slices taken for an upright pile, they would be off by more.
    plain = np.eye(4)
    plain[:3, :3], plain[:3, 3] = np.diag([-0.8, -1.1, case.typical]), voxel_ras(case.plan, (0, 0, 0))
    kept = read(tmp_path, irregular="as-is").array
    piled = blobs(nib.affines.apply_affine(plain, np.moveaxis(np.indices(kept.shape), 0, -1)))
    assert np.abs(kept - piled).max() > 2 * error


def test_an_evenly_tilted_series_is_resampled_as_nibabel_does(tmp_path: Path) -> None:
    """Another program takes the sheared voxels to the upright grid: the planes are the slices, moved in their plane."""
    plan = CASES["oblique and tilted both ways"].plan
    make_series(tmp_path, plan)
    kept, volume = read(tmp_path, irregular="as-is"), read(tmp_path, irregular="resample")

    image = nib.Nifti1Image(kept.array.astype(np.float32), kept.grid.affine)
    theirs = resample_from_to(image, (volume.grid.shape, volume.grid.affine), order=1, mode="nearest").get_fdata()

    assert volume.valid is not None
    assert volume.valid.mean() > 0.5
    # Values number the voxels, up to 858; positions are written with six decimals.
    np.testing.assert_allclose(volume.array[volume.valid], theirs[volume.valid], atol=0.01)


def test_slices_that_lie_on_the_grid_keep_their_values(tmp_path: Path) -> None:
    """Around a gap nothing is interpolated: planes are the slices, and the missing one is empty and not valid."""
    plan = CASES["gap"].plan
    make_series(tmp_path, plan)

    volume = read(tmp_path, irregular="resample")

    np.testing.assert_array_equal(volume.array[:, :, [0, 1, 2, 4, 5]], plan.values())
    assert volume.valid is not None
    assert volume.valid.all(axis=(0, 1)).tolist() == [True, True, True, False, True, True]
    assert not volume.valid[:, :, 3].any()
    assert (volume.array[:, :, 3] == plan.values().min()).all()


def test_positions_rounded_by_the_scanner_do_not_blur_or_hide_slices(tmp_path: Path) -> None:
    """Positions with one decimal beside a gap: the planes next to it are the slices, as in a regular series."""
    plan = Plan(offsets=((0, 0, 0), (0.04, 0, 2.54), (0, -0.03, 5.0), (0.05, 0, 9.96), (0, 0, 12.5)))
    make_series(tmp_path, plan)

    volume = read(tmp_path, irregular="resample")

    assert volume.valid is not None
    assert volume.valid.all(axis=(0, 1)).tolist() == [True, True, True, False, True, True]
    # A plane is up to 0.1 mm of 2.5 off its slice, and takes that part of its neighbour, which differs by 42.
    np.testing.assert_allclose(volume.array[:, :, [0, 1, 2, 4, 5]], plan.values(), atol=42 * 0.1 / 2.5)


def test_resampling_is_said_in_decisions_and_verdict(tmp_path: Path) -> None:
    """What was found stays, with what was done about it and how much holds no data."""
    make_series(tmp_path, CASES["gap"].plan)

    source = read(tmp_path, irregular="resample").source

    (problem,) = source.verdict.problems
    assert problem.startswith("gap: between k=2 and k=3 (")
    assert "(worst position error 2.5 mm); resampled onto a regular grid" in str(source.verdict)
    assert source.verdict.handled == "resample"
    moved, empty = source.decisions
    assert "resampled at their true positions, linearly, onto a regular grid of 13 x 11 x 6 voxels" in moved
    assert "16.7 % of the voxels lie beside the slices, on padding or in a gap wider than 1.5 typical steps" in empty
    assert len(source.files) == len(source.uids) == 5


def test_an_enhanced_file_is_resampled_like_a_classic_series(tmp_path: Path) -> None:
    """The frames of one file go the same way as the files of a series."""
    plan = CASES["tilt"].plan
    make_series(tmp_path / "classic", plan)
    make_enhanced(tmp_path / "enhanced" / "all.dcm", plan, order=[3, 1, 0, 5, 4, 2])

    classic, enhanced = (read(tmp_path / name, irregular="resample") for name in ("classic", "enhanced"))

    assert classic.grid.same_as(enhanced.grid)
    np.testing.assert_array_equal(classic.array, enhanced.array)


@pytest.mark.parametrize("name", ["tilt", "tilt along the rows", "oblique and tilted both ways"])
def test_a_tilted_series_kept_as_it_is_has_every_voxel_in_its_place(tmp_path: Path, name: str) -> None:
    """A sheared affine is exact for an even tilt; the verdict still says that there is one."""
    plan = CASES[name].plan
    make_series(tmp_path, plan)

    volume = read(tmp_path, irregular="as-is")

    np.testing.assert_array_equal(volume.array, plan.values())
    for ijk in ((0, 0, 0), (12, 10, 5), (3, 7, 2)):
        np.testing.assert_allclose(volume.grid.world(ijk), voxel_ras(plan, ijk), atol=1e-5)
    assert volume.valid is None
    assert not volume.source.verdict.regular
    assert volume.source.verdict.worst_error_mm < 1e-5
    assert "tilt: the slices are stacked" in str(volume.source.verdict)
    assert str(volume.source.verdict).endswith("; voxels kept as they are")


def test_uneven_slices_kept_as_they_are_have_their_mean_step_and_its_error(tmp_path: Path) -> None:
    """Steps of 3 and 5 mm become one of 27/7; the error is the furthest slice from that."""
    case = CASES["spacing 3 and 5"]
    make_series(tmp_path, case.plan)

    volume = read(tmp_path, irregular="as-is")

    z = np.array([offset[2] for offset in case.offsets])
    off = np.abs(z - np.arange(8) * 27 / 7)
    assert volume.grid.spacing_mm[2] == pytest.approx(27 / 7, abs=1e-6)
    assert volume.source.verdict.worst_error_mm == pytest.approx(off.max(), abs=1e-5)
    assert f"{off.max():.3g} mm at most from where they are" in volume.source.decisions[-1]


@pytest.mark.parametrize(
    ("offsets", "found"),
    [
        (upright(0, 3, 6, 9, 12, 17, 22, 27), ("spacing changes: 3 mm from k=0 to k=4, 5 mm from k=4 to k=7",)),
        (upright(0, 3, 6, 9, 14, 19), ("spacing changes: 3 mm from k=0 to k=3, 5 mm from k=3 to k=5",)),
        (
            upright(0, 3, 6, 9, 15, 20, 25, 30),
            ("spacing changes: 3 mm from k=0 to k=3, 6 mm from k=3 to k=4, 5 mm from k=4 to k=7",),
        ),
        (
            upright(0, 3, 6, 9, 18, 21, 24, 29, 34, 39),
            (
                "gap: between k=3 and k=4 (slice-3, slice-4) 9 mm instead of 3 mm",
                "spacing changes: 3 mm from k=0 to k=3, 3 mm from k=4 to k=6, 5 mm from k=6 to k=9",
            ),
        ),
        (upright(0, 2, 4, 6, 10, 14, 16, 18), ("gap: between k=3 and k=4 (slice-3, slice-4) 4 mm, between k=4 and",)),
        (upright(0, 1, 2.4, 4.2, 6.4), ("uneven slice distances of 1 to 2.2 mm, least after k=0, most after k=3",)),
        (
            ((0, 0, 0), (0, 0, 3), (1.3, 0, 6), (0, 0, 9)),
            ("shift: slices lie up to 1.3 mm beside the line of the others, most k=2 (slice-2)",),
        ),
        (
            upright(0, 3, 3, 6, 12, 15, 18),
            ("duplicate slices at one position: k=1 and k=2", "gap: between k=3 and k=4 (slice-3, slice-4) 6 mm"),
        ),
    ],
)
def test_the_verdict_names_what_is_irregular_and_where(
    tmp_path: Path, offsets: Offsets, found: tuple[str, ...]
) -> None:
    """Gaps, changes of spacing, single slices aside and duplicates each have their name and their place."""
    make_series(tmp_path, Plan(shape=(7, 6, len(offsets)), offsets=offsets), names="slice-{}".format)

    (info,) = list_series(tmp_path)

    assert isinstance(info.verdict, GeometryVerdict)
    assert len(info.verdict.problems) == len(found)
    for problem, words in zip(info.verdict.problems, found, strict=True):
        assert problem.startswith(words)


@pytest.mark.parametrize(("step", "gap"), [(1.49, False), (1.51, True)], ids=["below", "above"])
def test_a_gap_begins_at_one_and_a_half_typical_steps(tmp_path: Path, step: float, gap: bool) -> None:
    """A missing slice makes two steps of one; what is much narrower is a distance like others."""
    make_series(tmp_path, Plan(shape=(7, 6, 6), offsets=upright(0, 4, 8, 8 + 4 * step, 12 + 4 * step, 16 + 4 * step)))

    volume = read(tmp_path, irregular="resample")

    assert volume.source.verdict.problems[0].startswith("gap:") is gap
    plane = volume.valid is None or bool(volume.valid[:, :, 3].any())  # at 12 mm, between 8 and 14
    assert plane is not gap


@pytest.mark.parametrize("n", [2, 3])
def test_wide_steps_of_two_are_a_spacing_when_three_in_a_row(tmp_path: Path, n: int) -> None:
    """Two steps of twice the width are two missing slices, three are slices that were taken that way."""
    steps = [2.0, 2, 2, 2, *([4.0] * n), 2, 2, 2, 2]
    make_series(tmp_path, Plan(shape=(7, 6, len(steps) + 1), offsets=upright(0, *np.cumsum(steps).tolist())))

    verdict = read(tmp_path, irregular="resample").source.verdict

    assert verdict.problems[0].startswith("gap:" if n == 2 else "spacing changes: 2 mm from k=0 to k=4, 4 mm from k=4")


def test_a_refusal_names_the_other_choices(tmp_path: Path) -> None:
    """Whoever is refused learns what else there is, for Python and for the command line."""
    make_series(tmp_path, CASES["tilt"].plan)

    for policy in ({}, {"irregular": "refuse"}):
        with pytest.raises(IrregularSeriesError, match=r"one regular grid: tilt.*irregular=resample.*irregular=as-is"):
            read(tmp_path, **policy)


def test_a_refusal_offers_nothing_that_would_be_refused_too(tmp_path: Path) -> None:
    """Images in several orientations have no order to interpolate in, so resampling is not among the choices."""
    make_series(tmp_path, Plan(change=turned))

    with pytest.raises(IrregularSeriesError, match=r"mixed orientation.* Separate them .*irregular=as-is") as caught:
        read(tmp_path)

    assert "resample" not in str(caught.value)


def test_one_place_at_many_times_is_no_volume(tmp_path: Path) -> None:
    """A film of a single slice has no third axis, whatever is done with it."""
    make_series(tmp_path, Plan(offsets=upright(0, 0, 0, 0, 0)))

    with pytest.raises(IrregularSeriesError, match=r"found a single slice, 5 times, in MR series 4: .* several places"):
        read(tmp_path)


def test_a_policy_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """A mistyped policy is no reason to fall back to another one, even where it would not matter."""
    make_series(tmp_path)

    with pytest.raises(
        InputError, match=r"'resampled' \(did you mean 'resample'\?\); choose one of: refuse, resample, as-is"
    ):
        read(tmp_path, irregular="resampled")  # type: ignore[arg-type]


@pytest.mark.parametrize("irregular", ["resample", "as-is"])
def test_a_regular_series_is_read_as_ever(tmp_path: Path, irregular: str) -> None:
    """A policy for irregular slices touches no others: stored values, their type, no mask, no remark."""
    plan = Plan(orientation=oblique((12.0, -7.0, 25.0)))
    make_series(tmp_path, plan)
    usual = read(tmp_path)

    volume = read(tmp_path, irregular=irregular)  # type: ignore[arg-type]

    np.testing.assert_array_equal(volume.array, plan.values())
    assert volume.array.dtype == usual.array.dtype == np.uint16
    assert volume.grid.same_as(usual.grid)
    assert volume.valid is None
    assert volume.source == usual.source


def turned(dataset: Dataset, k: int) -> None:
    """Turn one slice."""
    dataset.ImageOrientationPatient = list(SAGITTAL if k == 3 else AXIAL)


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(offsets=upright(0, 2.5, 2.5, 5, 7.5)), "no single slice at each place: duplicate slices at one position"),
        (Plan(change=turned), "no single slice at each place: mixed orientation"),
        (Plan(offsets=upright(0, 2.5, 5, 7.5, 9e5)), "more than 16 times as large \\(7 x 6 x 360001 voxels\\)"),
    ],
    ids=["duplicates", "two orientations", "a position far away"],
)
def test_what_cannot_be_resampled_is_refused_with_the_reason(tmp_path: Path, plan: Plan, reason: str) -> None:
    """Without one slice for each place there is nothing to interpolate; a wrong position must not fill the memory."""
    make_series(tmp_path, plan)

    with pytest.raises(IrregularSeriesError, match=f"cannot be resampled.*{reason}"):
        read(tmp_path, irregular="resample")


def test_duplicates_can_be_kept_as_they_are(tmp_path: Path) -> None:
    """Looking at all images of a broken export is a reason to keep it, and every image is there."""
    plan = Plan(offsets=upright(0, 2.5, 2.5, 5, 7.5))
    make_series(tmp_path, plan, names="slice-{}".format)

    volume = read(tmp_path, irregular="as-is")

    np.testing.assert_array_equal(volume.array, plan.values())
    assert "duplicate slices" in str(volume.source.verdict)
    # The mean step is 7.5 / 4; the third slice should be 3.75 mm up and is 2.5.
    assert volume.source.verdict.worst_error_mm == pytest.approx(1.25)


def test_an_irregular_series_is_listed_with_spacing_and_orientation(tmp_path: Path) -> None:
    """The list says what is there, in the typical step, and that it is not readable without a choice."""
    make_series(tmp_path, CASES["oblique and tilted both ways"].plan)

    (info,) = list_series(tmp_path)

    assert info.shape == (13, 11, 6)
    assert info.spacing_mm == pytest.approx((0.8, 1.1, 3.0), abs=1e-5)
    assert info.axcodes == "LPS"
    assert not info.readable


def test_resampling_takes_no_second_copy_of_the_pixels(tmp_path: Path) -> None:
    """Beside the slices there is the result, its mask and a few planes, however many slices there are."""
    make_series(tmp_path, Plan(shape=(40, 30, 40), offsets=leaning((0, TAN_14), *(3.0 * k for k in range(40)))))
    (series,) = group(scan(tmp_path).instances)
    layout = lay_down(lay_out(series.slices, series.label), series.label, "resample")
    values = np.zeros((40, 30, 40), dtype=np.int16)

    tracemalloc.start()
    array, valid, _ = layout.fill(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert valid is not None
    few_planes = 10 * 8 * 40 * 30
    assert few_planes < values.size * 4
    assert peak < array.nbytes + valid.nbytes + few_planes
