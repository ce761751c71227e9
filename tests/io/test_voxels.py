"""Voxels on their way from the file: memory, bytes too many, hashes."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lesionlens.errors import ReadError
from lesionlens.io import read

SHAPE = (128, 128, 100)

# What the reader holds beside the result: a chunk of the file, and a slab in double precision.
CHUNKS = 25e6


def nifti(values: np.ndarray, *, slope: float = 1.0) -> bytes:
    """Return a file with a scale factor."""
    image = nib.Nifti1Image(values, np.eye(4), dtype=values.dtype)
    image.header["vox_offset"], image.header["scl_slope"], image.header["scl_inter"] = 352, slope, 0
    return bytes(image.header.binaryblock) + bytes(4) + values.tobytes(order="F")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(
    ("stored", "slope", "in_memory"),
    [(np.int16, 1.0, 2), (np.int16, 0.5, 4), (np.float32, 1.0, 4), (np.float64, 1.0, 4)],
)
def test_nothing_but_the_result_is_held(
    tmp_path: Path, rng: np.random.Generator, packed: bool, stored: type, slope: float, in_memory: int
) -> None:
    """Neither the file nor a second copy of the voxels is in memory at any time."""
    shape = (128, 128, 1000)  # 128 MB in double precision
    values = np.zeros(shape, stored, order="F")
    values[::7, ::5, ::3] = 100
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(nifti(values, slope=slope), 1) if packed else nifti(values, slope=slope))
    read_small(tmp_path)  # what is imported on the way does not count
    tracemalloc.start()

    volume = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < values.size * in_memory + CHUNKS
    assert volume.array.nbytes == values.size * in_memory
    np.testing.assert_array_equal(volume.array[::7, ::5, ::3], 100 * slope)
    assert np.count_nonzero(volume.array) == np.count_nonzero(values)


def read_small(folder: Path) -> None:
    """Read a small file."""
    (folder / "small.nii").write_bytes(nifti(np.zeros((3, 3, 3), np.int16)))
    read(folder / "small.nii")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_bytes_beyond_the_promised_voxels_are_said(tmp_path: Path, packed: bool) -> None:
    """They may be voxels that the header forgot: whoever misses some can find out."""
    values = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    content = nifti(values) + bytes(48)
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)

    volume = read(path)

    np.testing.assert_array_equal(volume.array, values)
    notes = [d for d in volume.source.decisions if "beyond" in d]
    assert notes == [f"{path.name} holds 48 bytes beyond the voxels that its header promises; not used."]
    assert volume.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_of_a_pair_is_over_header_and_voxels(tmp_path: Path) -> None:
    """Both files make the scan."""
    nib.Nifti1Pair(np.ones((5, 4, 3), np.int16), np.eye(4)).to_filename(tmp_path / "a.hdr")

    volume = read(tmp_path / "a.img")

    both = (tmp_path / "a.hdr").read_bytes() + (tmp_path / "a.img").read_bytes()
    assert volume.source.sha256 == hashlib.sha256(both).hexdigest()


def test_damage_behind_the_chosen_volume_is_found(tmp_path: Path, rng: np.random.Generator) -> None:
    """The checksum is at the end of the file, and is looked at whichever volume is asked for."""
    image = nib.Nifti1Image(rng.integers(0, 999, (20, 20, 20, 3)).astype(np.int16), np.eye(4))
    content = bytearray(gzip.compress(image.to_bytes()))
    content[-2000] ^= 0xFF
    (tmp_path / "a.nii.gz").write_bytes(content)

    with pytest.raises(ReadError, match=r"a\.nii\.gz is damaged: its gzip compression cannot be undone"):
        read(tmp_path / "a.nii.gz", stack=0)
