"""A bundle's ``inference`` config, turned into network, preprocessing, inferer and activation.

Parsing executes what the config names (``_target_``, ``$`` expressions, imports). Of a bundle that is not trusted only
what was judged to be harmless is parsed; everything else is blanked before.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.bundle import ConfigParser, ReferenceResolver
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import Compose

from lesionlens.errors import BundleError, UntrustedBundleError
from lesionlens.explain import DetectionNetwork
from lesionlens.model.activation import Activation, stated
from lesionlens.model.bounded import bounded, too_much
from lesionlens.model.components import components, short_name
from lesionlens.model.detector import ACTIVATION, detection_network
from lesionlens.model.loader import Loader, with_stand_in, without_loader
from lesionlens.model.metadata import CONFIG_NAMES
from lesionlens.model.missing import missing_package, stated_monai_version
from lesionlens.model.older import adapted
from lesionlens.model.own_modules import own_modules
from lesionlens.model.programs import PROGRAMS, is_program
from lesionlens.model.safety import Concern, Judged, judge, locator, read_config
from lesionlens.model.weights import find_weights

__all__ = ["Parts", "bundle_concerns", "find_config", "judged_config", "read_parts"]

# A network is as large as its weights: four times in half precision, twice more while it is made, and tables besides.
TIMES_WEIGHTS: Final = 8
BESIDE_WEIGHTS: Final = 2**28
#: Tensors that the network of a config may be made of; VISTA3D is made of 260, a DenseNet of 264 layers of some 1,500.
MOST_TENSORS: Final = 10_000
_NETWORK_KEYS = ("network_def", "network", "net")
_PREPROCESSING_KEYS = ("preprocessing", "preprocess", "val_preprocessing", "transforms")
_MAKER = re.compile(r"\$[\w.]*RetinaNetDetector\(")
_SETTER = re.compile(r"\$@[\w:#]+\.set_(box_selector_parameters|box_coder_weights|sliding_window_inferer)\(")
_POSTPROCESSING_KEYS = ("postprocessing", "postprocess", "post_transform")


@dataclass(frozen=True, eq=False)
class Parts:
    """What LesionLens takes from a config, and the config as it was used."""

    network: torch.nn.Module
    preprocessing: Compose
    loader: Loader
    inferer: Inferer
    activation: Activation
    notices: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def find_config(folder: Path) -> Path:
    """Return the inference config of an opened bundle, or raise :class:`BundleError`."""
    for name in CONFIG_NAMES:
        if (folder / "configs" / name).is_file():
            return folder / "configs" / name
    expected = " or ".join(f"configs/{name}" for name in CONFIG_NAMES)
    raise BundleError(f"Bundle {folder.name} has no inference config; expected {expected}.")


def judged_config(folder: Path) -> Judged:
    """Judge what of a bundle's config LesionLens would execute; nothing of it is.

    Raises
    ------
    BundleError
        If there is no config, or it cannot be read.
    """
    config, _ = adapted(read_config(find_config(folder)), folder, torch.device("cpu"))
    return judge(config, _roots(config))


def bundle_concerns(folder: Path) -> tuple[Concern, ...]:
    """Return what LesionLens would execute of an opened bundle that is not known to be harmless; nothing of it is.

    Raises
    ------
    BundleError
        If there is no config, or it cannot be read.
    """
    concerns = judged_config(folder).concerns
    try:
        weights = find_weights(folder, read_config(find_config(folder)))
    except BundleError:
        return concerns  # it is said when the bundle is loaded
    if not is_program(weights):
        return concerns
    what = PROGRAMS.get(weights.name, "a program")
    return (*concerns, Concern(f"models/{weights.name}", what, "the network itself is code, which cannot be judged"))


def _roots(config: dict[str, Any]) -> list[str]:
    """Return the places of all that :func:`read_parts` builds of a bundle that is not trusted."""
    first = [next((name for name in names if name in config), None) for names in (_NETWORK_KEYS, _PREPROCESSING_KEYS)]
    found = [name for name in ("imports", *first) if name in config]
    detectors = _detector_places(config)
    if "inferer" in config and not detectors:  # a detector has windows of its own
        found.append("inferer")
    found += detectors
    found += _setters(config)
    for key in _POSTPROCESSING_KEYS:
        found += _activation_places(config, key)
    return found


def read_parts(
    folder: Path,
    device: torch.device,
    n_outputs: int,
    *,
    trusted: bool,
    weights_bytes: int = 0,
    program: torch.nn.Module | None = None,
) -> Parts:
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
    weights_bytes
        Size of the file of weights: what is not trusted may make no network that is far larger.
    program
        The network, where its weights are a program; the config's is not built then.

    Raises
    ------
    BundleError
        If the config cannot be read, a part is missing, or building it fails.
    UntrustedBundleError
        If it is not trusted and holds more than what is known to be harmless.
    """
    path = find_config(folder)
    config, changes = adapted(read_config(path), folder, device)
    # What is parsed may be less than what is there; what the config says of boxes and the like is read from all of it.
    parsed, notices = (config, ()) if trusted else _harmless(config, path)
    parser = ConfigParser(with_stand_in(parsed))
    parser.locator = locator()
    parser["bundle_root"] = str(folder)
    parser["device"] = f"$__import__('torch').device({str(device)!r})"
    notices = (*changes, *notices)
    most = math.inf if trusted else BESIDE_WEIGHTS + TIMES_WEIGHTS * weights_bytes
    with own_modules(folder) if trusted else nullcontext(), bounded(most, most_tensors=MOST_TENSORS):
        _part(parser, config, ("imports",), default=None)  # MONAI passes over packages that are missing
        network = program or _with_boxes(parser, config, _part(parser, config, _NETWORK_KEYS))
        if not isinstance(network, torch.nn.Module):
            raise BundleError(f"{path}: the network must be a torch module; found {type(network).__name__}.")
        preprocessing, loader = without_loader(_part(parser, config, _PREPROCESSING_KEYS), path)
        if isinstance(network, DetectionNetwork):  # its detector has the windows, and no postprocessing is needed
            return Parts(network, preprocessing, loader, SimpleInferer(), ACTIVATION, notices, config)
        inferer = _part(parser, config, ("inferer",), default=None) or SimpleInferer()
        activation = _stated_activation(parser, config, n_outputs, whole=trusted)
    if hasattr(inferer, "progress"):
        inferer.progress = False  # progress goes to the caller, not to the terminal
    return Parts(network, preprocessing, loader, inferer, activation, notices, config)


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
        what = f"Building {place!r} of the bundle's config"
        if stopped := too_much(error):
            raise BundleError(f"{what} was stopped: {stopped}; a network is about as large as its weights.") from error
        if missing := missing_package(what, error, Path(str(parser["bundle_root"]))):
            raise missing from error
        raise BundleError(f"{what} failed: {_line(error)}.{_other_version(error, parser)}") from error


def _other_version(error: BaseException, parser: ConfigParser) -> str:
    """Say for which MONAI the bundle was made, where a name or argument is unknown to the one that is installed."""
    if not any(words in _line(error) for words in ("unexpected keyword argument", "Cannot locate")):
        return ""
    made_for = stated_monai_version(Path(str(parser["bundle_root"])))
    return f" The bundle was made for MONAI {made_for}; installed is {version('monai')}." if made_for else ""


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
    names = (step["_target_"] for key, node in config.items() for _, step in components(node, key))
    by_affine = any("AffineBoxToWorldCoordinate" in name for name in names)
    return detection_network(detector, first_voxel=0.0 if by_affine else 0.5)


def _detector_places(config: dict[str, Any]) -> list[str]:
    """Return where a config makes a detector: components first, then expressions."""
    places = [found for key, node in config.items() for found in components(node, key)]
    named = [place for place, step in places if short_name(step) == "RetinaNetDetector"]
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


def _stated_activation(parser: ConfigParser, config: dict[str, Any], n_outputs: int, *, whole: bool) -> Activation:
    """Build the postprocessing, or its activations alone, and see how it turns the output into probabilities."""
    found: list[Any] = []
    problems: list[str] = []
    for key in (key for key in _POSTPROCESSING_KEYS if config.get(key)):
        if not whole:
            found.extend(_activations_alone(parser, config, key, problems))
            continue
        try:
            found.append(_part(parser, config, (key,)))
        except BundleError as error:  # a part that is not needed here, such as a writer, may not exist on this machine
            found.extend(_activations_alone(parser, config, key, problems))
            problems.append(str(error))
    flat = [step for part in found for step in (part if isinstance(part, list | tuple) else [part])]
    activation = stated([step for step in flat if step is not None], n_outputs)
    if problems and activation.source == "guess":
        activation = replace(activation, reason=f"{activation.reason} (postprocessing was not read: {problems[-1]})")
    return activation


def _activations_alone(parser: ConfigParser, config: Mapping[str, Any], key: str, problems: list[str]) -> list[Any]:
    """Build only those steps of a postprocessing that say what becomes of the output."""
    built = []
    for place in _activation_places(config, key):
        try:
            built.append(parser.get_parsed_content(place))
        except Exception as error:  # foreign config code
            problems.append(_line(error))
    return built


def _activation_places(config: Mapping[str, Any], key: str) -> list[str]:
    """Return the places of the steps of a postprocessing that make probabilities or masks of the output.

    It may refer to steps that stand elsewhere in the config.
    """
    found: list[str] = []
    waiting, seen = [key], set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in config:
            continue
        seen.add(name)
        node = config[name]
        steps = components(node, name)
        found += [place for place, step in steps if any(w in step["_target_"] for w in ("Activations", "AsDiscrete"))]
        waiting += sorted(one for text in _texts(node) for one in ReferenceResolver.match_refs_pattern(text))
    return found


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(value)
