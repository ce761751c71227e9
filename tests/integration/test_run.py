"""The main job on real scans: the command line as a user types it, judged by the files that it leaves."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

import lesionlens
from stroke_bundle import at_the_size_of_the_head

pytestmark = pytest.mark.slow

# Far more than any run takes on two busy cores: only a hang reaches it.
LIMIT_S = 900

EMBEDDED = Path(lesionlens.__file__).parent / "bundles" / "flair-lesions"
STROKE_BUNDLE = Path("bundles", "arc_meshnet26_t2_stroke")

# Affines are stored in single precision.
SAME_AFFINE = 1e-4


@dataclass(frozen=True)
class Run:
    """One finished run: the scan, the bundle's weights, the folder, and the class as files name it."""

    scan: Path
    weights: Path
    out: Path
    slug: str

    @property
    def record(self) -> dict[str, Any]:
        """What record.json holds."""
        found: dict[str, Any] = json.loads((self.out / "record.json").read_text("utf-8"))
        return found

    def image(self, kind: str) -> Any:
        """Return one of the images that were written."""
        return nib.load(self.out / f"{kind}_{self.slug}.nii.gz")

    def values(self, kind: str) -> NDArray[Any]:
        """Return the voxels of one of the images."""
        return np.asanyarray(self.image(kind).dataobj)


def run(scan: Path, out: Path, *options: str, weights: Path, slug: str) -> Run:
    """Run the command line in a process of its own; it has to end with exit code 0."""
    assert scan.is_file()
    command = [sys.executable, "-m", "lesionlens", "run", str(scan), "--out", str(out), "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "not a medical device" in done.stdout
    return Run(scan, weights, out, slug)


def assert_complete(done: Run) -> None:
    """Require every file that a run promises, and nothing else: no half-written file either."""
    images = [f"{kind}_{done.slug}.nii.gz" for kind in ("probability", "attribution_gradcam", "regions")]
    names = {*images, "regions.csv", f"overlay_{done.slug}.png", "record.json"}
    assert {path.name for path in done.out.iterdir()} == names
    assert (done.out / f"overlay_{done.slug}.png").read_bytes().startswith(b"\x89PNG")


def assert_on_the_grid_of_the_scan(done: Run) -> None:
    """Require maps and labels voxel by voxel on the scan, in its own world; maps hold raw single-precision values."""
    scan = nib.load(done.scan)
    for kind in ("probability", "attribution_gradcam", "regions"):
        image = done.image(kind)
        assert image.shape == scan.shape
        np.testing.assert_allclose(image.affine, scan.affine, atol=SAME_AFFINE)
    for kind in ("probability", "attribution_gradcam"):
        assert done.image(kind).get_data_dtype() == np.float32
        assert np.isfinite(done.values(kind)).all()
        assert np.ptp(done.values(kind)) > 0


def assert_regions_are_those_of_the_probability(done: Run) -> None:
    """Require labels, table and probability map to tell one story."""
    probability, labels = done.values("probability"), done.values("regions")
    assert 0 <= probability.min() <= probability.max() <= 1
    np.testing.assert_array_equal(labels > 0, probability >= 0.5)
    with (done.out / "regions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    numbers, counts = np.unique(labels[labels > 0], return_counts=True)
    assert numbers.size > 0
    voxel_mm3 = abs(np.linalg.det(nib.load(done.scan).affine[:3, :3]))
    np.testing.assert_allclose([float(row["volume_mm3"]) for row in rows], counts * voxel_mm3, rtol=1e-3)


def assert_record_names_scan_and_weights(done: Run) -> None:
    """Require hashes that other tools give as well."""
    record = done.record
    assert record["input"]["sha256"] == sha256(done.scan)
    assert record["bundle"]["weights_sha256"] == sha256(done.weights)
    assert len(record["bundle"]["sha256"]) == 64
    assert record["lesionlens"] == lesionlens.__version__
    assert record["options"]["threshold"] == 0.5
    assert record["seconds"]


def assert_all(done: Run) -> None:
    """Require what holds for each run."""
    assert_complete(done)
    assert_on_the_grid_of_the_scan(done)
    assert_regions_are_those_of_the_probability(done)
    assert_record_names_scan_and_weights(done)


def sha256(path: Path) -> str:
    """Return the hash of a file, as ``sha256sum`` does."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def world_x(mask: NDArray[np.bool_], affine: NDArray[Any]) -> NDArray[Any]:
    """Return how far to the patient's right of the scan's origin each voxel of a mask lies, in mm (RAS+)."""
    return np.asarray(np.argwhere(mask) @ affine[0, :3] + affine[0, 3])


def middle_of(path: Path, folder: Path) -> Path:
    """Write the middle three fifths of a scan along each axis, where the lesions are, and return the path."""
    image = nib.load(path)
    nib.save(image.slicer[tuple(slice(n // 5, n - n // 5) for n in image.shape)], folder / path.name)
    return folder / path.name


@pytest.mark.parametrize("patient", ["patient07", "patient19"])
def test_a_flair_goes_in_and_lesions_come_out(shared_data: Path, tmp_path: Path, patient: str) -> None:
    """The embedded bundle, as it is typed without any option; the whole head would only be many more windows."""
    scan = middle_of(shared_data / "ms" / f"{patient}_FLAIR.nii.gz", tmp_path)

    done = run(scan, tmp_path / "out", weights=EMBEDDED / "models" / "model.pt", slug="lesion")

    assert_all(done)


def test_a_bundle_from_outside_finds_the_stroke_on_the_left(shared_data: Path, tmp_path: Path) -> None:
    """The stroke of this patient is in the left hemisphere: a flip anywhere on the way would show it on the right."""
    bundle = at_the_size_of_the_head(shared_data / STROKE_BUNDLE, tmp_path / "bundle")
    scan = shared_data / "stroke" / "M2208_T2w.nii.gz"
    weights = shared_data / STROKE_BUNDLE / "models" / "model.pt"
    options = ("--bundle", str(bundle), "--trust")

    done = run(scan, tmp_path / "out", *options, weights=weights, slug="stroke-lesion")

    assert_all(done)
    image = nib.load(scan)
    array = np.asanyarray(image.dataobj)
    head = world_x(array > 0.1 * np.percentile(array, 99), image.affine)
    middle = (head.min() + head.max()) / 2
    lesion = world_x(done.values("regions") > 0, image.affine)
    assert (lesion < middle).mean() > 0.9  # R is positive in RAS: the patient's left is below the middle
