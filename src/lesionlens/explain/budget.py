"""How many images go through a network at a time, so that their memory stays within a stated number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["AllocatedBytes", "batches"]


class AllocatedBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives no hints for its base
    """Add up the bytes of all new tensors inside a ``with`` block.

    More than are ever alive at the same time when no graph is recorded, so a bound on the memory that a pass takes,
    but for the scratch space of single operations.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self.total = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation of torch and count what it gives."""
        del types  # of subclasses, which look no different here
        result = func(*args, **(kwargs or {}))
        given = {_place(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        new = {_place(t): t for t in tree_leaves(result) if isinstance(t, Tensor) and _place(t) not in given}
        self.total += sum(tensor.untyped_storage().nbytes() for tensor in new.values())
        return result


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def batches(count: int, *, each: int, budget: int) -> Iterator[range]:
    """Yield ranges over ``count`` things of ``each`` bytes, as many at a time as fit, and at least one."""
    size = max(1, budget // max(1, each))
    return (range(start, min(count, start + size)) for start in range(0, count, size))
