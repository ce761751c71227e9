"""What is done with the work of several readers: decide together, compare them, hand the findings on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from lesionlens.handover import write_export
from lesionlens.io.atomic import atomic_folder
from lesionlens.progress import Progress
from lesionlens.report.review import agreement_words
from lesionlens.review.agreement import session_agreement
from lesionlens.review.seen import SeenSession, open_as
from lesionlens.ui.jobs import Job, start_job
from lesionlens.ui.parts import CheckMenu, Note, bring_into_sight

__all__ = ["TogetherForm", "compare_readers", "export_findings"]

_BLIND = "Of others there is only what was shown to you: you have not closed all cases yet."


def compare_readers(path: Path, reader: str, _progress: Progress) -> tuple[str, ...]:
    """Return how far the readers of a session agree, a line for each two of them, as far as this one may know."""
    with open_as(path, reader) as session:
        return *agreement_words(session_agreement(session)), *_left_out(session)


def export_findings(path: Path, reader: str, home: Path, progress: Progress) -> tuple[str, ...]:
    """Write what a reader may see of a session into a new folder; return where it is, and what was left out."""
    names = (f"{path.stem}-findings{'' if n == 1 else f'-{n}'}" for n in count(1))
    out = next(home / name for name in names if not (home / name).exists())
    with open_as(path, reader) as session, atomic_folder(out) as folder:
        problems = write_export(session, folder, progress=progress)
        return f"Exported to {out}", *problems, *_left_out(session)


def _left_out(session: SeenSession) -> tuple[str, ...]:
    """Say that others are left out for whoever still reads blind."""
    return () if session.finished else (_BLIND,)


class TogetherForm(QWidget):
    """Asks whose verdicts to show in the open case, and does what is done with a whole session.

    Attributes
    ----------
    wanted : Signal(tuple, bool)
        Decide together with these readers; fill in what all of them agree on, or not.
    """

    wanted = Signal(tuple, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.readers = CheckMenu("no other reader has closed this case", "Other readers who have closed this case")
        self.fill = QCheckBox("Fill in what all of them agree on")
        self.fill.setChecked(True)
        self.decide = QPushButton("Decide together")
        self.decide.setToolTip(
            "Show what these readers said of this case, and decide: that you were shown it is recorded and stays"
        )
        self.compare = QPushButton("Compare readers")
        self.compare.setToolTip(
            "How often two readers say the same, with kappa; of what was shown to you, until you closed all cases"
        )
        self.export = QPushButton("Export findings…")
        self.export.setToolTip("Tables, masks, statistics; of others what was shown to you, until you closed all cases")
        self.said = Note()
        self._path: Path | None = None
        self._reader = ""
        self._job: Job | None = None
        self._arrange()
        self.readers.changed.connect(self._fit)
        self.decide.clicked.connect(lambda: self.wanted.emit(self.readers.chosen, self.fill.isChecked()))
        self.compare.clicked.connect(self._compare)
        self.export.clicked.connect(self._export)
        self._fit()

    def set_session(self, path: Path | None, reader: str = "") -> None:
        """Work with another session or reader, or with none."""
        if (path, reader) != (self._path, self._reader):
            self.said.say("")
        self._path, self._reader = path, reader
        self._fit()

    def offer(self, readers: Sequence[str]) -> None:
        """Offer readers who have closed the open case; all of them, unless somebody chose."""
        new = tuple(readers) != self.readers.names
        self.readers.offer(readers)
        if new:
            self.readers.check(*readers)

    def _fit(self) -> None:
        self.decide.setEnabled(bool(self.readers.chosen))
        for button in (self.compare, self.export):
            button.setEnabled(self._path is not None)
        self.export.setText("Export findings…" if self._job is None else "Stop")

    def _compare(self) -> None:
        if self._path is not None and self._job is None:
            self._start("comparing readers", partial(compare_readers, self._path, self._reader))

    def _export(self) -> None:
        if self._job is not None:
            self._job.cancel()
        elif self._path is not None:
            home = QFileDialog.getExistingDirectory(self, "Where shall the folder with the findings go?")
            if home:
                self._start("exporting findings", partial(export_findings, self._path, self._reader, Path(home)))

    def _start(self, title: str, work: partial[tuple[str, ...]]) -> None:
        self._say(f"{title.capitalize()}…")
        job = start_job(
            self, f"LesionLens: {title}", work, done=lambda lines: self._say("\n".join(lines)), failed=self._say
        )
        job.progressed.connect(lambda stage, done, total: self._say(f"{stage}… {done} of {total}"))
        job.cancelled.connect(lambda: self._say("Stopped; nothing was written."))
        job.ended.connect(self._ended)
        self._job = job
        self._fit()

    def _say(self, text: str) -> None:
        self.said.say(text)
        bring_into_sight(self.said)

    def _ended(self) -> None:
        self._job = None
        self._fit()

    def _arrange(self) -> None:
        whole = QHBoxLayout()
        whole.addWidget(self.compare)
        whole.addWidget(self.export)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.readers, self.fill, self.decide):
            column.addWidget(part)
        column.addLayout(whole)
        column.addWidget(self.said)
