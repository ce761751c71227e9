"""What stands in a bundle's ``metadata.json``, read as data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lesionlens.errors import BundleError

__all__ = [
    "CONFIG_NAMES",
    "channel_def",
    "channel_names",
    "for_something_else",
    "main_entry",
    "prompt_classes",
    "read_json",
    "stated_classes",
]

#: What a bundle's inference config may be called, the first that is there goes before the others.
CONFIG_NAMES = ("inference.json", "inference.yaml", "inference.yml")
#: Networks that are asked for classes by their numbers.
_ASKED = re.compile(r"\b(VISTA3D|vista3d132)\b")
#: Characters of a config that are looked through for them.
_LOOKED_THROUGH = 2_000_000


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


def main_entry(entries: Mapping[str, Any], preferred: str) -> Mapping[str, Any]:
    """Return the entry of this name, else the first there is."""
    entry: object = entries.get(preferred) or next(iter(entries.values()), {})
    return entry if isinstance(entry, dict) else {}


def channel_names(entry: Mapping[str, Any], fallback: str) -> tuple[str, ...]:
    """Names from channel_def ("0": name, ...), completed to num_channels by numbers."""
    names = channel_def(entry)
    count = entry.get("num_channels")
    n = count if isinstance(count, int) and count > 0 else max(names, default=0) + 1
    return tuple(names.get(index, f"{fallback} {index}") for index in range(n))


def channel_def(entry: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of channels, or of the values of a label image, by their numbers."""
    definition = entry.get("channel_def") or entry.get("label_def")
    if isinstance(definition, list):
        return {index: str(name) for index, name in enumerate(definition)}
    if not isinstance(definition, dict):
        return {}
    return {int(k): str(v) for k, v in definition.items() if str(k).isdigit()}


def for_something_else(source: Mapping[str, Any], output: Mapping[str, Any]) -> str:
    """Say why a bundle is for nothing that LesionLens does with a volume; empty where it may be."""
    kind, form = (str(output.get(name, "")).lower() for name in ("type", "format"))
    start = f"{source.get('type', '')} {source.get('format', '')}".lower()
    if "latent" in start or "noise" in start:
        return "it makes images from random numbers, and takes no scan"
    if "points" in form or "tuples" in kind:
        return "it gives landmarks, not classes of voxels, of the scan, or boxes"
    if kind == "image" and form in ("magnitude", "hounsfield", "kspace", "raw"):
        return f"it makes images (their format is {form!r}), not classes of voxels, of the scan, or boxes"
    channels, shape = source.get("num_channels"), source.get("spatial_shape")
    if isinstance(shape, list) and len(shape) == 2 and isinstance(channels, int) and channels > 1:
        return f"it is for 2D images of {channels} channels, such as colours; LesionLens reads volumes"
    return ""


def prompt_classes(folder: Path, output: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the classes that the network of an opened bundle is asked for; empty where it gives all that it has.

    The config is looked through as a text; nothing of it is executed.
    """
    paths = (folder / "configs" / name for name in CONFIG_NAMES)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return ()
    with path.open(encoding="utf-8", errors="replace") as stream:
        asked = _ASKED.search(stream.read(_LOOKED_THROUGH))
    return tuple(name for number, name in channel_def(output).items() if number > 0) if asked else ()


def stated_classes(folder: Path) -> dict[int, str]:
    """Return the names of all classes in the metadata of an opened bundle, by number, whatever the channels."""
    metadata = read_json(folder / "configs" / "metadata.json")
    formats = metadata.get("network_data_format")
    outputs = formats.get("outputs") if isinstance(formats, dict) else None
    return channel_def(main_entry(outputs, "pred")) if isinstance(outputs, dict) else {}
