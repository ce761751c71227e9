r"""Attention: where a transformer's tokens look, and where attention gates let features through.

With the attention ``A_l`` of block ``l`` (heads, queries, keys), ``mean_h`` the mean over heads, and ``q`` the weights
of the queries, which sum to 1:

attention            q A_l, of one block, one head or their mean
attention_rollout    q R_L, with R_l = (A_l + I) / 2 R_(l-1), rows scaled to sum 1, and R_0 = I [1]_
attention_relevance  q (R_L - I), with R_l = R_(l-1) + B_l R_(l-1) and B_l = mean_h max(0, A_l * dT/dA_l) [2]_
attention_gates      the gate of an Attention U-Net, see :mod:`lesionlens.explain.gates`

The first two say where the network looks, whatever it makes of what it sees there; the third weights that with the
gradient of the target ``T``.

Queries
-------
``class``: the class token, by which a classifier decides. ``target``: the tokens whose boxes hold voxels that the
target depends on, each weighted by the magnitude of the target's gradient with respect to the output there, so that
the map says where the network looks from the predicted region. ``all``: all tokens alike. ``auto`` takes the first of
these that there is: the class token, else the target of a segmentation, else all. Relevance needs no target queries,
as its gradients are zero for all others.

Windows
-------
SwinUNETR's attention is among the tokens of small windows of the feature map, rolled by half a window in every other
block. :mod:`lesionlens.explain.layouts` finds the box of each token, so that the maps lie in the volume. Rollout and
relevance multiply the blocks of one set of tokens, and are refused for windows.

Of sliding windows, each is a forward pass of its own, and the maps are blended like the logits. With ``target``, a
window has the share of the queries that lie in it, and 0 where there are none. Relevance is the sum over the windows:
their gradients hold the share already with which they contribute.

Memory: maps are taken from a matrix when it comes by, and rollout keeps its product alone, heads averaged. Relevance
holds the matrices of all blocks, with their graph.

.. [1] Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, https://arxiv.org/abs/2005.00928.
.. [2] Chefer et al., Generic Attention-model Explainability, ICCV 2021, https://arxiv.org/abs/2103.15679: the rule for
   self-attention. What differs: queries other than the class token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.attention_modules import Attention, watching_attention
from lesionlens.explain.cells import evenly
from lesionlens.explain.explanation import Explanation, Request, finite, output_notes, plain
from lesionlens.explain.gates import watching_gates
from lesionlens.explain.layouts import Layout, several_sets
from lesionlens.explain.queries import Queries, chosen_queries, has_class_token
from lesionlens.explain.targets import gradient_at

__all__ = ["METHODS", "check", "relevance", "rolled", "run"]

_NOT_WHY = "The map shows where the network looks, not what it makes of what it sees there."


def run(request: Request) -> Explanation:
    """Make a map of attention.

    Raises
    ------
    ExplainError
        If the network has no attention that can be watched, its tokens cannot be placed, or an option does not suit.
    """
    return METHODS[request.method](request)


def check(request: Request) -> None:
    """Refuse a network that the method cannot explain, as far as one pass through it tells.

    Raises
    ------
    ExplainError
        As :func:`run`.
    """
    network, view = request.inference.network, request.inference.image
    if request.method == "attention_gates":
        with watching_gates(network) as gates:
            _gate_number(request, list(gates.of(view)))
    else:
        with watching_attention(network) as attention:
            attention.check(view, block=_block(request), together=request.method != "attention")


def _block(request: Request) -> int:
    block = request.options["block"]
    assert isinstance(block, int)
    return block


def rolled(before: Tensor, attention: Tensor) -> Tensor:
    """Return the rollout after one more block.

    Parameters
    ----------
    before
        (n, n) rollout of the blocks before, the identity in front of the first.
    attention
        (n, n) attention of the block, heads averaged.
    """
    mixed = attention.float() + torch.eye(len(attention), device=attention.device)
    return _product(mixed / mixed.sum(dim=-1, keepdim=True), before)


def relevance(queries: Tensor, attentions: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """Return the gradient-weighted rollout, without the identity, seen from some queries.

    It is multiplied from the last block to the first, so that only a row is kept.

    Parameters
    ----------
    queries
        (1, n) weights.
    attentions, gradients
        (heads, n, n) of each block in the order in which they run; None where the target does not depend on it.
    """
    row = queries
    for attention, gradient in zip(reversed(attentions), reversed(gradients), strict=True):
        if gradient is not None:
            row = row + _product(row, (attention.float() * gradient.float()).relu().mean(dim=0))
    return row - queries


def _product(first: Tensor, second: Tensor) -> Tensor:
    with torch.autocast(first.device.type, enabled=False):  # the caller's would compute it in bfloat16
        return first @ second


def _one_block(request: Request) -> Explanation:
    head = str(request.options["head"])
    with watching_attention(request.inference.network) as attention:
        (layout,) = _layouts(request, attention, earlier=False)
        queries = chosen_queries(request, layout, str(request.options["query"]))

        def seen(view: Tensor, weights: Tensor) -> Tensor:
            found: list[Tensor] = []
            attention.matrices(view, lambda _, matrix: found.append(_of_head(matrix, head)))
            return _product(weights[:, None], found[0])[:, 0]

        values, coarse = _blended(request, layout, queries, seen)
    who = "the mean of all heads" if head == "mean" else f"head {head}"
    notes = [f"Block {layout.number} of {layout.count} (counted from 0), {who}.", *_padding_notes(layout)]
    return _explanation(request, layout, values, coarse, queries, notes)


def _of_head(matrix: Tensor, head: str) -> Tensor:
    """Return the attention (windows, n, n) of one head, or the mean of all."""
    heads = matrix.shape[1]
    if head == "mean":
        return matrix.float().mean(dim=1)
    if not head.isdecimal() or int(head) >= heads:
        raise ExplainError(f"The head is 'mean' or a number from 0 to {heads - 1}; found {head!r}.")
    return matrix[:, int(head)].float()


def _rollout(request: Request) -> Explanation:
    with watching_attention(request.inference.network) as attention:
        layouts = _layouts(request, attention, earlier=True)
        layout = _one_set(layouts)
        queries = chosen_queries(request, layout, str(request.options["query"]))

        def seen(view: Tensor, weights: Tensor) -> Tensor:
            product = torch.eye(layout.slots.shape[1], device=view.device)

            def receive(_: int, matrix: Tensor) -> None:
                nonlocal product
                product = rolled(product, matrix[0].float().mean(dim=0))

            attention.matrices(view, receive)
            return _product(weights, product)

        values, coarse = _blended(request, layout, queries, seen)
    return _explanation(request, layout, values, coarse, queries, [_blocks_note(layouts)])


def _blended(
    request: Request, layout: Layout, queries: Queries, seen: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the map (1, 1, *spatial) of what the queries see, and that of the last window on its cells."""
    plan = request.inference.plan
    padded = plan.pad(request.inference.image)
    coarse = torch.zeros((1, 1, *layout.grid), device=padded.device)

    def fine(index: int) -> Tensor:
        nonlocal coarse
        weights = queries.of(index)
        cells = torch.zeros_like(coarse)
        if weights is not None:
            coarse = cells = layout.to_cells(seen(plan.view(padded, index), weights))
        return evenly(cells, plan.size)

    values = plan.blend(map(fine, _steps(request, range(len(plan)))))
    return values, coarse


def _relevance(request: Request) -> Explanation:
    plan = request.inference.plan
    with watching_attention(request.inference.network) as attention:
        layouts = _layouts(request, attention, earlier=True)
        layout = _one_set(layouts)
        queries = chosen_queries(request, layout, "class" if has_class_token(layout) else "all")
        sweep = _Relevance(request, attention)
        logits = sweep.logits()
        score, seed = gradient_at(request.target, logits)
        coarse = torch.zeros((1, 1, *layout.grid), device=seed.device)
        total = torch.zeros((1, 1, *plan.padded_shape), device=seed.device)
        for index, attentions, gradients in sweep.gradients(seed):
            weights = queries.of(index)
            assert weights is not None  # of a target alone
            coarse = layout.to_cells(relevance(weights, attentions, gradients))
            total[plan.places[index]] += evenly(coarse, plan.size)
    notes = [*output_notes(logits), _blocks_note(layouts)]
    if not bool(total.any()):
        notes.append("All gradients are zero, or speak against the target: the map is empty.")
    made = _explanation(request, layout, plan.crop(total), coarse, queries, notes)
    return replace(made, kind="attribution", score=score, target=request.target.describe(logits))


class _Relevance:
    """The passes over the windows, with the graph from the attention of all blocks to the output."""

    def __init__(self, request: Request, attention: Attention) -> None:
        self._request, self._attention = request, attention
        self._plan = request.inference.plan
        self._padded = self._plan.pad(request.inference.image)
        self._only: tuple[Tensor, list[Tensor]] | None = None  # pass of the only window, which serves for both

    def logits(self) -> Tensor:
        """Return the blended logits."""
        if len(self._plan) > 1:
            return self._request.known_logits()
        self._only = self._attention.connected(self._plan.view(self._padded, 0))
        return self._plan.blend([self._only[0].detach()])

    def gradients(self, seed: Tensor) -> Iterator[tuple[int, list[Tensor], list[Tensor | None]]]:
        """Yield each window with its attention and the gradients, (heads, n, n) of each block.

        ``seed`` is the gradient of the target with respect to the blended logits; windows that it does not touch have
        none.
        """
        plan, whole = self._plan, self._plan.is_whole
        padded = seed if whole else plan.pad(seed, zeros=True)
        touched = [i for i in range(len(plan)) if whole or bool(padded[plan.places[i]].any())]
        for index in _steps(self._request, touched):
            part = seed if whole else padded[plan.places[index]] * plan.share(index).to(padded)
            output, matrices = self._only or self._attention.connected(plan.view(self._padded, index))
            found = torch.autograd.grad(output, matrices, part.to(output), allow_unused=True)
            yield index, [matrix.detach()[0] for matrix in matrices], [None if g is None else g[0] for g in found]


def _gates(request: Request) -> Explanation:
    plan = request.inference.plan
    padded = plan.pad(request.inference.image)
    names: list[str] = []
    coarse = torch.empty(0)
    with watching_gates(request.inference.network) as gates:

        def fine(index: int) -> Tensor:
            nonlocal coarse
            found = gates.of(plan.view(padded, index))
            names[:] = found
            coarse = found[names[_gate_number(request, names)]].float()
            return evenly(coarse, plan.size)

        values = plan.blend(map(fine, _steps(request, range(len(plan)))))
    number = _gate_number(request, names)
    note = f"Gate {number} of {len(names)} (counted from 0, the coarsest): 0 lets nothing through, 1 all."
    return _described(request, names[number], values, coarse, [note, _NOT_WHY])


def _gate_number(request: Request, names: Sequence[str]) -> int:
    """Return which of the gates is wanted, counted from 0."""
    wanted, count = request.options["gate"], len(names)
    assert isinstance(wanted, int)
    if not -count <= wanted < count:
        raise ExplainError(f"There is no gate {wanted}; {count} gates run (0 to {count - 1}).")
    return wanted % count


def _layouts(request: Request, attention: Attention, *, earlier: bool) -> list[Layout]:
    """Prove where the tokens of the wanted block, and of those before it, lie."""
    plan = request.inference.plan
    request.progress("Placing tokens", 0, 1)
    view = plan.view(plan.pad(request.inference.image), 0)
    found = attention.layouts(view, block=_block(request), earlier=earlier)
    request.progress("Placing tokens", 1, 1)
    return found


def _one_set(layouts: Sequence[Layout]) -> Layout:
    """Return the layout that all blocks share, or refuse them."""
    first = layouts[0]
    for layout in layouts:
        if len(layout.slots) > 1 or not torch.equal(layout.slots, first.slots):
            raise several_sets(layout.name, *layout.slots.shape)
    return layouts[-1]


def _explanation(
    request: Request, layout: Layout, values: Tensor, coarse: Tensor, queries: Queries, notes: Sequence[str]
) -> Explanation:
    made = _described(request, layout.name, values, coarse, [*notes, f"Seen from {queries.name}.", _NOT_WHY])
    return replace(made, target=queries.target, score=queries.score)


def _described(request: Request, name: str, values: Tensor, coarse: Tensor, notes: Sequence[str]) -> Explanation:
    plan = request.inference.plan
    return Explanation(
        values=plain(finite(values)[0, 0]),
        stride=tuple(n / cells for n, cells in zip(plan.size, coarse.shape[2:], strict=True)),
        method=request.method,
        layer=name,
        coarse=plain(coarse[0, 0]) if plan.is_whole else None,
        kind="attention",
        signed=False,
        notes=tuple(notes),
    )


def _blocks_note(layouts: Sequence[Layout]) -> str:
    return f"Blocks 0 to {layouts[-1].number} of {layouts[-1].count}, heads averaged."


def _padding_notes(layout: Layout) -> list[str]:
    blind = int((layout.slots < 0).sum())
    if not blind or has_class_token(layout):
        return []
    return [f"{blind} of {layout.slots.numel()} tokens are padding of windows; attention to them is not shown."]


def _steps(request: Request, indices: Sequence[int]) -> Iterator[int]:
    for done, index in enumerate(indices):
        request.progress("Explaining", done, len(indices))
        yield index
    request.progress("Explaining", len(indices), len(indices))


METHODS: dict[str, Callable[[Request], Explanation]] = {
    "attention": _one_block,
    "attention_gates": _gates,
    "attention_relevance": _relevance,
    "attention_rollout": _rollout,
}
