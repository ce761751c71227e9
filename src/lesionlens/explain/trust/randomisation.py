"""See whether a map changes when the network's weights are destroyed.

Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018: a map that stays when the weights are random shows the
image, not what the network learned. Cascading: the layers are destroyed one after the other, from the output down.
Independent: each alone, the others as trained. What differs from the paper: layers are destroyed in a few groups, and
new weights are drawn from a normal distribution with the root mean square of the old ones, tensor by tensor, so that
values keep their size on their way through the network; running statistics of norms stay.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lesionlens.checks import Chart, Check, Curve, Verdict
from lesionlens.errors import ExplainError
from lesionlens.explain.capture import quiet
from lesionlens.explain.inference import Inference
from lesionlens.explain.trust.similarity import rank_correlation, structural_similarity
from lesionlens.explain.trust.subject import Subject, stages_of
from lesionlens.progress import Progress, silent

__all__ = ["CHANGED_BELOW", "Randomisation", "layer_groups", "randomisation", "randomised"]

# A map has changed when less than a quarter of the variance of its ranks is shared with the map before: a rank
# correlation below 0.5 in size. Maps of destroyed networks agree by 0.1 to 0.3 by chance; an edge detector has 1.
CHANGED_BELOW = 0.5

# The last step is drawn so often: two smooth maps can be alike by chance.
DRAWS = 3


@dataclass(frozen=True)
class Randomisation:
    """How much of a map is left when weights are destroyed.

    Parameters
    ----------
    groups
        Names of the layers that were destroyed together, from the output down.
    cascading, independent
        Rank correlation with the map of the trained network: after destroying all groups up to each, and each alone.
    cascading_ssim, independent_ssim
        The same as structural similarity.
    draws
        Rank correlations with all weights destroyed, one for each draw; NaN where there was no map left at all, only
        one value everywhere.
    """

    groups: tuple[tuple[str, ...], ...]
    cascading: tuple[float, ...]
    independent: tuple[float, ...]
    cascading_ssim: tuple[float, ...]
    independent_ssim: tuple[float, ...]
    draws: tuple[float, ...]

    @property
    def left(self) -> float:
        """Median size of the rank correlation with all weights destroyed; NaN where no draw gave a map."""
        sizes = [abs(value) for value in self.draws if not np.isnan(value)]
        return float(np.median(sizes)) if sizes else float("nan")

    def check(self) -> Check:
        """Judge: the map must change."""
        verdict, sentence = self._verdict()
        numbers = {
            "left_when_all_destroyed": self.left,
            "left_when_output_destroyed": abs(self.independent[0]),
            "structure_left_when_all_destroyed": self.cascading_ssim[-1],
        }
        charts = (
            self._chart("rank correlation", self.cascading, self.independent, CHANGED_BELOW),
            self._chart("structural similarity", self.cascading_ssim, self.independent_ssim, None),
        )
        groups = "; ".join(f"{n}: {_short(group)}" for n, group in enumerate(self.groups, start=1))
        return Check("randomisation", verdict, sentence, numbers, charts, (f"Layers destroyed together: {groups}.",))

    def _verdict(self) -> tuple[Verdict, str]:
        left, limit = self.left, CHANGED_BELOW
        if np.isnan(left):
            return "unclear", "With the weights destroyed there is no map at all, so this check cannot tell."
        if left < limit:
            return "passes", (
                f"The map changes when the weights are destroyed: {left:.2f} of its order is left (below {limit})."
            )
        return "fails", (
            f"The map hardly changes when the weights are destroyed: {left:.2f} of its order is left (not below"
            f" {limit}), so it shows the image rather than what the network learned."
        )

    def _chart(
        self, what: str, cascading: tuple[float, ...], independent: tuple[float, ...], limit: float | None
    ) -> Chart:
        places = tuple(map(float, range(len(self.groups))))
        return Chart(
            "What is left of the map when weights are destroyed",
            "group of layers destroyed, from the output down",
            what,
            (Curve("all layers up to here", places, cascading), Curve("these layers alone", places, independent)),
            tuple(str(n) for n in range(1, len(self.groups) + 1)),
            limit,
        )


def _short(group: Sequence[str]) -> str:
    return group[0] if len(group) == 1 else f"{group[0]} ... {group[-1]}"


def randomisation(subject: Subject, *, groups: int = 5, seed: int = 0, progress: Progress = silent) -> Randomisation:
    """Make the map again with weights destroyed, cascading and independent.

    The weights of a copy are destroyed; the network itself is never touched.

    Parameters
    ----------
    subject
        What is checked.
    groups
        The layers are destroyed in so many groups: the last layer, then the others in equal parts.
    seed
        Of the new weights.
    progress
        Called for each map; ``2 groups + 1`` are made.

    Raises
    ------
    ExplainError
        If the network has no weights or cannot be copied.
    """
    names = layer_groups(subject.inference, groups)
    step = stages_of(progress, "Destroying weights", 2 * len(names) + DRAWS - 2)
    done = 0

    def likeness(destroyed: Sequence[str], draw: int = 0) -> _Likeness:
        nonlocal done
        network = randomised(subject.inference.network, destroyed, seed=seed + draw)
        found = subject.map(replace(subject.inference, network=network), progress=step(done))
        done += 1
        pair = subject.values, found, subject.inside
        blank = not np.ptp(found[subject.inside]) > 0
        return _Likeness(rank_correlation(*pair), structural_similarity(*pair), blank)

    upto = [[name for group in names[: n + 1] for name in group] for n in range(len(names))]
    cascading = [likeness(destroyed) for destroyed in upto]
    independent = [cascading[0], *(likeness(group) for group in names[1:])]
    draws = [cascading[-1], *(likeness(upto[-1], draw) for draw in range(1, DRAWS))]
    step(done)
    return Randomisation(
        names,
        cascading=tuple(found.rank for found in cascading),
        independent=tuple(found.rank for found in independent),
        cascading_ssim=tuple(found.structure for found in cascading),
        independent_ssim=tuple(found.structure for found in independent),
        draws=tuple(float("nan") if found.blank else found.rank for found in draws),
    )


class _Likeness(NamedTuple):
    """How alike two maps are, and whether the second one is the same everywhere."""

    rank: float
    structure: float
    blank: bool


def layer_groups(inference: Inference, groups: int) -> tuple[tuple[str, ...], ...]:
    """Return the modules that hold weights, from the output down, in groups: the last one, then equal parts."""
    names = list(reversed(_in_order(inference)))
    if not names:
        raise ExplainError("The network has no weights, so there is nothing to destroy.")
    rest = np.array_split(np.array(names[1:], dtype=object), max(1, min(groups, len(names)) - 1))
    return (names[0],), *(tuple(map(str, part)) for part in rest if len(part))


def _in_order(inference: Inference) -> list[str]:
    """Return the modules that hold weights themselves, in the order in which they end in a pass.

    One that is not called (its parent reads its weights) counts as its nearest parent that is.
    """
    network, plan = inference.network, inference.plan
    ended: dict[str, int] = {}
    clock = iter(range(2**62))

    def note(name: str) -> None:
        ended[name] = next(clock)

    handles = [
        module.register_forward_hook(lambda *_args, name=name: note(name))
        for name, module in network.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)  # which takes no hooks and counts as its parent
    ]
    try:
        with quiet(network), torch.no_grad():
            network(plan.view(plan.pad(inference.image), 0))
    finally:
        for handle in handles:
            handle.remove()
    held = [name for name, module in network.named_modules() if _weights(module)]
    return sorted(held, key=lambda name: _when(name, ended))  # sorted() keeps the network's order in a tie


def _when(name: str, ended: dict[str, int]) -> int:
    while name and name not in ended:
        name = name.rpartition(".")[0]
    return ended.get(name, -1)


def _weights(module: nn.Module) -> list[Tensor]:
    return [p for p in module.parameters(recurse=False) if p.is_floating_point()]


def randomised(network: nn.Module, names: Sequence[str], *, seed: int) -> nn.Module:
    """Return a copy of a network with new weights in some of its modules.

    Parameters
    ----------
    network
        Left as it is.
    names
        Modules, as in ``network.named_modules()``; the weights that they hold themselves are drawn anew.
    seed
        Of the draw. A module's weights do not depend on which others are named.

    Raises
    ------
    ExplainError
        If the network cannot be copied.
    """
    try:
        fresh = copy.deepcopy(network)
    except RuntimeError as error:  # weights that are computed, as by the old weight_norm
        raise ExplainError(f"The network cannot be copied, so its weights cannot be destroyed: {error}") from error
    modules = dict(fresh.named_modules())
    order = {name: place for place, name in enumerate(modules)}
    with torch.no_grad():
        for name in names:
            generator = torch.Generator().manual_seed(seed * len(order) + order[name])
            for weights in _weights(modules[name]):
                size = weights.float().square().mean().sqrt()
                weights.copy_(size * torch.randn(weights.shape, generator=generator).to(weights.device))
    return fresh
