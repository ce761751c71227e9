"""Slices that are handed out while a scan is still being read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, RLELossless

from dicom_factory import Plan, make_enhanced, make_mosaic, make_series
from lesionlens.errors import Cancelled, ReadError
from lesionlens.io import read
from lesionlens.io.dicom import values
from lesionlens.io.dicom.pixels import Picture, pictures_in
from lesionlens.io.early import EarlySlice
from lesionlens.volume import Volume


def rescaled(dataset: Dataset, k: int) -> None:
    """Give each slice a slope of its own."""
    dataset.RescaleSlope, dataset.RescaleIntercept = 2 + k, -1024


def read_early(path: Path, irregular: str = "refuse") -> tuple[Volume, list[EarlySlice]]:
    """Read a scan and keep what is handed out meanwhile."""
    found: list[EarlySlice] = []
    return read(path, irregular=irregular, on_slice=found.append), found  # type: ignore[arg-type]  # a parameter


@pytest.mark.parametrize(
    "plan", [Plan(), Plan(signed=True, bits=12), Plan(modality="CT", change=rescaled)], ids=["plain", "signed", "CT"]
)
def test_the_middle_comes_first_and_every_slice_is_that_of_the_volume(tmp_path: Path, plan: Plan) -> None:
    """What is shown early must be where it is in the end, with the same values, name and unit."""
    make_series(tmp_path, plan)

    volume, found = read_early(tmp_path)

    assert [early.k for early in found] == [2, 0, 1, 2, 3, 4]
    for early in found:
        np.testing.assert_array_equal(early.values, volume.array[:, :, early.k])
        assert early.grid.same_as(volume.grid, tolerance_mm=0)
        assert (early.name, early.unit) == (volume.name, volume.unit)


def test_the_middle_comes_before_the_others_are_decoded(tmp_path: Path) -> None:
    """Whoever stops at the first picture has waited for one slice, not for all."""
    make_series(tmp_path)
    stages: list[str] = []

    def stop(early: EarlySlice) -> None:
        raise Cancelled(f"stopped at {early.k}")

    with pytest.raises(Cancelled, match="stopped at 2"):
        read(tmp_path, on_slice=stop, progress=lambda stage, _done, _total: stages.append(stage))
    assert set(stages) == {"Reading headers"}


def test_of_a_multi_frame_file_one_frame_is_decoded_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames out of order: the middle one by position, and that one alone."""
    make_enhanced(tmp_path / "enhanced", Plan(), order=[3, 0, 4, 1, 2])
    decoded: list[int] = []

    def decode(index: int, picture: Picture) -> NDArray[Any]:
        decoded.append(index)
        return picture.decode()

    def noted(*given: Any, **options: Any) -> Iterator[Picture]:
        for index, picture in enumerate(pictures_in(*given, **options)):
            yield replace(picture, decode=partial(decode, index, picture))

    monkeypatch.setattr(values, "pictures_in", noted)
    volume, found = read_early(tmp_path / "enhanced")

    assert decoded == [4, 0, 1, 2, 3, 4]
    assert found[0].k == 2
    assert sorted(early.k for early in found[1:]) == [0, 1, 2, 3, 4]
    for early in found:
        np.testing.assert_array_equal(early.values, volume.array[:, :, early.k])


def test_slices_that_other_processes_decode_are_handed_out_by_one_thread(tmp_path: Path) -> None:
    """Whoever draws them need not lock anything, though several are decoded at a time."""
    for file in make_series(tmp_path, Plan(shape=(16, 12, 30))):
        dataset = dcmread(file)
        dataset.compress(JPEGLSLossless)
        dataset.save_as(file)
    found: list[EarlySlice] = []
    threads: set[int] = set()

    def note(early: EarlySlice) -> None:
        threads.add(threading.get_ident())
        found.append(early)

    volume = read(tmp_path, on_slice=note)

    assert threads == {threading.get_ident()}
    assert found[0].k == 15
    assert sorted(early.k for early in found[1:]) == list(range(30))
    for early in found:
        np.testing.assert_array_equal(early.values, volume.array[:, :, early.k])


def test_tiles_of_a_mosaic_are_handed_out(tmp_path: Path) -> None:
    """The middle tile is cut out of the whole image."""
    make_mosaic(tmp_path / "mosaic", Plan())

    volume, found = read_early(tmp_path / "mosaic")

    assert found[0].k == 2
    for early in found:
        np.testing.assert_array_equal(early.values, volume.array[:, :, early.k])


TILTED = Plan(offsets=tuple((0.0, 0.7 * k, 2.5 * k) for k in range(5)))


def test_slices_that_will_be_resampled_are_not_handed_out(tmp_path: Path) -> None:
    """They lie elsewhere in the volume that comes, so they would jump."""
    make_series(tmp_path, TILTED)

    volume, found = read_early(tmp_path, "resample")

    assert volume.source.verdict.handled == "resample"
    assert found == []


def test_slices_that_are_kept_as_they_are_are_handed_out(tmp_path: Path) -> None:
    """They are the planes of the volume."""
    make_series(tmp_path, TILTED)

    volume, found = read_early(tmp_path, "as-is")

    assert len(found) == 6
    assert found[0].grid.same_as(volume.grid, tolerance_mm=0)


def test_an_error_in_the_middle_comes_after_the_slices_before_it(tmp_path: Path) -> None:
    """The headers of a damaged codestream are fine; only decoding finds out."""
    damaged = make_series(tmp_path)[3]
    dataset = dcmread(damaged)
    dataset.compress(RLELossless)
    dataset.PixelData = encapsulate([b"\x01" + 79 * b"\x00"])
    dataset.save_as(damaged)
    found: list[int] = []

    with pytest.raises(ReadError, match=damaged.name):
        read(tmp_path, on_slice=lambda early: found.append(early.k))
    assert found == [2, 0, 1, 2]
