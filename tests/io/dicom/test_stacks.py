"""Several volumes in one series: split by what the headers say, named by it, never shuffled together."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_factory import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Change,
    Plan,
    make_enhanced,
    make_series,
    make_volumes,
    oblique,
    voxel_ras,
)
from lesionlens.errors import AmbiguousStackError, IrregularSeriesError, ReadError
from lesionlens.io import list_series, read
from lesionlens.volume import GeometryVerdict, Volume

PLAN = Plan(orientation=oblique((12.0, -7.0, 25.0)))


def assert_in_place(volume: Volume, plan: Plan) -> None:
    """Compare every voxel and the places of all corners with the plan."""
    np.testing.assert_array_equal(volume.array, plan.values())
    ends = [(0, n - 1) for n in plan.shape]
    corners = [voxel_ras(plan, (i, j, k)) for i in ends[0] for j in ends[1] for k in ends[2]]
    np.testing.assert_allclose(volume.grid.corners(), corners, atol=1e-5)


def setting(**values: object) -> Change:
    """Return a change that sets attributes."""

    def change(dataset: Dataset, k: int) -> None:
        del k
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


def private(group: int, creator: str, offsets: Sequence[int], vr: str, values: Sequence[object]) -> Change:
    """Return a change that writes elements of a maker."""

    def change(dataset: Dataset, k: int) -> None:
        del k
        block = dataset.private_block(group, creator, create=True)
        for offset, value in zip(offsets, values, strict=True):
            block.add_new(offset, vr, value)

    return change


def siemens_b(b: int) -> Change:
    """Write a b-value as Siemens does."""
    return private(0x0019, "SIEMENS MR HEADER", [0x0C], "IS", [b])


def ge_b(b: int) -> Change:
    """Write a b-value as GE does: with three other numbers, and a billion on top."""
    return private(0x0043, "GEMS_PARM_01", [0x39], "IS", [[b + 1_000_000_000 * (b > 0), 8, 0, 0]])


def philips_b(b: float) -> Change:
    """Write a b-value as Philips does."""
    return private(0x2001, "Philips Imaging DD 001", [0x03], "FL", [b])


def ge_kind(number: int) -> Change:
    """Say as GE does which part of a complex image this is."""
    return private(0x0043, "GEMS_PARM_01", [0x2F], "SS", [number])


KINDS: dict[str, tuple[list[Change], tuple[str, ...]]] = {
    "echo time": ([setting(EchoTime=t) for t in ("98.5", "4.92")], ("echo time 4.92 ms", "echo time 98.5 ms")),
    "echo number": ([setting(EchoNumbers=n) for n in (10, 2)], ("echo number 2", "echo number 10")),
    "b-value": ([setting(DiffusionBValue=b) for b in (1000.0, 0.0)], ("b 0", "b 1000")),
    "b-value, Siemens": ([siemens_b(b) for b in (0, 1000)], ("b 0", "b 1000")),
    "b-value, GE": ([ge_b(b) for b in (0, 800)], ("b 0", "b 800")),
    "b-value, Philips": ([philips_b(b) for b in (0.0, 500.0)], ("b 0", "b 500")),
    "direction": (
        [setting(DiffusionGradientOrientation=d) for d in ([0.0, 0.6, 0.8], [1.0, 0.0, 0.0])],
        ("direction (0, 0.6, 0.8)", "direction (1, 0, 0)"),
    ),
    "inversion time": (
        [setting(InversionTime=t) for t in ("2500", "900")],
        ("inversion time 900 ms", "inversion time 2500 ms"),
    ),
    "trigger time": ([setting(TriggerTime=t) for t in ("40", "0")], ("trigger time 0 ms", "trigger time 40 ms")),
    "temporal position": (
        [setting(TemporalPositionIdentifier=n) for n in (10, 9)],
        ("temporal position 9", "temporal position 10"),
    ),
    "acquisition": ([setting(AcquisitionNumber=n) for n in (2, 1)], ("acquisition 1", "acquisition 2")),
    "acquisition time": (
        [setting(AcquisitionTime=t) for t in ("101530.25", "101500.5")],
        ("acquisition time 1 of 2", "acquisition time 2 of 2"),
    ),
    "content time": (
        [setting(ContentTime=t) for t in ("101500", "101530")],
        ("content time 1 of 2", "content time 2 of 2"),
    ),
    "image type": (
        [setting(ImageType=["ORIGINAL", "PRIMARY", part, "ND"]) for part in "PM"],
        ("magnitude", "phase"),
    ),
    "image type, spelled out": (
        [setting(ImageType=["DERIVED", "PRIMARY", "DIFFUSION", part]) for part in ("TRACEW", "ADC")],
        ("ADC", "TRACEW"),
    ),
    "spin label, Philips": (
        [private(0x2005, "Philips MR Imaging DD 005", [0x29], "CS", [part]) for part in ("LABEL", "CONTROL")],
        ("spin label CONTROL", "spin label LABEL"),
    ),
    "complex component, GE": ([ge_kind(n) for n in (0, 1)], ("magnitude", "phase")),
    "flip angle": ([setting(FlipAngle=a) for a in ("5", "26")], ("flip angle 5 degrees", "flip angle 26 degrees")),
    "contrast phase": (
        [setting(ContrastBolusAgentPhase=p) for p in ("VENOUS", "ARTERIAL")],
        ("contrast phase ARTERIAL", "contrast phase VENOUS"),
    ),
    "tube voltage": ([setting(KVP=v) for v in ("80", "140")], ("80 kV", "140 kV")),
    "one without": ([setting(), setting(InversionTime="30")], ("no inversion time", "inversion time 30 ms")),
}


@pytest.mark.parametrize(("changes", "names"), KINDS.values(), ids=KINDS.keys())
def test_volumes_are_told_apart_by_what_differs(tmp_path: Path, changes: list[Change], names: tuple[str, ...]) -> None:
    """Each volume is whole, at its true place, and called by its value, in the order of the values."""
    plans = [replace(PLAN, change=change) for change in changes]
    make_volumes(tmp_path, plans)

    (info,) = list_series(tmp_path)

    assert sorted(info.stacks) == sorted(names)
    assert info.stacks == names
    assert info.shape == (*PLAN.shape, 2)
    assert info.readable
    starts = set()
    for n, name in enumerate(names):
        volume = read(tmp_path, stack=name)
        starts.add(int(volume.array[0, 0, 0]))
        by_number = read(tmp_path, stack=str(n))
        np.testing.assert_array_equal(volume.array, by_number.array)
        plan = replace(PLAN, volume=int(volume.array[0, 0, 0]) // 1000)
        assert_in_place(volume, plan)
        assert volume.source.stack == name
        assert volume.name == f"MR series 4, {name}"
    assert starts == {3, 1003}


def test_none_is_chosen_silently(tmp_path: Path) -> None:
    """The error lists the names; numbers and names of the list are what stack= takes."""
    make_volumes(tmp_path, [replace(PLAN, change=setting(EchoTime=str(t))) for t in (30, 80)])

    with pytest.raises(AmbiguousStackError, match=r"MR series 4 holds 2 volumes; choose one .* with --stack") as caught:
        read(tmp_path)

    assert "0 'echo time 30 ms', 1 'echo time 80 ms'" in str(caught.value)
    assert caught.value.choices == ("echo time 30 ms", "echo time 80 ms")
    assert_in_place(read(tmp_path, stack=1), replace(PLAN, volume=1))
    assert read(tmp_path, stack=" Echo Time 80 MS ").source.stack == "echo time 80 ms"
    assert "Volume 1 of 2 in the series was read: echo time 80 ms." in read(tmp_path, stack=1).source.decisions


@pytest.mark.parametrize("wanted", [2, "2", "-1", -1, "echo time", "", "80"])
def test_an_unknown_stack_is_refused_with_those_that_exist(tmp_path: Path, wanted: str | int) -> None:
    """Parts of names do not match, and numbers do not count from the end."""
    make_volumes(tmp_path, [replace(PLAN, change=setting(EchoTime=str(t))) for t in (30, 80)])

    with pytest.raises(ReadError, match=r"no stack .*; choose one of: 0 'echo time 30 ms', 1 'echo time 80 ms'"):
        read(tmp_path, stack=wanted)


def test_an_irregular_volume_of_several_is_refused_or_resampled_alone(tmp_path: Path) -> None:
    """Two echoes under a tilt of one row for each slice: a resampled voxel is a voxel of the chosen echo."""
    lean = tuple((0.0, 1.1 * k, 2.5 * k) for k in range(5))
    plans = [replace(PLAN, offsets=lean, change=setting(EchoTime=str(t))) for t in (30, 80)]
    make_volumes(tmp_path, plans)

    with pytest.raises(IrregularSeriesError, match=r"MR series 4, echo time 80 ms do not lie .*tilt: .*resample"):
        read(tmp_path, stack=1)
    volume = read(tmp_path, stack=1, irregular="resample")

    plan = replace(plans[1], volume=1)
    assert volume.source.stack == "echo time 80 ms"
    assert volume.source.verdict.handled == "resample"
    assert volume.valid is not None
    assert np.count_nonzero(volume.valid) == np.prod(plan.shape)
    for ijk in [(0, 0, 0), (3, 2, 1), (6, 5, 4)]:
        at = tuple(np.rint(volume.grid.voxel(voxel_ras(plan, ijk))).astype(int))
        assert volume.valid[at]
        assert volume.array[at] == plan.values()[ijk]
    (info,) = list_series(tmp_path)
    assert info.stacks == ("echo time 30 ms", "echo time 80 ms")
    assert info.spacing_mm == pytest.approx((0.8, 1.1, 2.5))
    assert isinstance(info.verdict, GeometryVerdict)
    assert [problem.partition(": the")[0] for problem in info.verdict.problems] == [
        "echo time 30 ms: tilt",
        "echo time 80 ms: tilt",
    ]


def test_names_are_never_the_same(tmp_path: Path) -> None:
    """Directions that are closer than the decimals of their names are told apart by number."""
    directions = ([0.6, 0.8, 0.0], [0.60004, 0.79997, 0.0])
    make_volumes(tmp_path, [replace(PLAN, change=setting(DiffusionGradientOrientation=d)) for d in directions])

    assert list_series(tmp_path)[0].stacks == ("direction (0.6, 0.8, 0) (0)", "direction (0.6, 0.8, 0) (1)")
    assert_in_place(read(tmp_path, stack="direction (0.6, 0.8, 0) (1)"), replace(PLAN, volume=1))


def test_a_single_volume_needs_no_choice(tmp_path: Path) -> None:
    """Number 0 is it; a name that does not exist is refused and not ignored."""
    make_series(tmp_path, PLAN)

    assert_in_place(read(tmp_path, stack=0), PLAN)
    with pytest.raises(ReadError, match=r"MR series 4 is a single volume; leave out --stack"):
        read(tmp_path, stack="b 0")


def test_two_traits_are_combined_where_one_does_not_do(tmp_path: Path) -> None:
    """Two echoes, each with magnitude and phase: four volumes."""
    plans = [
        replace(PLAN, change=setting(EchoTime=time, ImageType=["ORIGINAL", "PRIMARY", part]))
        for time in ("5", "10")
        for part in "MP"
    ]
    make_volumes(tmp_path, plans)

    (info,) = list_series(tmp_path)

    assert info.stacks == (
        "echo time 5 ms, magnitude",
        "echo time 5 ms, phase",
        "echo time 10 ms, magnitude",
        "echo time 10 ms, phase",
    )
    for n in range(4):
        assert_in_place(read(tmp_path, stack=n), replace(PLAN, volume=n))


def test_the_measured_difference_names_the_volumes(tmp_path: Path) -> None:
    """Where echo, acquisition and time all tell them apart, the echo says most."""
    plans = [
        replace(PLAN, change=setting(EchoTime=str(5 * n), AcquisitionNumber=n, ContentTime=f"10150{n}", EchoNumbers=n))
        for n in (1, 2)
    ]
    make_volumes(tmp_path, plans)

    assert list_series(tmp_path)[0].stacks == ("echo time 5 ms", "echo time 10 ms")


def test_traits_that_contradict_each_other_explain_nothing(tmp_path: Path) -> None:
    """Echo and inversion time would each give two volumes, but different ones: nobody knows which are meant."""

    def change(volume: int) -> Change:
        def cross(dataset: Dataset, k: int) -> None:
            dataset.EchoTime = "30" if volume else "80"
            dataset.InversionTime = "100" if (volume + k) % 2 else "200"

        return cross

    make_volumes(tmp_path, [replace(PLAN, change=change(n)) for n in (0, 1)])

    with pytest.raises(IrregularSeriesError, match=r"2 images at each of 5 positions.* echo time .* inversion time"):
        read(tmp_path)


def test_values_that_repeat_at_a_position_explain_nothing(tmp_path: Path) -> None:
    """Two images at each position with nothing to tell them apart stay refused."""
    make_volumes(tmp_path, [PLAN, PLAN])

    with pytest.raises(IrregularSeriesError, match="2 images at each of 5 positions, several volumes in one series"):
        read(tmp_path)


def test_acquisitions_of_odd_and_even_slices_are_one_volume(tmp_path: Path) -> None:
    """Slices are acquired in turns; a number that changes with them splits no volume."""

    def in_turns(dataset: Dataset, k: int) -> None:
        dataset.AcquisitionNumber = 1 + k % 2

    make_series(tmp_path, replace(PLAN, change=in_turns))

    assert_in_place(read(tmp_path), PLAN)
    assert list_series(tmp_path)[0].stacks == ()


def test_time_points_of_odd_and_even_slices_are_not_halved(tmp_path: Path) -> None:
    """Four acquisitions, two of them odd and two even slices, are two volumes by their temporal position."""

    def change(volume: int) -> Change:
        def in_turns(dataset: Dataset, k: int) -> None:
            dataset.AcquisitionNumber = 1 + 2 * volume + k % 2
            dataset.TemporalPositionIdentifier = volume + 1

        return in_turns

    plan = replace(PLAN, shape=(7, 6, 6), orientation=AXIAL)
    make_volumes(tmp_path, [replace(plan, change=change(n)) for n in (0, 1)])

    assert list_series(tmp_path)[0].stacks == ("temporal position 1", "temporal position 2")
    assert_in_place(read(tmp_path, stack=1), replace(plan, volume=1))


def test_acquisitions_of_odd_and_even_slices_explain_no_volumes(tmp_path: Path) -> None:
    """Without a temporal position, four acquisitions of every other slice are not four volumes of half the slices."""

    def change(volume: int) -> Change:
        def in_turns(dataset: Dataset, k: int) -> None:
            dataset.AcquisitionNumber = 1 + 2 * volume + k % 2

        return in_turns

    plan = replace(PLAN, shape=(7, 6, 6), orientation=AXIAL)
    make_volumes(tmp_path, [replace(plan, change=change(n)) for n in (0, 1)])

    assert list_series(tmp_path)[0].stacks == ()
    with pytest.raises(IrregularSeriesError, match="2 images at each of 6 positions"):
        read(tmp_path)


def test_volumes_that_are_only_numbered_one_after_the_other_are_split(tmp_path: Path) -> None:
    """Time series of GE say nothing of a time point, but number all images of one before those of the next."""

    def change(volume: int) -> Change:
        return lambda dataset, k: setattr(dataset, "InstanceNumber", 5 * volume + (3 * k) % 5)

    make_volumes(tmp_path, [replace(PLAN, change=change(n)) for n in (2, 0, 1)])

    assert list_series(tmp_path)[0].stacks == tuple(f"instance order {n} of 3" for n in (1, 2, 3))
    for volume, n in enumerate((2, 0, 1)):
        assert_in_place(read(tmp_path, stack=n), replace(PLAN, volume=volume))


def test_numbered_volumes_are_named_by_what_was_measured_too(tmp_path: Path) -> None:
    """Diffusion of Canon has b-values and no directions: the number tells volumes apart, the b-value says which."""

    def change(volume: int) -> Change:
        def numbered(dataset: Dataset, k: int) -> None:
            dataset.InstanceNumber, dataset.DiffusionBValue = 5 * volume + k, (0.0, 1500.0, 1500.0)[volume]

        return numbered

    make_volumes(tmp_path, [replace(PLAN, change=change(n)) for n in range(3)])

    assert list_series(tmp_path)[0].stacks == (
        "instance order 1 of 3, b 0",
        "instance order 2 of 3, b 1500",
        "instance order 3 of 3, b 1500",
    )
    assert_in_place(read(tmp_path, stack="instance order 2 of 3, b 1500"), replace(PLAN, volume=1))


def test_volumes_that_are_numbered_in_turns_are_not_split(tmp_path: Path) -> None:
    """Numbers that mix the volumes say nothing of which image belongs to which."""

    def change(volume: int) -> Change:
        return lambda dataset, k: setattr(dataset, "InstanceNumber", 2 * k + (volume + k) % 2)

    make_volumes(tmp_path, [replace(PLAN, change=change(n)) for n in (0, 1)])

    with pytest.raises(IrregularSeriesError, match="2 images at each of 5 positions"):
        read(tmp_path)


IN_TURNS: dict[str, tuple[list[dict[str, object]], tuple[str, ...]]] = {
    "echo time": ([{"EchoTime": "10"}, {"EchoTime": "30"}], ("echo time 10 ms", "echo time 30 ms")),
    "b-value": ([{"DiffusionBValue": b} for b in (0.0, 500.0, 1000.0)], ("b 0", "b 500", "b 1000")),
    "contrast phase": (
        [{"ContrastBolusAgentPhase": "ARTERIAL"}, {"ContrastBolusAgentPhase": "VENOUS"}],
        ("contrast phase ARTERIAL", "contrast phase VENOUS"),
    ),
    "image type": (
        [{"ImageType": ["ORIGINAL", "PRIMARY", part]} for part in "MP"],
        ("magnitude", "phase"),
    ),
    "tube voltage": ([{"KVP": "80"}, {"KVP": "140"}], ("80 kV", "140 kV")),
    "two of them": (
        [{"KVP": "80", "ConvolutionKernel": "A"}, {"KVP": "140", "ConvolutionKernel": "B"}],
        ("80 kV", "140 kV"),
    ),
}


@pytest.mark.parametrize(("values", "names"), IN_TURNS.values(), ids=IN_TURNS.keys())
def test_volumes_whose_slices_lie_in_turns_are_not_shuffled_together(
    tmp_path: Path, values: list[dict[str, object]], names: tuple[str, ...]
) -> None:
    """Two phases half a step apart lie on one regular grid, and are no volume."""
    n = len(values)
    fine = replace(PLAN, shape=(7, 6, 4 * n))

    def in_turns(dataset: Dataset, k: int) -> None:
        setting(**values[k % n])(dataset, k)

    make_series(tmp_path, replace(fine, change=in_turns))

    assert list_series(tmp_path)[0].stacks == names
    with pytest.raises(AmbiguousStackError, match=f"holds {n} volumes"):
        read(tmp_path)
    for part in range(n):
        own = read(tmp_path, stack=part)
        np.testing.assert_array_equal(own.array, fine.values()[:, :, part::n])
        for k in range(4):
            np.testing.assert_allclose(own.grid.world((0, 0, k)), voxel_ras(fine, (0, 0, n * k + part)), atol=1e-5)


def test_phases_a_third_of_a_step_apart_are_not_resampled_into_each_other(tmp_path: Path) -> None:
    """Together they are uneven; each alone is regular."""
    phases = [setting(ContrastBolusAgentPhase=phase) for phase in ("ARTERIAL", "VENOUS")]
    upper = replace(PLAN, offsets=tuple((0.0, 0.0, 2.5 * k + 0.9) for k in range(5)))
    make_volumes(tmp_path, [replace(PLAN, change=phases[0]), replace(upper, change=phases[1])])

    with pytest.raises(AmbiguousStackError, match="holds 2 volumes"):
        read(tmp_path, irregular="resample")

    assert_in_place(read(tmp_path, stack="contrast phase ARTERIAL"), PLAN)
    assert_in_place(read(tmp_path, stack="contrast phase VENOUS"), replace(upper, volume=1))


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("echo time", [{"EchoTime": "10"}] * 3 + [{"EchoTime": "30"}] * 2),
        ("inversion time", [{"InversionTime": "900"}, {"InversionTime": "950"}] * 3),
        ("contrast phase", [{"ContrastBolusAgentPhase": p} for p in "AABBA"]),
        ("temporal position", [{"TemporalPositionIdentifier": n} for n in (1, 2, 1, 2, 1)]),
        ("image type", [{"ImageType": ["ORIGINAL", "PRIMARY", part]} for part in "MMMPP"]),
    ],
)
def test_slices_that_were_not_measured_alike_are_said(
    tmp_path: Path, word: str, values: list[dict[str, object]]
) -> None:
    """In blocks, or where sequences change it from slice to slice, they stay one volume; other things change anyway."""

    def mixed(dataset: Dataset, k: int) -> None:
        dataset.FlipAngle, dataset.TriggerTime, dataset.AcquisitionNumber = 90, 40 * k, 1 + k % 2
        setting(**values[k])(dataset, k)

    make_series(tmp_path, replace(PLAN, change=mixed))

    volume = read(tmp_path)

    assert_in_place(volume, PLAN)
    assert volume.source.decisions == (f"The slices were not measured alike: they differ in {word}.",)


def test_slices_with_their_own_times_are_put_into_time_points(tmp_path: Path) -> None:
    """Every slice has its own time, but each time point is over before the next begins."""

    def change(volume: int) -> Change:
        def time(dataset: Dataset, k: int) -> None:
            dataset.AcquisitionTime = f"1015{10 + 10 * volume + (3 * k) % 5:02d}.5"

        return time

    make_volumes(tmp_path, [replace(PLAN, change=change(n)) for n in range(3)])

    names = list_series(tmp_path)[0].stacks

    assert names == ("acquisition time 1 of 3", "acquisition time 2 of 3", "acquisition time 3 of 3")
    for n in range(3):
        assert_in_place(read(tmp_path, stack=n), replace(PLAN, volume=n))


def test_times_that_overlap_explain_nothing(tmp_path: Path) -> None:
    """Where a slice of the second volume is older than one of the first, order in time proves nothing."""

    def change(volume: int) -> Change:
        def time(dataset: Dataset, k: int) -> None:
            dataset.AcquisitionTime = f"1015{10 + 3 * volume + k:02d}"

        return time

    make_volumes(tmp_path, [replace(PLAN, change=change(n)) for n in range(2)])

    with pytest.raises(IrregularSeriesError, match="2 images at each of 5 positions") as caught:
        read(tmp_path)
    assert "that differ in acquisition time; worst" in str(caught.value)  # the times themselves are nobody's business


def test_a_head_that_moves_between_time_points_is_followed(tmp_path: Path) -> None:
    """Prospective motion correction turns and shifts the slices of each time point a little."""
    plans = [
        replace(
            PLAN,
            orientation=oblique((12.0 + 0.2 * n, -7.0, 25.0)),
            origin=(-20.5 + 0.1 * n, 31.25, -7.75 + 0.1 * n),
            change=setting(TemporalPositionIdentifier=n + 1),
        )
        for n in range(3)
    ]
    make_volumes(tmp_path, plans)

    for n, plan in enumerate(plans):
        assert_in_place(read(tmp_path, stack=f"temporal position {n + 1}"), replace(plan, volume=n))


def test_a_series_of_volumes_that_are_all_refused_is_not_readable(tmp_path: Path) -> None:
    """What cannot be chosen is not offered."""
    tilted = replace(PLAN, offsets=tuple((0.0, 0.3 * z, float(z)) for z in range(0, 15, 3)))
    make_volumes(tmp_path, [replace(tilted, change=setting(EchoTime=10 * n + 10)) for n in range(2)])

    (info,) = list_series(tmp_path)

    assert info.stacks == info.refused_stacks == ("echo time 10 ms", "echo time 20 ms")
    assert not info.readable


def test_a_time_point_that_lost_its_last_slice_is_named(tmp_path: Path) -> None:
    """What is left of it is regular; only the others show that something is missing."""
    plans = [replace(PLAN, change=setting(TemporalPositionIdentifier=n + 1)) for n in range(3)]
    make_volumes(tmp_path, plans)
    last = next(
        path
        for path in tmp_path.iterdir()
        for header in (dcmread(path),)
        if header.TemporalPositionIdentifier == 2 and header.InstanceNumber == 1
    )
    last.unlink()

    (info,) = list_series(tmp_path)
    with pytest.raises(IrregularSeriesError, match=r"temporal position 2 .*4 slices where the other volumes .* have 5"):
        read(tmp_path, stack=1)

    assert info.readable  # the other two are
    assert info.refused_stacks == ("temporal position 2",)
    assert isinstance(info.verdict, GeometryVerdict)
    assert info.verdict.problems == ("temporal position 2: 4 slices where the other volumes of the series have 5",)
    assert_in_place(read(tmp_path, stack=0), PLAN)


def test_a_single_duplicate_is_no_volume(tmp_path: Path) -> None:
    """One image that was sent twice, with another number, stays a duplicate."""
    make_series(tmp_path, replace(PLAN, change=setting(AcquisitionNumber=1)))
    again = replace(PLAN, volume=1, change=setting(AcquisitionNumber=2))
    for k, path in enumerate(make_series(tmp_path / "again", again)):
        if k:
            path.unlink()

    with pytest.raises(IrregularSeriesError, match="duplicate slices at one position: k=0 and k=1"):
        read(tmp_path)


def test_a_few_duplicates_are_no_volume(tmp_path: Path) -> None:
    """Two of five images sent twice are less than half a volume."""
    make_series(tmp_path, replace(PLAN, change=setting(AcquisitionNumber=1)))
    again = replace(PLAN, volume=1, change=setting(AcquisitionNumber=2))
    for k, path in enumerate(make_series(tmp_path / "again", again)):
        if k > 1:
            path.unlink()

    assert list_series(tmp_path)[0].stacks == ()
    with pytest.raises(IrregularSeriesError, match="duplicate slices at one position: k=0 and k=1"):
        read(tmp_path)


def test_planes_are_split_by_name(tmp_path: Path) -> None:
    """Three planes under one series UID, of different size, are three volumes."""
    plans = [
        replace(PLAN, orientation=AXIAL),
        replace(PLAN, orientation=CORONAL, shape=(9, 6, 6)),
        replace(PLAN, orientation=SAGITTAL, shape=(7, 8, 4)),
    ]
    make_volumes(tmp_path, plans)

    (info,) = list_series(tmp_path)

    assert info.stacks == ("axial", "coronal", "sagittal")
    assert (info.shape, info.axcodes) == ((), "")
    for n, (name, plan) in enumerate(zip(info.stacks, plans, strict=True)):
        assert_in_place(read(tmp_path, stack=name), replace(plan, volume=n))


def test_each_plane_is_split_again(tmp_path: Path) -> None:
    """Two echoes in two planes."""
    plans = [
        replace(PLAN, orientation=way, change=setting(EchoTime=time))
        for way in (AXIAL, CORONAL)
        for time in ("30", "80")
    ]
    make_volumes(tmp_path, plans)

    names = list_series(tmp_path)[0].stacks

    assert names == (
        "axial, echo time 30 ms",
        "axial, echo time 80 ms",
        "coronal, echo time 30 ms",
        "coronal, echo time 80 ms",
    )
    assert_in_place(read(tmp_path, stack=3), replace(plans[3], volume=3))


def test_blocks_of_one_plane_are_numbered_from_the_feet(tmp_path: Path) -> None:
    """Slices along three discs of a spine, each block tilted its own way."""
    plans = [
        replace(PLAN, orientation=oblique((angle, 0.0, 0.0)), origin=(0.0, 0.0, height))
        for angle, height in ((20.0, 0.0), (-10.0, -80.0), (5.0, -40.0))
    ]
    make_volumes(tmp_path, plans)

    assert list_series(tmp_path)[0].stacks == ("axial block 1", "axial block 2", "axial block 3")
    for name, n in (("axial block 1", 1), ("axial block 2", 2), ("axial block 3", 0)):
        assert_in_place(read(tmp_path, stack=name), replace(plans[n], volume=n))


@pytest.mark.parametrize("counts", [(3, 3, 2), (5, 1, 0)], ids=["scout", "stray"])
def test_few_slices_of_several_planes_are_not_split(tmp_path: Path, counts: tuple[int, ...]) -> None:
    """A scout stays a scout, and one slice that lies another way is a fault, not a volume."""
    for n, (way, count) in enumerate(zip((AXIAL, CORONAL, SAGITTAL), counts, strict=True)):
        make_series(tmp_path, replace(PLAN, orientation=way, shape=(7, 6, count), volume=n))

    assert list_series(tmp_path)[0].stacks == ()
    with pytest.raises(IrregularSeriesError, match="mixed orientation"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("second", "stacks"),
    [
        (100.0, ("acquisition 1", "acquisition 2")),  # far above
        (8.75, ("acquisition 1", "acquisition 2")),  # in between the first one's slices, not at their places
        (12.5, ()),  # the next step
        (17.5, ()),  # two lost slices
    ],
)
def test_acquisitions_apart_are_blocks(tmp_path: Path, second: float, stacks: tuple[str, ...]) -> None:
    """Two blocks far apart or overlapping are two volumes; a gap in one scan stays a gap."""
    plans = [
        replace(PLAN, orientation=AXIAL, origin=(0.0, 0.0, z), change=setting(AcquisitionNumber=n + 1))
        for n, z in enumerate((0.0, second))
    ]
    make_volumes(tmp_path, plans)

    (info,) = list_series(tmp_path)

    assert info.stacks == stacks
    if stacks:
        assert_in_place(read(tmp_path, stack=1), replace(plans[1], volume=1))
    elif second == 12.5:
        assert info.readable
    else:
        with pytest.raises(IrregularSeriesError, match="gap: between k=4 and k=5"):
            read(tmp_path)


def test_a_change_of_spacing_is_not_split_into_acquisitions(tmp_path: Path) -> None:
    """Head scans are cut thin below and thick above: one volume, and irregular."""
    first = replace(PLAN, orientation=AXIAL, change=setting(AcquisitionNumber=1))
    second = replace(first, spacing=(0.8, 1.1, 5.0), change=setting(AcquisitionNumber=2), origin=(-20.5, 31.25, 7.25))
    make_volumes(tmp_path, [first, second])

    assert list_series(tmp_path)[0].stacks == ()
    with pytest.raises(IrregularSeriesError, match=r"spacing changes|gap"):
        read(tmp_path)


def group(keyword: str, attribute: str, values: Sequence[object]) -> Callable[[Dataset, int], None]:
    """Return a mark that writes a value into a functional group of every frame."""

    def mark(frame: Dataset, volume: int) -> None:
        if keyword not in frame:
            setattr(frame, keyword, [Dataset()])
        setattr(getattr(frame, keyword)[0], attribute, values[volume])

    return mark


ENHANCED = {
    "stack": (group("FrameContentSequence", "StackID", ["1", "2"]), ("stack 1", "stack 2")),
    "time": (
        group("FrameContentSequence", "TemporalPositionIndex", [1, 2]),
        ("temporal position 1", "temporal position 2"),
    ),
    "echo": (group("MREchoSequence", "EffectiveEchoTime", [5.0, 9.8]), ("echo time 5 ms", "echo time 9.8 ms")),
    "b-value": (group("MRDiffusionSequence", "DiffusionBValue", [0.0, 1000.0]), ("b 0", "b 1000")),
    "component": (
        group("MRImageFrameTypeSequence", "ComplexImageComponent", ["MAGNITUDE", "PHASE"]),
        ("magnitude", "phase"),
    ),
    "phase": (
        group("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", [0.0, 33.5]),
        ("trigger time 0 ms", "trigger time 33.5 ms"),
    ),
    "dimension": (
        group("FrameContentSequence", "DimensionIndexValues", [[1, 7, 1], [1, 7, 2]]),
        ("dimension 3 1", "dimension 3 2"),
    ),
}


@pytest.mark.parametrize(("mark", "names"), ENHANCED.values(), ids=ENHANCED.keys())
def test_enhanced_frames_are_split_by_their_groups(
    tmp_path: Path, mark: Callable[[Dataset, int], None], names: tuple[str, ...]
) -> None:
    """Frames of two volumes in one file, in an order that says nothing."""
    make_enhanced(tmp_path / "all.dcm", PLAN, order=[3, 0, 4, 1, 2], volumes=2, mark=mark)

    (info,) = list_series(tmp_path)

    assert info.stacks == names
    for n, name in enumerate(names):
        volume = read(tmp_path / "all.dcm", stack=name)
        assert_in_place(volume, replace(PLAN, volume=n))


def test_stack_ids_split_even_where_no_position_repeats(tmp_path: Path) -> None:
    """Frames of two stacks are two volumes, even when they would make one grid."""

    def mark(frame: Dataset, volume: int) -> None:
        del volume
        above = frame.PlanePositionSequence[0].ImagePositionPatient[2] > 0
        frame.FrameContentSequence[0].StackID = "head" if above else "neck"

    plan = replace(PLAN, orientation=AXIAL, origin=(0.0, 0.0, -4.0))
    make_enhanced(tmp_path / "all.dcm", plan, mark=mark)

    assert list_series(tmp_path)[0].stacks == ("stack head", "stack neck")
    np.testing.assert_array_equal(read(tmp_path, stack="stack head").array, plan.values()[:, :, 2:])


def test_time_points_in_several_files_are_not_mixed(tmp_path: Path) -> None:
    """One enhanced file for each time point."""
    for n in range(3):
        mark = group("FrameContentSequence", "TemporalPositionIndex", [1, 2, 3])
        make_enhanced(tmp_path / f"{2 - n}.dcm", replace(PLAN, volume=n), mark=mark)
        dataset = dcmread(tmp_path / f"{2 - n}.dcm")
        dataset.SOPInstanceUID = f"1.2.{n}"
        dataset.save_as(tmp_path / f"{2 - n}.dcm")

    assert list_series(tmp_path)[0].stacks == tuple(f"temporal position {n}" for n in (1, 2, 3))
    for n in range(3):
        assert_in_place(read(tmp_path, stack=n), replace(PLAN, volume=n))


def concatenation(folder: Path, parts: Sequence[int], *, total: int | None = 3) -> None:
    """Write parts of one object of six slices, two slices in each."""
    plan = replace(PLAN, shape=(7, 6, 6))
    for part in parts:
        path = folder / f"part{9 - part}.dcm"
        make_enhanced(path, plan, order=[2 * part - 2, 2 * part - 1])
        dataset = dcmread(path)
        dataset.SOPInstanceUID, dataset.ConcatenationUID = f"1.2.{part}", "1.2.99"
        dataset.InConcatenationNumber = part
        if total:
            dataset.InConcatenationTotalNumber = total
        dataset.save_as(path)


def test_the_parts_of_a_concatenation_are_one_volume(tmp_path: Path) -> None:
    """Given the folder, or any of the parts."""
    concatenation(tmp_path, [1, 2, 3])

    assert_in_place(read(tmp_path), replace(PLAN, shape=(7, 6, 6)))
    assert_in_place(read(tmp_path / "part7.dcm"), replace(PLAN, shape=(7, 6, 6)))


@pytest.mark.parametrize(("parts", "missing"), [([1, 2], "3"), ([2, 3], "1"), ([1], "2, 3")])
def test_missing_parts_of_a_concatenation_are_named(tmp_path: Path, parts: list[int], missing: str) -> None:
    """What is left is regular, so only the numbers show it."""
    concatenation(tmp_path, parts)

    message = f"expected all 3 parts of a concatenation, found {len(parts)}; without part {missing}"
    with pytest.raises(ReadError, match=message):
        read(tmp_path)
    assert message in str(list_series(tmp_path)[0].verdict)


def test_a_concatenation_that_does_not_count_its_parts_is_read_with_a_remark(tmp_path: Path) -> None:
    """A hole is still found; whether the end is missing cannot be known, and is said."""
    concatenation(tmp_path, [1, 2], total=None)

    assert "the last may be missing" in " ".join(read(tmp_path).source.decisions)

    (tmp_path / "part8.dcm").unlink()
    with pytest.raises(ReadError, match="expected all 2 parts of a concatenation, found 1; without part 1"):
        read(tmp_path)


def test_dcm2niix_finds_the_same_echoes(tmp_path: Path) -> None:
    """The field's converter splits by echo, too: same voxels, same places."""
    plan = Plan(shape=(24, 20, 6), bits=14, orientation=oblique((12.0, -7.0, 25.0)))
    changes = [setting(EchoTime=str(time), EchoNumbers=n) for n, time in enumerate((5, 10), 1)]
    make_volumes(tmp_path / "in", [replace(plan, change=change) for change in changes])
    (tmp_path / "out").mkdir()
    converter = Path(sys.executable).with_name("dcm2niix")
    subprocess.run(
        [converter, "-b", "n", "-z", "n", "-f", "echo%e", "-o", tmp_path / "out", tmp_path / "in"],
        check=True,
        capture_output=True,
    )
    for n in (1, 2):
        (path,) = (tmp_path / "out").glob(f"echo{n}*.nii")
        theirs = nib.as_closest_canonical(nib.load(path))
        volume = read(tmp_path / "in", stack=n - 1)
        ours = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.grid.affine, dtype=volume.array.dtype))

        np.testing.assert_array_equal(np.asanyarray(ours.dataobj), np.asanyarray(theirs.dataobj))
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
