"""How long work reports and is cancelled, without threads and without a GUI, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Forecast", "Progress", "silent"]

# Steps of a stage are timed for at least this long before its end is foretold.
LOOK_S = 2.0

# Work that takes no longer than this needs no forecast.
LONG_S = 30.0


class Progress(Protocol):
    """Called as work advances; raise :class:`~lesionlens.errors.Cancelled` from it to stop the work.

    ``stage`` is a short human text ("Predicting"), ``done`` runs from 0 to ``total``.
    """

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note that ``done`` of ``total`` steps of a stage are done."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing: the default of every ``progress=`` parameter."""


class Forecast:
    """Foretells how long each stage takes, from its first steps; whoever shows progress asks it.

    Parameters
    ----------
    clock
        Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._start = self._warm = (0.0, 0)  # time and steps, when the stage began and after its first report
        self._told: set[str] = set()

    def told(self, stage: str, done: int, total: int) -> str | None:
        """Take note of progress, and say once for each stage that takes long how long it takes.

        Returns
        -------
        str or None
            ``"about 12 min"``, all steps together; None before that is known, of short work, and when it was said.
        """
        now = self._clock()
        if stage != self._stage or done < self._start[1]:
            self._stage = stage
            self._start = self._warm = now, done
        since = self._warm
        if done == since[1] or stage in self._told:
            return None
        if since == self._start:
            self._warm = now, done
        # The first report comes late, as memory was measured before, and counts alone only where it came very late.
        if now - since[0] < (LONG_S if since == self._start else LOOK_S):
            return None
        self._told.add(stage)
        expected = (now - since[0]) / (done - since[1]) * (total - self._start[1])
        return f"about {_duration(expected)}" if expected > LONG_S else None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
