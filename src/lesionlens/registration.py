"""Where the cells of a bundle's layers lie, as measured: the value, its file, and where that file lies.

A file belongs to weights, not to a name or a path: with other weights it is left alone. It lies beside the bundle, as
``<bundle>.registration.json``, never inside, where it would change the bundle's hash; for embedded bundles and those in
a folder that cannot be written, in the user's own data folder.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from lesionlens.errors import InputError, OutputError, ReadError
from lesionlens.io.atomic import atomic_path

__all__ = ["LayerOffset", "Registration", "find_registration", "places", "read_registration", "store_registration"]

# Version of the file; another one is refused, not guessed at.
SCHEMA: Final = 1
# Strides that differ by more than this share are not the same: those of images of other sizes may.
_SAME_STRIDE: Final = 1e-3


@dataclass(frozen=True)
class LayerOffset:
    """How far the cells of one layer lie from where the half-voxel convention puts them.

    Parameters
    ----------
    voxels
        Along each axis of the network's grid, in its voxels: the place of a cell is that of the convention plus this.
    spread
        Standard deviation of single measurements along each axis, in voxels.
    n
        Number of measurements.
    stride
        Voxels for each cell along each axis; for other strides the offset does not hold.
    scans
        Number of scans that it was measured on.
    """

    voxels: tuple[float, ...]
    spread: tuple[float, ...]
    n: int
    stride: tuple[float, ...]
    scans: int

    def __post_init__(self) -> None:
        for name in ("voxels", "spread", "stride"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3 or not all(map(isfinite, values)):
                raise InputError(f"The {name} of a layer's offset are three numbers; found {values}.")
            object.__setattr__(self, name, values)  # of JSON they are lists
        if min(self.stride) <= 0 or min(self.spread) < 0:
            raise InputError(f"Strides are above 0 and spreads not below; found {self.stride} and {self.spread}.")

    def holds_for(self, stride: tuple[float, ...]) -> bool:
        """Say whether the layer has the stride that it was measured with."""
        return all(abs(a - b) <= _SAME_STRIDE * b for a, b in zip(stride, self.stride, strict=True))


@dataclass(frozen=True)
class Registration:
    """Measured offsets of a bundle's layers.

    Parameters
    ----------
    bundle, weights_sha256
        Of which bundle, and of which weights.
    layers
        By the dotted name of the layer.
    """

    bundle: str
    weights_sha256: str
    layers: Mapping[str, LayerOffset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def with_layer(self, name: str, offset: LayerOffset) -> Registration:
        """Return the registration with one more layer, or with a layer measured again."""
        return Registration(self.bundle, self.weights_sha256, {**self.layers, name: offset})

    def record(self) -> dict[str, Any]:
        """Return what the file holds."""
        layers = {name: asdict(offset) for name, offset in self.layers.items()}
        return {
            "schema_version": SCHEMA,
            "bundle": self.bundle,
            "weights_sha256": self.weights_sha256,
            "layers": layers,
        }


def read_registration(path: Path) -> Registration:
    """Read what ``lesionlens measure-registration`` wrote.

    Raises
    ------
    ReadError
        If the file is none of its, or of another version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema_version"] != SCHEMA:
            raise ReadError(f"{path} is of another version; this LesionLens reads version {SCHEMA}. Measure again.")
        layers = {str(name): LayerOffset(**offset) for name, offset in found["layers"].items()}
        return Registration(str(found["bundle"]), str(found["weights_sha256"]), layers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(
            f"{path} holds no registration ({type(error).__name__}): expected what 'lesionlens measure-registration'"
            " wrote. Remove the file, measure again, or leave it aside with --no-registration."
        ) from error


def places(root: Path, weights_sha256: str, *, embedded: bool) -> list[Path]:
    """Return the files that a bundle's registration may lie in, the first choice first.

    Parameters
    ----------
    root
        Folder or zip file of the bundle.
    weights_sha256
        Of its weights.
    embedded
        Whether it ships with LesionLens: its folder belongs to the installation.
    """
    user = data_folder() / "registration" / f"{weights_sha256}.json"
    whole = root.resolve()
    return [user] if embedded else [whole.with_name(f"{whole.name}.registration.json"), user]


def data_folder() -> Path:
    """Return the user's folder for what LesionLens keeps; ``LESIONLENS_DATA`` names another."""
    if own := os.environ.get("LESIONLENS_DATA"):
        return Path(own)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "LesionLens"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "LesionLens"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "lesionlens"


def find_registration(files: list[Path], weights_sha256: str) -> tuple[Registration | None, str]:
    """Return the registration for some weights, and a sentence where there is one for others instead.

    Parameters
    ----------
    files
        As :func:`places` gives them.
    weights_sha256
        Of the weights.

    Raises
    ------
    ReadError
        If a file there is not readable.
    """
    stale = ""
    for path in files:
        if not path.is_file():
            continue
        found = read_registration(path)
        if found.weights_sha256 == weights_sha256:
            return found, ""
        stale = f"{path.name} was measured with other weights and is not applied; measure again."
    return None, stale


def store_registration(registration: Registration, files: list[Path]) -> Path:
    """Write a registration to the first place that can be written, in one step; return where.

    Raises
    ------
    OutputError
        If there is none.
    """
    text = json.dumps(registration.record(), indent=2) + "\n"
    for number, path in enumerate(files, start=1):
        try:
            if number > 1 or len(files) == 1:
                path.parent.mkdir(parents=True, exist_ok=True)  # the user's own; that of a bundle is there
            with atomic_path(path, overwrite=True) as temporary:
                temporary.write_text(text, encoding="utf-8")
            return path
        except (OutputError, OSError) as error:
            if number == len(files):
                raise OutputError(
                    f"Cannot write {path}: {error}. Name a folder that can be written in LESIONLENS_DATA."
                ) from error
    raise InputError("A registration is stored in a file; found no place for one.")
