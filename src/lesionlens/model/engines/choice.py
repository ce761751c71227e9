"""Which engine runs a bundle's network: the one that was asked for, if it agrees with PyTorch in fp32 here.

A window of a scan that holds more than one value, in the middle if windows go one by one, goes through PyTorch in fp32
and through the engine. Where the probabilities differ by more than the engine's tolerance, or it cannot run the network
at all, PyTorch in fp32 does all the work, and a notice says so. What is compiled is kept with the bundle for the next
scan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lesionlens.computing import EngineName
from lesionlens.explain.calling import is_memory
from lesionlens.model.bundle import Bundle
from lesionlens.model.engines.fused import is_fusible
from lesionlens.model.engines.interface import TOLERANCES, Engine, EngineError
from lesionlens.model.engines.openvino_engine import OpenVino, is_installed
from lesionlens.model.engines.torch_engine import TorchBf16, TorchFolded, TorchFp32, bf16_problem

__all__ = ["Chosen", "choose"]

# "auto" compiles for OpenVINO, which takes seconds, only when what is left to do takes at least this long without.
PAYS_FROM_S: Final = 10.0
# The first run of a network takes longer than the next ones. An engine that is faster than it by this factor is faster,
# and a second run of the network would only say so again.
_SURELY: Final = 2.0


@dataclass(frozen=True, eq=False)
class Chosen:
    """An engine that was checked.

    Parameters
    ----------
    engine
        It.
    difference
        Largest difference of a probability from PyTorch in fp32; None of that itself.
    notices
        One sentence for each engine that was tried in vain.
    """

    engine: Engine
    difference: float | None = None
    notices: tuple[str, ...] = ()


Probabilities = Callable[[Tensor], Tensor]


def choose(bundle: Bundle, wanted: EngineName, window: Tensor, *, to_run: int, probabilities: Probabilities) -> Chosen:
    """Choose and check an engine.

    Parameters
    ----------
    bundle
        Whose network.
    wanted
        What was asked for.
    window
        (N, C, *spatial) float32: the first batch with content.
    to_run
        How many such batches are to be run.
    probabilities
        Makes probabilities of an output (N, K, ...).
    """
    exact = TorchFp32(bundle.network)
    if wanted == "torch":
        return Chosen(exact)
    started = time.perf_counter()
    expected = probabilities(exact(window.clone()))
    first_s = time.perf_counter() - started
    if wanted != "auto":
        found = _checked(bundle, wanted, window, expected, probabilities)
        return Chosen(exact, None, (f"{found}; PyTorch in fp32 ran.",)) if isinstance(found, str) else found
    best, best_s, known = Chosen(exact), first_s, False
    notices: list[str] = []
    for name, pays_from in _candidates(bundle):
        if best_s * to_run < pays_from:
            continue
        if best.engine.name == "torch-bf16" and not name.endswith("bf16"):
            continue  # in fp32 nothing is faster than what is there in bf16
        if name == "openvino-bf16" and notices:
            continue  # it rounds as PyTorch does in bf16, which was refused
        found = _checked(bundle, name, window, expected, probabilities)
        if isinstance(found, str):
            notices.append(f"{found}.")
            continue
        seconds = _seconds(found.engine, window)
        if not known and seconds * _SURELY > best_s:
            best_s, known = _seconds(exact, window), True
        if seconds < best_s:
            best, best_s, known = found, seconds, True
    return Chosen(best.engine, best.difference, tuple(notices))


def _candidates(bundle: Bundle) -> Iterator[tuple[EngineName, float]]:
    """Yield what "auto" tries, each with the seconds from which it pays."""
    bf16 = not bf16_problem(bundle.device)
    if bf16:
        yield "torch-bf16", 0.0
    if is_fusible(bundle.network):
        yield "torch-folded", 0.0
    if bundle.device.type == "cpu" and is_installed():
        if bf16:
            yield "openvino-bf16", PAYS_FROM_S
        yield "openvino", PAYS_FROM_S


def _checked(
    bundle: Bundle, name: EngineName, window: Tensor, expected: Tensor, probabilities: Probabilities
) -> Chosen | str:
    """Return an engine that agrees with PyTorch in fp32, or why there is none: a sentence without full stop."""
    try:
        engine = _made(bundle, name, window)
        found = probabilities(engine(window.clone()))
        if found.shape != expected.shape:
            raise EngineError(f"it gives {tuple(found.shape)} instead of {tuple(expected.shape)}")
        difference = float((found - expected).abs().max())
    except EngineError as error:
        return f"Engine {name!r} is not available: {error}"
    except Exception as error:  # of the network's code, inside an engine; that PyTorch in fp32 runs it is known
        if is_memory(error):
            raise
        return f"Engine {name!r} failed ({type(error).__name__})"
    if not difference <= TOLERANCES[name]:  # which is also so where it is not a number
        return (
            f"Engine {name!r} differs from PyTorch in fp32 by up to {difference:.2g} in probability on the first"
            f" window, more than {TOLERANCES[name]:g}"
        )
    return Chosen(engine, difference)


def _made(bundle: Bundle, name: EngineName, window: Tensor) -> Engine:
    key = (name, tuple(window.shape))
    if key not in bundle.engines:
        bundle.engines[key] = _new(bundle, name, window)
    return bundle.engines[key]


def _new(bundle: Bundle, name: EngineName, window: Tensor) -> Engine:
    if name == "torch-folded":
        return TorchFolded(bundle.network)
    if name == "torch-bf16":
        return TorchBf16(bundle.network, bundle.device)
    return OpenVino(bundle.network, window, bf16=name == "openvino-bf16")


def _seconds(engine: Engine, window: Tensor) -> float:
    """Return how long an engine takes for a batch that it has seen before."""
    start = time.perf_counter()
    engine(window.clone())
    if window.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
