"""Stores what a reader writes: when they press Enter, and before what they began goes out of sight for good."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lesionlens.review import Act

if TYPE_CHECKING:
    from lesionlens.ui.review.panel import JudgingPanel, Kind
    from lesionlens.ui.review.recorder import Recorder

__all__ = ["keep_words", "say_words"]


def say_words(panel: JudgingPanel, reviewer: Recorder, kind: Kind, text: str) -> None:
    """Store what was written about the finding that is shown, and free its field once it is stored."""
    if reviewer.say(kind, text):
        panel.kept(kind)


def keep_words(panel: JudgingPanel, reviewer: Recorder) -> bool:
    """Store what was begun at findings of the open case as Enter does; say whether all of it is stored.

    What could not be stored stays where it was written.
    """
    if reviewer.reading is None or reviewer.read_only:
        return True
    for finding, kind, text in panel.begun():
        act = Act(kind, finding, {"text" if kind == "comment" else kind: text})
        words = f"{finding}: {kind} kept as it stood"
        if not reviewer.store(partial(reviewer.at.record, act), words):
            return False
        panel.forget(finding, kind)
    return True
