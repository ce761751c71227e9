"""Watch the attention matrices of a network while it runs, whatever it was built to keep.

A self-attention module multiplies the values of its tokens by a matrix (windows, heads, n, n), whose rows are the
queries and sum to 1. Between the softmax that makes the matrix and the product that uses it lies a dropout, which does
nothing when a network is used: its input is the matrix itself, connected to the graph. Modules with such a dropout are
found by its name: ``drop_weights`` (ViT, UNETR) or ``attn_drop`` (SwinUNETR and many others). Fused attention never
makes the matrix; where a module has a switch for it, it is off for the while, which changes results by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from lesionlens.errors import ExplainError
from lesionlens.explain.capture import hookable, quiet
from lesionlens.explain.final import reading_logits
from lesionlens.explain.layouts import Layout, check_tokens, prove_layouts

__all__ = ["Attention", "watching_attention"]

# Dropouts between softmax and product.
_DROPOUTS = ("drop_weights", "attn_drop")

# Switches of attention modules for kernels that never make the matrix.
_FUSED = ("use_flash_attention", "fused_attn")

# A row of a matrix in bfloat16, whose numbers have three digits, misses a sum of 1 by less than this.
_ROW_SLACK = 3e-2

Receive = Callable[[int, Tensor], None]


class _EnoughSeen(BaseException):
    """Ends a forward pass behind the last matrix; a BaseException, so that ``except Exception`` lets it through."""


class Attention:
    """A network whose attention is watched; made by :func:`watching_attention`.

    Parameters
    ----------
    network
        Plain network.
    modules
        Its attention modules by their dotted names.
    logits
        Runs the network, see :func:`~lesionlens.explain.final.reading_logits`.
    """

    def __init__(self, network: nn.Module, modules: dict[str, nn.Module], logits: Callable[[Tensor], Tensor]) -> None:
        self._network = network
        self._modules = modules
        self._logits = logits
        self._layouts: list[Layout] = []
        self._receive: Receive | None = None  # while a forward pass runs
        self._last = -1
        self._seen = 0

    def layouts(self, image: Tensor, *, block: int, earlier: bool) -> list[Layout]:
        """Prove where the tokens of one block, and of those before it if asked for, lie; see :func:`prove_layouts`.

        Parameters
        ----------
        image
            (1, C, *spatial), one window as the network sees it.
        block
            Number in the order in which the blocks run, from 0, or from -1 backwards.
        earlier
            Whether all blocks before it are wanted too.
        """
        self._layouts = prove_layouts(
            self._network, self._modules, image, block=block, earlier=earlier, run=self._logits
        )
        return self._layouts

    def check(self, image: Tensor, *, block: int, together: bool) -> None:
        """Refuse in one pass what :meth:`layouts` would refuse after many; see :func:`check_tokens`."""
        check_tokens(self._network, self._modules, image, block=block, together=together, run=self._logits)

    def matrices(self, view: Tensor, receive: Receive) -> None:
        """Run the network up to the last of the wanted blocks, without graph.

        ``receive`` is called with a number, an index of the layouts, and the matrix (windows, heads, n, n).
        """
        with torch.no_grad(), self._running(receive, stop=True), suppress(_EnoughSeen):
            self._logits(view)
        self._check_seen()

    def connected(self, view: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Run the whole network; return its logits, and the matrices that they can be differentiated by."""
        found: list[Tensor] = []
        with torch.enable_grad(), self._running(lambda _, matrix: found.append(matrix), stop=False):
            logits = self._logits(view)
        self._check_seen()
        if not logits.requires_grad:
            raise ExplainError(
                "The output does not depend on the attention through gradients (the network detaches it, or runs under "
                "no_grad); choose 'attention_rollout'."
            )
        return logits, found

    @contextmanager
    def _running(self, receive: Receive, *, stop: bool) -> Iterator[None]:
        self._receive, self._seen = receive, 0
        self._last = self._layouts[-1].number if stop else -1
        try:
            yield
        finally:
            self._receive = None

    def _check_seen(self) -> None:
        if self._seen <= self._layouts[-1].number:
            name = self._layouts[-1].name
            raise ExplainError(
                f"Block {name!r} never made an attention matrix: it uses a fused kernel that cannot be switched off. "
                f"Set it to plain attention (often {' or '.join(_FUSED)} = False) when the network is built."
            )

    def take(self, name: str, module: nn.Module, matrix: Tensor) -> Tensor | None:
        """Look at one matrix on its way; the hook of the dropouts.

        While gradients are recorded, what goes on is connected to the graph: the first matrix has none of its own, as
        parameters are frozen. Outside a pass it runs only when checkpointing recomputes, which must repeat that.
        """
        if torch.is_grad_enabled() and not matrix.requires_grad:
            matrix = matrix.detach().requires_grad_()
        if self._receive is None:
            return matrix
        number, self._seen = self._seen, self._seen + 1
        place = next((i for i, layout in enumerate(self._layouts) if layout.number == number), None)
        if place is not None:
            _check(matrix, module, self._layouts[place], name)
            self._receive(place, matrix)
        if number == self._last:
            raise _EnoughSeen
        return matrix


def _check(matrix: Tensor, module: nn.Module, layout: Layout, name: str) -> None:
    """Refuse a matrix that is not the attention among the tokens whose places were proven."""
    windows, tokens = layout.slots.shape
    heads = getattr(module, "num_heads", matrix.shape[1] if matrix.ndim > 1 else 0)
    if name != layout.name or tuple(matrix.shape) != (windows, heads, tokens, tokens):
        raise ExplainError(
            f"Block {name!r} must give attention of shape {(windows, heads, tokens, tokens)} (windows, heads, queries, "
            f"keys) among the tokens of {layout.name!r}; found {tuple(matrix.shape)}. It cannot be shown."
        )
    sums = matrix.detach().float().sum(dim=-1)
    if not bool(torch.isfinite(sums).all()):
        raise ExplainError("The attention holds values that are not finite; the network overflows on this image.")
    if not bool(((sums - 1).abs() < _ROW_SLACK).all()):
        raise ExplainError(
            f"The rows of the attention of block {name!r} must sum to 1; found sums from {float(sums.min()):g} to "
            f"{float(sums.max()):g}. It is no softmax attention and cannot be shown."
        )


@contextmanager
def watching_attention(network: nn.Module) -> Iterator[Attention]:
    """Watch the attention matrices of a network for the duration of the context, then restore everything.

    Raises
    ------
    ExplainError
        If the network has no attention that can be watched.
    """
    network = hookable(network)
    found = {name: module for name, module in network.named_modules() if _dropout(module) is not None}
    if not found:
        raise ExplainError(f"The network has no attention matrices that can be watched{_instead(network)}.")
    with quiet(network), reading_logits(network) as logits, _unfused(found.values()), ExitStack() as hooks:
        attention = Attention(network, found, logits)
        for name, module in found.items():
            handle = _hooked(attention, name, module)
            hooks.callback(handle.remove)
        yield attention


def _hooked(attention: Attention, name: str, module: nn.Module) -> Any:
    dropout = _dropout(module)
    assert dropout is not None
    return dropout.register_forward_pre_hook(lambda _, args: attention.take(name, module, args[0]))


def _dropout(module: nn.Module) -> nn.Module | None:
    """Return the dropout of an attention module, None of any other module."""
    children = dict(module.named_children())
    return next((children[name] for name in _DROPOUTS if name in children), None)


def _instead(network: nn.Module) -> str:
    """Say what a network without such attention has."""
    other = [name for name, module in network.named_modules() if isinstance(module, nn.MultiheadAttention)]
    if other:
        return f": {other[0]!r} is a torch.nn.MultiheadAttention, whose kernels do not make them. Choose a CAM"
    return (
        f" ({type(network).__name__} has no module with a dropout named {' or '.join(_DROPOUTS)}). "
        "Choose 'attention_gates' for an Attention U-Net, else a CAM"
    )


@contextmanager
def _unfused(modules: Any) -> Iterator[None]:
    switched = [(m, name) for m in modules for name in _FUSED if m.__dict__.get(name) is True]
    try:
        for module, name in switched:
            setattr(module, name, False)
        yield
    finally:
        for module, name in switched:
            setattr(module, name, True)
