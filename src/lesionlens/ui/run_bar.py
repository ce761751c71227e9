"""The buttons that start and stop what a dock does in the background, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from lesionlens.progress import Forecast, Progress
from lesionlens.ui.jobs import Job, start_job
from lesionlens.ui.notices import show_failure
from lesionlens.ui.parts import Note

__all__ = ["RunBar"]


class RunBar(QWidget):
    """Runs one job at a time; closing the dock stops it.

    Parameters
    ----------
    verb
        What the button that starts it says.
    others
        Further buttons of the same row.

    Attributes
    ----------
    job : Job or None
        What runs.
    run_clicked : Signal()
        The user wants it to start.
    ended : Signal()
        A job is over, in whatever way.
    """

    run_clicked = Signal()
    ended = Signal()

    def __init__(self, verb: str, *others: QPushButton, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.job: Job | None = None
        self._forecast = Forecast()
        self._expected: dict[str, str] = {}  # by stage
        self._allowed = False
        self.run = QPushButton(verb)
        self.cancel = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.status = Note()
        buttons = QHBoxLayout()
        for button in (self.run, self.cancel, *others):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(buttons)
        column.addWidget(self.progress)
        column.addWidget(self.status)
        self.run.clicked.connect(self.run_clicked)
        self.cancel.clicked.connect(self.stop)
        self.progress.setVisible(False)
        self._fit()

    def allow(self, allowed: bool) -> None:
        """Say whether there is everything that a run needs."""
        self._allowed = allowed
        self._fit()

    def start(self, title: str, function: Callable[[Progress], object], done: Callable[[Any], None]) -> None:
        """Run a function in the background and give ``done`` what it returns; errors are shown.

        ``done`` returns nothing; what is to be said in the end is said with :meth:`say`.
        """
        self.progress.setRange(0, 0)
        self.progress.setVisible(True)
        self.say("Starting…")
        self._forecast, self._expected = Forecast(), {}
        self.job = start_job(self, title, function, done=done, failed=self._fail)
        self.job.progressed.connect(self._show)
        self.job.cancelled.connect(lambda: self.say("Cancelled."))
        self.job.ended.connect(self._end)
        self._fit()

    def stop(self) -> None:
        """Stop what runs, at its next step."""
        if self.job is not None:
            self.say("Cancelling…")
            self.job.cancel()

    def say(self, message: str) -> None:
        """Show one line below the buttons."""
        self.status.say(message)

    def _show(self, stage: str, done: int, total: int) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        if (said := self._forecast.told(stage, done, total)) is not None:
            self._expected[stage] = said
        expected = f", {self._expected[stage]} in all" if stage in self._expected else ""
        self.say(f"{stage}…" if total <= 0 else f"{stage}… {done} of {total}{expected}")

    def _fail(self, message: str) -> None:
        self.say(message)
        show_failure(message, "" if self.job is None else self.job.details)

    def _end(self) -> None:
        self.job = None
        self.progress.setVisible(False)
        self._fit()
        self.ended.emit()

    def _fit(self) -> None:
        self.run.setEnabled(self._allowed and self.job is None)
        self.cancel.setEnabled(self.job is not None)
