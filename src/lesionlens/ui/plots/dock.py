"""The dock *Plots*: one figure of what the viewer shows, kept right while it changes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from lesionlens.errors import LesionLensError
from lesionlens.report.plots import write_figure
from lesionlens.ui.canvas import annotate
from lesionlens.ui.current import current_of
from lesionlens.ui.docking import itself
from lesionlens.ui.jobs import Job, start_job
from lesionlens.ui.layers import heatmap_of
from lesionlens.ui.parts import Note, scrolled, wide_combo
from lesionlens.ui.plots.canvas import FigureView, palette_of
from lesionlens.ui.plots.subject import Plot, Subject
from lesionlens.ui.plots.subjects import MOST_MAPS, PLOTS
from lesionlens.ui.plots.truth import TruthForm

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtGui import QShowEvent

__all__ = ["PlotsWidget"]

# Layers come in numbers, and class and threshold together: what comes within this time is drawn once.
_SETTLE_MS = 80
_FILES = "Picture (*.png);;Vector graphics (*.svg)"


class PlotsWidget(QWidget):
    """Shows one plot of what the viewer shows; its numbers are counted in the background.

    Parameters
    ----------
    viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer = itself(viewer)
        self.current = current_of(viewer)
        self.job: Job | None = None
        self.kind = wide_combo("What is plotted")
        for name, plot in PLOTS.items():
            self.kind.addItem(plot.title, name)
        self.truth = TruthForm(viewer)
        self.view = FigureView()
        self.note = Note()
        self.save = QPushButton("Save figure…")
        self.save.setToolTip("Save the figure as PNG or SVG, in the colours of paper")
        self.save.setEnabled(False)
        self._asked: tuple[Plot, Subject] | None = None
        self._found: Any = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        scrolled(self, self.kind, self.truth, self.view, self.note, self.save)
        self._connect()
        annotate(viewer)
        self.refresh()

    @property
    def plot(self) -> Plot:
        """The kind of plot that is chosen."""
        return PLOTS[self.kind.currentData()]

    def choose(self, name: str) -> None:
        """Choose a kind of plot by its name in :data:`~lesionlens.ui.plots.subjects.PLOTS`."""
        self.kind.setCurrentIndex(self.kind.findData(name))

    def refresh(self) -> None:
        """Draw what is to be seen now; where its numbers are not known yet, count them first."""
        self._timer.stop()
        plot, dock = self.plot, self.parentWidget()
        if dock is not None and dock.isHidden():
            return  # what nobody looks at is not counted
        self.truth.setVisible(bool(plot.wants))
        self.truth.file.setVisible(plot.wants == "reliability")
        subject = self._subject(plot)
        lacking = plot.lacks(subject)
        if lacking:
            self._forget(lacking)
        elif self._asked is not None and self._asked[0] is plot and plot.key(self._asked[1]) == plot.key(subject):
            return
        elif self.job is None:  # one that runs looks again when it ends
            self._count(plot, subject)

    def save_figure(self, path: str) -> None:
        """Save the figure that is seen, in the colours of paper."""
        if self._asked is None or self._found is None:
            return
        plot, subject = self._asked
        try:
            target = path if Path(path).suffix else f"{path}.png"
            show_info(f"Saved {write_figure(target, plot.draw(self._found, subject))}.")
        except LesionLensError as error:
            show_error(str(error))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  # Qt's name
        """Draw what changed while nobody looked."""
        super().showEvent(event)
        self._timer.start()

    def _subject(self, plot: Plot) -> Subject:
        current = self.current
        mask = self.truth.mask_on(current.result.volume) if plot.wants and current.result is not None else None
        calibration = self.truth.calibration if plot.wants == "reliability" else None
        return Subject(
            current.result, current.label, current.threshold, self._maps(), mask, calibration, current.report
        )

    def _maps(self) -> tuple[Any, ...]:
        """Return the maps over the scan with the names of their layers."""
        if self.current.result is None:
            return ()
        grid = self.current.result.volume.grid
        found = ((layer.name, heatmap_of(layer)) for layer in self.viewer.layers)
        return tuple((name, m) for name, m in found if m is not None and m.grid.same_as(grid))[:MOST_MAPS]

    def _count(self, plot: Plot, subject: Subject) -> None:
        self._asked, self._found = (plot, subject), None  # the old figure is seen until the new one is there
        self.save.setEnabled(False)
        self.note.say("Counting…")
        self.job = start_job(
            self, f"LesionLens: {plot.title}", partial(plot.count, subject), done=self._show, failed=self._fail
        )
        self.job.ended.connect(self._end)

    def _show(self, found: object) -> None:
        self._found = found
        self._draw()

    def _draw(self, _event: Any = None) -> None:
        """Draw what was counted, in the colours that the window has now."""
        if not isalive(self) or self._asked is None or self._found is None:  # type: ignore[no-untyped-call]  # events
            return
        plot, subject = self._asked
        figure = plot.draw(self._found, subject)
        self.view.show_figure(figure, palette_of(self.viewer.theme), draggable=plot.draggable)
        self.save.setEnabled(True)
        self._follow(self.current.threshold)

    def _follow(self, threshold: float) -> None:
        """Keep the line and the words at the threshold that is shown."""
        if self._asked is None or self._found is None:
            return
        plot, subject = self._asked
        if plot.draggable:
            self.view.move_threshold(threshold)
            subject = replace(subject, threshold=threshold)
            self._asked = plot, subject
        self.note.say(plot.words(self._found, subject))

    def _forget(self, why: str) -> None:
        """Show nothing, and why."""
        if self.job is not None:
            self.job.cancel()
        self._asked, self._found = None, None
        self.view.clear()
        self.save.setEnabled(False)
        self.note.say(why)

    def _fail(self, message: str) -> None:
        self.view.clear()
        self.note.say(message)
        show_error(message)

    def _end(self) -> None:
        self.job = None
        self.refresh()

    def _change_kind(self) -> None:
        self._forget("")
        self.refresh()

    def _soon(self, _event: Any = None) -> None:
        if isalive(self):  # type: ignore[no-untyped-call]  # napari's events do not know that the dock was closed
            self._timer.start()

    def _browse(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the figure", "lesionlens-plot.png", _FILES)
        if path:
            self.save_figure(path)

    def _connect(self) -> None:
        self.kind.currentIndexChanged.connect(self._change_kind)
        self.truth.changed.connect(self._soon)
        self.current.changed.connect(self._soon)
        self.current.threshold_changed.connect(self._follow)
        self.current.threshold_changed.connect(self._soon)
        self.view.threshold_dragged.connect(self.current.threshold_wanted)
        self.save.clicked.connect(self._browse)
        self._timer.timeout.connect(self.refresh)
        self.viewer.events.theme.connect(self._draw)
        for changed in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            changed.connect(self._soon)
