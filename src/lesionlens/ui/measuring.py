"""Regions measured anew, in the background, whenever the threshold has come to rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from lesionlens.ui import work
from lesionlens.ui.jobs import Job, start_job

if TYPE_CHECKING:
    from lesionlens.results import CaseResult
    from lesionlens.rules import RegionRules

__all__ = ["Measurer"]

# A drag of the slider passes dozens of values; only the one it rests on is measured.
_SETTLE_MS = 250


class Measurer(QObject):
    """Measures the regions of a result at the threshold and by the rules that were asked for last.

    Attributes
    ----------
    measured : Signal(object)
        The :class:`~lesionlens.results.CaseResult` with the regions of the new threshold.
    failed : Signal(str)
        Why it could not.
    """

    measured = Signal(object)
    failed = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._wanted: tuple[CaseResult, float, RegionRules] | None = None
        self._job: Job | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._begin)
        self._generation = 0

    def request(self, result: CaseResult, threshold: float, rules: RegionRules) -> None:
        """Measure soon, unless something else is asked for before."""
        self.drop()
        self._wanted = result, threshold, rules
        self._timer.start()

    def drop(self) -> None:
        """Forget what was asked for; what is being measured is not reported any more."""
        self._generation += 1
        self._wanted = None
        self._timer.stop()

    def _begin(self) -> None:
        if self._job is not None or self._wanted is None:
            return  # a running job begins the next one when it ends
        (result, threshold, rules), self._wanted = self._wanted, None
        generation = self._generation
        self._job = start_job(
            self,
            "LesionLens: measuring regions",
            partial(work.measure_again, result, threshold, rules),
            done=lambda value: self._report(generation, self.measured.emit, value),
            failed=lambda message: self._report(generation, self.failed.emit, message),
        )
        self._job.ended.connect(self._ended)

    def _report(self, generation: int, emit: Callable[[object], None], value: object) -> None:
        if generation == self._generation:
            emit(value)

    def _ended(self) -> None:
        self._job = None
        if not self._timer.isActive():
            self._begin()
