"""What is tried one after the other when memory runs out: blocks, smaller windows, the processor."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import torch
from monai.inferers import SlidingWindowInferer

from lesionlens.computing import Computing
from lesionlens.model.bundle import Bundle

__all__ = ["Attempt", "attempts", "with_inferer"]

# Networks halve their input several times; a window of multiples of this many voxels serves those of the model zoo.
_MULTIPLE: Final = 16


@dataclass(frozen=True, eq=False)
class Attempt:
    """One way to predict.

    Parameters
    ----------
    bundle, computing
        What runs, and how.
    words
        What is different from what was asked for; empty of the first.
    """

    bundle: Bundle
    computing: Computing
    words: str = ""


def attempts(bundle: Bundle, computing: Computing) -> Iterator[Attempt]:
    """Yield what was asked for, then what takes less memory, the exact before what changes the result."""
    yield Attempt(bundle, computing)
    less = replace(computing, in_blocks=True)
    yield from _with_less(bundle, less)
    if bundle.device.type != "cpu":
        on_cpu = replace(
            bundle,
            network=copy.deepcopy(bundle.network).to("cpu"),
            device=torch.device("cpu"),
            engines={},
        )
        yield Attempt(on_cpu, less, "the processor ran the network")
        yield from _with_less(on_cpu, less)


def _with_less(bundle: Bundle, computing: Computing) -> Iterator[Attempt]:
    inferer = bundle.inferer
    if not isinstance(inferer, SlidingWindowInferer):
        return
    single = with_inferer(bundle, sw_batch_size=1)
    yield Attempt(single, computing, "windows were run one at a time and joined in blocks")
    size = inferer.roi_size if isinstance(inferer.roi_size, list | tuple) else ()
    half = tuple(n // 2 for n in size)
    if half and all(n > 0 and n % _MULTIPLE == 0 for n in half):
        smaller = with_inferer(bundle, sw_batch_size=1, roi_size=half, roi_weight_map=None)
        words = f"windows of {' x '.join(map(str, half))} voxels were used, which changes the result a little"
        yield Attempt(smaller, computing, words)


def with_inferer(bundle: Bundle, **values: object) -> Bundle:
    """Return a bundle whose inferer has other attributes."""
    inferer = copy.copy(bundle.inferer)
    for name, value in values.items():
        setattr(inferer, name, value)
    return replace(bundle, inferer=inferer)
