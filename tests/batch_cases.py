"""Scans and a bundle for tests of many cases: blobs of known size, and a network that says 0.5 at their edge."""

from __future__ import annotations

from pathlib import Path

import lesionlens as ll
from lesionlens.options import RunOptions
from lesionlens.volume import Grid
from tiny_bundles import VOXELWISE_STATE, blob, write_bundle

#: Radius of the blob in mm, by the name of the case.
RADII = {"a": 3.0, "b": 4.0, "c": 5.0}


def grid() -> Grid:
    """Return a small grid of 1.5 mm whose middle is the world's."""
    import numpy as np

    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    affine[:3, 3] = -1.5 * 9.5
    return Grid((20, 20, 20), affine)


def write_scans(folder: Path, radii: dict[str, float] | None = None) -> Path:
    """Write a scan for each radius; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, radius in (RADII if radii is None else radii).items():
        ll.write(blob(grid(), (0.0, 0.0, 0.0), radius_mm=radius), folder / f"{name}.nii.gz")
    return folder


def write_voxelwise(folder: Path) -> Path:
    """Write the voxelwise bundle with a layer in front, which an attribution can be made from."""
    return write_bundle(
        folder,
        network="$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))",
        state={f"1.{key}": value for key, value in VOXELWISE_STATE.items()},
        extra={"imports": ["$import torch"]},
    )


def options_for(bundle: Path) -> RunOptions:
    """Return the options of a batch with it."""
    return RunOptions(Path(), bundle=str(bundle), layer="0", trust=True)
