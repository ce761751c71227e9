"""The explanation methods: what each shows, what it costs, and what it cannot say.

Nothing heavy is imported here: lists and menus open at once. The work is done in ``lesionlens.explain``, where each
family has a module of its own with a function for each method of the same name in its ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from lesionlens.errors import ExplainError, unknown_name

__all__ = ["METHODS", "Family", "MethodInfo", "Value", "method_info", "method_options"]

#: The module of ``lesionlens.explain`` that a method lives in.
Family = Literal["cam", "attention"]
Value = bool | int | float | str


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
    kind: Literal["attribution", "feature", "attention"] = "attribution"
    signed: bool = True
    takes_layer: bool = True
    takes_target: bool = True
    options: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))


_ALL = (
    MethodInfo(
        "gradcam",
        "Grad-CAM",
        "cam",
        summary="where a layer holds evidence for the class, one weight for each channel",
        cost="one pass over the windows, and the end of the network backwards",
        caveat="points no finer than half a stride of the layer; exact only where evidence is pooled and then linear",
        paper="Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391 (here without the ReLU)",
    ),
    MethodInfo(
        "attention",
        "Attention",
        "attention",
        summary="where the tokens of one transformer block look: ViT, UNETR, SwinUNETR",
        cost="one pass over the windows, up to the block, and some dozens of lighter ones that find the tokens' places",
        caveat="looking is not deciding: what the network makes of a place is not in it",
        paper="Vaswani et al., NeurIPS 2017, https://arxiv.org/abs/1706.03762",
        kind="attention",
        signed=False,
        takes_layer=False,
        options={"block": -1, "head": "mean", "query": "auto"},
    ),
    MethodInfo(
        "attention_rollout",
        "Attention rollout",
        "attention",
        summary="where a transformer looks in the end, through all blocks: ViT, UNETR",
        cost="as attention",
        caveat="takes half of each block for the residual and all heads alike; of no class; refused for windows (Swin)",
        paper="Abnar and Zuidema, ACL 2020, https://arxiv.org/abs/2005.00928",
        kind="attention",
        signed=False,
        takes_layer=False,
        options={"block": -1, "query": "auto"},
    ),
    MethodInfo(
        "attention_relevance",
        "Gradient-weighted rollout",
        "attention",
        summary="the attention through all blocks that speaks for the class: ViT, UNETR",
        cost="one pass over the windows forwards and backwards with all matrices in memory, and the tokens' places",
        caveat="shows nothing against the class; only what goes through attention; refused for windows (Swin)",
        paper="Chefer et al., ICCV 2021, https://arxiv.org/abs/2103.15679",
        signed=False,
        takes_layer=False,
        options={"block": -1},
    ),
    MethodInfo(
        "attention_gates",
        "Attention gates",
        "attention",
        summary="where an Attention U-Net lets the features of a skip connection through",
        cost="one pass over the windows",
        caveat="of no class; an open gate lets through, and does not say that anything is there",
        paper="Oktay et al., 2018, https://arxiv.org/abs/1804.03999",
        kind="attention",
        signed=False,
        takes_layer=False,
        takes_target=False,
        options={"gate": -1},
    ),
)

METHODS: Mapping[str, MethodInfo] = MappingProxyType({info.name: info for info in _ALL})


def method_info(name: str) -> MethodInfo:
    """Return a method by name.

    Raises
    ------
    ExplainError
        If there is none of that name; the message lists those that exist.
    """
    if name not in METHODS:
        raise ExplainError(unknown_name("method", name, METHODS))
    return METHODS[name]


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
