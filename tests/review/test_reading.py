"""One reader's way through a session, without a window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lesionlens.errors import InputError, ReadError, SessionError
from lesionlens.review import Act, CaseEntry, Event, Finding, Session
from lesionlens.review.consensus import begin_consensus
from lesionlens.review.marks import EditedVolumes, added, edited, merged, original, split, voxels_of
from lesionlens.review.reading import Reading, seconds_to_verdict
from lesionlens.review.voxels import pack
from lesionlens.volume import Grid

SHAPE = (6, 5, 4)
GRID = Grid(SHAPE, np.diag([2.0, 1.0, 3.0, 1.0]))
LOOK = {"centre_ras": [1.0, 2.0, 3.0], "zoom": 2.5, "plane": "coronal"}


def case(name: str, n: int = 3) -> CaseEntry:
    """Return a case with findings."""
    findings = tuple(Finding(f"lesion-{k}", "lesion", k, {"volume_mm3": 10.0 * k}) for k in range(1, n + 1))
    return CaseEntry(name, name, "scan", "results", {}, findings)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Return a session of three cases."""
    with Session.create(tmp_path / "a.session", [case("a"), case("b", 1), case("c", 0)]) as found:
        yield found


def test_a_reader_goes_through_a_case(session: Session) -> None:
    """Judged findings are left behind, the ends hold, and a case is complete only when it was closed."""
    reading = Reading(session, " Ann ")
    reading.open(reading.first_case())
    assert (reading.reader, reading.finding, reading.finding_after(-1)) == ("Ann", "lesion-1", "lesion-1")

    reading.judge("verdict", "accept")
    assert reading.waiting_after() == "lesion-2"
    reading.finding = "lesion-3"
    reading.judge("verdict", "reject")
    assert reading.finding_after(1) == "lesion-3"
    assert reading.waiting_after() == "lesion-2"
    with pytest.raises(InputError, match="wait"):
        reading.record(Act("done"))
    assert str(reading.progress) == "0/3, 0 flagged"

    reading.finding = "lesion-2"
    reading.judge("verdict", "unsure")
    assert reading.waiting_after() is None
    reading.record(Act("flag", value={"flag": True}))
    reading.record(Act("done"))
    assert str(reading.progress) == "1/3, 1 flagged" == str(session.progress("Ann"))
    assert reading.statuses == session.statuses("Ann")
    assert reading.incomplete_after("a") == "b"
    assert (reading.case_after("a"), reading.case_after("a", -1), reading.case_after("c")) == ("b", None, None)


def test_a_reader_comes_back_to_the_finding_and_the_view(session: Session) -> None:
    """What was looked at last, plane included; without that the first finding that waits."""
    reading = Reading(session, "Ann")
    reading.open("a")
    reading.judge("verdict", "accept")
    reading.open("a")
    assert reading.finding == "lesion-2"
    assert reading.last_view() is None
    reading.record(Act("viewed", "lesion-3", LOOK))

    again = Reading(session, "Ann")
    again.open(again.first_case())

    assert (again.finding, again.last_view()) == ("lesion-3", LOOK)
    assert Reading(session, "Bob").first_case() == "a"


def test_undo_says_which_finding_it_was_about(session: Session) -> None:
    """The window goes there; taken back twice is done again."""
    reading = Reading(session, "Ann")
    reading.open("a")
    reading.judge("verdict", "accept")
    reading.finding = "lesion-3"

    assert reading.undo() == "lesion-1"
    assert reading.state.findings["lesion-1"].verdict is None
    assert reading.undo() is None
    assert reading.undo(again=True) == "lesion-1"
    assert reading.state.findings["lesion-1"].verdict == "accept"
    assert reading.undo(again=True) is None


def test_what_could_not_be_stored_is_not_shown(session: Session) -> None:
    """The reading stays as it was when the session refuses."""
    reading = Reading(session, "Ann")
    reading.open("a")
    with Session.open(session.path) as second:  # this process has it already
        blocked = Reading(second, "Ann")
        blocked.open("a")
        with pytest.raises(SessionError, match="read-only"):
            blocked.judge("verdict", "accept")
        assert blocked.state.findings["lesion-1"].verdict is None
        assert blocked.events == []
    with pytest.raises(InputError, match="name"):
        Reading(session, " ")


def test_findings_are_split_and_merged(session: Session) -> None:
    """Two pieces become findings of their own, and one again; the model's mask is what it was all along."""
    labels = np.zeros(SHAPE, np.uint16)
    labels[0:2, 0:2, 0] = 1
    labels[4:6, 3:5, 3] = 1
    labels[2, 2, 2] = 2
    finding = case("a").findings[0]
    start = original(finding, {"lesion": labels})
    reading = Reading(session, "Ann")
    reading.open("a")

    reading.record(*split("lesion-1", start, reading.new_names(), GRID))

    names = [one.id for one in reading.findings]
    assert names == ["lesion-2", "lesion-3", "reader-1", "reader-2"]
    parts = {name: voxels_of(name, start[:0], reading.events, GRID) for name in ("reader-1", "reader-2")}
    np.testing.assert_array_equal(np.union1d(*parts.values()), start)
    assert reading.volumes_mm3["reader-1"] == 4 * 6
    with pytest.raises(InputError, match="one piece"):
        split("reader-1", parts["reader-1"], reading.new_names(), GRID)

    reading.record(*merged(parts, "reader-3", GRID))
    assert [one.id for one in reading.findings] == ["lesion-2", "lesion-3", "reader-3"]
    np.testing.assert_array_equal(voxels_of("reader-3", start[:0], reading.events, GRID), start)

    reading.undo()
    reading.undo()
    assert [one.id for one in reading.findings] == ["lesion-1", "lesion-2", "lesion-3"]
    assert next(reading.new_names()) == "reader-4"  # names that were used are never used again
    with pytest.raises(ReadError, match="not in the results any more"):
        original(finding, {"lesion": labels * 0})


def test_what_holds_no_voxels_is_neither_split_nor_merged() -> None:
    """A finding that was erased, or none at all where a case has none: a sentence, no crash, nothing recorded."""
    nothing = np.empty(0, np.int64)
    with pytest.raises(InputError, match="lesion-1 holds no voxels"):
        split("lesion-1", nothing, iter("ab"), GRID)
    with pytest.raises(InputError, match="holds no voxels"):
        split("", nothing, iter("ab"), GRID)
    with pytest.raises(InputError, match="lesion-1 and lesion-2 hold no voxels"):
        merged({"lesion-1": nothing, "lesion-2": nothing}, "c", GRID)
    assert len(merged({"lesion-1": nothing, "lesion-2": np.array([4])}, "c", GRID)) == 3


def test_edits_add_up_and_are_taken_back(session: Session) -> None:
    """Strokes that draw and erase, one undone: what is left is what was drawn."""
    start, first, second = np.array([1, 2, 3]), np.array([1, 2, 3, 4, 5]), np.array([4, 5])
    reading = Reading(session, "Ann")
    reading.open("a")
    reading.record(edited("lesion-1", start, first, GRID))
    reading.record(edited("lesion-1", first, second, GRID))
    reading.record(edited("lesion-2", start, second, GRID))
    assert voxels_of("lesion-1", start, reading.events, GRID).tolist() == [4, 5]

    reading.undo()
    reading.undo()

    assert voxels_of("lesion-1", start, reading.events, GRID).tolist() == [1, 2, 3, 4, 5]
    assert voxels_of("lesion-2", start, reading.events, GRID).tolist() == [1, 2, 3]
    assert added("x", second, GRID).mask == pack(second, SHAPE)


def test_the_time_to_a_verdict_counts_from_the_showing() -> None:
    """By hand: 4 s on the first, 10 s on the second with a break of an hour between, and nothing that was not shown."""
    minute = "2026-01-01T10:00:"
    events = [
        (minute + "00+00:00", Act("opened")),
        (minute + "01+00:00", Act("viewed", "a", LOOK)),
        (minute + "03+00:00", Act("viewed", "a", {**LOOK, "zoom": 3.0})),
        (minute + "05+00:00", Act("verdict", "a", {"verdict": "accept"})),
        (minute + "06+00:00", Act("viewed", "b", LOOK)),
        (minute + "10+00:00", Act("confidence", "b", {"confidence": 3})),
        ("2026-01-01T11:00:10+00:00", Act("viewed", "b", {**LOOK, "zoom": 3.0})),
        ("2026-01-01T11:00:16+00:00", Act("verdict", "b", {"verdict": "reject"})),
        ("2026-01-01T11:00:17+00:00", Act("verdict", "c", {"verdict": "reject"})),
    ]

    found = seconds_to_verdict([Event(n, n, at, "Ann", "case", act) for n, (at, act) in enumerate(events, 1)])

    assert found == {"a": 4.0, "b": 10.0}


def test_a_reader_searches_before_the_model_is_shown(tmp_path: Path) -> None:
    """The model's findings come only when that is recorded; what others say comes only when they were revealed."""
    with Session.create(tmp_path / "blind", [case("a", 2)], about={"model_blind": "true"}) as session:
        reading = Reading(session, "Ann")
        reading.open("a")
        assert (reading.model_hidden, reading.findings, reading.finding) == (True, [], "")
        reading.record(added("reader-1", np.array([3]), GRID))
        reading.finding = "reader-1"
        reading.judge("verdict", "accept")
        assert reading.waiting_after() is None

        reading.reveal_model()

        assert not reading.model_hidden
        assert reading.waiting_after() == "lesion-1"
        assert reading.others == {}
        with pytest.raises(InputError, match="cannot be taken back"):
            reading.record(Act("undo", value={"step": reading.events[-1].step}))


def test_what_others_say_is_seen_once_it_may_be(session: Session) -> None:
    """Not while they read, and not before it was recorded that this reader sees it."""
    for name in ("Bob", "Cleo"):
        reading = Reading(session, name)
        reading.open("b")
        reading.finding = "lesion-1"
        reading.judge("verdict", "reject" if name == "Bob" else "accept")
        reading.record(Act("done"))
        assert reading.others == {}

    begin_consensus(session, "b", "Ann", ["Bob", "Cleo"])
    reading = Reading(session, "Ann")
    reading.open("b")

    assert reading.others == {"lesion-1": "Bob: reject, Cleo: accept"}


def test_volumes_follow_strokes_and_undo(session: Session) -> None:
    """The oracle is counting the voxels from the beginning; a stroke alone is counted on, an undo is not."""
    start = {"lesion-1": np.array([1, 2, 3]), "lesion-2": np.array([7, 8])}
    reading = Reading(session, "Ann")
    reading.open("a")
    volumes = EditedVolumes(GRID, lambda name: start.get(name, np.empty(0, np.int64)))
    strokes = (np.array([4, 5]), np.array([2, 4]), np.array([1, 3, 5]))

    def check() -> dict[str, float]:
        found = volumes.of(reading.findings, reading.events)
        for name, mm3 in found.items():
            voxels = voxels_of(name, start.get(name, np.empty(0, np.int64)), reading.events, GRID)
            assert mm3 == len(voxels) * GRID.voxel_volume_mm3
        return found

    assert check() == {}
    for n, stroke in enumerate(strokes):
        reading.record(edited("lesion-1", np.empty(0, np.int64), stroke, GRID))
        assert check()["lesion-1"] == (5, 3, 0)[n] * GRID.voxel_volume_mm3
    reading.record(added("reader-1", np.array([11, 12]), GRID))
    reading.record(edited("reader-1", np.empty(0, np.int64), np.array([12, 13, 14]), GRID))
    assert check()["reader-1"] == 3 * GRID.voxel_volume_mm3
    for left in ("lesion-1", "lesion-1"):
        reading.undo()
        assert left in check()
    for _ in range(3):
        reading.undo()
    assert check() == {}
    reading.undo(again=True)
    assert check()["lesion-1"] == 5 * GRID.voxel_volume_mm3
