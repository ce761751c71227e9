"""A session as one of its readers may see it: what is made of the whole tells nothing of what they read blind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lesionlens.handover import write_export
from lesionlens.report.review import agreement_words
from lesionlens.review import Act, CaseEntry, Finding, Session
from lesionlens.review.agreement import session_agreement
from lesionlens.review.blinding import reveal
from lesionlens.review.seen import open_as
from lesionlens.review.voxels import pack

NAMES = ("lesion-1", "lesion-2")
SECRET = "the left one is a vessel"


def say(session: Session, reader: str, case: str, words: tuple[str, ...]) -> None:
    """Let a reader judge a case; close it where every finding was judged."""
    acts = [Act("verdict", name, {"verdict": word}) for name, word in zip(NAMES, words, strict=False)]
    session.record(reader, case, [*acts, *([Act("done")] if len(words) == len(NAMES) else [])])


def make(path: Path, *, model_blind: bool = False) -> Path:
    """Make a session of two cases of which Ann has closed both, Bob the first; he has begun the second."""
    findings = tuple(Finding(name, "lesion", n, {"volume_mm3": 77.5}) for n, name in enumerate(NAMES, start=1))
    entries = [CaseEntry(name, name, "", "", {}, findings) for name in ("a", "b")]
    with Session.create(path, entries, about={"model_blind": "true"} if model_blind else None) as session:
        if model_blind:
            return path
        session.record("Ann", "a", [Act("comment", "lesion-1", {"text": SECRET})])
        for case in ("a", "b"):
            say(session, "Ann", case, ("reject", "unsure"))
        say(session, "Bob", "a", ("accept", "accept"))
        say(session, "Bob", "b", ("accept",))
    return path


def exported(path: Path, reader: str, folder: Path) -> str:
    """Return all text that an export for a reader holds."""
    folder.mkdir()
    with open_as(path, reader) as session:
        write_export(session, folder, masks=False)
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.iterdir()))


def test_whoever_reads_blind_gets_nothing_of_others(tmp_path: Path) -> None:
    """Pressing *Compare readers* after each verdict told whether the other one had said the same."""
    path = make(tmp_path / "s")

    with open_as(path, "Bob") as session:
        found = session_agreement(session)
        said = "\n".join(agreement_words(found))
    text = exported(path, "Bob", tmp_path / "out")

    assert found.readers == ("Bob",)
    assert "Ann" not in said
    assert "Bob" in text
    assert all(word not in text for word in ("Ann", SECRET, "reject", "unsure"))


def test_what_was_revealed_is_seen_in_that_case_alone(tmp_path: Path) -> None:
    """Bob was shown what Ann said of the first case, and still reads the second."""
    path = make(tmp_path / "s")
    with Session.open(path) as session:
        reveal(session, "a", "Bob", ["Ann"])

    with open_as(path, "Bob") as session:
        assert session.readers == ("Ann", "Bob")
        assert session.cases_of("Ann") == ("a",)
        assert {event.case for event in session.events(reader="Ann")} == {"a"}
        assert session.events("b", "Ann") == []
        assert session.state("b", "Ann").findings["lesion-1"].verdict is None


def test_whoever_has_closed_every_case_waits_for_the_others(tmp_path: Path) -> None:
    """Ann is through; what Bob has closed she may see, what he still reads nobody may."""
    path = make(tmp_path / "s")

    with open_as(path, "Ann") as session:
        assert session.finished
        assert session.cases_of("Bob") == ("a",)
        assert session.cases_of("Ann") == ("a", "b")


def test_whoever_has_closed_every_case_sees_all(tmp_path: Path) -> None:
    """Nothing is left to be read blind: figures are those of the whole session."""
    path = make(tmp_path / "s")
    with Session.open(path) as session:
        session.record("Bob", "b", [Act("verdict", "lesion-2", {"verdict": "unsure"}), Act("done")])
        whole, events = session_agreement(session), session.events()

    with open_as(path, "Bob") as session:
        assert session.events() == events
        assert agreement_words(session_agreement(session)) == agreement_words(whole)
    with open_as(path, "Cleo") as session:  # who has read nothing
        assert session.events() == []
        assert session.readers == ()


@pytest.mark.parametrize("shown", [False, True])
def test_the_model_stays_hidden_until_it_is_revealed(tmp_path: Path, shown: bool) -> None:
    """In a session that is blind to the model even the number of its findings would tell."""
    path = make(tmp_path / "s", model_blind=True)
    with Session.open(path) as session:
        session.record("Bob", "a", [Act("added", "mine-1", {"statistics": {}}, pack(np.array([1, 2]), (3, 3, 3)))])
        if shown:
            reveal(session, "a", "Bob", ["model"])

    with open_as(path, "Bob") as session:
        assert list(session.state("a", "Bob").findings) == ([*NAMES, "mine-1"] if shown else ["mine-1"])
        assert session.shows_model("a") is shown
        assert session.case("b").findings == ()
    assert ("lesion-2" in exported(path, "Bob", tmp_path / "out")) is shown
