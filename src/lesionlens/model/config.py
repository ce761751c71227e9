"""A bundle's ``inference`` config, turned into network, preprocessing, inferer and activation.

Parsing executes what the config names (``_target_``, ``$`` expressions, imports). Of a bundle that is not trusted only
what was judged to be harmless is parsed; everything else is blanked before.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import Compose, EnsureType, LoadImaged, ToTensor, Transpose, Transposed

from lesionlens.errors import BundleError, MissingPackageError, UntrustedBundleError
from lesionlens.explain import DetectionNetwork
from lesionlens.model.activation import Activation, stated
from lesionlens.model.detector import ACTIVATION, detection_network
from lesionlens.model.safety import STAND_IN, Judged, judge, locator, read_config

__all__ = ["Loader", "Parts", "find_config", "judged_config", "read_parts"]

_CONFIG_NAMES = ("inference.json", "inference.yaml", "inference.yml")
_NETWORK_KEYS = ("network_def", "network", "net")
_PREPROCESSING_KEYS = ("preprocessing", "preprocess", "val_preprocessing", "transforms")
_MAKER = re.compile(r"\$[\w.]*RetinaNetDetector\(")
_SETTER = re.compile(r"\$@[\w:#]+\.set_(box_selector_parameters|box_coder_weights|sliding_window_inferer)\(")
_POSTPROCESSING_KEYS = ("postprocessing", "postprocess", "post_transform")


class Loader:
    """Stands in for a bundle's image loader: says how it would have handed over the image, reads nothing.

    MONAI's own readers lose slices of DICOM series in silence, so LesionLens reads volumes itself.

    Parameters
    ----------
    keys
        Dictionary keys of the images, one volume each.
    ensure_channel_first
        True when the loader adds the channel axis itself.
    """

    def __init__(self, keys: str | Sequence[str], *_: object, ensure_channel_first: bool = False, **__: object) -> None:
        self.keys = (keys,) if isinstance(keys, str) else tuple(map(str, keys))
        self.channel_first = bool(ensure_channel_first)

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the data as they are."""
        return data


@dataclass(frozen=True, eq=False)
class Parts:
    """What LesionLens takes from a config."""

    network: torch.nn.Module
    preprocessing: Compose
    loader: Loader
    inferer: Inferer
    activation: Activation
    notices: tuple[str, ...] = ()


def find_config(folder: Path) -> Path:
    """Return the inference config of an opened bundle, or raise :class:`BundleError`."""
    for name in _CONFIG_NAMES:
        if (folder / "configs" / name).is_file():
            return folder / "configs" / name
    expected = " or ".join(f"configs/{name}" for name in _CONFIG_NAMES)
    raise BundleError(f"Bundle {folder.name} has no inference config; expected {expected}.")


def judged_config(folder: Path) -> Judged:
    """Judge what of a bundle's config LesionLens would execute; nothing of it is.

    Raises
    ------
    BundleError
        If there is no config, or it cannot be read.
    """
    config = read_config(find_config(folder))
    return judge(config, _roots(config))


def _roots(config: dict[str, Any]) -> list[str]:
    """Return the places of all that :func:`read_parts` builds of a bundle that is not trusted."""
    first = [next((name for name in names if name in config), None) for names in (_NETWORK_KEYS, _PREPROCESSING_KEYS)]
    found = [name for name in ("imports", *first, "inferer") if name in config]
    found += _detector_places(config)
    found += _setters(config)
    for key in _POSTPROCESSING_KEYS:
        found += [place for place, _ in _activation_steps(config.get(key), key)]
    return found


def read_parts(folder: Path, device: torch.device, n_outputs: int, *, trusted: bool) -> Parts:
    """Build the parts of a bundle; this executes its config.

    Parameters
    ----------
    folder
        The opened bundle.
    device
        What ``@device`` stands for in the config.
    n_outputs
        Output channels according to the metadata; decides the activation where the config is silent.
    trusted
        Whether the whole config may be executed, or only what is known to be harmless.

    Raises
    ------
    BundleError
        If the config cannot be read, a part is missing, or building it fails.
    UntrustedBundleError
        If it is not trusted and holds more than what is known to be harmless.
    """
    path = find_config(folder)
    config = read_config(path)
    # What is parsed may be less than what is there; what the config says of boxes and the like is read from all of it.
    parsed, notices = (config, ()) if trusted else _harmless(config, path)
    parser = ConfigParser(_with_stand_in(parsed))
    parser.locator = locator()
    parser["bundle_root"] = str(folder)
    parser["device"] = f"$__import__('torch').device({str(device)!r})"
    _part(parser, config, ("imports",), default=None)
    network = _with_boxes(parser, config, _part(parser, config, _NETWORK_KEYS))
    if not isinstance(network, torch.nn.Module):
        raise BundleError(f"{path}: the network must be a torch module; found {type(network).__name__}.")
    preprocessing, loader = _without_loader(_part(parser, config, _PREPROCESSING_KEYS), path)
    if isinstance(network, DetectionNetwork):  # its detector has the windows, and no postprocessing is needed
        return Parts(network, preprocessing, loader, SimpleInferer(), ACTIVATION, notices)
    inferer = _part(parser, config, ("inferer",), default=None) or SimpleInferer()
    if hasattr(inferer, "progress"):
        inferer.progress = False  # progress goes to the caller, not to the terminal
    activation = _stated_activation(parser, config, n_outputs, whole=trusted)
    return Parts(network, preprocessing, loader, inferer, activation, notices)


def _harmless(config: dict[str, Any], path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what is left of a config that is not trusted, judged in the same breath as it is used."""
    judged = judge(config, _roots(config))
    if judged.concerns:
        raise UntrustedBundleError(f"{path} needs trust: {'; '.join(map(str, judged.concerns))}.")
    return judged.config, judged.notices


_REQUIRED = object()


def _part(parser: ConfigParser, config: dict[str, Any], names: tuple[str, ...], default: Any = _REQUIRED) -> Any:
    """Build the first part that the config has under one of these names."""
    for name in names:
        if name in config:
            return _built(parser, name)
    if default is _REQUIRED:
        raise BundleError(f"The bundle's config has none of: {', '.join(names)}.")
    return default


def _built(parser: ConfigParser, place: str) -> Any:
    """Build what lies at a place of the config; this executes it."""
    try:
        with warnings.catch_warnings():
            # MONAI announces changed defaults of its own; the user of a bundle can do nothing about them.
            warnings.simplefilter("ignore", FutureWarning)
            # Its image readers announce what they lack when an expression makes one; it is replaced at once.
            warnings.filterwarnings("ignore", "NvImgCodec", UserWarning)
            return parser.get_parsed_content(place)
    except Exception as error:  # whatever foreign config code raises, the user gets one sentence
        if "torchvision" in _line(error):
            raise _without_torchvision(place, error) from error
        raise BundleError(f"Building {place!r} of the bundle's config failed: {_line(error)}.") from error


def _without_torchvision(place: str, error: BaseException) -> MissingPackageError:
    return MissingPackageError(
        f"Building {place!r} of the bundle's config needs torchvision, which cannot be used here ({_line(error)})."
        " MONAI joins a ResNet with a feature pyramid by it. Install it with: pip install 'lesionlens[detection]', in"
        f" the build for torch {version('torch')}: one for CUDA does not load beside a torch for the CPU.",
        package="torchvision",
        extra="detection",
    )


def _with_boxes(parser: ConfigParser, config: dict[str, Any], network: Any) -> Any:
    """Join a network with the detector that the config makes of it; any other network is returned as it is."""
    detector = network if isinstance(network, RetinaNetDetector) else None
    if detector is None:
        detector = next((_built(parser, place) for place in _detector_places(config)), None)
    if not isinstance(detector, RetinaNetDetector):
        return network
    for setter in _setters(config):
        _built(parser, setter)
    # A bundle that takes boxes to the world by the affine itself has them in voxel indices; see BoxRules.first_voxel.
    names = (step["_target_"] for key, node in config.items() for _, step in _targets(node, key))
    by_affine = any("AffineBoxToWorldCoordinate" in name for name in names)
    return detection_network(detector, first_voxel=0.0 if by_affine else 0.5)


def _detector_places(config: dict[str, Any]) -> list[str]:
    """Return where a config makes a detector: components first, then expressions."""
    places = [found for key, node in config.items() for found in _targets(node, key)]
    named = [place for place, step in places if step["_target_"].rsplit(".", 1)[-1] == "RetinaNetDetector"]
    return named + [key for key, node in config.items() if isinstance(node, str) and _MAKER.match(node)]


def _setters(node: Any, place: str = "") -> Iterator[str]:
    """Yield the places of the expressions that tell a detector how it makes boxes; others are of its training."""
    if isinstance(node, str) and _SETTER.match(node):
        yield place
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _setters(value, f"{place}::{key}" if place else str(key))


def _line(error: BaseException) -> str:
    """Say the root of an error in one line; MONAI wraps the cause several times over."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).partition("Original traceback")[0].split())
    return f"{type(error).__name__}: {text}".rstrip(".: ")


def _with_stand_in(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with :class:`Loader` in place of every ``LoadImaged``."""
    config = copy.deepcopy(config)
    for _, step in _targets(config):
        if step["_target_"].rsplit(".", 1)[-1] in STAND_IN:
            step["_target_"] = f"{__name__}.Loader"
    return config


def _without_loader(preprocessing: Any, path: Path) -> tuple[Compose, Loader]:
    """Take the loader out of the preprocessing."""
    if isinstance(preprocessing, list | tuple):
        preprocessing = Compose(preprocessing)
    if not isinstance(preprocessing, Compose):
        raise BundleError(
            f"{path}: preprocessing must be a Compose or a list of transforms; found {_kind(preprocessing)}."
        )
    steps = [_stand_in(step) for step in preprocessing.flatten().transforms]
    loaders = [t for t in steps if isinstance(t, Loader)]
    ways = {t.channel_first for t in loaders}
    if len(ways) != 1:
        found = "none" if not loaders else "several that place the channels differently"
        raise BundleError(f"{path}: preprocessing needs a LoadImaged (of dictionaries); found {found}.")
    kept = [_with_affine(t) for t in steps if t not in loaders]
    _check_geometry(kept, path)
    keys = [key for loader in loaders for key in loader.keys]
    loader = Loader(keys, ensure_channel_first=ways.pop())
    return Compose(kept, lazy=preprocessing.lazy, overrides=preprocessing.overrides), loader


def _with_affine(step: Any) -> Any:
    """Let a final conversion keep the image's affine: results are placed by it."""
    converter = getattr(step, "converter", None)
    if isinstance(converter, EnsureType | ToTensor):
        converter.track_meta = True
    if isinstance(converter, EnsureType):
        converter.data_type = "tensor"
    return step


def _stand_in(step: Any) -> Any:
    """Replace a loader that an expression has made, out of reach of :func:`_with_stand_in`."""
    if not isinstance(step, LoadImaged):
        return step
    return Loader([str(key) for key in step.keys], ensure_channel_first=step._loader.ensure_channel_first)


def _check_geometry(steps: Sequence[Any], path: Path) -> None:
    """Refuse transforms that move voxels and leave the affine as it was."""
    for step in steps:
        indices = getattr(getattr(step, "transform", step), "indices", None)
        if isinstance(step, Transpose | Transposed) and list(indices or []) != sorted(indices or [0]):
            raise BundleError(
                f"{path}: preprocessing holds {type(step).__name__}, which swaps axes (indices {list(indices or [])})"
                " and leaves the affine unchanged, so maps would lie in the wrong place; use Orientationd instead."
            )


def _kind(value: object) -> str:
    """Say in a word what a value is."""
    return type(value).__name__


def _stated_activation(parser: ConfigParser, config: dict[str, Any], n_outputs: int, *, whole: bool) -> Activation:
    """Build the postprocessing, or its activations alone, and see how it turns the output into probabilities."""
    found: list[Any] = []
    problems: list[str] = []
    for key in (key for key in _POSTPROCESSING_KEYS if config.get(key)):
        if not whole:
            found.extend(_activations_alone(parser, config[key], key, problems))
            continue
        try:
            found.append(_part(parser, config, (key,)))
        except BundleError as error:  # a part that is not needed here, such as a writer, may not exist on this machine
            found.extend(_activations_alone(parser, config[key], key, problems))
            problems.append(str(error))
    flat = [step for part in found for step in (part if isinstance(part, list | tuple) else [part])]
    activation = stated([step for step in flat if step is not None], n_outputs)
    if problems and activation.source == "guess":
        activation = replace(activation, reason=f"{activation.reason} (postprocessing was not read: {problems[-1]})")
    return activation


def _activations_alone(parser: ConfigParser, node: Any, key: str, problems: list[str]) -> list[Any]:
    """Build only those steps of a postprocessing that say what becomes of the output."""
    built = []
    for place, _ in _activation_steps(node, key):
        try:
            built.append(parser.get_parsed_content(place))
        except Exception as error:  # foreign config code
            problems.append(_line(error))
    return built


def _activation_steps(node: Any, key: str) -> list[tuple[str, dict[str, Any]]]:
    """Return place and content of the components of a postprocessing that make probabilities or masks of the output."""
    names = ("Activations", "AsDiscrete")
    return [found for found in _targets(node, key) if any(name in found[1]["_target_"] for name in names)]


def _targets(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the content of every component (a dict with ``_target_``) below a config node."""
    if isinstance(node, dict) and isinstance(node.get("_target_"), str):
        yield place, node
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _targets(value, f"{place}::{key}")
