"""What each key and button of the dock Review does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from qtpy.QtCore import QObject, Signal

from lesionlens.review import Act, Event
from lesionlens.review.marks import merged, split
from lesionlens.ui.review.drawing import Tool
from lesionlens.ui.review.reviewer import Reviewer

__all__ = ["Actions"]

# What may be done where nothing can be recorded, and what where no case is shown.
_LOOKING = frozenset({"next_finding", "previous_finding", "next_case", "previous_case", "hide"})
_BETWEEN_CASES = frozenset({"next_case", "previous_case"})
# What changes voxels, which are kept as a difference from those of the model.
_DRAWING = frozenset({"brush", "erase", "lasso", "new_finding", "split", "merge"})
# Between the two findings of a merge one may look around; anything else calls it off.
_WHILE_MERGING = frozenset({"merge", "next_finding", "previous_finding", "hide"})


class Actions(QObject):
    """Does what is in the table of keys.

    Parameters
    ----------
    reviewer
        Who stores and shows.

    Attributes
    ----------
    goes_on : bool
        A verdict leads to the next finding that waits.
    text_wanted : Signal(str)
        The reader wants to write: ``"comment"`` or ``"category"``.
    """

    text_wanted = Signal(str)

    def __init__(self, reviewer: Reviewer, parent: QObject) -> None:
        super().__init__(parent)
        self.goes_on = True
        self._reviewer = reviewer
        self._held = ""
        self._does: dict[str, Callable[[], object]] = {
            "next_finding": partial(self._step, 1),
            "previous_finding": partial(self._step, -1),
            "hide": self._hide,
            "comment": partial(self.text_wanted.emit, "comment"),
            "category": partial(self.text_wanted.emit, "category"),
            "brush": partial(self._use, "paint"),
            "erase": partial(self._use, "erase"),
            "lasso": partial(self._use, "polygon"),
            "measure": partial(self._use, "add_line"),
            "new_finding": self._begin_new,
            "split": self._split,
            "merge": self._merge,
            "undo": partial(self._undo, again=False),
            "redo": partial(self._undo, again=True),
            "flag": self._flag,
            "done": self._done,
            "next_case": partial(self._step_case, 1),
            "previous_case": partial(self._step_case, -1),
            "save_again": reviewer.flush,
            **{word: partial(self._judge, word) for word in ("accept", "reject", "unsure")},
            **{f"confidence_{n}": partial(reviewer.say, "confidence", n) for n in range(1, 6)},
        }

    def allowed(self, action: str) -> bool:
        """Say whether an action can be done now."""
        reviewer = self._reviewer
        if reviewer.reading is None or (reviewer.read_only and action not in _LOOKING):
            return False
        if action in _DRAWING and reviewer.outlines_changed:
            return False
        return reviewer.ready or action in _BETWEEN_CASES

    def do(self, action: str) -> None:
        """Do what a key or a button says, or say why not."""
        reviewer = self._reviewer
        if self.allowed(action):
            if action not in _WHILE_MERGING:
                self._held = ""
            self._does[action]()
        elif reviewer.reading is not None and reviewer.read_only:
            reviewer.noted.emit("This session is read-only here: nothing was recorded.")
        elif reviewer.ready and action in _DRAWING:
            reviewer.noted.emit("The model's regions are not those of the session; restore them before you draw.")

    def _judge(self, word: str) -> None:
        reviewer = self._reviewer
        if not reviewer.say("verdict", word) or not self.goes_on:
            return
        following = reviewer.at.waiting_after()
        if following is None:
            reviewer.noted.emit("Every finding of this case has a verdict: close the case when you are done.")
        else:
            reviewer.go_to(following)

    def _step(self, by: int) -> None:
        at = self._reviewer.at
        following = at.finding_after(by)
        if self._reviewer.drawing_new:
            following = at.finding or following  # back to the finding before the one that was not drawn
        elif following == at.finding:
            self._reviewer.noted.emit(f"This is the {'last' if by > 0 else 'first'} finding of the case.")
        if following:
            self._reviewer.go_to(following)

    def _step_case(self, by: int) -> None:
        reviewer = self._reviewer
        case = reviewer.at.case_after(reviewer.case, by)
        if case is None:
            reviewer.noted.emit(f"This is the {'last' if by > 0 else 'first'} case.")
        else:
            reviewer.open_case(case)

    def _use(self, tool: Tool | Literal["add_line"]) -> None:
        if self._reviewer.view is not None:
            self._reviewer.view.use(tool)
            self._reviewer.changed.emit()

    def _hide(self) -> None:
        if self._reviewer.view is not None:
            self._reviewer.view.hide_overlays()
            self._reviewer.changed.emit()

    def _begin_new(self) -> None:
        reviewer = self._reviewer
        if reviewer.view is None or not reviewer.flush():
            return
        reviewer.drawing_new = True
        reviewer.view.begin_new()
        if reviewer.view.drawing.tool not in ("paint", "polygon"):
            reviewer.view.use("paint")
        reviewer.noted.emit("Draw the new finding; its first stroke makes it.")
        reviewer.changed.emit()

    def _split(self) -> None:
        reviewer, at = self._reviewer, self._reviewer.at
        if reviewer.view is None or reviewer.drawing_new or not reviewer.flush():
            return
        voxels, grid = reviewer.view.voxels, reviewer.view.volume.grid
        before = at.finding
        if reviewer.store(lambda: at.record(*split(before, voxels, at.new_names(), grid)), f"{before}: split"):
            reviewer.go_to(at.state.findings[before].replaced_by[0])

    def _merge(self) -> None:
        """Hold the finding the first time, merge the held one with the one that is looked at the second time."""
        reviewer, at = self._reviewer, self._reviewer.at
        if reviewer.view is None or reviewer.drawing_new or not at.finding or not reviewer.flush():
            return
        first, self._held = self._held, ""
        if not first:
            self._held = at.finding
            reviewer.noted.emit(f"Merge {at.finding}: go to the other finding in the list and press the key again.")
        elif first == at.finding:
            reviewer.noted.emit("Nothing was merged.")
        else:
            name = next(at.new_names())
            parts = {one: reviewer.view.voxels_of(one, at.events) for one in (first, at.finding)}
            grid = reviewer.view.volume.grid
            if reviewer.store(lambda: at.record(*merged(parts, name, grid)), f"{first} and {at.finding}: merged"):
                reviewer.go_to(name)

    def _undo(self, *, again: bool) -> None:
        reviewer = self._reviewer
        if not reviewer.flush():
            return
        reviewer.drawing_new = False
        before = len(reviewer.at.events)
        found: list[str | None] = []

        def act() -> Event | None:
            found.append(reviewer.at.undo(again=again))
            return None if found[0] is None else reviewer.at.events[-1]

        if not reviewer.store(act, "done again" if again else "taken back"):
            return
        if len(reviewer.at.events) == before:
            reviewer.noted.emit(f"There is nothing to {'do again' if again else 'take back'} in this case.")
        elif found[0]:
            reviewer.go_to(found[0])
        else:
            reviewer.refresh()

    def _flag(self) -> None:
        at = self._reviewer.at
        flag = not at.state.flagged
        act = Act("flag", value={"flag": flag})
        self._reviewer.store(lambda: at.record(act), "case flagged" if flag else "flag taken away")

    def _done(self) -> None:
        reviewer, at = self._reviewer, self._reviewer.at
        if not reviewer.flush():
            return
        waiting = [finding.id for finding in at.findings if finding.id in at.state.open]
        if at.model_hidden and not waiting:
            reviewer.show_model()
            return
        if waiting:
            n = f"{len(waiting)} findings wait" if len(waiting) > 1 else "One finding waits"
            reviewer.go_to(waiting[0])
            reviewer.noted.emit(f"{n} for a verdict before the case can be closed.")
            return
        if at.state.status != "complete" and not reviewer.store(lambda: at.record(Act("done")), "case closed"):
            return
        following = at.incomplete_after(reviewer.case)
        if following is None:
            reviewer.noted.emit("All cases are complete. Thank you.")
        else:
            reviewer.open_case(following)
