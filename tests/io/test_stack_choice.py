"""Files with several volumes: one is chosen by name or number, never by accident."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lesionlens.errors import AmbiguousSeriesError, AmbiguousStackError, ReadError
from lesionlens.io import list_series, read
from lesionlens.io.stack_choice import choose_stack, stack_names

SHAPE = (6, 5, 4, 3, 2)
VALUES = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


def write_5d(path: Path, values: np.ndarray = VALUES) -> Path:
    """Write values with an affine, packed where the name says so."""
    content = nib.Nifti1Image(values, np.diag([2.0, 3.0, 4.0, 1.0])).to_bytes()
    path.write_bytes(gzip.compress(content) if path.name.endswith("gz") else content)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("stack", "t", "u"),
    [("t=0, u=0", 0, 0), ("t=2, u=0", 2, 0), ("t=1, u=1", 1, 1), (4, 1, 1), ("5", 2, 1)],
)
def test_the_chosen_volume_is_the_one_that_nibabel_finds(
    tmp_path: Path, name: str, stack: str | int, t: int, u: int
) -> None:
    """Numbers count volumes as they lie in the file: t runs fastest."""
    path = write_5d(tmp_path / name)

    volume = read(path, stack=stack)

    np.testing.assert_array_equal(volume.array, np.asanyarray(nib.load(path).dataobj)[..., t, u])
    assert volume.source.stack == f"t={t}, u={u}"
    assert volume.name == f"a t={t}, u={u}"
    assert volume.source.decisions[0] == f"Of 6 volumes, t={t}, u={u} was read."


def test_scaled_volumes_are_chosen_alike(tmp_path: Path) -> None:
    """Values that are converted on the way come from the same place."""
    image = nib.Nifti1Image(VALUES, np.eye(4))
    image.header["vox_offset"], image.header["scl_slope"], image.header["scl_inter"] = 352, 0.5, 3
    (tmp_path / "a.nii").write_bytes(bytes(image.header.binaryblock) + bytes(4) + VALUES.tobytes(order="F"))

    volume = read(tmp_path / "a.nii", stack="t=1, u=1")

    np.testing.assert_array_equal(volume.array, VALUES[..., 1, 1] * 0.5 + 3)


def test_without_a_choice_the_error_lists_the_volumes(tmp_path: Path) -> None:
    """Whoever catches the error can offer them; older code that catches ambiguous series catches it as well."""
    path = write_5d(tmp_path / "a.nii")

    with pytest.raises(
        AmbiguousStackError, match=r"a\.nii holds 6 volumes; .* --stack .*: 0 't=0, u=0', 1 't=1, u=0'"
    ) as error:
        read(path)

    assert isinstance(error.value, AmbiguousSeriesError)
    assert error.value.choices == stack_names((3, 2), "")
    (info,) = list_series(path)
    assert (info.stacks, info.shape) == (error.value.choices, SHAPE)


@pytest.mark.parametrize("stack", [6, "6", -1, "t=3, u=0", "9" * 5000, "t=0", "", "\u0663"])
def test_a_volume_that_is_not_there_is_refused(tmp_path: Path, stack: str | int) -> None:
    """A mistyped name or number never ends in some other volume."""
    with pytest.raises(ReadError, match=r"a\.nii: There is no stack .*choose one of: 0 't=0, u=0', .*5 't=2, u=1'"):
        read(write_5d(tmp_path / "a.nii"), stack=stack)


def test_a_single_volume_needs_no_choice(tmp_path: Path) -> None:
    """Its number is accepted, anything else is not ignored."""
    path = write_5d(tmp_path / "a.nii", VALUES[..., 0, 0])

    assert read(path, stack=0).source.stack == ""
    with pytest.raises(ReadError, match=r"a\.nii is a single volume; leave out --stack"):
        read(path, stack="t=1")
    assert list_series(path)[0].stacks == ()


def test_axes_of_one_are_not_named() -> None:
    """A vector image has no time."""
    assert stack_names((1, 3), "") == ("u=0", "u=1", "u=2")
    assert stack_names((1, 1), "") == ()
    assert choose_stack("u=2", stack_names((1, 3), ""), "a") == 2


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_other_volumes_take_no_memory(tmp_path: Path, name: str) -> None:
    """One volume of 1 MB out of forty is read within a chunk of the reader, not within the 40 MB of the file."""
    path = write_5d(tmp_path / name, np.zeros((64, 64, 64, 40), np.float32))
    read(path, stack=0)  # what is imported on the way does not count
    tracemalloc.start()

    read(path, stack=39)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20e6
