"""Blinded reads and consensus: nobody sees what they must not, what was seen is recorded, and decisions stay apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lesionlens.errors import InputError, SessionError
from lesionlens.review import Act, CaseEntry, Finding, Session
from lesionlens.review.agreement import MODEL, session_agreement
from lesionlens.review.blinding import (
    blinded_state,
    mode,
    reveal,
    side_by_side,
    visible_events,
    visible_findings,
    waited_for,
)
from lesionlens.review.consensus import adopt, begin_consensus
from lesionlens.review.drawn import final_voxels
from lesionlens.review.voxels import pack

SHAPE = (6, 5, 4)
NAMES = ("lesion-1", "lesion-2", "lesion-3")
MODEL_VOXELS = {name: np.arange(10 * n, 10 * n + 5) for n, name in enumerate(NAMES)}


def verdict(finding: str, word: str = "accept") -> Act:
    """Return a verdict."""
    return Act("verdict", finding, {"verdict": word})


def drawn(name: str, first: int, last: int) -> Act:
    """Return a finding that a reader draws: the voxels from one number to before another."""
    return Act("added", name, {"statistics": {}}, pack(np.arange(first, last), SHAPE))


def new_session(path: Path, *, model_blind: bool = False) -> Session:
    """Make a session of two cases."""
    findings = tuple(Finding(name, "lesion", n, {}) for n, name in enumerate(NAMES, start=1))
    entries = [CaseEntry(name, name, "", "", {}, findings) for name in ("a", "b")]
    return Session.create(path, entries, about={"model_blind": "true"} if model_blind else None)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Yield a session in which Ann has closed case a."""
    with new_session(tmp_path / "s") as found:
        found.record("Ann", "a", [verdict("lesion-1"), verdict("lesion-2", "reject"), verdict("lesion-3")])
        found.record("Ann", "a", [drawn("mine-1", 60, 70), verdict("mine-1")])
        found.record("Ann", "a", [Act("edit", "lesion-3", {}, pack(np.arange(25, 28), SHAPE))])
        found.record("Ann", "a", [Act("done")])
        yield found


def read_by_bob(session: Session) -> None:
    """Let Bob read case a: he rejects the third, and draws Ann's lesion a little smaller, and one of his own."""
    session.record("Bob", "a", [verdict("lesion-1"), verdict("lesion-2", "reject"), verdict("lesion-3")])
    session.record("Bob", "a", [drawn("mine-1", 100, 110), verdict("mine-1")])
    session.record("Bob", "a", [drawn("mine-2", 62, 70), verdict("mine-2"), Act("done")])


def test_a_second_reader_sees_nothing_of_the_first_until_finished(session: Session) -> None:
    """Not before they begin, since they may still read; not in the middle; after both are done, with a record of it."""
    session.record("Bob", "a", [verdict("lesion-1", "reject")])
    assert {event.reader for event in visible_events(session, "a", "Bob")} == {"Bob"}
    with pytest.raises(InputError, match="reads it blinded"):
        reveal(session, "a", "Bob", ["Ann"])
    with pytest.raises(InputError, match="'Bob' has not finished"):
        reveal(session, "a", "Cleo", ["Ann", "Bob"])
    assert waited_for(session, "a", ["Ann", "Bob"]) == ("Bob",)
    assert side_by_side(session, "a", "Bob")[0].others == {}

    session.record("Bob", "a", [verdict("lesion-2"), verdict("lesion-3"), Act("done")])
    reveal(session, "a", "Bob", ["Ann"])

    assert {event.reader for event in visible_events(session, "a", "Bob")} == {"Ann", "Bob"}
    assert {event.reader for event in visible_events(session, "a", "Ann")} == {"Ann"}
    assert session.events("a", "Bob")[-1].act == Act("revealed", value={"readers": ["Ann"]})
    assert mode(session, "a", "Bob") == "consensus"
    assert mode(session, "a", "Ann") == "independent"


def test_what_was_seen_stays_seen(session: Session) -> None:
    """An undo takes the last decision back, never the looking; a second look is recorded once."""
    read_by_bob(session)
    reveal(session, "a", "Bob", ["Ann"])
    step = session.events("a", "Bob")[-1].step
    with pytest.raises(InputError, match="cannot be taken back"):
        session.record("Bob", "a", [Act("undo", value={"step": step})])
    assert session.undo("Bob", "a") is not None
    assert session.state("a", "Bob").revealed == ("Ann",)

    before = len(session.events())
    reveal(session, "a", "Bob", ["Ann"])
    assert len(session.events()) == before


@pytest.mark.parametrize(
    ("of", "message"), [(["Cleo"], "Nobody called 'Cleo'"), (["Dora"], "Nobody called 'Dora'"), ([], "nobody")]
)
def test_only_others_are_revealed(session: Session, of: list[str], message: str) -> None:
    """Neither oneself, nor who does not read, nor nobody."""
    with pytest.raises(InputError, match=message):
        reveal(session, "a", "Cleo", of)


def test_nothing_is_shown_that_could_not_be_recorded(session: Session) -> None:
    """The record is what keeps a read blind: without it nobody looks."""
    with Session.open(session.path, read_only=True) as other, pytest.raises(SessionError, match="read-only"):
        reveal(other, "a", "Cleo", ["Ann"])


def test_a_consensus_begins_with_what_all_agree_on(session: Session) -> None:
    """Agreed verdicts are filled in; edited findings, and what one reader alone drew, wait."""
    read_by_bob(session)

    state = begin_consensus(session, "a", "Cleo", ["Ann", "Bob"])

    assert {name: finding.verdict for name, finding in state.findings.items()} == {
        "lesion-1": "accept", "lesion-2": "reject", "lesion-3": None, "ann-mine-1": "accept", "bob-mine-1": None
    }  # fmt: skip
    assert state.open == ("lesion-3", "bob-mine-1")
    voxels = final_voxels(MODEL_VOXELS, session.events("a", "Cleo"), SHAPE)[1]
    assert voxels["ann-mine-1"].tolist() == list(range(60, 70))
    rows = {row.id: row for row in side_by_side(session, "a", "Cleo") if not row.drawn_by}
    assert {name: found.verdict for name, found in rows["lesion-1"].others.items() if found} == {
        "Ann": "accept", "Bob": "accept"
    }  # fmt: skip
    with pytest.raises(InputError, match="wait for a verdict"):
        session.record("Cleo", "a", [Act("done")])

    session.undo("Cleo", "a")  # all that was filled in goes at once, the looking stays
    assert session.state("a", "Cleo").open == NAMES
    assert begin_consensus(session, "a", "Cleo", ["Ann", "Bob"]).open == NAMES


def test_a_consensus_may_begin_empty(session: Session) -> None:
    """Without filling in, what readers drew is there to be judged, and no verdict is."""
    read_by_bob(session)

    state = begin_consensus(session, "a", "Cleo", ["Ann", "Bob"], prefill=False)

    assert state.open == (*NAMES, "ann-mine-1", "bob-mine-1")


def test_voxels_of_a_reader_are_adopted_and_given_back(session: Session) -> None:
    """The consensus takes Ann's outline of the third lesion, then the model's; both are edits of the consensus."""
    read_by_bob(session)
    with pytest.raises(InputError, match="not shown"):
        adopt(session, "a", "Cleo", "lesion-3", "Ann")
    begin_consensus(session, "a", "Cleo", ["Ann", "Bob"])

    def voxels() -> list[int]:
        return final_voxels(MODEL_VOXELS, session.events("a", "Cleo"), SHAPE)[1]["lesion-3"].tolist()

    adopt(session, "a", "Cleo", "lesion-3", "Ann")
    assert voxels() == list(range(20, 28))
    before = len(session.events())
    adopt(session, "a", "Cleo", "lesion-3", "Ann")
    assert len(session.events()) == before
    adopt(session, "a", "Cleo", "lesion-3", MODEL)
    assert voxels() == list(range(20, 25))


def test_what_is_decided_together_is_no_reading_of_ones_own(session: Session) -> None:
    """Bob changes his mind after he saw Ann: their agreement is that of before, and the consensus stands beside."""
    read_by_bob(session)
    reveal(session, "a", "Bob", ["Ann"])
    session.record("Bob", "a", [verdict("lesion-2")])

    found = session_agreement(session)

    assert blinded_state(session, "a", "Bob").findings["lesion-2"].verdict == "reject"
    assert (found.readers, found.consensus) == (("Ann", "Bob"), ("Bob (consensus)",))
    shares = {(pair.first, pair.second): pair.share for pair in found.pairs}
    assert shares["Ann", "Bob"] == 1
    assert shares["Bob (consensus)", "Ann"] == pytest.approx(2 / 3)
    assert shares["Bob", MODEL] == pytest.approx(2 / 3)
    assert shares["Bob (consensus)", MODEL] == 1


def test_a_session_may_hide_the_model(tmp_path: Path) -> None:
    """A reader marks what they find; the model's findings come after that, and are judged then."""
    with new_session(tmp_path / "blind", model_blind=True) as session:
        assert visible_findings(session, "a", "Ann") == ()
        with pytest.raises(InputError, match="reveal it first"):
            session.record("Ann", "a", [verdict("lesion-1")])
        session.record("Ann", "a", [drawn("mine-1", 60, 70), verdict("mine-1")])
        assert [row.id for row in side_by_side(session, "a", "Ann")] == ["mine-1"]
        reveal(session, "a", "Ann", [MODEL])
        assert [finding.id for finding in visible_findings(session, "a", "Ann")] == list(NAMES)
        session.record("Ann", "a", [*map(verdict, NAMES), Act("done")])
        assert mode(session, "a", "Ann") == "independent"
        assert visible_findings(session, "a", "Cleo") == ()
        begin_consensus(session, "a", "Cleo", ["Ann"])
        assert len(visible_findings(session, "a", "Cleo")) == 3


def test_a_finding_is_split_and_merged_into_findings_that_exist(session: Session) -> None:
    """A finding that went into nothing would be gone without a trace."""
    for act in (
        Act("split", "lesion-1", {"into": ["mine-8", "mine-9"]}),
        Act("split", "lesion-1", {"into": []}),
        Act("merged", "lesion-1", {"into": "mine-9"}),
        Act("merged", "lesion-1", {"into": "lesion-1"}),
    ):
        with pytest.raises(InputError, match="into other findings that exist"):
            session.record("Bob", "b", [act])
    session.record("Bob", "b", [Act("merged", "lesion-1", {"into": "lesion-2"}), verdict("lesion-2")])
    session.record("Bob", "b", [drawn("p", 20, 22), drawn("q", 22, 25), Act("split", "lesion-3", {"into": ["p", "q"]})])
    assert session.state("b", "Bob").open == ("p", "q")
