"""How long work reports and is cancelled, without threads and without a GUI."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Called as work advances; raise :class:`~lesionlens.errors.Cancelled` from it to stop the work.

    ``stage`` is a short human text ("Predicting"), ``done`` runs from 0 to ``total``.
    """

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note that ``done`` of ``total`` steps of a stage are done."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing: the default of every ``progress=`` parameter."""
