"""Which names of a config may be called: classes and factories of MONAI and torch that do nothing but compute."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from pydoc import locate
from typing import Any

import monai.apps.detection
import monai.inferers
import monai.networks
import monai.transforms
import monai.utils  # MONAI finds a short name only in modules that are loaded
import numpy as np
import torch
from monai.bundle import ComponentLocator

__all__ = ["READER", "call_problem", "downloads", "harmless_attribute", "locator", "resolved"]

#: What configs get in place of ``torch.load``: reads plain data, from the bundle's folder alone.
READER = "lesionlens.model.reading.read_inside"
#: Where a class or factory must be defined to be called: these build networks, move voxels or slide windows.
_HOMES = (
    "monai.networks.nets",
    "monai.networks.blocks",
    "monai.networks.layers",
    "monai.transforms",
    "monai.inferers",
    "monai.apps.detection.networks",
    "monai.apps.detection.transforms",
    "monai.apps.detection.utils",
    "torch.nn.modules",
)
#: Homes, and single names within the homes above, of what reads or writes files, sleeps, or calls what a text names.
_NEVER_HOMES = ("monai.transforms.io", "monai.transforms.traits", "monai.transforms.utils_create_transform_ims")
_NEVER = re.compile(
    r"(Save|Write|Load|CuCIM|TorchVision|TorchIO|ToCupy|RandCuCIM|SimulateDelay|RandTorchIO|ApplyTransformToPoints"
    r"|TransChex|GaussianMixture|MultiModal|BertAttention|BertMixedLayer|TRT|trt_|[Pp]retrained|[Dd]ownload|Zarr|PatchInferer"
    r"|CellSam)"
)
#: Homes whose functions, and not only classes, are called in configs: they build networks.
_FACTORIES = ("monai.networks.nets", "monai.apps.detection.networks", "monai.apps.detection.utils")
#: Attributes of torch and numpy that expressions of stock configs use; none of them has an effect outside.
_HARMLESS = frozenset(
    {
        *("torch.device", "torch.cuda.is_available", "torch.cuda.device_count", "torch.backends.mps.is_available"),
        *("torch.tensor", "torch.Size", "torch.from_numpy", "torch.where", "torch.clamp", "torch.nan_to_num"),
        *("torch.abs", "torch.log", "torch.exp", "torch.sqrt", "torch.sum", "torch.mean", "torch.sigmoid"),
        *("numpy.array", "numpy.asarray", "numpy.inf", "numpy.nan", "numpy.pi", "numpy.where", "numpy.clip"),
        *("numpy.abs", "numpy.log", "numpy.exp", "numpy.sqrt", "numpy.sum", "numpy.mean"),
        *("math.ceil", "math.floor", "math.sqrt", "math.log2", "math.prod", "math.inf", "math.pi"),
    }
)
#: What makes a network fetch weights, from the net or from a file of its own choice.
_FETCHES = re.compile(r"pretrain|download|url|weights|checkpoint|ckpt|path|file|cache_dir|hub", re.IGNORECASE)
#: How often another thread may import something while the names are looked up.
_TRIES = 20
_KEY = re.compile(r"monai\.utils(\.enums)?\.[A-Z]\w*\.[A-Z][A-Z0-9_]*")
_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*")


@cache
def locator() -> ComponentLocator:
    """Return MONAI's table of short names, made once for all configs.

    MONAI walks through all loaded modules for it, which fails while another thread imports one.
    """
    found = ComponentLocator()
    for tries_left in reversed(range(_TRIES)):
        try:
            found.get_component_module_name("Compose")
            break
        except RuntimeError:  # dictionary changed size during iteration
            if not tries_left:
                raise
    return found


def resolved(name: str) -> str:
    """Return the full dotted name that MONAI would call for the ``_target_`` of a config."""
    modules = locator().get_component_module_name(name) if "." not in name else None
    if modules is None:
        return name
    return f"{modules if isinstance(modules, str) else modules[0]}.{name}"


def call_problem(
    name: str, arguments: Mapping[str, Any] | None = None, *, positional: Sequence[Any] = ()
) -> str | None:
    """Say why a config must not call a name unseen, or return None.

    Parameters
    ----------
    name
        A ``_target_``, or a dotted name in an expression; short names are looked up as MONAI does.
    arguments, positional
        Arguments as the config has them.
    """
    full = resolved(name)
    if full in ("torch.device", READER):
        return None
    if "." not in full and full.isidentifier():
        return f"{name} is no name of the MONAI that is installed, {monai.__version__}"
    if not _NAME.fullmatch(full) or not full.startswith(("monai.", "torch.")):
        return f"{name} is neither of MONAI nor of torch.nn"
    try:
        found = locate(full)
    except Exception as error:  # importing a part of MONAI that needs a package that is not here
        return f"{name} cannot be imported ({type(error).__name__})"
    home = getattr(found, "__module__", None)
    if found is None or not isinstance(home, str):
        return f"{name} does not exist in the MONAI and torch that are installed"
    if not _inside(home, _HOMES) or _inside(home, _NEVER_HOMES) or _NEVER.search(getattr(found, "__name__", "")):
        return f"{name} is not among the networks, transforms and inferers that only compute"
    if not inspect.isclass(found) and not (inspect.isfunction(found) and _inside(home, _FACTORIES)):
        return f"{name} is neither a class nor a factory of networks"
    if not _inside(home, ("monai.networks", "monai.apps")):
        return None
    given = dict(zip(_parameters(full), positional, strict=False)) | dict(arguments or {})
    return _fetching(name, given)


def _inside(module: str, homes: tuple[str, ...]) -> bool:
    return any(module == home or module.startswith(f"{home}.") for home in homes)


def _fetching(name: str, arguments: Mapping[str, Any]) -> str | None:
    for argument, value in arguments.items():
        if _FETCHES.search(argument) and value not in (None, False, "", 0):
            return f"{name} is told to fetch weights or files ({argument}={value!r})"
    return None


def downloads(name: str) -> tuple[str, ...]:
    """Return the arguments by which a network fetches weights from the net unless it is told not to."""
    return tuple(p.name for p in _parameters(resolved(name)).values() if "pretrained" in p.name and p.default is True)


def _parameters(full: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(locate(full)).parameters  # type: ignore[arg-type]  # None is a TypeError
    except (TypeError, ValueError):
        return {}


def harmless_attribute(name: str) -> bool:
    """Say whether a dotted name is a type, a constant or a pure function of torch, numpy or math."""
    full = re.sub(r"^np\.", "numpy.", name)
    if full in _HARMLESS:
        return True
    if _KEY.fullmatch(full):  # MONAI's names of what goes through transforms, such as CommonKeys.IMAGE
        return isinstance(locate(full), Enum)
    root, _, last = full.partition(".")
    if "." in last or not last:
        return False
    if root == "torch":
        return isinstance(getattr(torch, last, None), torch.dtype)
    value = getattr(np, last, None) if root == "numpy" else None
    return inspect.isclass(value) and issubclass(value, np.generic)
