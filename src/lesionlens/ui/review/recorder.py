"""What a reader decides and draws goes to the session first, and is shown when it is stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from lesionlens.errors import InputError, LesionLensError
from lesionlens.review import Act, Event
from lesionlens.review.marks import lines_of, measured
from lesionlens.review.reading import Reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lesionlens.ui.review.case_view import CaseView

__all__ = ["Recorder"]

# A view is kept when it has rested for so long.
_REST_MS = 600


class Recorder(QObject):
    """Stores verdicts, strokes and views of the case that is shown.

    Attributes
    ----------
    reading : Reading or None
        The reader's way through the session that is open.
    view : CaseView or None
        The case that is shown.
    case : str
        The case that is shown or being opened.
    drawing_new : bool
        What is drawn next is a finding of its own.
    keep_words : Callable[[], bool]
        Stores what was written and not kept, before the case is left; says whether it is stored.
    changed : Signal()
        What is to be shown has changed.
    stored : Signal(object, str)
        An event is on the disk: it, and what it was, in words.
    failed : Signal(str)
        Something could not be stored or read; empty when that is over.
    noted : Signal(str)
        To be read, no failure.
    """

    changed = Signal()
    stored = Signal(object, str)
    failed = Signal(str)
    noted = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.reading: Reading | None = None
        self.view: CaseView | None = None
        self.case = ""
        self.drawing_new = False
        self.keep_words: Callable[[], bool] = lambda: True
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.timeout.connect(self.keep_view)

    @property
    def read_only(self) -> bool:
        """Whether nothing can be recorded."""
        return self.reading is None or self.reading.session.read_only

    @property
    def ready(self) -> bool:
        """Whether the case that was asked for is shown."""
        case = None if self.reading is None else self.reading.case
        return self.view is not None and case is not None and case.id == self.case

    @property
    def unsaved(self) -> bool:
        """Whether the screen shows something that is drawn and not stored."""
        return self.view is not None and self.view.drawing.touched and not self.read_only

    @property
    def at(self) -> Reading:
        """Where the reader is, while a session is open."""
        if self.reading is None:
            raise InputError("No session is open; open one first.")
        return self.reading

    def say(self, kind: str, value: Any) -> bool:
        """Record a verdict, category, confidence or comment on the finding; say whether that was stored."""
        finding = self.at.finding
        if self.read_only or not self.ready or not self.flush():
            return False
        if self.drawing_new or not finding:
            self.noted.emit("There is no finding to judge yet; draw one first.")
            return False
        words = "comment" if kind == "comment" else str(value) if kind == "verdict" else f"{kind} {value}"
        return self.store(partial(self.at.judge, kind, value), f"{finding}: {words}")

    def measure(self, ends_ras: NDArray[np.float64] | None) -> None:
        """Record a line over the finding; the screen shows the lines that are stored, and no others."""
        finding, view = self.at.finding, self.view
        if view is None or not self.flush():
            return
        if self.drawing_new or not finding:
            self.noted.emit("There is no finding to measure yet; draw one first.")
        elif ends_ras is not None and not self.read_only and self.ready:
            self.store(lambda: self.at.record(measured(finding, ends_ras)), f"{finding}: line measured")
        view.lines.show(() if self.drawing_new else lines_of(finding, self.at.events))

    def flush(self) -> bool:
        """Store what was drawn since the last time; say whether all that the screen shows is stored."""
        view = self.view
        if view is None or self.read_only or not view.drawing.touched:
            return True
        name = next(self.at.new_names()) if self.drawing_new else self.at.finding
        act = view.change(name, new=self.drawing_new)
        if act is not None and not self.store(partial(self.at.record, act), f"{name}: stroke"):
            return False
        view.settle()
        if self.drawing_new and act is not None:
            self.drawing_new, self.at.finding = False, name
            view.drawing.rename(name)
            self.keep_view()
        self.changed.emit()
        return True

    def keep_view(self) -> None:
        """Store where the reader looks, if it is somewhere else than before."""
        self._rest.stop()
        if self.read_only or not self.ready or self.view is None:
            return
        view, events = self.view.view(), self.at.events
        last = next((event.act for event in reversed(events) if event.act.kind in ("viewed", "opened")), None)
        if last is None or last.finding != self.at.finding or dict(last.value) != view:
            self.store(partial(self.at.record, Act("viewed", self.at.finding, view)), "")

    def moved(self) -> None:
        """Keep the view when it has come to rest."""
        if self.ready:
            self._rest.start(_REST_MS)

    def store(self, act: Callable[[], Event | None], words: str) -> bool:
        """Do what stores something; say on the screen that it is stored, or why it is not."""
        try:
            event = act()
        except InputError as error:
            self.noted.emit(str(error))
            return False
        except LesionLensError as error:
            self.failed.emit(str(error))
            return False
        if words or not self.unsaved:  # where somebody looks is stored in silence, and no stroke with it
            self.failed.emit("")
        if event is not None:
            self.stored.emit(event, words)
        self.changed.emit()
        return True
