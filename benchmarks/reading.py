"""Reading scans against SimpleITK and nibabel, in time and memory.

All are timed in turn, round after round and in another order each time, so that a busy machine slows all of them alike;
the ratios are what counts. Those of processor time hold on a busy machine as well.
The memory is the highest of a fresh process for each, less what that process takes before it reads (Linux only).

    python benchmarks/reading.py [--part nifti] [--rounds 7] [--json result.json]

Parts: nifti (a .nii.gz of 256 x 256 x 200 voxels, int16, and another scaled to real numbers), dicom (a series of 200
slices of 512 x 512), headers (the headers of 2,000 files), all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import lesionlens as ll

# The reader that ratios are to.
PEER = "SimpleITK"


def simpleitk(path: Path) -> object:
    """Read a file, or a folder as a DICOM series, into an array."""
    if path.is_dir():
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        return SimpleITK.GetArrayViewFromImage(reader.Execute())
    return SimpleITK.GetArrayViewFromImage(SimpleITK.ReadImage(str(path)))


def every_byte(path: Path) -> object:
    """Read the bytes and do nothing with them: what no reader can go below."""
    return [file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


READERS: dict[str, Callable[[Path], object]] = {
    "the bytes alone": every_byte,
    PEER: simpleitk,
    "lesionlens": ll.read,
    "nibabel, get_fdata": lambda path: nib.load(path).get_fdata(),
    "lesionlens, headers": ll.list_series,
}
PARTS = {
    "nifti": ("the bytes alone", PEER, "lesionlens", "nibabel, get_fdata"),
    "dicom": ("the bytes alone", PEER, "lesionlens"),
    "headers": ("the bytes alone", "lesionlens, headers"),
}


def head(shape: tuple[int, int, int]) -> np.ndarray:
    """Return a bright ball with noise in the dark: it packs about as well as a scan of a head."""
    rng = np.random.default_rng(0)
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    inside = sum(axis**2 for axis in axes) < 0.6
    return np.where(inside, 800 + rng.normal(0, 60, shape), rng.exponential(4, shape)).astype(np.int16)


def write_nifti(path: Path, *, slope: float) -> Path:
    """Write a packed scan."""
    image = nib.Nifti1Image(head((256, 256, 200)), np.diag([1.0, 1.0, 1.0, 1.0]))
    image.header.set_slope_inter(slope, 0)
    image.to_filename(path)
    return path


def write_dicom(folder: Path, n: int, size: int) -> Path:
    """Write a CT series of ``n`` slices of ``size`` by ``size`` pixels."""
    folder.mkdir()
    voxels, series = head((size, size, n)), generate_uid()
    for k in range(n):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = series, series
        dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 1, k + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, float(k)], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = size, size, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 1
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelData = voxels[:, :, k].T.tobytes()
        dataset.save_as(folder / f"{k:04}", enforce_file_format=True)
    return folder


def seconds(read: Callable[[Path], object], path: Path) -> tuple[float, float]:
    """Return how long reading takes, and for how long processors work on it."""
    start, work = time.perf_counter(), time.process_time()
    read(path)
    return time.perf_counter() - start, time.process_time() - work


def peak_bytes(name: str, path: Path) -> int:
    """Return by how much reading raises the highest memory of a fresh process."""
    code = "import sys, reading; reading.print_peak(*sys.argv[1:])"
    home = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", code, name, str(path)],
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def print_peak(name: str, path: str) -> None:
    """Print by how much reading raises the highest memory of this process."""
    with tempfile.TemporaryDirectory() as folder:
        small = nib.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4))
        small.to_filename(Path(folder, "a.nii.gz"))
        if not Path(path).is_dir():
            READERS[name](Path(folder, "a.nii.gz"))  # what is imported on the way does not count
    before = _memory("VmRSS")
    kept = READERS[name](Path(path))
    print(_memory("VmHWM") - before)
    del kept


def _memory(field: str) -> int:
    """Return what Linux says about the memory of this process, in bytes; the highest is kept for the reader alone."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) * 1024


def measure(part: str, path: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return median seconds, the median ratio to the peer within a round, and the memory of every reader of a part."""
    names = PARTS[part]
    for name in names:
        READERS[name](path)  # warms the disk cache
    order = random.Random(0)
    times = [{name: seconds(READERS[name], path) for name in order.sample(names, len(names))} for _ in range(rounds)]
    peer = PEER if PEER in names else names[0]
    return {
        name: {
            "seconds": statistics.median(t[name][0] for t in times),
            "work_seconds": statistics.median(t[name][1] for t in times),
            # the median of the ratios within a round: what slows the machine slows both
            "times_peer": statistics.median(t[name][0] / t[peer][0] for t in times),
            "work_times_peer": statistics.median(t[name][1] / t[peer][1] for t in times),
            "peak_bytes": peak_bytes(name, path) if sys.platform == "linux" else float("nan"),
        }
        for name in names
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print a table for each file, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=7, help="each reader runs once in a round")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(argv)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(os.cpu_count() or 1)
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        makers: dict[str, tuple[str, Callable[[], Path]]] = {
            "int16 .nii.gz": ("nifti", lambda: write_nifti(folder / "scan.nii.gz", slope=1.0)),
            "scaled .nii.gz": ("nifti", lambda: write_nifti(folder / "scaled.nii.gz", slope=0.5)),
            "200 slices": ("dicom", lambda: write_dicom(folder / "series", 200, 512)),
            "2,000 headers": ("headers", lambda: write_dicom(folder / "headers", 2000, 64)),
        }
        for title, (part, make) in makers.items():
            if options.part in (part, "all"):
                results[title] = measure(part, make(), options.rounds)
                peer = PEER if PEER in PARTS[part] else PARTS[part][0]
                for reader, found in results[title].items():
                    print(
                        f"{title:14} {reader:20} {found['seconds']:7.3f} s {found['times_peer']:6.2f} x {peer}, working"
                        f" {found['work_seconds']:7.3f} s {found['work_times_peer']:6.2f} x,"
                        f" {found['peak_bytes'] / 2**20:8.1f} MiB"
                    )
    if options.json:
        versions = {"SimpleITK": SimpleITK.__version__, "nibabel": nib.__version__, "python": platform.python_version()}
        options.json.write_text(json.dumps({"results": results, "versions": versions}, indent=2) + "\n")


if __name__ == "__main__":
    main()
