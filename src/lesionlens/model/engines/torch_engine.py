"""PyTorch as an engine: the network as it is, in fewer steps, or in bf16."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from lesionlens.computing import EngineName
from lesionlens.explain import main_output
from lesionlens.explain.calling import is_memory
from lesionlens.model.engines.fused import fuse, is_fusible, pair_inputs
from lesionlens.model.engines.interface import EngineError

__all__ = ["TorchBf16", "TorchFolded", "TorchFp32", "bf16_problem"]

_LAST: Final = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True, eq=False)
class TorchFp32:
    """The network as it is."""

    network: Callable[..., Any]

    @property
    def name(self) -> EngineName:
        """Which engine it is."""
        return "torch"

    @property
    def notices(self) -> tuple[str, ...]:
        """Nothing: it runs as its name says."""
        return ()

    def __call__(self, windows: Tensor) -> Tensor:
        """Run the network."""
        return main_output(self.network(windows))


class TorchFolded:
    """A copy of the network in fp32 that does the same in fewer steps; see :mod:`lesionlens.model.engines.fused`.

    Parameters
    ----------
    network
        In eval mode; left as it is.

    Raises
    ------
    EngineError
        If nothing in it can be folded.
    """

    name: Final[EngineName] = "torch-folded"
    notices: Final[tuple[str, ...]] = ()

    def __init__(self, network: nn.Module) -> None:
        if not is_fusible(network):
            raise EngineError("nothing in the network can be folded")
        self._copy = copy.deepcopy(network)
        fuse(self._copy)

    def __call__(self, windows: Tensor) -> Tensor:
        """Run the copy."""
        return main_output(self._copy(windows))


class TorchBf16:
    """A copy of the network in bf16 with channels last, which is how processors with bf16 compute fastest.

    A last layer that looks at single voxels stays in fp32: a logit of 30 in bf16 is a multiple of 0.125, which is 0.03
    of a probability.

    A network that does not run so, as it makes numbers of fp32 of its own, runs with autocast instead: convolutions and
    products in bf16, all else in fp32. From then on ``notices`` says so.

    Parameters
    ----------
    network
        In eval mode; left as it is.
    device
        Where it runs.

    Raises
    ------
    EngineError
        If the processor has no bf16 of its own, where it would be slower than fp32.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        problem = bf16_problem(device)
        if problem:
            raise EngineError(problem)
        self._network, self._device = network, device
        self._failure = ""
        self._copy: nn.Module | None = None
        self._last_known = False
        try:
            self._copy = copy.deepcopy(network)
            fuse(self._copy)  # in fp32, so that batch norms round no more
            pair_inputs(self._copy)
            self._copy.to(torch.bfloat16)
            for parameter in self._copy.parameters():
                if parameter.ndim in _LAST:
                    parameter.data = parameter.data.contiguous(memory_format=_LAST[parameter.ndim])
        except MemoryError:
            raise
        except Exception as error:  # not every network can be copied
            self._give_up(error)

    @property
    def name(self) -> EngineName:
        """Which engine it is."""
        return "torch-bf16"

    @property
    def notices(self) -> tuple[str, ...]:
        """That autocast runs the network, and why, once it does."""
        if not self._failure:
            return ()
        return (
            f"The network does not run in bf16 as a whole ({self._failure}); engine {self.name!r} ran it with autocast:"
            " convolutions and products in bf16, all else in fp32.",
        )

    def _give_up(self, error: Exception) -> None:
        self._copy, self._failure = None, type(error).__name__

    def __call__(self, windows: Tensor) -> Tensor:
        """Run the network."""
        last = _LAST.get(windows.ndim, torch.contiguous_format)
        if self._copy is not None:
            try:
                given = windows.to(torch.bfloat16, memory_format=last)
                output = self._copy(given) if self._last_known else _with_last_in_fp32(self._copy, given)
                self._last_known = True
                return main_output(output).float().contiguous()
            except Exception as error:  # a network is arbitrary code
                if isinstance(error, MemoryError) or is_memory(error):
                    raise
                self._give_up(error)
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            return main_output(self._network(windows)).float().contiguous()


def _with_last_in_fp32(network: nn.Module, windows: Tensor) -> Any:
    """Run a network; let the layer with weights that runs last compute in fp32 from now on if it sees single voxels."""
    ran: list[nn.Module] = []
    layers = [m for m in network.modules() if next(m.parameters(recurse=False), None) is not None]
    handles = [layer.register_forward_hook(lambda module, *_: ran.append(module)) for layer in layers]
    try:
        output = network(windows.clone())  # a network may overwrite what it is given
    finally:
        for handle in handles:
            handle.remove()
    # A head of single voxels costs next to nothing; a wider one in fp32 would cost more than all else in bf16.
    if not ran or set(getattr(ran[-1], "kernel_size", (1,))) != {1}:
        return output
    ran[-1].float().register_forward_pre_hook(lambda _module, args: tuple(a.float() for a in args))
    return network(windows)


def bf16_problem(device: torch.device) -> str:
    """Say why bf16 does not serve on a device; empty where it does."""
    if device.type == "cuda":
        return "" if torch.cuda.is_bf16_supported() else "the graphics card has no bf16"
    if device.type != "cpu":
        return f"bf16 is not used on {device.type}"
    # Names of torch.cpu that are not public; without them nobody knows, and fp32 is safe.
    asked = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return "" if any(ask() for ask in asked if ask is not None) else "the processor has no bf16 of its own"
