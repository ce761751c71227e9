"""What surrounds the work in the LesionLens dock: first hint, keys, recent cases, and what the user prefers."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QPushButton

from lesionlens import sample
from lesionlens.display import PLANES
from lesionlens.errors import LesionLensError
from lesionlens.recent import forget_cases
from lesionlens.styles import ATTRIBUTION, PROBABILITY, REGIONS
from lesionlens.ui.hint import Hint
from lesionlens.ui.key_dialog import window_key_dialog
from lesionlens.ui.keys import KEYS
from lesionlens.ui.layers import is_foreign_image, scan_of, volume_of
from lesionlens.ui.opening import open_path
from lesionlens.ui.parts import Note, Section, column_of
from lesionlens.ui.preferences import Preferences, preferences, set_preference, when_preferences_change
from lesionlens.ui.shortcuts import Shortcuts
from lesionlens.ui.taken_keys import taken_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QMainWindow

    from lesionlens.styles import OverlayKind
    from lesionlens.ui.widget import LesionLensWidget

__all__ = ["Desk"]

_STEP = 0.01


class Desk(QObject):
    """Keeps hint, keys and preferences of one LesionLens dock.

    Parameters
    ----------
    dock
        The dock; it keeps the desk.

    Attributes
    ----------
    hint, keys : QWidget
        For the top and the bottom of the dock.
    """

    def __init__(self, dock: LesionLensWidget) -> None:
        super().__init__(dock)
        self._dock = weakref.proxy(dock)
        self._current = dock.current
        self._wanted = Preferences()
        self.hint = Hint()
        self.table = Note()
        self.change = QPushButton("Change keys…")
        self.keys = Section("Keys", column_of(self.table, self.change))
        window: QMainWindow = dock.viewer.window._qt_window
        self.shortcuts = Shortcuts(window, self._actions(), self)
        self.hint.sample_wanted.connect(self._open_sample)
        self.hint.read.connect(self._hide_hint)
        self.change.clicked.connect(self.change_keys)
        KEYS.changed.connect(self._list_keys)
        dock.current.changed.connect(self._show_hint)
        self._closing = QTimer(self, singleShot=True, interval=0)
        self._closing.timeout.connect(self._close_case)
        dock.viewer.layers.events.removed.connect(self._look_at_case)
        when_preferences_change(self.prefer)
        self._list_keys()

    def change_keys(self) -> None:
        """Ask for other keys."""
        window = self._main_window()
        dialog = window_key_dialog(taken_keys(window, by_others_than="window"), window)
        dialog.exec()
        dialog.deleteLater()

    def _actions(self) -> dict[str, Callable[[], object]]:
        dock = self._dock
        switches: dict[str, OverlayKind] = {"probability": PROBABILITY, "attribution": ATTRIBUTION, "outlines": REGIONS}
        return {
            "run": lambda: dock.form.bar.run.click(),
            "stop": lambda: dock.cancel(),
            "next_region": lambda: dock.table.step(1),
            "previous_region": lambda: dock.table.step(-1),
            "lower_threshold": lambda: self._move_threshold(-_STEP),
            "higher_threshold": lambda: self._move_threshold(_STEP),
            **{name: self._plane(name) for name in PLANES},
            **{name: self._switch(kind) for name, kind in switches.items()},
        }

    def _plane(self, name: str) -> Callable[[], object]:
        return lambda: self._dock.controls.planes[name].click()

    def _switch(self, kind: OverlayKind) -> Callable[[], object]:
        return lambda: self._dock.controls.kinds[kind].visible.click()

    def _move_threshold(self, by: float) -> None:
        slider = self._dock.controls.kinds[PROBABILITY].threshold
        assert slider is not None
        slider.setValue(slider.value() + by)

    def _open_sample(self) -> None:
        open_path(self._dock.viewer, str(sample.sample_scan()))

    def _hide_hint(self) -> None:
        set_preference("show_hint", value=False)
        show_info("The first steps come back with napari's preferences, page LesionLens.")

    def _list_keys(self) -> None:
        rows = (f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{title}</td></tr>" for key, title in _listed())
        self.table.say(f"<table>{''.join(rows)}</table>")

    def prefer(self, _event: Any = None) -> None:
        """Do as the user prefers, as far as that changed: what was moved in the dock meanwhile stays."""
        if not isalive(self):  # type: ignore[no-untyped-call]  # napari's settings do not know that the dock was closed
            return
        before, self._wanted = self._wanted, preferences()
        wanted, kinds = self._wanted, self._dock.controls.kinds
        for kind, colours in ((PROBABILITY, wanted.probability_colours), (ATTRIBUTION, wanted.attribution_colours)):
            if wanted.opacity != before.opacity:
                kinds[kind].opacity.setValue(wanted.opacity)
            kinds[kind].propose_colours(colours)
        if wanted.threshold != before.threshold and self._dock.result is None:
            self._dock.controls.set_threshold(wanted.threshold)
        if before.remember_cases and not wanted.remember_cases:
            _forget_cases()
        self._show_hint()

    def _look_at_case(self, _event: Any) -> None:
        """Look soon whether a case was closed: new results may be about to take the place of the layers that go."""
        if isalive(self):  # type: ignore[no-untyped-call]  # as above
            self._closing.start()

    def _close_case(self) -> None:
        """Let go of the results when no layer of their case is left; of a plain image that cannot be told."""
        result, layers = self._dock.result, self._dock.viewer.layers
        scans = [found for layer in layers if (found := volume_of(layer) or scan_of(layer)) is not None]
        if result is None or any(is_foreign_image(layer) for layer in layers):
            return
        if not any(np.may_share_memory(result.volume.array, scan.array) for scan in scans):
            self._dock.close_case()

    def _show_hint(self) -> None:
        """Show the first steps to whoever may want them, until there are results."""
        if isalive(self.hint):  # type: ignore[no-untyped-call]  # a closed dock tells so last
            self.hint.setVisible(self._wanted.show_hint and self._current.result is None)

    def _main_window(self) -> QMainWindow:
        window: QMainWindow = self._dock.viewer.window._qt_window
        return window


def _forget_cases() -> None:
    try:
        forget_cases()
    except LesionLensError as error:
        show_warning(str(error))


def _listed() -> list[tuple[str, str]]:
    keys = KEYS.keys
    return [(keys[action.name], action.title) for action in KEYS.actions if keys[action.name]]
