"""What is read differently from how a bundle's config has it: MONAI has changed since, or this machine lacks a GPU.

Every change but that of the device is said in a sentence. Nothing of the config is executed here.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

import torch

from lesionlens.model.safety import READER, resolved

__all__ = ["adapted"]

#: Transforms that MONAI has given up, and what does the same today.
_RENAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "AddChannel": ("EnsureChannelFirst", {"channel_dim": "no_channel"}),
    "AsChannelFirst": ("EnsureChannelFirst", {"channel_dim": -1}),
}
#: Arguments that MONAI has given up without a change of the result: it needs them no more.
_GONE = frozenset({"img_size", "meta_keys", "meta_key_postfix"})
#: Arguments that have another name today.
_CALLED_TODAY = {"dimensions": "spatial_dims", "pos_embed": "proj_type"}
#: Steps that prepare what a person clicks or asks for, of which there is nothing in a run without a person.
_PROMPTS = re.compile(r"(VistaPreTransform|OrientationGuidance\w*|AddGuidance\w*|ResizeGuidance\w*)(d|D|Dict)?")

_ON_GPU = re.compile(
    r"torch\.device\(\s*(['\"])cuda(:\d+)?\1\s*(if torch\.cuda\.is_available\(\) else\s*(['\"])cpu\4\s*)?\)"
)
_HALF = re.compile(r"\b(torch|np|numpy)\.(float16|half)\b")
_LOAD = re.compile(r"\$\s*torch\.load\((?P<path>[^,()]+)(,.*)?\)\s*", re.DOTALL)


def adapted(config: Mapping[str, Any], folder: Path, device: torch.device) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a config as the MONAI that is installed, and this machine, can use it, and what was changed.

    Parameters
    ----------
    config
        As read; it is not changed.
    folder
        The opened bundle: what a config loads must lie in it.
    device
        Where the network will run, whatever the config says.
    """
    found, notices = copy.deepcopy(dict(config)), dict[str, None]()
    for node, key, text in list(_texts(found)):
        node[key] = _text(text, folder, device, notices)
    for place, component in list(_components(found)):
        if component["_target_"] == READER:
            component["root"] = str(folder)  # whatever the config says
        notices.update(dict.fromkeys(_modernised(place, component)))
    _without_prompts(found, notices)
    return found, tuple(notices)


def _texts(node: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield every text below a node with what holds it and its key there."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if isinstance(value, str):
            yield node, key, value
        else:
            yield from _texts(value)


def _text(text: str, folder: Path, device: torch.device, notices: dict[str, None]) -> Any:
    text = _ON_GPU.sub(f"torch.device('{device}')", text)
    loading = _LOAD.fullmatch(text)
    if loading:
        notices[f"{text.removeprefix('$')} is read as plain data, and only from the bundle's folder."] = None
        return {"_target_": READER, "path": f"${loading['path'].strip()}", "root": str(folder)}
    if text.startswith("$") and device.type == "cpu":
        wide = _HALF.sub(r"\1.float32", text)
        if wide != text:
            notices["float16 is computed as float32: a CPU has no half precision worth using."] = None
        return wide
    return text


def _components(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict) and isinstance(node.get("_target_"), str):
        yield place, node
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _components(value, f"{place}::{key}" if place else str(key))


def _modernised(place: str, component: dict[str, Any]) -> Iterator[str]:
    """Bring one component to today's names and arguments; yield what was changed."""
    name = component["_target_"].rsplit(".", 1)[-1]
    plain, ending = next(((name.removesuffix(e), e) for e in ("Dict", "d", "D") if name.endswith(e)), (name, ""))
    if plain in _RENAMED:
        today, arguments = _RENAMED[plain]
        component["_target_"] = f"{today}{ending}"
        component.update({key: value for key, value in arguments.items() if key not in component})
        yield f"{place}: {name} is {today}{ending} today."
    known = _arguments(component["_target_"])
    if known is None:
        return
    for argument in [a for a in component if a not in known and not (a.startswith("_") and a.endswith("_"))]:
        today = _CALLED_TODAY.get(argument, "")
        if today in known and today not in component:
            component[today] = component.pop(argument)
            yield f"{place}: {argument} of {name} is called {today} today."
        elif argument in _GONE:
            del component[argument]
            yield f"{place}: {name} has no {argument} any more; it was left out."


def _arguments(target: str) -> frozenset[str] | None:
    """Return the arguments that a part of MONAI takes; None where it is none, or takes any."""
    full = resolved(target)
    if not re.fullmatch(r"monai(\.\w+)+", full):
        return None
    try:
        parameters = inspect.signature(locate(full)).parameters  # type: ignore[arg-type]  # None is a TypeError
    except Exception:  # a part of MONAI that needs a package that is not here says so when it is built
        return None
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return None
    return frozenset(parameters)


def _without_prompts(node: Any, notices: dict[str, None]) -> None:
    """Take out the steps that prepare a person's clicks."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        if isinstance(value, list):
            gone = [s for s in value if isinstance(s, dict) and _is_prompt(s)]
            if gone:
                names = ", ".join(step["_target_"].rsplit(".", 1)[-1] for step in gone)
                notices[f"Left out, as there are no clicks: {names}."] = None
                value[:] = [step for step in value if step not in gone]
        _without_prompts(value, notices)


def _is_prompt(step: Mapping[str, Any]) -> bool:
    target = step.get("_target_")
    return isinstance(target, str) and _PROMPTS.fullmatch(target.rsplit(".", 1)[-1]) is not None
