"""The stroke bundle, for a quarter of the voxels."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["at_the_size_of_the_head"]

_FILES = ("configs/inference.json", "configs/metadata.json", "models/model.pt")
# That of M2208_T2w at 1 mm. The bundle pads it to 256 x 256 x 256, nearly all of which is air.
_SIZE = [148, 185, 156]


def at_the_size_of_the_head(source: Path, folder: Path) -> Path:
    """Copy the bundle; the copy pads to no more than the head, and keeps weights and everything else."""
    for name in _FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((source / name).read_bytes())
    path = folder / "configs" / "inference.json"
    config = json.loads(path.read_text())
    (pad,) = (t for t in config["preprocessing"]["transforms"] if t["_target_"] == "ResizeWithPadOrCropd")
    pad["spatial_size"] = _SIZE
    path.write_text(json.dumps(config))
    return folder
