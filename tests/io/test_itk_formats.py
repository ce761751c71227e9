"""NRRD and MetaImage: SimpleITK writes and reads them, the package has to find the same voxels at the same places."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from damage import QUICK, assert_volume_or_refusal, mutated
from lesionlens.errors import AmbiguousStackError, ReadError
from lesionlens.io import list_series, read
from lesionlens.volume import Grid
from orientations import ORIENTATIONS, Orientation, oblique, reoriented

SHAPE = (7, 5, 4)
GRID = oblique(SHAPE, (0.9, 1.1, 3.0))
VALUES = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 40

# SimpleITK writes numbers of the header with about ten digits.
WRITTEN_MM = 1e-6

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")


def save(path: Path, values: np.ndarray = VALUES, grid: Grid = GRID, *, packed: bool = False) -> Path:
    """Write a volume by SimpleITK."""
    image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1]) @ grid.affine[:3]
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(lps[:, 3].tolist())
    image.SetDirection((lps[:, :3] / grid.spacing_mm).ravel().tolist())
    SimpleITK.WriteImage(image, str(path), packed)
    return path


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "packed"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_simpleitk_writes_is_read(tmp_path: Path, suffix: str, packed: bool) -> None:
    """Voxels, places and hash, whether in one file or two."""
    path = save(tmp_path / f"scan{suffix}", packed=packed)
    files = [path, *sorted(p for p in tmp_path.iterdir() if p != path)]

    volume = read(path)

    np.testing.assert_array_equal(volume.array, VALUES)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.grid.corners(), GRID.corners(), atol=WRITTEN_MM)
    assert volume.name == "scan"
    assert volume.source.format == ("nrrd" if suffix in (".nrrd", ".nhdr") else "metaimage")
    assert volume.source.files == tuple(file.name for file in files)
    assert volume.source.sha256 == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert volume.source.decisions == ("The header names no unit of length; millimetres are assumed.",)
    (info,) = list_series(path)
    assert (info.shape, info.axcodes, info.readable) == (SHAPE, GRID.axcodes, True)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_every_orientation_is_read(tmp_path: Path, suffix: str, orientation: Orientation) -> None:
    """Axis orders and directions, left-handed ones among them."""
    values, grid = reoriented(VALUES, GRID, orientation)

    volume = read(save(tmp_path / f"scan{suffix}", values, grid))

    np.testing.assert_array_equal(volume.array, values)
    np.testing.assert_allclose(volume.grid.corners(), grid.corners(), atol=WRITTEN_MM)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize(
    "stored", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64]
)
def test_every_type_is_read(tmp_path: Path, suffix: str, stored: type) -> None:
    """The same rules as for NIfTI: integers stay, real numbers become single precision."""
    values = np.abs(VALUES).astype(stored)

    volume = read(save(tmp_path / f"scan{suffix}", values))

    np.testing.assert_array_equal(volume.array, values)
    expected = np.float32 if stored().dtype.kind == "f" else np.int32 if stored == np.int64 else stored
    assert volume.array.dtype == expected


def nrrd(values: np.ndarray = VALUES, **fields: str | None) -> bytes:
    """Return an NRRD file with fields replaced, or left out for None."""
    header = {
        "type": "short",
        "dimension": str(values.ndim),
        "space": "RAS",
        "sizes": " ".join(map(str, values.shape)),
        "space directions": "(1,0,0) (0,2,0) (0,0,3)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(-4,5,6)",
        "space units": '"mm" "mm" "mm"',
        **{name.replace("_", " "): value for name, value in fields.items()},
    }
    lines = ["NRRD0005", "# a comment: with a colon", "key:=value", *(f"{n}: {v}" for n, v in header.items() if v)]
    return "\n".join(lines).encode() + b"\n\n" + values.astype("<i2").tobytes(order="F")


def wrote(folder: Path, content: bytes, name: str = "a.nrrd") -> Path:
    """Write a file."""
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("space", "signs"),
    [("right-anterior-superior", (1, 1, 1)), ("LAS", (-1, 1, 1)), ("left-posterior-superior", (-1, -1, 1))],
)
def test_spaces_of_nrrd_become_ras(tmp_path: Path, space: str, signs: tuple[int, int, int]) -> None:
    """Three spaces are fixed to the patient."""
    volume = read(wrote(tmp_path, nrrd(space=space)))

    np.testing.assert_allclose(volume.grid.world((1, 2, 3)), np.multiply(signs, (-3, 9, 15)))
    assert volume.source.decisions == ()


def test_axes_that_are_not_at_right_angles_are_kept(tmp_path: Path) -> None:
    """ITK cannot hold them; here they stay, and it is said."""
    volume = read(wrote(tmp_path, nrrd(space_directions="(1,0,0) (0.5,2,0) (0,0,3)")))

    np.testing.assert_allclose(volume.grid.world((0, 2, 0)), (-3, 9, 6))
    leaning = np.degrees(np.arctan(0.5 / 2))
    assert volume.source.decisions == (
        f"The axes are not at right angles (by {leaning:.2g} degrees); they are kept as they are.",
    )


def test_lengths_in_other_units_are_converted(tmp_path: Path) -> None:
    """Micrometres of a microscope."""
    volume = read(wrote(tmp_path, nrrd(space_units='"um" "um" "um"')))

    assert volume.grid.spacing_mm == pytest.approx((1e-3, 2e-3, 3e-3))
    assert volume.source.decisions == ("Lengths were converted from um to millimetres.",)


def test_big_endian_and_skipped_bytes_and_line_ends_of_windows(tmp_path: Path) -> None:
    """What other writers do."""
    head, _, _ = nrrd(endian="big", byte_skip="6").partition(b"\n\n")
    content = head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + b"abcdef" + VALUES.astype(">i2").tobytes(order="F")

    np.testing.assert_array_equal(read(wrote(tmp_path, content)).array, VALUES)


def test_voxels_at_the_end_of_a_file_of_something_else(tmp_path: Path) -> None:
    """A byte skip of -1 counts from the end."""
    wrote(tmp_path, b"any header" + VALUES.astype("<i2").tobytes(order="F"), "data.bin")
    head, _, _ = nrrd(byte_skip="-1", data_file="./data.bin").partition(b"\n\n")

    volume = read(wrote(tmp_path, head, "a.nhdr"))

    np.testing.assert_array_equal(volume.array, VALUES)
    assert volume.source.files == ("a.nhdr", "data.bin")


def test_volumes_along_a_fourth_axis_are_chosen(tmp_path: Path) -> None:
    """The same names and numbers as for NIfTI."""
    values = np.stack([VALUES, VALUES + 1, VALUES + 2], axis=-1)
    directions = "(1,0,0) (0,2,0) (0,0,3) none"
    path = wrote(tmp_path, nrrd(values, space_directions=directions, kinds="domain domain domain list"))

    with pytest.raises(AmbiguousStackError, match=r"a\.nrrd holds 3 volumes; .* 0 't=0', 1 't=1', 2 't=2'"):
        read(path)

    np.testing.assert_array_equal(read(path, stack="t=2").array, VALUES + 2)


def metaimage(**fields: str | None) -> bytes:
    """Return a MetaImage file with fields replaced, or left out for None."""
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-4 5 6",
        "ElementSpacing": "1 2 3",
        "DimSize": "7 5 4",
        "ElementType": "MET_SHORT",
        **fields,
    }
    lines = [f"{name} = {value}" for name, value in header.items() if value is not None]
    return "\n".join([*lines, "ElementDataFile = LOCAL", ""]).encode() + VALUES.astype("<i2").tobytes(order="F")


NOT_READ: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.nrrd", b"", r"a\.nrrd is empty \(0 bytes\)"),
    "text as NRRD": ("a.nrrd", b"hello\n\n", "is not an NRRD file: it does not begin with NRRD"),
    "text as MetaImage": ("a.mha", b"hello\n\n", "is not a MetaImage file: it has no line ElementDataFile"),
    "no space": ("a.nrrd", nrrd(space=None), "does not say how the patient lies in it .*'not named'.* RAS, LAS or LPS"),
    "space of a scanner": ("a.nrrd", nrrd(space="scanner-xyz"), "its space is 'scanner-xyz'.*left and right are"),
    "no directions": ("a.nrrd", nrrd(space_directions=None), "has no space directions"),
    "too few directions": ("a.nrrd", nrrd(space_directions="(1,0,0) (0,1,0)"), "3 axes but 2 space directions"),
    "flat directions": (
        "a.nrrd",
        nrrd(space_directions="(1,0,0) (2,0,0) (0,0,1)"),
        r"no usable orientation: The affine cannot be inverted",
    ),
    "directions of nothing": ("a.nrrd", nrrd(space_directions="(nan,0,0) (0,1,0) (0,0,1)"), "no usable orientation"),
    "words as directions": ("a.nrrd", nrrd(space_directions="(a,0,0) (0,1,0) (0,0,1)"), "its header is damaged"),
    "colours": (
        "a.nrrd",
        nrrd(kinds="RGB-color domain domain", space_directions="none (1,0,0) (0,1,0)"),
        "Expected one number for each voxel .* found a RGB-color axis",
    ),
    "blocks": ("a.nrrd", nrrd(type="block"), "are of type block; one real number for each is read"),
    "text encoding": ("a.nrrd", nrrd(encoding="ascii"), "encoding of a.nrrd is ascii; raw and gzip are read"),
    "skipped lines": ("a.nrrd", nrrd(line_skip="2"), "skips lines of text before its voxels"),
    "no byte order": ("a.nrrd", nrrd(endian=None), "does not say its byte order"),
    "feet": ("a.nrrd", nrrd(space_units='"ft" "ft" "ft"'), "lengths of a.nrrd are in ft; mm, cm, m and um are read"),
    "truncated": ("a.nrrd", nrrd()[:-10], r"a\.nrrd is truncated: its header promises"),
    "huge": ("a.nrrd", nrrd(sizes="99999 99999 99999"), "is truncated: its header promises 1,999,9"),
    "huge packed": ("a.nrrd", nrrd(sizes="99999 99999 99999", encoding="gzip"), "cannot hold what its header promises"),
    "no axes": ("a.nrrd", nrrd(sizes="7 5 0"), "impossible axes"),
    "not packed": ("a.nrrd", nrrd(encoding="gzip"), "is damaged: its gzip compression cannot be undone"),
    "voxels elsewhere": ("a.nhdr", nrrd(data_file="../secret.raw"), "in a file outside its folder. Put header and"),
    "voxels at the root": ("a.nhdr", nrrd(data_file="/etc/hostname"), "in a file outside its folder"),
    "voxels lost": ("a.nhdr", nrrd(data_file="gone.raw"), "in a file missing beside it"),
    "voxels in many files": ("a.nhdr", nrrd(data_file="LIST"), "lie in several files, which is not supported"),
    "numbered files": ("a.nhdr", nrrd(data_file="slice%03d.raw 1 4 1"), "lie in several files"),
    "no matrix": ("a.mha", metaimage(TransformMatrix=None), r"where its voxels lie \(transformmatrix is missing\)"),
    "no spacing": ("a.mha", metaimage(ElementSpacing=None), "elementspacing is missing"),
    "matrix of two": ("a.mha", metaimage(TransformMatrix="1 0 0 1"), "Expected 9 numbers as transformmatrix"),
    "two channels": ("a.mha", metaimage(ElementNumberOfChannels="2"), "elementnumberofchannels = 2; 1 is read"),
    "scaled": ("a.mha", metaimage(ElementToIntensityFunctionSlope="0.5"), "functionslope = 0.5; 1 is read"),
    "as text": ("a.mha", metaimage(BinaryData="False"), "binarydata = false; true is read"),
    "arrays": ("a.mha", metaimage(ElementType="MET_FLOAT_ARRAY"), "of type MET_FLOAT_ARRAY"),
    "truncated MetaImage": ("a.mha", metaimage()[:-10], r"a\.mha is truncated"),
    "not zlib": ("a.mha", metaimage(CompressedData="True"), "is damaged: its zlib compression cannot be undone"),
    "a single slice": ("a.mha", metaimage(DimSize="7 20 1"), r"found a single slice, shape \(7, 20, 1\)"),
}


@pytest.mark.parametrize(("name", "content", "message"), NOT_READ.values(), ids=NOT_READ.keys())
def test_what_is_not_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """One sentence: what was found, and what to do."""
    with pytest.raises(ReadError, match=message) as error:
        read(wrote(tmp_path, content, name))

    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_the_good_files_are_good(tmp_path: Path) -> None:
    """Those above fail for their own reasons."""
    one, other = read(wrote(tmp_path, nrrd())), read(wrote(tmp_path, metaimage(), "a.mha"))

    np.testing.assert_array_equal(one.array, VALUES)
    np.testing.assert_array_equal(other.array, VALUES)
    np.testing.assert_allclose(other.grid.world((1, 2, 3)), (3, -9, 15))


def test_gzip_inside_metaimage_is_recognised(tmp_path: Path) -> None:
    """Some writers pack with gzip where zlib is meant."""
    content = metaimage(CompressedData="True")
    head, _, _ = content.partition(b"LOCAL\n")

    path = wrote(tmp_path, head + b"LOCAL\n" + gzip.compress(VALUES.astype("<i2").tobytes(order="F")), "a.mha")

    np.testing.assert_array_equal(read(path).array, VALUES)


def test_a_series_of_an_nrrd_file_is_refused(tmp_path: Path) -> None:
    """A choice that cannot apply is not ignored."""
    with pytest.raises(ReadError, match=re.escape("a.nrrd is a NRRD or MetaImage file, which holds no series")):
        read(wrote(tmp_path, nrrd()), series=4)


@QUICK
@given(changes=st.lists(st.tuples(st.integers(0, 330), st.integers(0, 255)), min_size=1, max_size=8))
@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_damaged_headers_end_in_a_refusal_or_a_volume(
    tmp_path: Path, name: str, changes: list[tuple[int, int]]
) -> None:
    """Any bytes of the header may be wrong; no other exception ever comes out."""
    (tmp_path / name).write_bytes(mutated(nrrd() if name == "a.nrrd" else metaimage(), changes))

    assert_volume_or_refusal(tmp_path / name)
