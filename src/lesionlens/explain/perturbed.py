"""The target's value for many changed copies of an image, with no more work than the changes need.

Only windows that a change touches and that the target looks at run again. With ``z_w`` the output for window ``w`` and
``g_w / G`` its share,

    z' = z + sum over touched w of (g_w / G) (z'_w - z_w)

Windows run in batches, as many at once as fit into a number of bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from lesionlens.errors import ExplainError
from lesionlens.explain.budget import batch_size, peak_bytes
from lesionlens.explain.explanation import Request
from lesionlens.explain.targets import Target, reach, settled
from lesionlens.explain.windows import Windows

__all__ = ["Perturbed", "reached_windows"]


def reached_windows(plan: Windows, targets: Sequence[Target]) -> set[int]:
    """Return the windows whose output may change a target: those that hold a voxel which it looks at.

    Parameters
    ----------
    plan
        The windows.
    targets
        Settled: with their regions held fixed.
    """
    regions = [reach(target) for target in targets]
    if plan.is_whole or any(region is None for region in regions):
        return set(range(len(plan)))
    every = torch.stack([region for region in regions if region is not None]).any(dim=0)
    return {index for index, _ in plan.split(every[None, None].float())}


class Perturbed:
    """An inference whose image is changed again and again; its network is ``quiet`` meanwhile.

    Parameters
    ----------
    request
        What is explained; its option ``budget_mib`` says how many MiB of tensors the network may hold at once.
    forward
        Runs the network on a batch of windows and returns logits, see
        :func:`~lesionlens.explain.final.reading_logits`.
    """

    def __init__(self, request: Request, forward: Callable[[Tensor], Tensor]) -> None:
        self._request = request
        self._forward = forward
        self._plan = request.inference.plan
        self._budget = request.budget_bytes
        self._padded = self._plan.pad(request.inference.image)
        self._outputs: dict[int, Tensor] = {}  # of windows of the image itself, while they fit into the budget
        self._kept_bytes = 0
        self.logits = self._predicted() if request.logits is None else request.given_logits()
        self._target = settled(request.target, self.logits)
        self._reached = reached_windows(self._plan, [self._target])
        self._batch = 0
        self.score = self._value(self.logits)

    def _predicted(self) -> Tensor:
        """Return the blended logits of the image itself, and keep the windows' outputs, which changes will ask for."""
        progress, count = self._request.progress, len(self._plan)

        def output(index: int) -> Tensor:
            progress("Predicting", index, count)
            return self._output(index)

        with torch.no_grad():
            logits = self._plan.blend(map(output, range(count)))
        progress("Predicting", count, count)
        return logits

    def scores(self, images: Iterable[Tensor], total: int, stage: str) -> Iterator[float]:
        """Yield the target's value for each changed image, in their order.

        Parameters
        ----------
        images
            (1, C, *spatial) each, in the shape of the image; consumed a batch at a time.
        total
            How many there are, for progress.
        stage
            What progress calls the work.

        Raises
        ------
        ExplainError
            If a value is not finite.
        """
        waiting: deque[_Change] = deque()
        jobs: list[tuple[_Change, int, Tensor]] = []
        done = 0
        self._request.progress(stage, 0, total)
        with torch.no_grad():
            for image in images:
                change, views = self._changed(image)
                waiting.append(change)
                jobs += [(change, index, view) for index, view in views]
                while jobs and len(jobs) >= self._batch_size(jobs[0][2]):
                    jobs = self._work(jobs)
                while waiting and not waiting[0].missing:
                    yield self._value(waiting.popleft().logits)
                    done += 1
                self._request.progress(stage, done, total)
            while jobs:
                jobs = self._work(jobs)
                self._request.progress(stage, done, total)
            for change in waiting:
                yield self._value(change.logits)
        self._request.progress(stage, total, total)

    def _changed(self, image: Tensor) -> tuple[_Change, list[tuple[int, Tensor]]]:
        """Return a change, and the windows that it touches with what they show now."""
        padded = self._plan.pad(image)
        touched = [
            index
            for index, place in enumerate(self._plan.places)
            if index in self._reached and not torch.equal(padded[place], self._padded[place])
        ]
        return _Change(self.logits, len(touched)), [(index, self._plan.view(padded, index)) for index in touched]

    def _work(self, jobs: list[tuple[_Change, int, Tensor]]) -> list[tuple[_Change, int, Tensor]]:
        """Run one batch of windows, and return those that are left."""
        size = self._batch_size(jobs[0][2])
        outputs = self._forward(torch.cat([view for _, _, view in jobs[:size]])).float()
        for number, (change, index, _) in enumerate(jobs[:size]):
            output = outputs[number : number + 1]
            change.missing -= 1
            if self._plan.is_whole:
                change.logits = output
            else:
                if change.logits is self.logits:
                    change.logits = self.logits.clone()
                part = (output - self._output(index)) * self._plan.share(index).to(output)
                self._plan.add(part, index, change.logits)
        return jobs[size:]

    def _output(self, index: int) -> Tensor:
        """Return the network's output for a window of the image itself."""
        if index in self._outputs:
            return self._outputs[index]
        output = self._forward(self._plan.view(self._padded, index)).float()
        if self._kept_bytes + output.nbytes <= self._budget:
            self._outputs[index] = output
            self._kept_bytes += output.nbytes
        return output

    def _batch_size(self, view: Tensor) -> int:
        if not self._batch:
            self._batch = batch_size(each=peak_bytes(self._forward, view), budget=self._budget)
        return self._batch

    def _value(self, logits: Tensor) -> float:
        value = float(self._target(logits))
        if not isfinite(value):
            raise ExplainError(f"The {self._request.target.describe(logits)} is {value}; it cannot be explained.")
        return value


@dataclass(eq=False)
class _Change:
    """What a changed image has done to the logits so far, and how many windows are still missing."""

    logits: Tensor
    missing: int
