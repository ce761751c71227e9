"""Windows of one value: their output is the same wherever they lie, so that it is computed once.

A network in eval mode sees each window by itself and not where it lies: equal windows have equal outputs, bit by bit.
Most equal windows are those of air or padding, whose every voxel has one value, and these are found by a look at their
bits. It is exact; nothing is assumed about what the network makes of air.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

__all__ = ["OnceForConstants"]

# Along each axis one of so many voxels is looked at first.
_SPARSE: Final = 11


class OnceForConstants:
    """Runs windows, and of those whose channels hold one value each only the first with these values.

    Parameters
    ----------
    run
        (N, C, *spatial) to (N, K, ...).
    run_constant
        The same for windows of one value.

    Attributes
    ----------
    skipped : int
        Windows that were not run.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], run_constant: Callable[[Tensor], Tensor]) -> None:
        self._run, self._run_constant = run, run_constant
        self._known: dict[tuple[float, ...], Tensor] = {}
        self.skipped = 0

    def __call__(self, windows: Tensor) -> Tensor:
        """Return the output for each window."""
        keys = constant_values(windows)
        if not any(key is not None for key in keys):
            return self._run(windows)
        varied = [n for n, key in enumerate(keys) if key is None]
        outputs: dict[int, Tensor] = {}
        if varied:
            outputs = dict(zip(varied, self._run(windows[varied]), strict=True))
        for n, key in enumerate(keys):
            if key is None:
                continue
            if key in self._known:
                self.skipped += 1
            else:
                self._known[key] = self._run_constant(windows[n : n + 1])[0]
            outputs[n] = self._known[key]
        return torch.stack([outputs[n] for n in range(len(windows))])


def constant_values(windows: Tensor) -> list[tuple[float, ...] | None]:
    """Return of each window (C, *spatial) the values of its channels if they hold one each, bit by bit, or None."""
    plain = windows.detach().as_subclass(Tensor)
    few = plain
    for axis in range(2, plain.ndim):
        few = few[(slice(None),) * axis + (slice(None, None, _SPARSE),)]
    few = _bits(few)
    if not bool((few == few[..., :1]).flatten(1).all(dim=1).any()):  # most windows hold a scan, as a few voxels show
        return [None] * len(plain)
    bits = _bits(plain)
    same = (bits == bits[..., :1]).flatten(1).all(dim=1).tolist()
    first = bits[..., 0].tolist()
    return [tuple(values) if constant else None for values, constant in zip(first, same, strict=True)]


def _bits(windows: Tensor) -> Tensor:
    """Return windows (N, C, *spatial) as (N, C, voxels) whose values are equal where all their bits are."""
    flat = windows.flatten(2)
    return flat.contiguous().view(torch.int32) if flat.dtype == torch.float32 else flat  # 0 and -0 are not the same
