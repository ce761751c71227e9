"""Good files to make damaged ones from: what pydicom and nibabel bring along, and files made from numbers here."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pydicom.data
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from dicom_factory import Plan, make_enhanced, make_mosaic, make_series
from lesionlens.io.boundary import quiet
from mutations import DICOM_WAYS, NIFTI_WAYS, PLAIN_WAYS, TEXT_WAYS, Way
from seg_factory import blob, make_seg

__all__ = ["Source", "sources"]

# Larger files take the time of many small ones and hold nothing that those do not.
_LARGEST = 200_000

_DICOM_ENDS = ("", ".dcm")

# Of a large scan, so many files stand for all.
_MOST_FILES = 3


@dataclass(frozen=True)
class Source:
    """A good scan.

    Parameters
    ----------
    name
        Of the scan.
    files
        Content by file name.
    path
        What to read in their folder; empty for the folder itself.
    ways
        How one of the files may be damaged.
    overlay
        True where the file is a mask or map.
    """

    name: str
    files: dict[str, bytes]
    path: str
    ways: tuple[Way, ...]
    overlay: bool = False


@cache
def sources() -> dict[str, Source]:
    """Return all sources by name, in an order that does not change."""
    found = [*_ours(), *_pydicom(), *_nibabel(), *_shared()]
    return {source.name: source for source in found}


def _ours() -> Iterator[Source]:
    plan = Plan(shape=(7, 6, 3))
    with TemporaryDirectory() as name:
        folder = Path(name)
        make_series(folder / "explicit", plan)
        make_series(folder / "implicit", Plan(shape=(7, 6, 3), implicit=True, bits=12, signed=True))
        make_series(folder / "tilt", Plan(shape=(7, 6, 3), offsets=((0, 0, 0), (0, 0.5, 2.5), (0, 1, 5))))
        make_series(folder / "table", Plan(shape=(7, 6, 3), change=_with_table))
        for path in make_series(folder / "rle", Plan(shape=(64, 65, 3))):
            dataset = dcmread(path)
            dataset.compress(RLELossless, generate_instance_uid=False)
            dataset.save_as(path)
        make_enhanced(folder / "enhanced" / "a", plan)
        make_enhanced(folder / "echoes" / "a", plan, volumes=2, mark=_echo, shared=False)
        make_mosaic(folder / "mosaic" / "a", Plan(shape=(7, 6, 4), bits=12))
        for path in sorted(folder.iterdir()):
            yield Source(path.name, _content(path), "", DICOM_WAYS)
        yield from _segmentations(folder)
    yield from _images(plan)


def _with_table(dataset: Dataset, k: int) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], np.arange(256, dtype="<u2").tobytes()
    table.ModalityLUTType = "US"
    dataset.ModalityLUTSequence = [table]


def _echo(frame: Dataset, volume: int) -> None:
    frame.MREchoSequence = [Dataset()]
    frame.MREchoSequence[0].EffectiveEchoTime = 4.5 + volume


def _segmentations(folder: Path) -> Iterator[Source]:
    for kind in ("BINARY", "FRACTIONAL"):
        frames = [(1, 0, blob(seed=0)), (1, 2, blob(seed=1)), (2, 1, blob(seed=2))]
        path = make_seg(folder / f"{kind}.dcm", frames, kind=kind)
        yield Source(f"segmentation {kind}", {"a.dcm": path.read_bytes()}, "a.dcm", DICOM_WAYS, overlay=True)


def _images(plan: Plan) -> Iterator[Source]:
    values = plan.values().astype(np.int16)
    one = nib.Nifti1Image(values, np.diag([2.0, 2, 3, 1])).to_bytes()
    four = nib.Nifti1Image(np.stack([values] * 3, axis=-1) * 0.5, np.diag([2.0, 2, 3, 1])).to_bytes()
    two = nib.Nifti2Image(values.astype(np.float64), np.diag([2.0, 2, 3, 1])).to_bytes()
    for name, content in (("one", one), ("four", four), ("two", two)):
        yield Source(f"{name}.nii", {"a.nii": content}, "a.nii", NIFTI_WAYS, overlay=True)
    yield Source("one.nii.gz", {"a.nii.gz": gzip.compress(one, mtime=0)}, "a.nii.gz", PLAIN_WAYS, overlay=True)
    yield Source("pair", {"a.hdr": _pair_header(one), "a.img": one[352:]}, "a.hdr", NIFTI_WAYS)
    raw, packed = values.tobytes("F"), gzip.compress(values.tobytes("F"), mtime=0)
    yield Source("raw.nrrd", {"a.nrrd": _nrrd("raw") + raw}, "a.nrrd", TEXT_WAYS)
    yield Source("gzip.nrrd", {"a.nrrd": _nrrd("gzip") + packed}, "a.nrrd", TEXT_WAYS, overlay=True)
    yield Source("two.nhdr", {"a.nhdr": _nrrd("raw", "data file: a.raw\n"), "a.raw": raw}, "a.nhdr", TEXT_WAYS)
    yield Source("raw.mha", {"a.mha": _meta("False", "LOCAL") + raw}, "a.mha", TEXT_WAYS)
    yield Source("zlib.mha", {"a.mha": _meta("True", "LOCAL") + zlib.compress(raw)}, "a.mha", TEXT_WAYS)
    yield Source("two.mhd", {"a.mhd": _meta("False", "a.raw"), "a.raw": raw}, "a.mhd", TEXT_WAYS)
    yield Source("nifti.zip", {"a.zip": _zip({"a/scan.nii": one})}, "a.zip", PLAIN_WAYS)
    with TemporaryDirectory() as folder:
        make_series(Path(folder), plan)
        yield Source("dicom.zip", {"a.zip": _zip(_content(Path(folder)))}, "a.zip", PLAIN_WAYS)


def _pair_header(single: bytes) -> bytes:
    return single[:108] + bytes(4) + single[112:344] + b"ni1\0" + bytes(4)


def _nrrd(encoding: str, more: str = "") -> bytes:
    return (
        "NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 7 6 3\n"
        "space directions: (2,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\nendian: little\n"
        f"encoding: {encoding}\nspace origin: (1,2,3)\n{more}\n"
    ).encode()


def _meta(compressed: str, where: str) -> bytes:
    return (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = {compressed}\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\n"
        f"ElementSpacing = 2 2 3\nDimSize = 7 6 3\nElementType = MET_SHORT\nElementDataFile = {where}\n"
    ).encode()


def _zip(files: dict[str, bytes]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _pydicom() -> Iterator[Source]:
    """Yield the files in pydicom's wheel as they are, and those with an image as a series of three."""
    home = Path(pydicom.data.__file__).parent
    for folder in ("test_files", "charset_files", "palettes"):
        for path in sorted((home / folder).glob("*.dcm")):
            content = path.read_bytes()
            if len(content) <= _LARGEST:
                yield _dicom(path.stem, {"a.dcm": content}, "a.dcm")
                series = _as_series(content)
                if series:
                    yield _dicom(f"series of {path.stem}", series, "")
    tests = home / "test_files" / "dicomdirtests"
    for path in sorted(tests.glob("DICOMDIR*")):
        files = {"DICOMDIR": path.read_bytes(), **_content(tests / "77654033", "77654033/")}
        yield _dicom(f"pydicom {path.name}", files, "DICOMDIR")


def _dicom(name: str, files: dict[str, bytes], path: str) -> Source:
    return Source(name, files, path, DICOM_WAYS)


def _as_series(content: bytes) -> dict[str, bytes]:
    """Return three slices of one image that lie on a grid, so that reading gets as far as the pixels."""
    files = {}
    with quiet():
        dataset = dcmread(BytesIO(content), force=True)
        if "PixelData" not in dataset or str(dataset.get("NumberOfFrames", "1")) != "1":
            return {}
        for k in range(_MOST_FILES):
            dataset.SOPInstanceUID, dataset.SeriesInstanceUID = f"1.2.3.{k}", "1.2.3"
            dataset.ImagePositionPatient, dataset.PixelSpacing = [0, 0, 3 * k], [1, 1]
            dataset.ImageOrientationPatient, dataset.InstanceNumber = [1, 0, 0, 0, 1, 0], k
            out = BytesIO()
            try:
                dataset.save_as(out, enforce_file_format=False)
            except (AttributeError, TypeError, ValueError):  # some test files are not meant to be written
                return {}
            files[f"{k}.dcm"] = out.getvalue()
    return files


def _nibabel() -> Iterator[Source]:
    folder = Path(nib.__file__).parent / "tests" / "data"
    for path in sorted([*folder.glob("*.nii"), *folder.glob("*.nii.gz"), *folder.glob("*.hdr")]):
        content = path.read_bytes()
        if len(content) <= _LARGEST:
            ways = PLAIN_WAYS if path.suffix == ".gz" else NIFTI_WAYS
            yield Source(f"nibabel {path.name}", {path.name: content}, path.name, ways, overlay=True)


def _shared() -> Iterator[Source]:
    """Yield small real scans where there are any."""
    home = Path(__file__).resolve().parent.parent
    data = Path(os.environ.get("LESIONLENS_TEST_DATA", home.parent / "shared" / "data"))
    for path in sorted(data.glob("dicom_seg/*.dcm")):
        found = _dicom(f"real {path.name}", {"a.dcm": path.read_bytes()}, "a.dcm")
        yield Source(found.name, found.files, found.path, found.ways, overlay=True)
    for path in sorted(data.glob("stats/ibsi1_digital_phantom/*.nii.gz")):
        yield Source(f"real {path.name}", {"a.nii.gz": path.read_bytes()}, "a.nii.gz", PLAIN_WAYS, overlay=True)
    for path in sorted(data.glob("stats/pyradiomics/*_label.nrrd")):
        yield Source(f"real {path.name}", {"a.nrrd": path.read_bytes()}, "a.nrrd", TEXT_WAYS, overlay=True)
    for folder in sorted(path for path in data.glob("dicom/**/*") if path.is_dir()):
        files = sorted(path for path in folder.iterdir() if path.suffix in _DICOM_ENDS and path.is_file())
        chosen = {f"{n}.dcm": path.read_bytes() for n, path in enumerate(files[:_MOST_FILES])}
        if chosen and max(map(len, chosen.values())) <= _LARGEST:
            yield _dicom(f"real {folder.relative_to(data).as_posix()}", chosen, "")


def _content(folder: Path, prefix: str = "") -> dict[str, bytes]:
    return {
        prefix + path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
