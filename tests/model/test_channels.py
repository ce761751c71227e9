"""Volumes go into the channels that their names speak of, on one grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lesionlens.cli import main
from lesionlens.errors import InputError
from lesionlens.model.catalogue import BundleInfo, describe
from lesionlens.model.channels import matched
from lesionlens.volume import Grid, Volume
from tiny_bundles import SIGMOID, VOXELWISE, blob, write_bundle


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """Return what a bundle for the four channels of a tumour says."""
    inputs = {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}
    return describe(write_bundle(tmp_path_factory.mktemp("b") / "b", inputs=inputs))


def _volume(name: str, value: float = 0.0) -> Volume:
    return Volume(np.full((3, 4, 5), value, dtype=np.float32), Grid((3, 4, 5), np.eye(4)), name=name)


@pytest.mark.parametrize(
    "names",
    [
        ("p1_flair", "p1_t1ce", "p1_t1", "p1_t2"),
        ("sub-01_FLAIR.nii.gz", "sub-01_T1c.nii.gz", "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"),
        ("T2_FLAIR", "t1c", "t1", "series 4"),  # the one that is left over
    ],
)
def test_names_of_files_say_which_channel_they_are(info: BundleInfo, names: tuple[str, ...]) -> None:
    """Nobody remembers the order of a bundle's channels, and a swapped one gives a wrong answer without an error."""
    if names[0] == "T2_FLAIR":
        with pytest.raises(InputError, match="not clear"):
            matched(info, [("", _volume(name)) for name in names])
        names = ("FLAIR", *names[1:])

    found, notices = matched(info, [("", _volume(name)) for name in names])

    assert [volume.name for volume in found] == [names[1], names[2], names[3], names[0]]
    assert not notices


def test_what_a_person_says_goes_before_names(info: BundleInfo) -> None:
    """A file may be called anything."""
    given = [("T2", _volume("a")), ("flair", _volume("b")), ("T1C", _volume("c")), ("", _volume("d"))]

    assert [volume.name for volume in matched(info, given)[0]] == ["c", "d", "a", "b"]


def test_names_that_say_nothing_are_taken_in_order_with_a_notice(info: BundleInfo) -> None:
    """The order of the bundle's channels is what its makers would use."""
    found, (notice,) = matched(info, [("", _volume(name)) for name in "abcd"])

    assert [volume.name for volume in found] == list("abcd")
    assert "T1c: a, T1: b, T2: c, FLAIR: d" in notice


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("", "t1"), ("", "t2")], r"needs 4 input channel\(s\).*found 2 volume"),
        ([("", "t1"), ("", "t1 again"), ("", "t2"), ("", "flair")], "not clear"),
        ([("", "t1"), ("", "x"), ("", "y"), ("", "flair")], "not clear which of"),
        ([("T7", "t1"), ("", "x"), ("", "y"), ("", "flair")], "has no input channel 'T7'"),
    ],
)
def test_doubt_is_an_error(info: BundleInfo, given: list[tuple[str, str]], message: str) -> None:
    """A guess would be a wrong answer that looks right."""
    with pytest.raises(InputError, match=message):
        matched(info, [(named, _volume(name)) for named, name in given])


def test_other_grids_are_resampled_to_that_of_the_first(info: BundleInfo) -> None:
    """Sequences of one examination rarely share a grid; that values were interpolated is said."""
    shifted = Volume(
        np.arange(60, dtype=np.float32).reshape(3, 4, 5), Grid((3, 4, 5), np.diag([1, 1, 2.0, 1])), name="t1"
    )
    given = [("", _volume("flair")), ("", shifted), ("", _volume("t2")), ("", _volume("t1c"))]

    found, (notice,) = matched(info, given)

    assert found[1].grid.same_as(given[0][1].grid)
    np.testing.assert_allclose(found[1].array[..., 1], (shifted.array[..., 0] + shifted.array[..., 1]) / 2)
    assert "t1 was resampled to the grid of flair" in notice


def test_the_command_line_takes_a_file_for_each_channel(tmp_path: Path) -> None:
    """The answer for both channels is known by hand: logit 4 a + 6 b - 5."""
    import torch

    bundle = write_bundle(
        tmp_path / "b",
        network={**VOXELWISE, "in_channels": 2, "out_channels": 1},
        state={"weight": torch.tensor([4.0, 6.0]).view(1, 2, 1, 1, 1), "bias": torch.tensor([-5.0])},
        inputs={"0": "T1", "1": "T2"},
        outputs={"0": "lesion"},
        postprocessing=[SIGMOID],
        steps=[],
    )
    grid = Grid((8, 9, 7), np.eye(4))
    one, two = blob(grid, (4, 4, 3), radius_mm=2), blob(grid, (3, 5, 3), radius_mm=2)
    for name, volume in (("t1", one), ("x", two)):
        nib.save(nib.Nifti1Image(np.asarray(volume.array), grid.affine), tmp_path / f"{name}.nii.gz")
    words = ["run", str(tmp_path / "x.nii.gz"), "--channel", f"T1={tmp_path / 't1.nii.gz'}", "-b", str(bundle)]

    assert main([*words, "--method", "saliency", "-q", "--out", str(tmp_path / "out")]) == 0

    found = nib.load(tmp_path / "out" / "probability_lesion.nii.gz").get_fdata()
    np.testing.assert_allclose(found, 1 / (1 + np.exp(5 - 4 * one.array - 6 * two.array)), atol=1e-6)
