"""Where bundles are and what their metadata says; nothing here executes a bundle or loads torch."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from lesionlens.errors import BundleError, unknown_name
from lesionlens.heatmap import slug
from lesionlens.model.anomaly.spec import AnomalySpec, anomaly_spec
from lesionlens.model.archive import extract_zip
from lesionlens.model.metadata import channel_names, for_something_else, main_entry, prompt_classes, read_json
from lesionlens.rules import DEFAULT_THRESHOLD

__all__ = [
    "BundleInfo",
    "Task",
    "as_detection",
    "bundle_files",
    "describe",
    "embedded_root",
    "hash_file",
    "hash_files",
    "list_bundles",
    "locate",
    "opened",
    "require_configs",
    "with_first_as_background",
    "with_task",
    "with_threshold",
]

Task = Literal["segmentation", "classification", "detection", "anomaly"]

# What a channel that stands for "nothing found" is called in channel_def; also every name that begins with "no ".
_PLAIN_BACKGROUND = frozenset({"background", "bg", "other", "none"})
_BACKGROUND_NAMES = _PLAIN_BACKGROUND | {
    *(
        "back ground",
        "non lesion",
        "non tumor",
        "non tumour",
        "nothing",
        "negative",
        "null",
        "void",
        "empty",
        "outside",
    ),
    *("unlabeled", "unlabelled", "unlabeled tissue", "unlabelled tissue", "not labeled", "not labelled", "rest"),
    *("healthy", "healthy tissue", "healthy brain", "normal", "normal tissue", "normal brain"),
}


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle's metadata says about it.

    Parameters
    ----------
    name, version, description
        As in ``metadata.json``; the name falls back to the folder's.
    task
        ``"segmentation"`` (one probability map per class), ``"classification"`` (one probability per class),
        ``"detection"`` (boxes of each class) or ``"anomaly"`` (how far each voxel lies from healthy ones).
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
    task_stated
        Whether the metadata say what the task is; otherwise the network's output decides when the bundle is loaded.
    decisions
        What was taken to be meant where the metadata do not say it: one sentence each.
    target_layer
        Layer to explain when none is named, as ``lesionlens.target_layer`` in ``metadata.json``; None where the bundle
        leaves the choice to LesionLens.
    anomaly
        How an anomaly bundle scores, as ``lesionlens.anomaly`` in ``metadata.json``; None of any other.
    thresholds
        Per class the probability from which a voxel belongs to it, as ``lesionlens.thresholds`` in ``metadata.json``,
        or as the bundle's own postprocessing has it.
    voxels_mm
        Least and greatest edge of voxels that the bundle is for, as ``lesionlens.voxels_mm`` in ``metadata.json``; None
        where it does not say.
    prompts
        Classes that the network can be asked for, each by itself (VISTA3D); empty where it gives all that it has.
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
    task_stated: bool = True
    decisions: tuple[str, ...] = ()
    target_layer: str | None = None
    anomaly: AnomalySpec | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict, hash=False)
    voxels_mm: tuple[float, float] | None = None
    prompts: tuple[str, ...] = ()

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the output channels that are not background; what ``target`` accepts."""
        return tuple(name for index, name in enumerate(self.outputs) if index != self.background)


def embedded_root() -> Path:
    """Return the folder of the bundles that ship with LesionLens."""
    return Path(str(files("lesionlens"))) / "bundles"


def list_bundles() -> list[BundleInfo]:
    """List the bundles that ship with LesionLens, by name, then those that were added."""
    from lesionlens.model.installed import installed_bundles  # which builds on this module

    folders = sorted(p for p in embedded_root().glob("*") if (p / "configs" / "metadata.json").is_file())
    return [*(describe(folder, embedded=True) for folder in folders), *installed_bundles()]


def locate(name_or_path: str | Path) -> tuple[Path, bool]:
    """Find a bundle.

    Parameters
    ----------
    name_or_path
        Name of an embedded bundle or of one that was added, or the path of a bundle folder or zip file.

    Returns
    -------
    path, embedded

    Raises
    ------
    BundleError
        If there is neither such a name nor such a path.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise BundleError(f"Expected the name or path of a bundle; found {type(name_or_path).__name__}.")
    folder = embedded_root() / str(name_or_path)
    if Path(name_or_path).name == str(name_or_path) and (folder / "configs").is_dir():
        return folder, True
    path = Path(name_or_path)
    if path.exists():
        return path, False
    from lesionlens.model.installed import check_pin, installed_folder  # which build on this module

    added = installed_folder(str(name_or_path))
    if added is not None:
        check_pin(added)
        return added, False
    names = [info.name if info.embedded else info.root.name for info in list_bundles()]
    raise BundleError(unknown_name("bundle", name_or_path, [*names, "the path of a bundle folder or zip"]))


def require_configs(folder: Path, path: Path) -> None:
    """Refuse an opened bundle, which the user knows as ``path``, without a folder of configs."""
    if not (folder / "configs").is_dir():
        raise BundleError(f"{path} is no MONAI bundle: it has no folder 'configs'.")


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
    inner = [p for p in folder.iterdir() if p.is_dir() and p.name != "__MACOSX" and not p.name.startswith(".")]
    if not (folder / "configs").is_dir() and len(inner) == 1:
        return inner[0]
    return folder


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
    anomaly = anomaly_spec(metadata)
    output = main_entry(formats["outputs"], "pred")
    source = main_entry(formats.get("inputs") or {}, "image")
    if not anomaly and (reason := for_something_else(source, output)):
        raise BundleError(f"{_name(metadata, folder, root or folder, embedded=embedded)} cannot be used: {reason}.")
    root = root or folder
    task: Task | None = "anomaly" if anomaly else _stated_task(metadata, output)
    outputs, renamed = _distinct((anomaly.label,) if anomaly else channel_names(output, "class"))
    info = BundleInfo(
        name=_name(metadata, folder, root, embedded=embedded),
        version=str(metadata.get("version", "unknown")),
        description=str(metadata.get("description", "")),
        task=task or ("classification" if "probabilit" in str(output.get("type")).lower() else "segmentation"),
        inputs=channel_names(source, "image"),
        outputs=outputs,
        background=None,
        modality=str(source.get("modality", "")),
        intended_use=str(metadata.get("intended_use", "")),
        root=root,
        embedded=embedded,
        task_stated=task is not None,
        decisions=renamed,
        target_layer=_target_layer(metadata),
        anomaly=anomaly,
        thresholds=_thresholds(metadata),
        voxels_mm=_voxels_mm(metadata),
        prompts=prompt_classes(folder, output),
    )
    return with_background(info)


def _target_layer(metadata: Mapping[str, Any]) -> str | None:
    """Return the layer that the makers of a bundle want explained, if they name one."""
    own = metadata.get("lesionlens")
    layer = own.get("target_layer") if isinstance(own, dict) else None
    return layer if isinstance(layer, str) and layer else None


def _thresholds(metadata: Mapping[str, Any]) -> dict[str, float]:
    """Return the probabilities from which voxels belong to classes, as the makers of a bundle chose them."""
    own = metadata.get("lesionlens")
    found = own.get("thresholds") if isinstance(own, dict) else None
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(k): float(v) for k, v in pairs if isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= 1}


def with_threshold(info: BundleInfo, threshold: float | None) -> BundleInfo:
    """Return a bundle's description with the threshold of its postprocessing, for the classes that have none stated."""
    if threshold is None or threshold == DEFAULT_THRESHOLD:
        return info
    classes = [name for n, name in enumerate(info.outputs) if n != info.background]
    decision = f"Voxels belong to a class from a probability of {threshold:g} on, as in the bundle's postprocessing."
    stated = {**dict.fromkeys(classes, threshold), **info.thresholds}
    return replace(info, thresholds=stated, decisions=(*info.decisions, decision))


def _voxels_mm(metadata: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the least and greatest edge of voxels that a bundle is for, if its makers name them."""
    own = metadata.get("lesionlens")
    found = own.get("voxels_mm") if isinstance(own, dict) else None
    if not isinstance(found, list) or len(found) != 2 or not all(type(mm) in (int, float) for mm in found):
        return None
    least, most = (float(mm) for mm in found)
    return (least, most) if 0 < least <= most else None


def _name(metadata: Mapping[str, Any], folder: Path, root: Path, *, embedded: bool) -> str:
    """Name of a bundle: what it says, else that of its folder or, without the ending, of its archive."""
    stated = metadata.get("name")
    if isinstance(stated, str) and stated and not embedded:
        return stated
    return root.stem if root.is_file() else (folder.name or folder.resolve().name)


def with_task(info: BundleInfo, task: Task, decision: str) -> BundleInfo:
    """Return what is known of a bundle once its network has shown its task."""
    decided = replace(info, task=task, background=None, task_stated=True, decisions=(*info.decisions, decision))
    return with_background(decided)


def as_detection(info: BundleInfo, n_classes: int) -> BundleInfo:
    """Return what is known of a bundle once its config has shown a detector for so many classes.

    Raises
    ------
    BundleError
        If the metadata name other classes.
    """
    outputs = info.outputs
    if all(name == f"class {index}" for index, name in enumerate(outputs)):
        outputs = tuple(f"class {index}" for index in range(n_classes))
    background = _background(outputs)
    if len(outputs) == n_classes + 1 and background is not None:  # detectors have none, metadata may
        outputs = outputs[:background] + outputs[background + 1 :]
    if len(outputs) != n_classes:
        raise BundleError(
            f"{info.name} has a detector for {n_classes} class(es); its metadata name {len(outputs)}"
            f" ({', '.join(outputs)}). Correct network_data_format in metadata.json, or the detector."
        )
    known = info.task == "detection"
    decision = () if known else ("The bundle is a detection: its config has a detector.",)
    found = replace(info, task="detection", outputs=outputs, background=None, task_stated=True)
    return replace(found, decisions=(*info.decisions, *decision))


def with_background(info: BundleInfo) -> BundleInfo:
    """Find the background channel of a segmentation by its name."""
    index = _background(info.outputs) if info.task == "segmentation" else None
    if index is None:
        return info
    name = info.outputs[index]
    obvious = name.strip().lower() in _PLAIN_BACKGROUND
    decision = () if obvious else (f"Channel {index}, {name!r}, is taken for the background because of its name.",)
    return replace(info, background=index, decisions=(*info.decisions, *decision))


def with_first_as_background(info: BundleInfo) -> BundleInfo:
    """Take channel 0 of unnamed channels that exclude each other for the background, as is the custom."""
    unnamed = all(name == f"class {index}" for index, name in enumerate(info.outputs))
    if info.task != "segmentation" or info.background is not None or not unnamed or len(info.outputs) < 2:
        return info
    decision = "Channel 0 is taken for the background: the channels have no names, and exclude each other."
    return replace(info, background=0, decisions=(*info.decisions, decision))


def model_card(folder: Path) -> str:
    """Return the text of an opened bundle's model card (``docs/README.md``), or nothing."""
    for path in (folder / "docs" / "README.md", folder / "README.md"):
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _stated_task(metadata: Mapping[str, Any], output: Mapping[str, Any]) -> Task | None:
    """Return the task that the metadata name, the output's own description before that of the bundle."""
    if "object" in str(output.get("type")).lower() and "detection" in str(metadata.get("task")).lower():
        return "detection"
    for words in (f"{output.get('type', '')} {output.get('format', '')}", str(metadata.get("task"))):
        if "segmentation" in words.lower():
            return "segmentation"
        if "classification" in words.lower():
            return "classification"
    return None


def _distinct(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Append channel numbers to names that would give files of the same name, and say so."""
    found = list(names)
    while len(set(map(slug, found))) < len(found):
        times = Counter(map(slug, found))
        found = [f"{name} {index}" if times[slug(name)] > 1 else name for index, name in enumerate(found)]
    changed = [f"{old!r} to {new!r}" for old, new in zip(names, found, strict=True) if old != new]
    said = f"Class names that would give files of the same name got their channel's number: {', '.join(changed)}."
    return tuple(found), (said,) if changed else ()


def _background(outputs: Sequence[str]) -> int | None:
    """Find the background channel by its name."""
    for index, name in enumerate(outputs):
        words = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
        if words in _BACKGROUND_NAMES or words.startswith("no "):
            return index
    return None


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as ``sha256sum`` gives it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_files(root: Path) -> str:
    """Return the SHA-256 over names and hashes of the files below a folder, without caches and hidden files.

    The text that is hashed is, for each file in the order of the names, the name relative to ``root`` with ``/``, a
    zero byte, and the 32 bytes of the file's own SHA-256.
    """
    paths = bundle_files(root)
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.relative_to(root).as_posix()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + bytes.fromhex(hash_file(path)))
    return digest.hexdigest()


def bundle_files(root: Path) -> list[Path]:
    """Return the files below a folder that are of a bundle: no caches, no hidden files."""
    return [p for p in root.rglob("*") if p.is_file() and not _is_clutter(p.relative_to(root))]


def _is_clutter(relative: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
