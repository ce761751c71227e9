"""The buttons that start and stop what a dock does in the background, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.utils.notifications import show_warning
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from lesionlens.progress import Forecast, Progress
from lesionlens.ui.jobs import Job, start_job
from lesionlens.ui.notices import in_short, show_details, show_failure
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
        self._failure = ("", "")  # message and details of the latest
        self.run = QPushButton(verb)
        self.cancel = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.status = Note()
        self.why_not = Note()
        self.details = QPushButton("Details")
        self.details.setToolTip("Show the whole message, and where in the program it went wrong")
        buttons = QHBoxLayout()
        for button in (self.run, self.cancel, *others):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(buttons)
        for part in (self.why_not, self.progress, self.status):
            column.addWidget(part)
        column.addWidget(self.details, alignment=Qt.AlignmentFlag.AlignLeft)
        self.run.clicked.connect(self.run_clicked)
        self.cancel.clicked.connect(self.stop)
        self.details.clicked.connect(lambda: show_details(*self._failure))
        self.details.setVisible(False)
        self.progress.setVisible(False)
        self._fit()

    def allow(self, allowed: bool, *, why_not: str = "") -> None:
        """Say whether there is everything that a run needs, and where that is not plain, what lacks."""
        self._allowed = allowed
        self.why_not.say(why_not)
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
        self.details.setVisible(False)

    def refuse(self, message: str) -> None:
        """Say why nothing was started."""
        self._tell(message, "")
        show_warning(message)

    def _tell(self, message: str, details: str) -> None:
        """Show the beginning of a message, and offer the rest."""
        self.say(in_short(message))
        self._failure = message, details
        self.details.setVisible(bool(details) or in_short(message) != message)

    def _show(self, stage: str, done: int, total: int) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        if (said := self._forecast.told(stage, done, total)) is not None:
            self._expected[stage] = said
        expected = f", {self._expected[stage]} in all" if stage in self._expected else ""
        self.say(f"{stage}…" if total <= 1 else f"{stage}… {done} of {total}{expected}")

    def _fail(self, message: str) -> None:
        details = "" if self.job is None else self.job.details
        self._tell(message, details)
        show_failure(message, details)

    def _end(self) -> None:
        self.job = None
        self.progress.setVisible(False)
        self._fit()
        self.ended.emit()

    def _fit(self) -> None:
        self.run.setEnabled(self._allowed and self.job is None)
        self.cancel.setEnabled(self.job is not None)
