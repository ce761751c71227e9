"""Code of a bundle within a number of bytes: what would take more is stopped before it takes it.

Systems promise memory that they do not have, and end the program that uses it; a config of three lines can ask for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any, Final

import torch
from monai.transforms import Pad
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from lesionlens.explain.budget import AliveBytes

__all__ = ["TooMuchMemoryError", "bounded", "check_padding", "too_much"]


# Bytes of a number, as far as an operation on each voxel is asked for no more than the shape of its result.
_ITEM: Final = 4
# Operations that give no more numbers are not asked: for affines that takes longer than the work, and the forms of some
# without values import torch's compiler, which takes seconds.
_FEW: Final = 2**20
# Of means and sums, which give no more than they are given; older versions of torch do not mark them.
_REDUCTION: Final = getattr(torch.Tag, "reduction", None)


class TooMuchMemoryError(MemoryError):
    """What would be made takes more than it may."""


@contextmanager
def bounded(most_bytes: float, *, most_tensors: float = math.inf) -> Iterator[None]:
    """Stop what runs inside before its tensors take more than they may; arrays of numpy are not seen.

    Parameters
    ----------
    most_bytes
        Of all tensors that are made inside and alive at a time.
    most_tensors
        How many tensors may be made.

    Raises
    ------
    TooMuchMemoryError
        Out of the code that would take more.
    """
    if math.isinf(most_bytes):
        yield
        return
    with _Bounded(int(most_bytes), most_tensors):
        yield


def too_much(error: BaseException) -> TooMuchMemoryError | None:
    """Return what stopped code that raised an error of its own over it; None where it was something else."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, TooMuchMemoryError):
        found = found.__cause__ or found.__context__
    return found


def check_padding(step: Any, image: Tensor, most_bytes: float) -> None:
    """Stop one of MONAI's paddings that would take more bytes: some modes pad arrays of numpy, which are not seen.

    Parameters
    ----------
    step
        Any transform.
    image
        What it is given, (C, D, H, W).
    most_bytes
        Of the result.

    Raises
    ------
    TooMuchMemoryError
        With the name of the step.
    """
    padder = step
    while hasattr(padder, "padder"):
        padder = padder.padder
    if not isinstance(padder, Pad):
        return
    shape = tuple(image.shape[1:])
    try:
        widths = list(padder.to_pad or padder.compute_pad_width(shape))[-len(shape) :]
    except (NotImplementedError, ValueError, TypeError):  # it is told where to pad when it runs, or fails then
        return
    wanted = image.element_size() * len(image) * math.prod(n + sum(w) for n, w in zip(shape, widths, strict=True))
    if wanted > most_bytes:
        raise TooMuchMemoryError(f"{type(step).__name__}: {_taking(wanted, most_bytes)}")


class _Bounded(AliveBytes):  # type: ignore[no-untyped-call]  # torch has no hints here
    """Asks every operation for the size of its result, on tensors without values, before it runs."""

    def __init__(self, most_bytes: int, most_tensors: float) -> None:
        super().__init__()
        self._most_bytes = most_bytes
        self._tensors_left = most_tensors

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation if its result fits."""
        wanted = self.now + _result_bytes(func, args, kwargs or {})
        if wanted > self._most_bytes:
            raise TooMuchMemoryError(_taking(wanted, self._most_bytes))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _note(self, tensor: Tensor) -> None:
        self._tensors_left -= 1
        if self._tensors_left < 0:
            raise TooMuchMemoryError("it is made of more tensors than any network")
        super()._note(tensor)


def _result_bytes(func: Any, args: Any, kwargs: Any) -> int:
    """Return the bytes of what an operation gives, beside what it was given; 0 where only its values say that."""
    if func._schema.is_mutable:  # what it writes into is there
        return 0
    if _REDUCTION in func.tags or _most_numbers(args, kwargs) <= _FEW:
        return 0
    if torch.Tag.pointwise in func.tags:
        shapes = [leaf.shape for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        return _ITEM * math.prod(max(sizes) for sizes in zip_longest(*map(reversed, shapes), fillvalue=1))
    try:
        there: tuple[Any, Any] = tree_map(_without_values, (args, kwargs))
        given = {_storage(leaf) for leaf in tree_leaves(there) if isinstance(leaf, Tensor)}
        result = func(*there[0], **there[1])
    except Exception:  # some operations have no such form, and others look at values
        return 0
    made = {_storage(leaf): leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
    return sum(leaf.untyped_storage().nbytes() for address, leaf in made.items() if address not in given)


def _most_numbers(args: Any, kwargs: Any) -> float:
    """Return more numbers than an operation can give: it repeats what it is given, by the numbers it is given."""
    leaves = tree_leaves((args, kwargs))
    there = 1 + sum(leaf.numel() for leaf in leaves if isinstance(leaf, Tensor))
    return there * math.prod(2.0 * abs(leaf) + 1 for leaf in leaves if isinstance(leaf, int | float))


def _without_values(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return torch.empty_strided(leaf.size(), leaf.stride(), dtype=leaf.dtype, device="meta")
    return torch.device("meta") if isinstance(leaf, torch.device) else leaf


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _taking(wanted: int, most: float) -> str:
    return f"it would take {wanted / 2**30:,.3g} GiB, and may take {most / 2**30:,.3g} GiB"
