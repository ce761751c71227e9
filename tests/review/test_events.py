"""Events and what they come to, against a model that keeps whole states."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlens.errors import InputError
from lesionlens.review import Act, CaseState, Event, fold, reading_seconds
from lesionlens.review.events import VERDICTS, counting, last_step, last_undo

FINDINGS = ("lesion-1", "lesion-2")


def verdict(finding: str, word: str = "accept") -> Act:
    """Return a verdict."""
    return Act("verdict", finding, {"verdict": word})


def stored(steps: list[list[Act]], *, every: float = 1.0) -> list[Event]:
    """Return acts numbered as a session does, one step each ``every`` seconds."""
    events: list[Event] = []
    for n, acts in enumerate(steps):
        first = len(events) + 1
        at = f"2026-01-01T00:{int(n * every) // 60:02}:{(n * every) % 60:06.3f}+00:00"
        events += [Event(first + k, first, at, "A", "case", act) for k, act in enumerate(acts)]
    return events


def undo(step: int) -> list[Act]:
    """Return the undoing of a step."""
    return [Act("undo", value={"step": step})]


def test_the_last_verdict_counts() -> None:
    """A reader may change their mind; the trail keeps both."""
    events = stored([[verdict("lesion-1")], [verdict("lesion-1", "reject")]])

    assert fold(FINDINGS, events).findings["lesion-1"].verdict == "reject"
    assert fold(FINDINGS, events).open == ("lesion-2",)


def test_a_case_is_complete_only_when_said_and_judged() -> None:
    """All verdicts without 'done', or 'done' and then one taken back: partly."""
    judged = [[verdict("lesion-1")], [verdict("lesion-2")]]

    assert fold(FINDINGS, []).status == "untouched"
    assert fold(FINDINGS, stored(judged)).status == "partly"
    assert fold(FINDINGS, stored([*judged, [Act("done")]])).status == "complete"
    assert fold(FINDINGS, stored([*judged, [Act("done")], undo(2)])).status == "partly"
    assert fold(FINDINGS, stored([*judged, [Act("done")], undo(3)])).status == "partly"


def test_a_finding_added_after_the_end_opens_the_case_again() -> None:
    """It waits for a verdict, and the reader for another 'done'."""
    added = Act("added", "mine-1", {"statistics": {}}, b"mask")
    steps = [[verdict("lesion-1")], [verdict("lesion-2")], [Act("done")], [added]]

    assert fold(FINDINGS, stored(steps)).open == ("mine-1",)
    assert fold(FINDINGS, stored([*steps, [verdict("mine-1")]])).status == "partly"
    assert fold(FINDINGS, stored([*steps, [verdict("mine-1")], [Act("done")]])).status == "complete"


def test_a_split_is_one_step() -> None:
    """Both parts and the end of the old finding come and go together."""
    parts = [Act("added", name, {"statistics": {}}, b"mask") for name in ("mine-1", "mine-2")]
    steps = [[*parts, Act("split", "lesion-1", {"into": ["mine-1", "mine-2"]})]]

    assert fold(FINDINGS, stored(steps)).open == ("lesion-2", "mine-1", "mine-2")
    assert fold(FINDINGS, stored([*steps, undo(1)])).open == FINDINGS


def test_looking_is_no_decision() -> None:
    """An undo takes back what was decided, not where somebody looked; a case that was only opened is untouched."""
    look = Act("viewed", "lesion-1", {"centre_ras": [1.0, 2.0, 3.0], "zoom": 2.0})
    events = stored([[Act("opened")], [verdict("lesion-1")], [look]])

    assert last_step(events) == 2
    assert fold(FINDINGS, events).view == ("lesion-1", (1.0, 2.0, 3.0), 2.0)
    assert fold(FINDINGS, stored([[Act("opened")], [look]])).status == "untouched"
    assert last_step(stored([[Act("opened")], [look]])) is None


def test_time_leaves_breaks_out() -> None:
    """Seconds between events add up; a night at home, and the time until a case is opened again, do not."""
    acts = [[Act("opened")], [verdict("lesion-1")], [verdict("lesion-2")]]
    assert reading_seconds(stored(acts, every=7)) == pytest.approx(14)
    assert reading_seconds(stored([*acts, [Act("opened")], [Act("done")]], every=7)) == pytest.approx(21)
    assert reading_seconds(stored(acts, every=301)) == 0


@pytest.mark.parametrize(
    ("kind", "finding", "value", "mask", "message"),
    [
        ("verdict", "lesion-1", {"verdict": "maybe"}, b"", "accept, reject, unsure"),
        ("verdict", "", {"verdict": "accept"}, b"", "about one finding"),
        ("done", "lesion-1", {}, b"", "about the case"),
        ("confidence", "lesion-1", {"confidence": 6}, b"", "1 to 5"),
        ("confidence", "lesion-1", {"confidence": True}, b"", "wrong type"),
        ("comment", "lesion-1", {}, b"", "text"),
        ("edit", "lesion-1", {}, b"", "Voxels"),
        ("verdict", "lesion-1", {"verdict": "accept"}, b"x", "Voxels"),
        ("maybe", "lesion-1", {}, b"", "one of"),
    ],
)
def test_what_makes_no_sense_is_no_event(kind: Any, finding: str, value: Any, mask: bytes, message: str) -> None:
    """Whatever writes to a session, its events can be read."""
    with pytest.raises(InputError, match=message):
        Act(kind, finding, value, mask)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from(["undo", "redo"]), st.tuples(st.sampled_from(FINDINGS), st.sampled_from(VERDICTS)))
    )
)
def test_undo_and_redo_are_those_of_two_stacks(actions: list[Any]) -> None:
    """Any row of verdicts, undos and redos leaves what a program with two stacks would show."""
    events: list[Event] = []
    done: list[tuple[int, Act]] = []
    undone: list[tuple[int, Act]] = []

    def store(act: Act) -> int:
        number = len(events) + 1
        events.append(Event(number, number, "2026-01-01T00:00:00+00:00", "A", "case", act))
        return number

    for action in actions:
        if action == "undo":
            step = last_step(events)
            assert step == (done[-1][0] if done else None)
            if step is not None:
                store(*undo(step))
                undone.append(done.pop())
        elif action == "redo":
            step = last_undo(events)
            assert (step is None) == (not undone)
            if step is not None:
                store(*undo(step))
                done.append(undone.pop())
        else:
            act = verdict(*action)
            done.append((store(act), act))
            undone.clear()

    expected: dict[str, str | None] = dict.fromkeys(FINDINGS)
    for _, act in done:
        expected[act.finding] = act.value["verdict"]
    state: CaseState = fold(FINDINGS, events)
    assert {name: finding.verdict for name, finding in state.findings.items()} == expected
    assert len(counting(events)) == len(done)
