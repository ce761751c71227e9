"""Codestreams are decoded side by side, and nothing of that shows: order, errors, hash and memory are as one by one."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicom_factory import Plan, make_enhanced, make_series
from lesionlens.errors import Cancelled, ReadError
from lesionlens.io import read
from lesionlens.io.dicom import values as module
from lesionlens.io.dicom.pixels import Picture

# More files than are ever read ahead.
MANY = Plan(shape=(16, 17, 4 * module._AHEAD))


def make_many(folder: Path, plan: Plan = MANY, *, bad: Collection[int] = ()) -> list[Path]:
    """Write a series of codestreams, some of which are damaged."""
    paths = make_series(folder, plan, names="slice-{:03d}".format)
    for k, path in enumerate(paths):
        dataset = dcmread(path)
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
        if k in bad:
            dataset.PixelData = encapsulate([b"1234"])
        dataset.save_as(path)
    return paths


def hash_in_order(paths: list[Path]) -> str:
    """Return the digest of files one after the other."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@pytest.mark.parametrize("rescaled", [False, True], ids=["stored", "rescaled"])
def test_many_slices_come_in_order_with_the_hash_of_their_files(tmp_path: Path, rescaled: bool) -> None:
    """Every slice at its own place, whichever thread was faster."""

    def rescale(dataset: Dataset, k: int) -> None:
        if rescaled:
            dataset.RescaleSlope, dataset.RescaleIntercept = 1 + k, -k

    plan = replace(MANY, change=rescale)
    paths = make_many(tmp_path, plan)

    volume = read(tmp_path)

    k = np.arange(plan.shape[2])
    np.testing.assert_array_equal(volume.array, plan.values() * (1 + k) - k if rescaled else plan.values())
    assert volume.source.sha256 == hash_in_order(paths)


def test_slow_pictures_do_not_change_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first slice is decoded last of those in work at a time, and still lies first."""
    paths = make_many(tmp_path)
    second = threading.Event()
    fill = module._Stack.fill

    def late(self: module._Stack, picture: Picture, ks: list[int]) -> None:
        if ks == [0]:
            assert second.wait(30)
        fill(self, picture, ks)
        if ks == [1]:
            second.set()

    monkeypatch.setattr(module._Stack, "fill", late)

    volume = read(tmp_path)

    np.testing.assert_array_equal(volume.array, MANY.values())
    assert volume.source.sha256 == hash_in_order(paths)


@pytest.mark.parametrize("bad", [(3, 7), (3, 4), (0, 127 % MANY.shape[2])], ids=str)
def test_the_first_of_several_damaged_files_is_named(tmp_path: Path, bad: tuple[int, int]) -> None:
    """The same message on every run, whichever thread finds its damage first."""
    make_many(tmp_path, bad=bad)

    for _ in range(5):
        with pytest.raises(ReadError, match=f"pixel data of slice-{min(bad):03d} .* is damaged"):
            read(tmp_path)


def test_a_file_that_cannot_be_read_does_not_hide_an_earlier_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are read ahead; what is wrong with one of them is said in its turn."""
    paths = make_many(tmp_path, bad=[1])
    read_bytes = Path.read_bytes

    def unreadable(self: Path) -> bytes:
        if self.name == paths[2].name:
            raise OSError("gone")
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", unreadable)

    with pytest.raises(ReadError, match=r"pixel data of slice-001 .* is damaged"):
        read(tmp_path)


def test_cancelling_stops_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is decoded after Cancelled came out, and no thread is left."""
    make_many(tmp_path)
    decoded: list[int] = []
    fill = module._Stack.fill

    def noting(self: module._Stack, picture: Picture, ks: list[int]) -> None:
        fill(self, picture, ks)
        decoded.extend(ks)

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "Reading slices" and done == 5:
            raise Cancelled("stopped")

    monkeypatch.setattr(module._Stack, "fill", noting)

    with pytest.raises(Cancelled, match="stopped"):
        read(tmp_path, progress=progress)

    n = len(decoded)
    assert n <= 5
    # Others may run: the first decoder of a process comes with a thread that stays.
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
    assert len(decoded) == n


def test_progress_counts_the_images_of_a_large_file(tmp_path: Path) -> None:
    """An enhanced file moves the bar, and can be cancelled, image by image."""
    make_enhanced(tmp_path / "all.dcm", Plan())
    seen: list[tuple[int, int]] = []

    read(tmp_path, progress=lambda stage, done, total: seen.append((done, total)) if "slices" in stage else None)

    assert seen == [(k, 5) for k in range(6)]


@pytest.mark.parametrize("kind", ["one by one", "enhanced"])
def test_hardly_more_than_the_result_is_in_memory(tmp_path: Path, kind: str) -> None:
    """One copy beyond the result at most, and of single images only a few."""

    def enlarge(dataset: Dataset, k: int) -> None:
        dataset.Rows = dataset.Columns = 512
        dataset.PixelData = bytes([k]) * (2 * 512 * 512)

    plan = Plan(shape=(7, 6, 64), change=enlarge)
    make_enhanced(tmp_path / "all", plan) if kind == "enhanced" else make_series(tmp_path, plan)

    tracemalloc.start()
    volume = read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert volume.array.nbytes == 64 * 2 * 512 * 512
    assert peak < (2.1 if kind == "enhanced" else 1.5) * volume.array.nbytes


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", ["plain", "deflated", RLELossless])
def test_the_stored_bits_may_be_the_upper_ones(tmp_path: Path, syntax: str, signed: bool) -> None:
    """Old scanners keep twelve bits at the top of sixteen; what lies below them is noise."""

    def shift(dataset: Dataset, k: int) -> None:
        del k
        values = np.frombuffer(dataset.PixelData, "<u2") << 4
        dataset.PixelData, dataset.HighBit = (values | 0x5).tobytes(), 15

    plan = Plan(bits=12, signed=signed, change=shift)
    for path in make_series(tmp_path, plan):
        dataset = dcmread(path)
        if syntax == "deflated":
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        elif syntax != "plain":
            dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
        dataset.save_as(path)

    np.testing.assert_array_equal(read(tmp_path).array, plan.values())


@pytest.mark.parametrize(
    ("slope", "intercept"), [(1, -1024), (-1, 0), (3, 17), (256, 1), (0.1, -7.3), (1, 0.5), (1000, -1e6)]
)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_rescaled_values_are_those_of_double_precision(
    tmp_path: Path, slope: float, intercept: float, signed: bool
) -> None:
    """Whatever way is taken, each value is rounded once."""
    values = np.arange(-(2**15) if signed else 0, 2**15 if signed else 2**16, dtype=np.int64).reshape(256, 256)

    def change(dataset: Dataset, k: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        dataset.Rows = dataset.Columns = 256
        dataset.PixelData = (values.T if k else values).astype("<i2" if signed else "<u2").tobytes()

    make_series(tmp_path, Plan(shape=(7, 6, 2), signed=signed, change=change))

    array = read(tmp_path).array

    for k, image in enumerate((values, values.T)):
        np.testing.assert_array_equal(array[:, :, k].T, (image * slope + intercept).astype(np.float32))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless], ids=["child", "own process"])
def test_a_frame_that_is_missing_is_an_error(tmp_path: Path, syntax: str) -> None:
    """A volume that ends too early is missed by nobody."""
    plan = Plan(shape=(64, 65, 5), bits=15)
    make_enhanced(tmp_path / "all", plan)
    dataset = dcmread(tmp_path / "all")
    dataset.compress(syntax, generate_instance_uid=False)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=5))
    dataset.PixelData = encapsulate(frames[:-1])
    dataset.save_as(tmp_path / "all")

    with pytest.raises(ReadError, match=r"Expected 5 images in all; found 4\.|all .* is damaged"):
        read(tmp_path)
