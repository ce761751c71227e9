"""What the forms have to know about a bundle's network; found out in the background: no Qt, no viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lesionlens.errors import ExplainError
from lesionlens.progress import Progress

if TYPE_CHECKING:
    from lesionlens.model.catalogue import BundleInfo
    from lesionlens.model.layers import BundleLayer

__all__ = ["BundleFacts", "bundle_name", "look_at"]


@dataclass(frozen=True)
class BundleFacts:
    """What can be chosen for a bundle.

    Parameters
    ----------
    layers
        Those that can be explained, in the order in which they run; one of each that give the same tensor.
    default, reason
        The layer that is explained when none is named, and why; or why there is none.
    refused
        Methods that cannot explain it, with the reason of each.
    no_dropout
        Why Monte-Carlo dropout is not available; empty where it is.
    task
        What the network is for; until it was looked at that is a guess from the metadata.
    """

    layers: tuple[BundleLayer, ...]
    default: str
    reason: str
    refused: Mapping[str, str]
    no_dropout: str
    task: str = "segmentation"


def bundle_name(info: BundleInfo) -> str:
    """Return what a bundle is loaded by: its name, or its path where it comes from outside."""
    return info.name if info.embedded else str(info.root)


def look_at(bundle: str, progress: Progress, *, trust: bool) -> BundleFacts:
    """Load a bundle and look at its network.

    Parameters
    ----------
    bundle
        Name of an embedded bundle, or path of a bundle.
    progress
        Called between the steps, and before each module that runs; raise ``Cancelled`` from it to stop.
    trust
        Allow a bundle from outside to execute its config.
    """
    from lesionlens.explain.calling import stoppable
    from lesionlens.model.bundle import load_bundle
    from lesionlens.model.layers import layers_of
    from lesionlens.model.serving import no_dropout, refused_methods

    done = 0

    def step() -> None:
        progress("Looking at the network", done, 3)

    step()
    loaded = load_bundle(bundle, trust=trust)
    done = 1
    with stoppable(loaded.network, step):
        try:
            found = layers_of(loaded)
            layers, default, reason = found.distinct(), found.default, found.reason
        except ExplainError as error:
            layers, default, reason = (), "", str(error)
        done = 2
        refused = refused_methods(loaded)
    return BundleFacts(layers, default, reason, refused, no_dropout(loaded), loaded.info.task)
