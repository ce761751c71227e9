"""What is known of an explanation method, and which options it takes; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from lesionlens.errors import ExplainError, unknown_name

__all__ = ["Family", "MethodInfo", "Sampling", "Value", "method_options"]

#: The module of ``lesionlens.explain`` that a method lives in.
Family = Literal["cam", "forward_cam", "gradients", "occlusion", "features", "attention", "detection"]
Value = bool | int | float | str
#: How several predictions of one scan are made, to see where they differ.
Sampling = Literal["tta", "dropout", "ensemble"]


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
        If the method has no such option, or the value is none of its type.
    """
    for name in given:
        if name not in info.options:
            raise ExplainError(unknown_name(f"option of {info.title}", name, info.options))
    return {name: _typed(info, name, given.get(name, default)) for name, default in info.options.items()}


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
