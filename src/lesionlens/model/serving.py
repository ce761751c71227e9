"""Which explanation methods can serve a bundle, found out before a scan is there."""

from __future__ import annotations

import torch

from lesionlens.errors import BundleError, ExplainError
from lesionlens.explain.attention_modules import watching_attention
from lesionlens.explain.capture import hookable
from lesionlens.explain.gates import watching_gates
from lesionlens.methods import METHODS
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.layers import window_of
from lesionlens.model.sampling import check_sampling

__all__ = ["no_dropout", "refused_methods"]

_NO_CAM = (
    "CAM needs a network that averages a layer over space and then decides linearly; this one gives a map. Grad-CAM is"
    " its generalization."
)
# What a gate is looked for with: noise of one seed. On zeros, everything equals everything times a gate.
_SEED = 0


def refused_methods(bundle: Bundle) -> dict[str, str]:
    """Return the methods that cannot explain a bundle, whatever the scan, with the reason of each.

    The network is looked at, and runs on noise where what it does has to be seen. A method that is not in the answer
    may still be refused later: some need to see the layer, the class or the scan.
    """
    with foreign_code(bundle):
        found = _unhookable(bundle)
        if not found:
            found = {**_without_attention(bundle), **_without_gates(bundle)}
    if bundle.info.task != "classification":
        found.setdefault("cam", _NO_CAM)
    return found


def no_dropout(bundle: Bundle) -> str:
    """Return why Monte-Carlo dropout is not available for a bundle; empty where it is."""
    try:
        check_sampling((bundle,), "dropout", None)
    except BundleError as error:
        return str(error)
    return ""


def _unhookable(bundle: Bundle) -> dict[str, str]:
    try:
        hookable(bundle.network)
    except ExplainError as error:
        return {name: str(error) for name, info in METHODS.items() if info.hooks}
    return {}


def _without_attention(bundle: Bundle) -> dict[str, str]:
    try:
        with watching_attention(bundle.network):
            return {}
    except ExplainError as error:
        names = [name for name, info in METHODS.items() if info.family == "attention" and name != "attention_gates"]
        return dict.fromkeys(names, str(error))


def _without_gates(bundle: Bundle) -> dict[str, str]:
    generator = torch.Generator().manual_seed(_SEED)
    shape = (1, len(bundle.info.inputs), *window_of(bundle))
    noise = torch.randn(shape, generator=generator).to(bundle.device)
    try:
        with watching_gates(bundle.network) as gates:
            gates.of(noise)
    except ExplainError as error:
        return {"attention_gates": str(error)}
    return {}
