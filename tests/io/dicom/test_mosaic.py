"""Mosaics: every tile at its true place, or a refusal; never one picture."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_factory import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Change,
    Plan,
    csa_bytes,
    make_mosaic,
    make_united_mosaic,
    oblique,
    voxel_ras,
)
from lesionlens.errors import AmbiguousStackError, ReadError
from lesionlens.io import list_series, read
from lesionlens.io.dicom.mosaic import csa_header
from lesionlens.volume import Volume

PLAN = Plan(shape=(8, 6, 7), spacing=(0.8, 1.1, 2.5))
WAYS = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL, "oblique": oblique((12.0, -7.0, 25.0))}


def assert_in_place(volume: Volume, plan: Plan) -> None:
    """Compare every voxel and the places of all corners with the plan."""
    np.testing.assert_array_equal(volume.array, plan.values())
    ends = [(0, n - 1) for n in plan.shape]
    corners = [voxel_ras(plan, (i, j, k)) for i in ends[0] for j in ends[1] for k in ends[2]]
    np.testing.assert_allclose(volume.grid.corners(), corners, atol=1e-5)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("csa", [1, 2])
def test_every_tile_lies_where_its_slice_was(
    tmp_path: Path, way: tuple[float, ...], descending: bool, csa: int
) -> None:
    """The plan places each slice by the standard's formula; tiles may follow the normal or go against it."""
    plan = replace(PLAN, orientation=way)
    make_mosaic(tmp_path / "mosaic", plan, descending=descending, csa=csa)

    volume = read(tmp_path)

    assert_in_place(volume, plan)
    assert volume.source.verdict.regular


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("n", [2, 7, 9, 12], ids=lambda n: f"{n} slices")
def test_every_tile_of_united_imaging_lies_where_its_slice_was(tmp_path: Path, way: tuple[float, ...], n: int) -> None:
    """The maker lists the places; the tiles fill as few lines as they need, so the picture need not be square."""
    plan = replace(PLAN, orientation=way, shape=(8, 6, n))
    make_united_mosaic(tmp_path / "mosaic", plan)

    volume = read(tmp_path)

    assert_in_place(volume, plan)
    assert volume.source.verdict.regular


def test_several_mosaics_of_united_imaging_are_volumes(tmp_path: Path) -> None:
    """A time series has one picture for each time point."""
    for n in (0, 1):
        make_united_mosaic(tmp_path / f"mosaic-{n}", replace(PLAN, volume=n))

    assert list_series(tmp_path)[0].stacks == ("instance 1", "instance 2")
    assert_in_place(read(tmp_path, stack=1), replace(PLAN, volume=1))


def set_united(value: object, vr: str = "SQ") -> Change:
    """Return a change that writes another private list of slices."""
    return lambda dataset, _: dataset.private_block(0x0065, "Image Private Header").add_new(0x51, vr, value)


UNITED_REFUSED = {
    "no list": (lambda dataset, _: dataset.remove_private_tags(), "without its private list of slices"),
    "empty list": (set_united([]), "does not say where they lie"),
    "no places": (set_united([Dataset()]), "does not say where they lie"),
    "no list at all": (set_united(b"1234", "OB"), "does not say where they lie"),
    "uneven tiles": (lambda dataset, _: setattr(dataset, "Rows", 17), "24x17 pixels that 7 tiles do not divide"),
}


@pytest.mark.parametrize(("change", "reason"), UNITED_REFUSED.values(), ids=UNITED_REFUSED.keys())
def test_a_mosaic_of_united_imaging_without_places_is_refused(tmp_path: Path, change: Change, reason: str) -> None:
    """No tile is placed by a guess."""
    make_united_mosaic(tmp_path / "mosaic", PLAN, change=change)

    with pytest.raises(ReadError, match=f"found a United Imaging mosaic .*{reason}"):
        read(tmp_path)


def test_nibabel_places_the_mosaic_alike(tmp_path: Path) -> None:
    """An independent reader of mosaics finds the same voxels at the same places."""
    plan = replace(PLAN, orientation=WAYS["oblique"], shape=(8, 8, 7), spacing=(1.25, 1.25, 3.0))
    elements = {"AcquisitionMatrixText": ["8*8"]}
    make_mosaic(tmp_path / "mosaic", plan, descending=True, elements=elements)
    wrappers = nibabel_module("nibabel.nicom.dicomwrappers")
    theirs = wrappers.wrapper_from_file(tmp_path / "mosaic")
    affine = np.diag([-1, -1, 1, 1]) @ theirs.affine

    ours = read(tmp_path)

    # Theirs are (row, column, tile); ours (column, row, slice along the normal), and the tiles descend.
    np.testing.assert_array_equal(ours.array, theirs.get_data().transpose(1, 0, 2)[:, :, ::-1])
    for i, j, k in [(0, 0, 0), (7, 2, 6), (3, 5, 1)]:
        np.testing.assert_allclose(ours.grid.world((i, j, k)), (affine @ [j, i, 6 - k, 1])[:3], atol=1e-4)


@pytest.mark.parametrize("name", ["csa2_b0.bin", "csa2_b1000.bin"])
def test_real_private_headers_are_parsed_as_nibabel_does(name: str) -> None:
    """Headers of a scanner, element by element."""
    csareader = nibabel_module("nibabel.nicom.csareader")
    content = (Path(csareader.__file__).parent / "tests" / "data" / name).read_bytes()
    theirs = csareader.read(content)["tags"]

    ours = csa_header(content)

    assert ours.keys() == theirs.keys()
    for element, tag in theirs.items():
        values = [str(item).strip() for item in tag["items"] if str(item).strip()]
        assert [_as_number(item) for item in ours[element]] == [_as_number(item) for item in values]


def _as_number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def nibabel_module(name: str) -> Any:
    """Import a part of nibabel's DICOM reader, which warns of itself when it is first imported."""
    import warnings
    from importlib import import_module

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


@pytest.mark.parametrize("name", ["12bitUnsigned", "12bitUnsigned_0x0F0F", "12bitSigned_0x0F0F"])
def test_a_real_mosaic_agrees_with_dcm2niix(shared_data: Path, tmp_path: Path, name: str) -> None:
    """Converted live: same voxels, same places, noise in unused bits removed by both."""
    path = shared_data / "dicom" / "dcm_qa_12bit" / "In" / f"{name}.dcm"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.dcm").symlink_to(path)
    converter = Path(sys.executable).with_name("dcm2niix")
    subprocess.run(
        [converter, "-b", "n", "-z", "n", "-f", "volume", "-o", tmp_path, tmp_path / "in"],
        check=True,
        capture_output=True,
    )
    theirs = nib.as_closest_canonical(nib.load(tmp_path / "volume.nii"))

    volume = read(tmp_path / "in")

    ours = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.grid.affine, dtype=volume.array.dtype))
    np.testing.assert_array_equal(np.asanyarray(ours.dataobj), np.asanyarray(theirs.dataobj))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)


def test_several_mosaics_are_time_points(tmp_path: Path) -> None:
    """A functional series is one mosaic for each time point; one is chosen, and none is mixed with another."""

    def acquisition(dataset: Dataset, n: int) -> None:
        dataset.AcquisitionNumber = n + 1

    plans = [replace(PLAN, volume=n) for n in range(3)]
    for n, plan in enumerate(plans):
        make_mosaic(tmp_path / f"m{2 - n}", plan, change=acquisition)

    (info,) = list_series(tmp_path)
    with pytest.raises(AmbiguousStackError, match=r"holds 3 volumes; .* 0 'acquisition 1', 1 'acquisition 2'"):
        read(tmp_path)

    assert info.stacks == ("acquisition 1", "acquisition 2", "acquisition 3")
    assert info.shape == (*PLAN.shape, 3)
    for n, plan in enumerate(plans):
        assert_in_place(read(tmp_path, stack=n), plan)
        assert_in_place(read(tmp_path / f"m{2 - n}"), plan)


def test_mosaics_that_differ_in_nothing_but_their_number_are_volumes(tmp_path: Path) -> None:
    """Each file is a volume for sure, so its number in the series is a name that shuffles nothing."""
    for n in range(2):
        make_mosaic(tmp_path / f"m{n}", replace(PLAN, volume=n))

    (info,) = list_series(tmp_path)

    assert info.stacks == ("instance 1", "instance 2")
    assert_in_place(read(tmp_path, stack="instance 2"), replace(PLAN, volume=1))


def test_thickness_stands_in_for_a_missing_distance_and_is_said(tmp_path: Path) -> None:
    """Old mosaics give a thickness only."""

    def change(dataset: Dataset, n: int) -> None:
        del n, dataset.SpacingBetweenSlices
        dataset.SliceThickness = 3.5

    make_mosaic(tmp_path / "mosaic", PLAN, change=change)

    volume = read(tmp_path)

    assert_in_place(volume, replace(PLAN, spacing=(0.8, 1.1, 3.5)))
    assert "its slice thickness of 3.5 mm is it" in " ".join(volume.source.decisions)


def without_header(dataset: Dataset, n: int) -> None:
    """Lose the private header, as in most anonymised files."""
    del n
    dataset.remove_private_tags()


def with_header(elements: dict[str, list[str]]) -> Change:
    """Return a change that writes another private header."""

    def change(dataset: Dataset, n: int) -> None:
        del n
        dataset.private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value = csa_bytes(elements)

    return change


def cut_header(dataset: Dataset, n: int) -> None:
    """Cut the private header short."""
    del n
    element = dataset.private_block(0x0029, "SIEMENS CSA HEADER")[0x10]
    element.value = element.value[:300]


NORMAL = ["0", "0", "1"]
REFUSED = {
    "no header": (without_header, "without its CSA header"),
    "no number": (with_header({"SliceNormalVector": NORMAL}), "does not say how many slices"),
    "number 0": (
        with_header({"NumberOfImagesInMosaic": ["0"], "SliceNormalVector": NORMAL}),
        "does not say how many slices",
    ),
    "no direction": (with_header({"NumberOfImagesInMosaic": ["7"]}), "does not say in which direction"),
    "another direction": (
        with_header({"NumberOfImagesInMosaic": ["7"], "SliceNormalVector": ["0", "1", "0"]}),
        r"SliceNormalVector is not the normal of its images \(cosine 0\)",
    ),
    "too many tiles": (
        with_header({"NumberOfImagesInMosaic": ["50"], "SliceNormalVector": NORMAL}),
        "24x18 pixels that 50 tiles do not divide",
    ),
    "cut header": (cut_header, "CSA header (is damaged|ends too early)"),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_mosaic_that_cannot_be_taken_apart_is_refused(tmp_path: Path, change: Change, reason: str) -> None:
    """It is never shown as one picture, nor its tiles placed by a guess; the list says the same."""
    make_mosaic(tmp_path / "mosaic", PLAN, change=change)

    with pytest.raises(ReadError, match=f"found a Siemens mosaic .*{reason}"):
        read(tmp_path)
    (info,) = list_series(tmp_path)
    assert not info.readable


def test_damaged_private_headers_end_in_one_error(rng: np.random.Generator) -> None:
    """Whatever bytes stand there, the parser ends soon and with an error of its own, or with a header."""
    good = csa_bytes({"NumberOfImagesInMosaic": ["7"], "SliceNormalVector": NORMAL})
    for _ in range(500):
        content = bytearray(good)
        for place in rng.integers(0, len(content), 4):
            content[place] = rng.integers(0, 256)
        try:
            csa_header(bytes(content[: rng.integers(1, len(content) + 1)]))
        except ReadError:
            continue
