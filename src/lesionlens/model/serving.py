"""Which explanation methods can serve a bundle, found out before a scan is there."""

from __future__ import annotations

from lesionlens.errors import BundleError
from lesionlens.methods import METHODS
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.layers import window_of
from lesionlens.model.sampling import check_sampling

__all__ = ["no_dropout", "refused_methods"]


def refused_methods(bundle: Bundle) -> dict[str, str]:
    """Return the methods that cannot explain a bundle, whatever the scan, with the reason of each.

    Each is tried on a small image of noise. A method that is not in the answer may still be refused later: some need to
    see the layer, the class or the scan.
    """
    suits = bundle.suits(window_of(bundle))
    with foreign_code(bundle):
        problems = {name: suits.problem(name) for name in METHODS}
    return {name: problem for name, problem in problems.items() if problem is not None}


def no_dropout(bundle: Bundle) -> str:
    """Return why Monte-Carlo dropout is not available for a bundle; empty where it is."""
    try:
        check_sampling((bundle,), "dropout", None)
    except BundleError as error:
        return str(error)
    return ""
