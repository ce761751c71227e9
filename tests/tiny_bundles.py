"""MONAI bundles that are written in a moment and whose output is known by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lesionlens.volume import Grid, Volume
from orientations import oblique

LOAD: list[dict[str, Any]] = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
]
SLIDING = {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 24], "overlap": 0.5, "mode": "gaussian"}
RAS = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}

# A voxelwise network: lesion logit 10 x - 5, background logit 0, so that p = 0.5 exactly where the image is 0.5.
VOXELWISE: dict[str, Any] = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
VOXELWISE_STATE = {
    "weight": torch.tensor([0.0, 10.0]).view(2, 1, 1, 1, 1),
    "bias": torch.tensor([0.0, -5.0]),
}


def write_bundle(
    folder: Path,
    *,
    network: dict[str, Any] | str | None = None,
    state: dict[str, torch.Tensor] | None = None,
    steps: list[dict[str, Any]] | None = None,
    inferer: dict[str, Any] | None = None,
    postprocessing: list[dict[str, Any]] | None = None,
    outputs: dict[str, str] | None = None,
    output_format: str = "segmentation",
    inputs: dict[str, str] | None = None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write a bundle; by default the voxelwise segmentation, brought to RAS."""
    outputs = outputs or {"0": "background", "1": "lesion"}
    inputs = inputs or {"0": "FLAIR"}
    network = VOXELWISE if network is None else network
    config: dict[str, Any] = {
        "network_def": network,
        "preprocessing": {"_target_": "Compose", "transforms": [*LOAD, *([RAS] if steps is None else steps)]},
        "inferer": inferer or {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [SOFTMAX] if postprocessing is None else postprocessing,
        },
        **(extra or {}),
    }
    entry = {"type": "image", "num_channels": len(inputs), "channel_def": inputs}
    result = {"type": "image", "format": output_format, "num_channels": len(outputs), "channel_def": outputs}
    metadata = {
        "name": folder.name,
        "version": "1.2.3",
        "network_data_format": {"inputs": {"image": entry}, "outputs": {"pred": result}},
    }
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(VOXELWISE_STATE if state is None else state, folder / "models" / "model.pt")
    return folder


# Where the blob of most tests lies, in world mm.
CENTRE = (14.0, -9.0, 23.0)


def straight_grid() -> Grid:
    """Return a grid of anisotropic voxels that holds CENTRE well inside."""
    affine = np.diag([1.0, 1.2, 2.0, 1.0])
    affine[:3, 3] = (-8.0, -32.0, 0.0)
    return Grid((40, 38, 24), affine)


def oblique_grid() -> Grid:
    """Return a turned grid whose middle is CENTRE."""
    grid = oblique((36, 34, 26), (1.0, 1.1, 1.8))
    affine = grid.affine.copy()
    affine[:3, 3] += np.array(CENTRE) - grid.world((np.array(grid.shape) - 1) / 2)
    return Grid(grid.shape, affine)


def classifier(folder: Path) -> Path:
    """Write a classifier whose logits are 0 and 4 times the image's mean minus 1."""
    return write_bundle(
        folder,
        network="$torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2))",
        state={"2.weight": torch.tensor([[0.0], [4.0]]), "2.bias": torch.tensor([0.0, -1.0])},
        outputs={"0": "none", "1": "high"},
        output_format="classification",
        extra={"imports": ["$import torch"]},
        steps=[],
    )


def blob(grid: Grid, centre_ras: tuple[float, float, float], *, radius_mm: float = 6.0) -> Volume:
    """Return a Gaussian blob of height 1 at a world point; it falls to 0.5 at ``radius_mm``."""
    ijk = np.moveaxis(np.indices(grid.shape), 0, -1)
    distance2 = ((grid.world(ijk) - centre_ras) ** 2).sum(axis=-1)
    array: NDArray[np.float32] = np.exp2(-distance2 / radius_mm**2).astype(np.float32)
    return Volume(array, grid, name="blob")


def centre_of_mass(array: NDArray[Any], grid: Grid) -> NDArray[np.float64]:
    """Return the world position of the centre of mass of the positive values."""
    weights = np.clip(array, 0, None).astype(np.float64)
    ijk = np.moveaxis(np.indices(grid.shape), 0, -1)
    return np.tensordot(weights, grid.world(ijk), axes=3) / weights.sum()
