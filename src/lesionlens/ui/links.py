"""What ties napari models together, and can be let go again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = ["Connections", "Linked"]


class Connections:
    """Steps that follow events, until all of them are let go together."""

    def __init__(self) -> None:
        self._ends: list[tuple[Any, Callable[..., object]]] = []

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self._ends)

    def add(self, event: Any, step: Callable[..., object]) -> None:
        """Call a step after each event, in the order in which they were added; napari alone may keep it weakly."""
        event.connect(step)
        self._ends.append((event, step))

    def stop(self) -> None:
        """Follow no more."""
        for event, step in self._ends:
            event.disconnect(step)
        self._ends = []


class Linked:
    """Attributes of several napari models that are kept the same, whichever of them changes.

    Parameters
    ----------
    models
        With an event for each attribute.
    names
        Of the attributes.
    """

    def __init__(self, models: Sequence[Any], names: Sequence[str]) -> None:
        self._models = [weakref.ref(model) for model in models]
        self._busy = False
        self._ends = Connections()
        for model in models:
            for name in names:
                self._ends.add(getattr(model.events, name), partial(self._follow, weakref.ref(model), name))

    def stop(self) -> None:
        """Let go of the models."""
        self._ends.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the models differ for a while."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def _follow(self, reference: weakref.ref[Any], name: str, _event: object = None) -> None:
        source = reference()
        if self._busy or source is None:
            return
        value = getattr(source, name)
        with self.paused():  # what follows tells of its change too
            for other in (model() for model in self._models):
                if other is not None and other is not source:
                    setattr(other, name, value)
