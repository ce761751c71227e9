"""Where bundles are and what their metadata says; nothing here executes a bundle or loads torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from lesionlens.errors import BundleError, unknown_name
from lesionlens.model.archive import extract_zip

__all__ = ["BundleInfo", "describe", "embedded_root", "hash_files", "list_bundles", "locate", "opened"]

Task = Literal["segmentation", "classification"]

# What a channel that stands for "nothing found" is called in channel_def.
_BACKGROUND_NAMES = frozenset({"background", "bg", "other", "none"})


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle's metadata says about it.

    Parameters
    ----------
    name, version, description
        As in ``metadata.json``; the name falls back to the folder's.
    task
        ``"segmentation"`` (one probability map per class) or ``"classification"`` (one probability per class).
    inputs
        Names of the input channels, in order.
    outputs
        Names of the output channels, in order.
    background
        Index of the output channel that stands for background, or None.
    modality
        Modality of the input as the bundle names it, or empty.
    intended_use
        As in ``metadata.json``.
    root
        Folder or zip file of the bundle.
    embedded
        True for the bundles that ship with LesionLens.
    """

    name: str
    version: str
    description: str
    task: Task
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    background: int | None
    modality: str
    intended_use: str
    root: Path
    embedded: bool

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the output channels that are not background; what ``target`` accepts."""
        return tuple(name for index, name in enumerate(self.outputs) if index != self.background)


def embedded_root() -> Path:
    """Return the folder of the bundles that ship with LesionLens."""
    return Path(str(files("lesionlens"))) / "bundles"


def list_bundles() -> list[BundleInfo]:
    """List the bundles that ship with LesionLens, by name."""
    folders = sorted(p for p in embedded_root().glob("*") if (p / "configs" / "metadata.json").is_file())
    return [describe(folder, embedded=True) for folder in folders]


def locate(name_or_path: str | Path) -> tuple[Path, bool]:
    """Find a bundle.

    Parameters
    ----------
    name_or_path
        Name of an embedded bundle, or the path of a bundle folder or zip file.

    Returns
    -------
    path, embedded

    Raises
    ------
    BundleError
        If there is neither such a name nor such a path.
    """
    folder = embedded_root() / str(name_or_path)
    if Path(name_or_path).name == str(name_or_path) and (folder / "configs").is_dir():
        return folder, True
    path = Path(name_or_path)
    if path.exists():
        return path, False
    names = [info.name for info in list_bundles()]
    raise BundleError(unknown_name("bundle", name_or_path, [*names, "the path of a bundle folder or zip"]))


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Give the folder of a bundle; a zip file is extracted to a temporary folder for the time being."""
    if path.is_dir():
        yield path
        return
    with TemporaryDirectory(prefix="lesionlens-bundle-") as folder:
        extract_zip(path, Path(folder))
        yield _single_root(Path(folder))


def _single_root(folder: Path) -> Path:
    """Step into the one folder that an archive wraps its content in."""
    inner = [p for p in folder.iterdir() if p.is_dir()]
    if not (folder / "configs").is_dir() and len(inner) == 1:
        return inner[0]
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a bundle's file, or raise :class:`BundleError`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"A bundle needs {path.parent.name}/{path.name}; {path} does not exist.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not readable as JSON: {error}.") from None
    if not isinstance(value, dict):
        raise BundleError(f"{path} must hold a JSON object; found {type(value).__name__}.")
    return value


def describe(folder: Path, *, embedded: bool = False, root: Path | None = None) -> BundleInfo:
    """Read what the metadata of an opened bundle says.

    Raises
    ------
    BundleError
        If ``configs/metadata.json`` is missing or does not describe inputs and outputs.
    """
    metadata = read_json(folder / "configs" / "metadata.json")
    formats = metadata.get("network_data_format")
    if not isinstance(formats, dict) or not isinstance(formats.get("outputs"), dict) or not formats["outputs"]:
        raise BundleError(f"{folder.name}: metadata.json needs network_data_format.outputs with a channel_def.")
    output = _main_entry(formats["outputs"], "pred")
    source = _main_entry(formats.get("inputs") or {}, "image")
    task: Task = "classification" if _is_classification(metadata, output) else "segmentation"
    outputs = _channel_names(output, "class")
    name = metadata.get("name")
    root = root or folder
    return BundleInfo(
        name=folder.name if embedded or not isinstance(name, str) or not name else name,
        version=str(metadata.get("version", "unknown")),
        description=str(metadata.get("description", "")),
        task=task,
        inputs=_channel_names(source, "image"),
        outputs=outputs,
        background=_background(outputs) if task == "segmentation" else None,
        modality=str(source.get("modality", "")),
        intended_use=str(metadata.get("intended_use", "")),
        root=root,
        embedded=embedded,
    )


def model_card(folder: Path) -> str:
    """Return the text of an opened bundle's model card (``docs/README.md``), or nothing."""
    for path in (folder / "docs" / "README.md", folder / "README.md"):
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _main_entry(entries: Mapping[str, Any], preferred: str) -> Mapping[str, Any]:
    entry: object = entries.get(preferred) or next(iter(entries.values()), {})
    return entry if isinstance(entry, dict) else {}


def _is_classification(metadata: Mapping[str, Any], output: Mapping[str, Any]) -> bool:
    words = f"{output.get('type', '')} {output.get('format', '')}".lower()
    if "segmentation" in words:
        return False
    return "classification" in words or "probabilit" in words or "classification" in str(metadata.get("task")).lower()


def _channel_names(entry: Mapping[str, Any], fallback: str) -> tuple[str, ...]:
    """Names from channel_def ("0": name, ...), completed to num_channels by numbers."""
    definition = entry.get("channel_def")
    names = {}
    if isinstance(definition, dict):
        names = {int(k): str(v) for k, v in definition.items() if str(k).isdigit()}
    count = entry.get("num_channels")
    n = count if isinstance(count, int) and count > 0 else max(names, default=0) + 1
    return tuple(names.get(index, f"{fallback} {index}") for index in range(n))


def _background(outputs: Sequence[str]) -> int | None:
    """Find the background channel: named so, or by convention channel 0 of several unnamed ones."""
    for index, name in enumerate(outputs):
        if name.strip().lower() in _BACKGROUND_NAMES:
            return index
    return None


def hash_files(root: Path, paths: Sequence[Path] | None = None) -> str:
    """Return the SHA-256 over names and bytes of files, in the order of their names.

    Parameters
    ----------
    root
        Folder to which the names are relative.
    paths
        Files below ``root``; by default all of them, without caches and hidden files.
    """
    if paths is None:
        paths = [p for p in root.rglob("*") if p.is_file() and not _is_clutter(p.relative_to(root))]
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.relative_to(root).as_posix()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _is_clutter(relative: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
