r"""Prove where in the image the tokens of an attention module lie, by trial.

How a network cuts an image into tokens, in which order, how it rolls and pads windows, and whether it puts a class
token in front, is not to be guessed from shapes: a cube of tokens reshaped in the wrong order looks like a map.

The attention modules (and the MLPs beside them) are made to return zeros, so that only the residual path is left:
then a token holds what its own box of the image put there, and nothing else. The boxes of the image are covered with
other noise in a few patterns such that each box has its own code, one bit for each pattern; a token that changes in
exactly those patterns lies at that box. All codes have the same number of ones, so that a token that sees two boxes
has a code with more, and is found out.

    box c is covered in pattern p    where bit p of code c is 1
    token t changes in pattern p     <=>  bit p of the code of its box is 1

The tokens of a block match its boxes one to one, or the block is refused. Tokens that never change see nothing of the
image: class tokens, and the padding of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb, prod
from typing import Any

import torch
from torch import Tensor, nn

from lesionlens.errors import ExplainError

__all__ = ["Layout", "check_tokens", "prove_layouts", "several_sets"]

# A token has changed where a value of it moves by more than this part of the largest movement of any token: far above
# rounding, and far below what a box, or a line of voxels through it, does to a token.
_CHANGED = 1e-5

# Seed of the noise; any would do.
_SEED = 20_000


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the tokens of one attention module lie.

    Parameters
    ----------
    name
        Dotted name of the module.
    number
        Its place in the order in which the modules run, from 0.
    slots
        (windows, n) int64: the cell of each token, counted along the axes of ``grid`` with the last one fastest; -1 of
        tokens that see nothing of the image.
    grid
        Cells along each spatial axis; all boxes of the image have the same size.
    count
        How many attention modules run.
    """

    name: str
    number: int
    slots: Tensor
    grid: tuple[int, ...]
    count: int

    @property
    def cells(self) -> int:
        """Number of cells."""
        return prod(self.grid)

    def to_slots(self, cells: Tensor) -> Tensor:
        """Bring values (cells) to the tokens (windows, n); 0 for those that see nothing."""
        return torch.where(self.slots < 0, 0.0, cells[self.slots.clamp_min(0)])

    def to_cells(self, slots: Tensor) -> Tensor:
        """Bring values of the tokens (windows, n) to the cells, (1, 1, *grid)."""
        seen = self.slots >= 0
        cells = slots.new_zeros(self.cells)
        cells[self.slots[seen]] = slots[seen]
        return cells.view(1, 1, *self.grid)


def prove_layouts(
    network: nn.Module,
    modules: dict[str, nn.Module],
    image: Tensor,
    *,
    block: int,
    earlier: bool,
    run: Callable[[Tensor], Tensor],
) -> list[Layout]:
    """Find where the tokens lie, or refuse.

    Parameters
    ----------
    network, modules
        The network, in evaluation mode, and its attention modules by name. Left as they were.
    image
        (1, C, *spatial) as it sees them; only shape, type and device are looked at.
    block
        Which module in the order in which they run, from 0, or from -1 backwards.
    earlier
        Whether those that run before it are wanted too.
    run
        Runs the network.

    Raises
    ------
    ExplainError
        If there is no such block, or its tokens are not boxes of the image, one to one.
    """
    generator = torch.Generator().manual_seed(_SEED)
    plain, other = (torch.rand(image.shape, generator=generator).to(image) for _ in range(2))
    # The caller's autocast could round away what a line of voxels does to a large box.
    exact = torch.autocast(image.device.type, enabled=False)
    with torch.no_grad(), exact, _silenced(network, modules) as calls:
        trial = _Trial(run, calls, plain, other)
        number = _number(block, trial)
        wanted = list(range(number + 1)) if earlier else [number]
        lines = [trial.changed(_line(trial.shape, axis, image.device)) for axis in range(len(trial.shape))]
        grids = {n: tuple(int(line[n].sum()) for line in lines) for n in wanted}
        slots = {grid: _decoded(trial, grid, [n for n in wanted if grids[n] == grid]) for grid in set(grids.values())}
    return [Layout(trial.names[n], n, slots[grids[n]][n], grids[n], len(trial.names)) for n in wanted]


def check_tokens(
    network: nn.Module,
    modules: dict[str, nn.Module],
    image: Tensor,
    *,
    block: int,
    together: bool,
    run: Callable[[Tensor], Tensor],
) -> None:
    """Refuse in one pass what can be refused without knowing where the tokens lie.

    Parameters
    ----------
    network, modules, image, block, run
        As of :func:`prove_layouts`.
    together
        Whether the attention of all blocks up to this one is to be multiplied.

    Raises
    ------
    ExplainError
        If there is no such block, or the blocks see other tokens each.
    """
    with torch.no_grad(), _silenced(network, modules) as calls:
        trial = _Trial(run, calls, image, image)
        number = _number(block, trial)
    shapes = trial.shapes
    for name, shape in zip(trial.names[: number + 1], shapes, strict=True):
        if together and (shape[0] > 1 or shape[:2] != shapes[0][:2]):
            raise several_sets(name, *shape[:2])


def several_sets(name: str, windows: int, tokens: int) -> ExplainError:
    """Return the error about blocks that see other tokens each."""
    return ExplainError(
        f"The attention of all blocks can be multiplied only where all see the same tokens; {name!r} has {windows}"
        f" windows of {tokens} tokens. Choose the method 'attention', which shows one block."
    )


def _number(block: int, trial: _Trial) -> int:
    count = len(trial.names)
    if not -count <= block < count:
        raise ExplainError(f"There is no block {block}; {count} attention modules run (0 to {count - 1}).")
    number = block % count
    trial.stop_after(number)
    return number


class _Trial:
    """The tokens of all attention modules for a noise image, and which of them change with parts of it."""

    def __init__(self, run: Callable[[Tensor], Tensor], calls: _Calls, plain: Tensor, other: Tensor) -> None:
        self._run, self._calls, self._plain, self._other = run, calls, plain, other
        self.shape, self.device = tuple(plain.shape[2:]), plain.device
        self._base = self._tokens(plain)
        self.names = [name for name, _ in self._base]
        if not self.names:
            raise ExplainError("No attention module runs when the network does; choose a CAM.")

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the tokens (windows, n, channels) of the modules that are wanted."""
        return [tuple(tokens.shape) for _, tokens in self._base]

    def stop_after(self, number: int) -> None:
        """Let passes end at a module, as no later one is wanted."""
        self._calls.last = number
        self._base = self._base[: number + 1]

    def _tokens(self, image: Tensor) -> list[tuple[str, Tensor]]:
        self._calls.found.clear()
        with suppress(_AllSeen):
            self._run(image.clone())
        return list(self._calls.found)

    def changed(self, covered: Tensor) -> list[Tensor]:
        """Return for each module which tokens (windows, n) change when voxels (*spatial) of the image do."""
        now = self._tokens(torch.where(covered, self._other, self._plain))
        if [name for name, _ in now] != [name for name, _ in self._base]:
            raise ExplainError("The attention modules run in another order for each image; they cannot be told apart.")
        return [_moved(name, a, b) for (name, a), (_, b) in zip(self._base, now, strict=True)]


def _moved(name: str, before: Tensor, after: Tensor) -> Tensor:
    if before.ndim != 3 or before.shape != after.shape:
        raise ExplainError(
            f"Block {name!r} must see tokens (windows, n, channels); found shape {tuple(before.shape)}. "
            "Its attention cannot be shown."
        )
    moves = (after.float() - before.float()).abs().amax(dim=-1)
    return moves > _CHANGED * moves.max().clamp_min(torch.finfo(torch.float32).tiny)


def _line(spatial: tuple[int, ...], axis: int, device: torch.device) -> Tensor:
    """Return (*spatial) bool, True on the line of voxels along an axis through the first corner."""
    line = torch.zeros(spatial, dtype=torch.bool, device=device)
    line[tuple(slice(None) if a == axis else 0 for a in range(len(spatial)))] = True
    return line


def _decoded(trial: _Trial, grid: tuple[int, ...], numbers: list[int]) -> dict[int, Tensor]:
    """Return the slots of the modules with one grid."""
    spatial = trial.shape
    name = trial.names[numbers[0]]
    if 0 in grid or any(n % g for n, g in zip(spatial, grid, strict=True)):
        raise ExplainError(
            f"The tokens of block {name!r} are not boxes of one size: lines of {spatial} voxels meet {grid} tokens. "
            "Where they lie cannot be proven, so no map is drawn."
        )
    codes = _codes(prod(grid)).to(trial.device)
    patterns = [_spread(column.view(grid), spatial) for column in codes.unbind(dim=1)]
    changes = [trial.changed(pattern) for pattern in patterns]
    return {n: _matched(torch.stack([c[n] for c in changes], dim=-1), codes, trial.names[n], grid) for n in numbers}


def _codes(cells: int) -> Tensor:
    """Return a code for each cell, (cells, bits) bool, all different and with the same number of ones."""
    bits = next(b for b in range(2, 64) if comb(b, b // 2) >= cells)
    codes = torch.zeros((cells, bits), dtype=torch.bool)
    ones = torch.tensor(list(islice(combinations(range(bits), bits // 2), cells)))
    return codes.scatter(1, ones, value=True)


def _spread(cells: Tensor, spatial: tuple[int, ...]) -> Tensor:
    """Bring values of cells (*grid) to the voxels of their boxes (*spatial)."""
    for axis, size in enumerate(spatial):
        cells = cells.repeat_interleave(size // cells.shape[axis], dim=axis)
    return cells


def _matched(changed: Tensor, codes: Tensor, name: str, grid: tuple[int, ...]) -> Tensor:
    """Return the cell of each token (windows, n) from the patterns that change it (windows, n, bits)."""
    powers = 2 ** torch.arange(codes.shape[1], device=codes.device)
    known, order = (codes * powers).sum(dim=1).sort()
    seen = (changed * powers).sum(dim=-1)
    at = torch.searchsorted(known, seen.contiguous()).clamp_max(len(known) - 1)
    live = seen > 0
    slots = torch.where(live, order[at], -1)
    one_to_one = torch.equal(slots[live].sort().values, torch.arange(len(codes), device=codes.device))
    if not bool((known[at] == seen)[live].all()) or not one_to_one:
        raise ExplainError(
            f"The tokens of block {name!r} do not match the boxes of a grid of {grid} one to one: some see several "
            "boxes of the image, or none. Where they lie cannot be proven, so no map is drawn."
        )
    return slots


class _AllSeen(BaseException):
    """Ends a trial behind the last wanted module; a BaseException, so that ``except Exception`` lets it through."""


class _Calls:
    """The tokens that the attention modules were called with, in the order in which they ran."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Tensor]] = []
        self.last = -1

    def forward_of(self, name: str) -> Callable[..., Tensor]:
        """Return what takes the place of a module's ``forward``."""

        def forward(*args: Any, **named: Any) -> Tensor:
            tokens = _first_tensor(args, named)
            self.found.append((name, tokens.detach()))
            if len(self.found) - 1 == self.last:
                raise _AllSeen
            return torch.zeros_like(tokens)

        return forward


def _first_tensor(args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    return next(value for value in (*args, *named.values()) if isinstance(value, Tensor))


def _zeros(*args: Any, **named: Any) -> Tensor:
    return torch.zeros_like(_first_tensor(args, named))


@contextmanager
def _silenced(network: nn.Module, modules: dict[str, nn.Module]) -> Iterator[_Calls]:
    """Let the attention modules return zeros and note what they are given, and the MLPs beside them return zeros."""
    calls = _Calls()
    instead: dict[nn.Module, Callable[..., Tensor]] = {}
    for name, module in modules.items():
        instead[module] = calls.forward_of(name)
        mlp = getattr(network.get_submodule(name.rpartition(".")[0]), "mlp", None)
        if isinstance(mlp, nn.Module):
            instead[mlp] = _zeros
    own = {module: module.__dict__.get("forward") for module in instead}
    try:
        for module, forward in instead.items():
            module.__dict__["forward"] = forward
        yield calls
    finally:
        for module, mine in own.items():
            if mine is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = mine
