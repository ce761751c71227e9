"""How a network saw an image: whole, or through overlapping windows whose outputs were blended.

The numbers follow MONAI's sliding window, so that a plan can repeat what a bundle's inferer did, but nothing here needs
MONAI. With ``g`` the importance of a voxel within its window, ``G(v)`` the sum of the importances of all windows at a
voxel ``v`` (the coverage) and ``z_w`` the output for window ``w``, the blended output is

    z(v) = sum_w g_w(v) z_w(v) / G(v)

which is linear: window ``w`` contributes to ``z(v)`` with the weight ``g_w(v) / G(v)`` whatever the other windows do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from types import EllipsisType

import torch
from torch import Tensor
from torch.nn import functional

from lesionlens.errors import ExplainError, InputError

__all__ = ["Windows"]


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows through which a network sees an image.

    Parameters
    ----------
    shape
        Voxels of the image along its 2 or 3 spatial axes, before padding: the network grid.
    size
        Voxels of each window along the same axes.
    starts
        First voxel of each window on the padded grid.
    padding
        Voxels added before and after the image along each axis (in the order of the axes, unlike
        ``torch.nn.functional.pad``).
    importance
        (*size) weights > 0 of the voxels of a window when outputs are blended.
    pad_mode, pad_value
        ``mode`` and ``value`` of ``torch.nn.functional.pad``.

    Raises
    ------
    InputError
        If the windows do not fit the padded grid or leave a voxel of it uncovered.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    padding: tuple[tuple[int, int], ...]
    importance: Tensor
    pad_mode: str = "constant"
    pad_value: float = 0.0

    def __post_init__(self) -> None:
        axes = len(self.shape)
        if axes not in (2, 3) or {axes} != {len(x) for x in (self.size, self.padding, *self.starts)} or not self.starts:
            raise InputError(
                f"Windows need one number for each of 2 or 3 axes; found shape {self.shape}, size {self.size}, "
                f"padding {self.padding} and starts {self.starts[:3]}."
            )
        if tuple(self.importance.shape) != self.size or not float(self.importance.min()) > 0:
            raise InputError(
                f"The importance of a window of {self.size} voxels must have that shape and be above 0; "
                f"found shape {tuple(self.importance.shape)}."
            )
        for start in self.starts:
            if any(s < 0 or s + n > full for s, n, full in zip(start, self.size, self.padded_shape, strict=True)):
                raise InputError(f"The window at {start} of {self.size} voxels leaves the grid of {self.padded_shape}.")
        covered = torch.zeros(self.padded_shape, dtype=torch.bool)  # a tenth of the work of summing importances up
        for place in self.places:
            covered[place] = True
        if not bool(covered.all()):
            raise InputError(f"The windows of {self.size} voxels leave gaps on the grid of {self.padded_shape}.")

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Windows:
        """Return one window that is the image itself."""
        shape = tuple(shape)
        return cls(shape, shape, ((0,) * len(shape),), ((0, 0),) * len(shape), torch.ones(()).expand(shape))

    @classmethod
    def sliding(
        cls,
        shape: Sequence[int],
        size: Sequence[int],
        *,
        overlap: float | Sequence[float] = 0.25,
        importance: Tensor | None = None,
        pad_mode: str = "constant",
        pad_value: float = 0.0,
    ) -> Windows:
        """Return windows that slide over an image as MONAI's ``sliding_window_inference`` does.

        An axis shorter than the window is padded, half before and half after. Windows follow at steps of
        ``int(size * (1 - overlap))`` voxels; the last one of an axis moves back to end with the image.

        Parameters
        ----------
        shape
            Voxels of the image along each spatial axis.
        size
            Voxels of a window along each axis (MONAI's ``roi_size`` with its -1 resolved).
        overlap
            Fraction of a window shared with the next, in [0, 1), for all axes or for each.
        importance
            (*size) weights > 0; None weights all voxels alike.
        pad_mode, pad_value
            See the class.
        """
        overlaps = (overlap,) * len(size) if isinstance(overlap, int | float) else tuple(overlap)
        if not all(0 <= o < 1 for o in overlaps) or min(size) < 1:
            raise InputError(
                f"Windows have at least one voxel and an overlap in [0, 1); found {tuple(size)} and {overlaps}."
            )
        missing = [max(n - full, 0) for full, n in zip(shape, size, strict=True)]
        starts = [_starts(*axis) for axis in zip(shape, size, overlaps, strict=True)]
        return cls(
            shape=tuple(shape),
            size=tuple(size),
            starts=tuple(product(*starts)),
            padding=tuple((m // 2, m - m // 2) for m in missing),
            importance=torch.ones(tuple(size)) if importance is None else importance.detach().float(),
            pad_mode=pad_mode,
            pad_value=pad_value,
        )

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.starts)

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """Voxels along each axis after padding."""
        return tuple(before + n + after for n, (before, after) in zip(self.shape, self.padding, strict=True))

    @cached_property
    def places(self) -> list[tuple[EllipsisType | slice, ...]]:
        """Indices that take each window out of a tensor (..., *padded_shape)."""
        return [(..., *(slice(s, s + n) for s, n in zip(start, self.size, strict=True))) for start in self.starts]

    @property
    def is_whole(self) -> bool:
        """Whether there is one window, which is the image itself."""
        return len(self) == 1 and self.size == self.shape

    @cached_property
    def coverage(self) -> Tensor:
        """(*padded_shape) float32: the sum of the importances of all windows at each voxel."""
        if len(self) == 1 and self.size == self.padded_shape:
            return self.importance
        total = torch.zeros(self.padded_shape)
        for place in self.places:
            total[place] += self.importance.to(total)
        return total

    def pad(self, image: Tensor, *, zeros: bool = False) -> Tensor:
        """Bring an image (N, C, *shape) to the padded grid, with ``pad_mode`` or with zeros."""
        if self.padded_shape == self.shape:
            return image
        widths = [width for pair in reversed(self.padding) for width in pair]
        if zeros or self.pad_mode == "constant":
            return functional.pad(image, widths, value=0.0 if zeros else self.pad_value)
        return functional.pad(image, widths, mode=self.pad_mode)

    def view(self, padded: Tensor, index: int) -> Tensor:
        """Return one window's part (N, C, *size) of a padded image, in fresh memory: the network may overwrite it."""
        return padded[self.places[index]].clone()

    def crop(self, padded: Tensor) -> Tensor:
        """Take the image's part (..., *shape) of a tensor (..., *padded_shape)."""
        place: tuple[EllipsisType | slice, ...] = (
            ...,
            *(slice(before, before + n) for n, (before, _) in zip(self.shape, self.padding, strict=True)),
        )
        return padded[place]

    def add(self, part: Tensor, index: int, image: Tensor) -> None:
        """Add what one window holds (..., *size) to an image (..., *shape), where it lies on it and not on padding."""
        first = [start - before for start, (before, _) in zip(self.starts[index], self.padding, strict=True)]
        axes = list(zip(first, self.size, self.shape, strict=True))
        here: list[EllipsisType | slice] = [..., *(slice(max(a, 0), min(a + n, full)) for a, n, full in axes)]
        there: list[EllipsisType | slice] = [..., *(slice(max(-a, 0), min(n, full - a)) for a, n, full in axes)]
        image[tuple(here)] += part[tuple(there)]

    def share(self, index: int) -> Tensor:
        """Return the weight (*size) with which one window contributes to each voxel it covers: g / G, in (0, 1]."""
        return self.importance.to(self.coverage) / self.coverage[self.places[index]]

    def split(self, gradient: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield what a gradient with respect to the blended output is with respect to the windows' outputs.

        Parameters
        ----------
        gradient
            In the shape of what :meth:`blend` gives.

        Yields
        ------
        index, gradient
            Of every window that has one; for all others it is exactly zero.
        """
        if self.is_whole:
            yield 0, gradient
            return
        padded = self.pad(gradient, zeros=True)
        for index, place in enumerate(self.places):
            if bool(padded[place].any()):
                yield index, padded[place] * self.share(index).to(padded)

    def blend(self, outputs: Iterable[Tensor]) -> Tensor:
        """Join the outputs of all windows into one.

        Parameters
        ----------
        outputs
            (1, K, *size) for each window, in the order of ``starts``; consumed one by one. The output for a whole image
            may have any shape, such as (1, K) of a classifier.

        Returns
        -------
        torch.Tensor
            (1, K, *shape) float32 (whole image: the output as float32).
        """
        if self.is_whole:
            (output,) = outputs
            return output.float()
        total: Tensor | None = None
        for place, output in zip(self.places, outputs, strict=True):
            if tuple(output.shape[2:]) != self.size:
                raise ExplainError(
                    f"Windows of {self.size} voxels can only be joined when the network's output has that size; "
                    f"found output of shape {tuple(output.shape)}."
                )
            if total is None:
                total = torch.zeros((*output.shape[:2], *self.padded_shape), device=output.device)
            total[place] += output * self.importance.to(total)
        if total is None:
            raise ExplainError("There is no output to join.")
        return self.crop(total.div_(self.coverage.to(total)))


def _starts(full: int, size: int, overlap: float) -> list[int]:
    """Return the first voxel of each window along one axis of ``full`` voxels."""
    last = max(full - size, 0)
    step = max(int(size * (1 - overlap)), 1)
    return [*range(0, last, step), last]
