"""A bundle's ``inference`` config, turned into network, preprocessing, inferer and activation.

Parsing executes what the config names (``_target_``, ``$`` expressions, imports): callers decide about trust first.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import Compose

from lesionlens.errors import BundleError

__all__ = ["Activation", "Loader", "Parts", "find_config", "read_parts"]

Activation = Literal["softmax", "sigmoid", "none"]

_CONFIG_NAMES = ("inference.json", "inference.yaml", "inference.yml")
_NETWORK_KEYS = ("network_def", "network", "net")
_PREPROCESSING_KEYS = ("preprocessing", "preprocess", "val_preprocessing", "transforms")
_LOADERS = ("LoadImaged", "LoadImageD", "LoadImageDict")
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
    activation_reason: str


def find_config(folder: Path) -> Path:
    """Return the inference config of an opened bundle, or raise :class:`BundleError`."""
    for name in _CONFIG_NAMES:
        if (folder / "configs" / name).is_file():
            return folder / "configs" / name
    expected = " or ".join(f"configs/{name}" for name in _CONFIG_NAMES)
    raise BundleError(f"Bundle {folder.name} has no inference config; expected {expected}.")


def read_parts(folder: Path, device: torch.device, n_outputs: int) -> Parts:
    """Build the parts of a bundle; this executes its config.

    Parameters
    ----------
    folder
        The opened bundle.
    device
        What ``@device`` stands for in the config.
    n_outputs
        Output channels according to the metadata; decides the activation where the config is silent.

    Raises
    ------
    BundleError
        If the config cannot be read, a part is missing, or building it fails.
    """
    path = find_config(folder)
    try:
        config = ConfigParser.load_config_file(path)
    except Exception as error:  # yaml and json raise families of their own; all mean the same to the user
        raise BundleError(f"{path} cannot be read: {_line(error)}.") from error
    parser = ConfigParser(_with_stand_in(dict(config)))
    parser["bundle_root"] = str(folder)
    parser["device"] = f"$__import__('torch').device({str(device)!r})"
    _part(parser, config, ("imports",), default=None)
    network = _part(parser, config, _NETWORK_KEYS)
    if not isinstance(network, torch.nn.Module):
        raise BundleError(f"{path}: the network must be a torch module; found {type(network).__name__}.")
    preprocessing, loader = _without_loader(_part(parser, config, _PREPROCESSING_KEYS), path)
    inferer = _part(parser, config, ("inferer",), default=None) or SimpleInferer()
    if hasattr(inferer, "progress"):
        inferer.progress = False  # progress goes to the caller, not to the terminal
    activation, reason = decide_activation(config, network, n_outputs)
    return Parts(network, preprocessing, loader, inferer, activation, reason)


_REQUIRED = object()


def _part(parser: ConfigParser, config: dict[str, Any], names: tuple[str, ...], default: Any = _REQUIRED) -> Any:
    """Build the first part that the config has under one of these names."""
    for name in names:
        if name not in config:
            continue
        try:
            with warnings.catch_warnings():
                # MONAI announces changed defaults of its own; the user of a bundle can do nothing about them.
                warnings.simplefilter("ignore", FutureWarning)
                return parser.get_parsed_content(name)
        except Exception as error:  # whatever foreign config code raises, the user gets one sentence
            raise BundleError(f"Building {name!r} of the bundle's config failed: {_line(error)}.") from error
    if default is _REQUIRED:
        raise BundleError(f"The bundle's config has none of: {', '.join(names)}.")
    return default


def _line(error: BaseException) -> str:
    """Say the root of an error in one line; MONAI wraps the cause several times over."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}".rstrip(".: ")


def _with_stand_in(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with :class:`Loader` in place of every ``LoadImaged``."""
    config = copy.deepcopy(config)
    for step in _targets(config):
        if step["_target_"].rsplit(".", 1)[-1] in _LOADERS:
            step["_target_"] = f"{__name__}.Loader"
    return config


def _without_loader(preprocessing: Any, path: Path) -> tuple[Compose, Loader]:
    """Take the loader out of the preprocessing."""
    if not isinstance(preprocessing, Compose):
        raise BundleError(f"{path}: preprocessing must be a Compose; found {type(preprocessing).__name__}.")
    steps = list(preprocessing.flatten().transforms)
    loaders = [t for t in steps if isinstance(t, Loader)]
    if len(loaders) != 1:
        raise BundleError(f"{path}: preprocessing needs exactly one LoadImaged; found {len(loaders)}.")
    kept = [t for t in steps if t is not loaders[0]]
    return Compose(kept, lazy=preprocessing.lazy, overrides=preprocessing.overrides), loaders[0]


def decide_activation(config: dict[str, Any], network: torch.nn.Module, n_outputs: int) -> tuple[Activation, str]:
    """Decide how the network's output becomes probabilities, and say why.

    The postprocessing's ``Activations`` decides; else an ``AsDiscrete`` (argmax: softmax, threshold: sigmoid); else the
    number of outputs (one: sigmoid, several: softmax). A network that ends in a softmax or sigmoid needs none.
    """
    last = [m for m in network.modules() if not list(m.children())][-1]
    if isinstance(last, (torch.nn.Softmax, torch.nn.Sigmoid)):
        return "none", f"the network ends in {type(last).__name__}"
    steps = [step for key in _POSTPROCESSING_KEYS for step in _targets(config.get(key))]
    for step in steps:
        if "Activations" in step["_target_"]:
            for name in ("softmax", "sigmoid"):
                if step.get(name) not in (None, False):
                    return name, f"postprocessing applies {name}"
    for step in steps:
        if "AsDiscrete" in step["_target_"]:
            if step.get("argmax"):
                return "softmax", "postprocessing takes the argmax"
            if step.get("threshold") is not None and n_outputs == 1:
                return "sigmoid", "postprocessing thresholds one channel"
    if n_outputs == 1:
        return "sigmoid", "one output channel and no activation in the config"
    return "softmax", f"{n_outputs} output channels and no activation in the config"


def _targets(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every component (a dict with ``_target_``) below a config node."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)
