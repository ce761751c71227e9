"""The network as an inferer calls it: by an engine that is chosen when the first window with content comes."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor

from lesionlens.computing import Computed, Computing, EngineName
from lesionlens.explain import Windows, main_output
from lesionlens.explain.final import FinalActivation, FinalKind
from lesionlens.model.activation import Activation, observed
from lesionlens.model.bundle import Bundle
from lesionlens.model.engines.choice import Chosen, choose
from lesionlens.model.engines.constant import OnceForConstants, constant_values
from lesionlens.model.engines.interface import TOLERANCES
from lesionlens.model.memory import MemoryPlan, batch_of
from lesionlens.progress import Progress

__all__ = ["Runner"]


class Runner:
    """Runs windows of one scan, and remembers how.

    Parameters
    ----------
    bundle
        Whose network.
    computing
        How it is to be computed.
    total
        Windows that are to come, as far as is known.
    final
        Watches the network's activation modules.
    progress
        Called before each batch of windows.

    Attributes
    ----------
    activation : Activation
        How outputs become probabilities, as the first window with content shows; as stated before that.
    """

    def __init__(
        self, bundle: Bundle, computing: Computing, *, total: int, final: FinalActivation, progress: Progress
    ) -> None:
        self._bundle, self._computing, self._total = bundle, computing, total
        self._final, self._progress = final, progress
        self._kinds: set[FinalKind | None] = set()
        self._chosen: Chosen | None = None
        self._plain = False
        self._done = self._batch = 0
        self._size: tuple[int, ...] | None = None
        self._once = OnceForConstants(self._run, self._run_constant)
        self._windowed = isinstance(bundle.inferer, SlidingWindowInferer) and bundle.detector is None
        self.activation: Activation = bundle.activation
        self._settled = False

    def __call__(self, window: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the network's output for a batch of windows."""
        self._progress("Predicting", min(self._done, self._total), self._total)
        self._done += window.shape[0]
        self._batch = max(self._batch, window.shape[0])
        if not self._windowed or args or kwargs:  # windows that are told where they lie are not alike
            self._plain = True
            output = main_output(self._bundle.network(window, *args, **kwargs))
            self._kinds.add(self._final.kind(output))
            return output
        self._size = tuple(window.shape[2:])
        plain = window.as_subclass(Tensor)
        return self._once(plain) if self._computing.skip and self._total > 1 else self._run(plain)

    def _choose(self, windows: Tensor) -> Chosen:
        if self._chosen is None:
            left = max(self._total - self._done, 0) // max(self._batch, 1) + 1
            wanted = self._computing.engine if self._total > 1 else "torch"
            self._chosen = choose(self._bundle, wanted, windows, to_run=left, probabilities=self._shown_probabilities)
        return self._chosen

    def _run(self, windows: Tensor) -> Tensor:
        chosen = self._choose(windows)
        notices = chosen.engine.notices
        output = chosen.engine(windows)
        if chosen.engine.notices != notices:
            chosen = self._chosen = self._checked_again(chosen, windows)
            output = chosen.engine(windows)
        if chosen.engine.name == "torch":
            self._kinds.add(self._final.kind(output))
        self._settle(output)
        return output

    def _checked_again(self, before: Chosen, windows: Tensor) -> Chosen:
        """Check an engine that began to run otherwise than it was checked, and return what holds now."""
        name, first = before.engine.name, self._done - windows.shape[0] + 1
        now = choose(self._bundle, name, windows, to_run=1, probabilities=self._shown_probabilities)
        worst = None if now.difference is None else max(now.difference, before.difference or 0.0)
        notice = f"Engine {name!r} ran the windows before number {first} as it was checked on the first of them."
        return Chosen(now.engine, worst, (*before.notices, notice, *now.notices))

    def _run_constant(self, windows: Tensor) -> Tensor:
        """Run what is no scan by PyTorch in fp32: it says nothing about engines and activations."""
        output = main_output(self._bundle.network(windows))
        self._kinds.add(self._final.kind(output))
        return output.float()

    def look_at(self, windows: Windows, image: Tensor) -> None:
        """Run the window with content that lies closest to the middle: engine and activation are known from then on.

        The first one in order lies in a corner, often with more air than tissue in it.
        """
        padded = windows.pad(image)
        middle = [(full - size) / 2 for full, size in zip(windows.padded_shape, windows.size, strict=True)]
        order = sorted(range(len(windows)), key=lambda n: math.dist(windows.starts[n], middle))
        views = (windows.view(padded, index) for index in order)
        found = next((view for view in views if constant_values(view)[0] is None), None)
        if found is not None:
            self._choose(found.as_subclass(Tensor))
            if not self._settled:
                self._run(found.as_subclass(Tensor))

    def _shown_probabilities(self, output: Tensor) -> Tensor:
        """Return the probabilities of windows; the first are those of PyTorch in fp32."""
        if not self._settled:
            self._kinds.add(self._final.kind(output))
            self._settle(output)
        return torch.stack([self.activation.probabilities(one.float()) for one in output])

    def _settle(self, output: Tensor) -> None:
        if not self._settled and self._bundle.detector is None:
            self.activation = observed(self._bundle.activation, output[0].float(), self.kind)
            self._settled = True

    def probabilities(self, joined: Tensor) -> Tensor:
        """Return the probabilities of joined outputs (K, ...)."""
        return self.activation.probabilities(joined)

    @property
    def kind(self) -> FinalKind | None:
        """The activation module that the network ends in, if it ends in one in every window."""
        return next(iter(self._kinds)) if len(self._kinds) == 1 else None

    def computed(self, plan: MemoryPlan, *, budget_bytes: int | None) -> Computed:
        """Say how it was computed."""
        chosen = self._chosen
        engine: EngineName = "torch" if chosen is None else chosen.engine.name
        notices = () if chosen is None else (*chosen.notices, *chosen.engine.notices)
        asked = self._computing.engine
        if (self._plain or self._total == 1) and asked not in ("torch", "auto"):
            notices = (*notices, f"Engine {asked!r} is for scans in several windows; PyTorch in fp32 ran.")
        difference = None if chosen is None else chosen.difference
        return Computed(
            engine=engine,
            device=str(self._bundle.device),
            difference=difference,
            tolerance=None if difference is None or chosen is None else TOLERANCES[chosen.engine.name],
            windows=max(self._done, 1),
            skipped=self._once.skipped,
            batch=max(self._batch, batch_of(self._bundle.inferer) if self._windowed else 1),
            window_voxels=self._size,
            predicted_bytes=plan.predicted_bytes,
            budget_bytes=budget_bytes,
            in_blocks=plan.in_blocks,
            on_disk=plan.on_disk,
            threads=torch.get_num_threads(),
            notices=notices,
        )
