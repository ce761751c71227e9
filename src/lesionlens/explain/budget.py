"""How many images go through a network at a time, so that their memory stays within a stated number of bytes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["AliveBytes", "batch_size", "batches", "peak_bytes"]


class AliveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no hints here
    """Counts the bytes of all tensors that are made inside a ``with`` block and not yet let go.

    What libraries need beside, within one operation, is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.now = 0
        self.highest = 0
        self._known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch asks it: to be skipped by its compiler a mode imports all of that, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and note what it gives."""
        inputs = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and _storage(leaf) not in inputs | self._known:
                self._note(leaf)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._known.add(address := storage._cdata)
        self.now += (size := storage.nbytes())
        self.highest = max(self.highest, self.now)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.now -= size


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def peak_bytes(forward: Callable[[Tensor], object], view: Tensor) -> int:
    """Return how many bytes of tensors a network holds at most while it runs, its input included.

    Parameters are not counted; see :class:`AliveBytes` for what is not seen.
    """
    with torch.no_grad(), AliveBytes() as alive:
        forward(view.clone())
    highest: int = alive.highest
    return max(highest, view.nbytes)


def batch_size(*, each: int, budget: int) -> int:
    """Return how many things of ``each`` bytes fit, and at least one."""
    return max(1, budget // max(1, each))


def batches(count: int, *, each: int, budget: int) -> Iterator[range]:
    """Yield ranges over ``count`` things of ``each`` bytes, as many at a time as fit, and at least one."""
    size = batch_size(each=each, budget=budget)
    return (range(start, min(count, start + size)) for start in range(0, count, size))
