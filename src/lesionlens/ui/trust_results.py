"""What the checks of a map found, in words and pictures."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from lesionlens.checks import CHECKS, VERDICT_WORDS, Check
from lesionlens.methods import method_title
from lesionlens.ui.parts import Note
from lesionlens.ui.pictures import Picture

if TYPE_CHECKING:
    from lesionlens.ui.checking import Checked

__all__ = ["TrustResults"]

# Colours that are told apart on dark and on light.
_COLOURS = {"passes": "#3aa76d", "fails": "#e0524a", "unclear": "#c99a2e"}
_BEFORE = "Choose a scan and a bundle and press Check: how far the map may be believed appears here."
_NOT_RUN, _NOT_RUN_COLOUR = "NOT RUN", "#8a8f99"


class TrustResults(QWidget):
    """One part for each check: its verdict, its question, what was found, and the charts."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sentence = Note(
            "Choose a scan and a bundle and press Check: how far the map may be believed appears here."
        )
        self.parts: dict[str, Note] = {}
        self.pictures: dict[str, Picture] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addWidget(self.sentence)

    def clear(self) -> None:
        """Forget what was found."""
        for part in (*self.parts.values(), *self.pictures.values()):
            self._column.removeWidget(part)
            part.deleteLater()
        self.parts, self.pictures = {}, {}
        self.sentence.say("")

    def show_checked(self, checked: Checked) -> None:
        """Show what was found, in place of what was found before."""
        self.clear()
        report = checked.report
        made = report.heatmap.provenance
        what = " · ".join(filter(None, (made.bundle, method_title(made.method), report.heatmap.label, made.layer)))
        self.sentence.say(f"<b>{escape(what)}</b><br>{escape(report.sentence)}")
        found = {check.name: check for check in report.checks}
        for name in CHECKS:
            self._add(name, found.get(name), checked)

    def _add(self, name: str, check: Check | None, checked: Checked) -> None:
        verdict = VERDICT_WORDS[check.verdict] if check else _NOT_RUN
        colour = _COLOURS[check.verdict] if check else _NOT_RUN_COLOUR
        words = (check.sentence, *check.notes) if check else (checked.missing[name],)
        badge = f"<span style='color: {colour}'><b>{verdict}</b></span>"
        self.parts[name] = Note(f"<hr>{badge} {escape(CHECKS[name])}<br>{'<br>'.join(map(escape, words))}")
        self._column.addWidget(self.parts[name])
        if name in checked.pictures:
            self.pictures[name] = Picture(checked.pictures[name])
            self._column.addWidget(self.pictures[name])
