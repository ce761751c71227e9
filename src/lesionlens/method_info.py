"""What is known of an explanation method, and which options it takes; nothing heavy is imported here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Literal

from lesionlens.errors import ExplainError, unknown_name

__all__ = ["CHOICES", "LEAST", "LENGTH", "Family", "MethodInfo", "Sampling", "Value", "method_options"]

#: The module of ``lesionlens.explain`` that a method lives in.
Family = Literal["cam", "forward_cam", "gradients", "occlusion", "features", "attention", "detection"]
Value = bool | int | float | str
#: How several predictions of one scan are made, to see where they differ.
Sampling = Literal["tta", "dropout", "ensemble"]

#: What an option that is a number must be at least; others 0. Blocks and gates are counted from the end as well.
LEAST: Mapping[str, int] = MappingProxyType(
    {"block": -1_000, "gate": -1_000, "rank": 1, "component": 1, "samples": 1, "steps": 1, "budget_mib": 1}
)
#: The words that an option with a text may be.
CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"baseline": ("minimum", "mean", "blur", "zero"), "fill": ("surroundings", "blur", "minimum", "mean", "zero")}
)
#: Of an option that is a length: ``"32"``, ``"32x32x16"``, ``"20mm"``.
LENGTH = re.compile(r"(?P<numbers>\d+(?:\.\d+)?(?:\s*x\s*\d+(?:\.\d+)?)*)\s*(?P<unit>mm|voxels)?")
_LENGTHS = frozenset({"size", "stride"})


@dataclass(frozen=True)
class MethodInfo:
    """One explanation method, for people who choose among them.

    Parameters
    ----------
    name
        What it is called in code and files: ``"gradcam"``.
    title
        What people call it: ``"Grad-CAM"``.
    family
        The module of ``lesionlens.explain`` that holds it.
    summary, cost, caveat
        One line each: what it shows; what it takes; what it cannot say.
    paper
        Where it comes from.
    kind
        What the values of its maps are.
    signed
        Whether values below zero mean evidence against.
    takes_layer, takes_target
        Whether the map is one of a layer, and of a class.
    hooks
        Whether it watches modules while the network runs, which a TorchScript module does not allow.
    options
        What can be set, by name, with the default, whose type the setting has.
    """

    name: str
    title: str
    family: Family
    summary: str
    cost: str
    caveat: str
    paper: str
    kind: Literal["attribution", "feature", "attention", "detection"] = "attribution"
    signed: bool = True
    takes_layer: bool = True
    takes_target: bool = True
    hooks: bool = True
    options: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))


def method_options(info: MethodInfo, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return all options of a method: those given, brought to the type of their default, and the other defaults.

    Parameters
    ----------
    info
        The method.
    given
        Values, or texts of them as a command line has them: ``{"samples": "25"}``.

    Raises
    ------
    ExplainError
        If the method has no such option, or the value is none that it can have.
    """
    for name in given:
        if not info.options:
            raise ExplainError(f"{info.title} has no options; leave out {name!r}.")
        if name not in info.options:
            raise ExplainError(unknown_name(f"option of {info.title}", name, info.options))
    found = {name: _typed(info, name, given.get(name, default)) for name, default in info.options.items()}
    for name, value in found.items():
        _check(info, name, value)
    return found


def _check(info: MethodInfo, name: str, value: Value) -> None:
    """Refuse a value that has the right type and no meaning."""
    if isinstance(value, str):
        if name in CHOICES and value not in CHOICES[name]:
            raise ExplainError(unknown_name(f"{name} for {info.name}", value, CHOICES[name]))
        if name in _LENGTHS and value.strip() != info.options[name] and not _is_length(value.strip()):
            raise ExplainError(
                f"Option {name!r} of {info.name} is a length above 0 in voxels or mm, such as '32', '32x32x16' or"
                f" '20mm'; found {value!r}."
            )
    elif not isinstance(value, bool) and not LEAST.get(name, 0) <= value < inf:
        raise ExplainError(f"Option {name!r} of {info.name} must be at least {LEAST.get(name, 0)}; found {value:g}.")


def _is_length(text: str) -> bool:
    found = LENGTH.fullmatch(text)
    return found is not None and all(float(number) for number in found["numbers"].split("x"))


def _typed(info: MethodInfo, name: str, value: Value) -> Value:
    wanted = type(info.options[name])
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        if wanted is bool:
            return value if isinstance(value, bool) else words[str(value).strip().lower()]
        if wanted is not str and isinstance(value, bool):
            raise ValueError
        typed: Value = wanted(value)
        if wanted is int and float(value) != typed:
            raise ValueError
    except (ValueError, KeyError, OverflowError):
        raise ExplainError(
            f"Option {name!r} of {info.title} is a {wanted.__name__}, {info.options[name]!r} by default; "
            f"found {value!r}."
        ) from None
    return typed
