"""Anomaly bundles that are written in a moment, and whose score is known by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lesionlens.anomaly_reference import Reference, reference_path, write_reference
from tiny_bundles import write_bundle

# A network that expects every voxel to be 0.25, whatever it sees.
_CONSTANT: dict[str, Any] = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}
_QUARTER = {"weight": torch.zeros(1, 1, 1, 1, 1), "bias": torch.tensor([0.25])}


def anomaly_bundle(folder: Path, spec: dict[str, Any], *, scaled: bool = False, **parts: Any) -> Path:
    """Write a bundle that says how it scores; ``scaled`` gives it a reference in which a raw score of 1 is 1."""
    path = write_bundle(folder, **{"network": _CONSTANT, "state": _QUARTER, "outputs": {"0": "image"}, **parts})
    metadata = json.loads((path / "configs/metadata.json").read_text())
    (path / "configs/metadata.json").write_text(json.dumps({**metadata, "lesionlens": {"anomaly": spec}}))
    if scaled:
        write_reference(Reference(np.array([0.5, 0.999]), np.array([0.5, 1.0]), 2, 10), reference_path(path))
    return path
