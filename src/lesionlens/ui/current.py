"""What a viewer shows right now: where docks that know nothing of each other meet."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from lesionlens.checks import TrustReport
    from lesionlens.results import CaseResult

__all__ = ["Current", "current_of"]


class Current(QObject):
    """The results, class and threshold that are shown in one viewer, and the latest checks of a map.

    Attributes
    ----------
    result : CaseResult or None
        The results that are shown.
    label : str
        The class that is shown.
    threshold : float
        From which probability on it is shown; the regions of the result may still be of another one.
    report : TrustReport or None
        The latest checks.
    changed : Signal()
        Results, class or checks changed.
    threshold_changed : Signal(float)
        Another threshold is shown.
    threshold_wanted : Signal(float)
        A dock other than LesionLens wants this threshold to be shown.
    """

    changed = Signal()
    threshold_changed = Signal(float)
    threshold_wanted = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self.result: CaseResult | None = None
        self.label = ""
        self.threshold = 0.5
        self.report: TrustReport | None = None

    def show(self, result: CaseResult | None, label: str, threshold: float) -> None:
        """Take note of what is shown; only what differs is told."""
        differs = result is not self.result or label != self.label
        moved = threshold != self.threshold
        self.result, self.label, self.threshold = result, label, threshold
        if moved:
            self.threshold_changed.emit(threshold)
        if differs:
            self.changed.emit()

    def forget(self) -> None:
        """Take note that nothing is shown any more."""
        self.report = None
        self.show(None, "", self.threshold)

    def checked(self, report: TrustReport | None) -> None:
        """Take note of the checks of a map."""
        self.report = report
        self.changed.emit()


_known: dict[int, Current] = {}


def current_of(viewer: ViewerModel) -> Current:
    """Return what a viewer shows; it goes with the viewer."""
    found = _known.get(id(viewer))
    if found is None:
        found = _known[id(viewer)] = Current()
        weakref.finalize(viewer, _known.pop, id(viewer), None)
    return found
