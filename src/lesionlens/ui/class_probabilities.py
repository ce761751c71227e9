"""What a classification bundle says about the whole scan."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from qtpy.QtWidgets import QLabel, QWidget

__all__ = ["ClassProbabilities"]


class ClassProbabilities(QLabel):
    """Class names and probabilities, hidden while there are none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.show_probabilities({})

    def show_probabilities(self, probabilities: Mapping[str, float]) -> None:
        """Show the probability of each class, in [0, 1], in the order of the bundle."""
        rows = "".join(
            f"<tr><td>{escape(name)}&nbsp;&nbsp;</td><td align='right'>{value:.1%}</td></tr>"
            for name, value in probabilities.items()
        )
        self.setText(f"<b>Class probabilities</b><table>{rows}</table>" if rows else "")
        self.setVisible(bool(rows))
