"""Portable sessions: nothing that leads to a patient leaves, and copies come together as if they had been one."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lesionlens.batch import verify
from lesionlens.errors import InputError, ReadError
from lesionlens.review import Act, CaseEntry, Finding, Session, fold
from lesionlens.review.copies import merge, read_copy
from lesionlens.review.portable import Copy, copy_of, events_of, to_bytes

PINS = {"scan": "ab" * 32, "weights": "cd" * 32, "regions_lesion.nii.gz": "ef" * 32}


def entry(case: str, n: int = 2, **changes: Any) -> CaseEntry:
    """Return a case with findings."""
    findings = tuple(Finding(f"lesion-{k}", "lesion", k, {"volume_mm3": 0.1 * k}) for k in range(1, n + 1))
    facts = {"name": case, "scan": f"{case}.nii.gz", "results": f"{case}-results", **changes}
    return CaseEntry(case, pins=PINS, findings=findings, **facts)


def verdict(finding: str, word: str = "accept") -> Act:
    """Return a verdict."""
    return Act("verdict", finding, {"verdict": word})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a session of two cases in which much was done."""
    target = tmp_path / "trial.session"
    with Session.create(target, [entry("case-001"), entry("case-002")], title="Trial") as session:
        mask = bytes(range(256))
        session.record("Ann", "case-001", [verdict("lesion-1"), Act("confidence", "lesion-1", {"confidence": 3})])
        session.record("Bob", "case-001", [verdict("lesion-1", "reject")])
        session.record("Ann", "case-001", [Act("added", "mine-1", {"statistics": {"volume_mm3": 1.5}}, mask)])
        session.undo("Ann", "case-001")
        session.redo("Ann", "case-001")
        session.record("Ann", "case-001", [Act("edit", "lesion-2", {}, mask), verdict("lesion-2", "unsure")])
        session.record("Bob", "case-002", [Act("comment", "lesion-1", {"text": "größer, 3/4 der Läsion"})])
        session.undo("Bob", "case-001")
    return target


def imported(copy: Copy, path: Path) -> Session:
    """Make a session of a copy."""
    return Session.create(path, copy.cases, about=copy.about, events=events_of(copy))


def test_export_import_export_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    """Through a file and a session elsewhere and back; and what readers decided is the same there."""
    with Session.open(path) as session:
        first = to_bytes(copy_of(session))
        states = {(c, r): session.state(c, r) for c in session.case_ids for r in session.readers}
    (tmp_path / "handed.json").write_bytes(first)

    with imported(read_copy(tmp_path / "handed.json"), tmp_path / "elsewhere.session") as session:
        assert to_bytes(copy_of(session)) == first
        assert {(c, r): session.state(c, r) for c in session.case_ids for r in session.readers} == states
        assert [event.id for event in session.events()] == list(range(1, 11))
        session.record("Ann", "case-002", [verdict("lesion-1")])  # and it goes on
        assert session.undo("Ann", "case-002") == 11


def test_nothing_of_a_patient_is_in_the_file(tmp_path: Path) -> None:
    """A name in every place where one may come along: paths, names of cases, the title, what readers wrote; a UID."""
    uid = "1.2.826.0.1.3680043.8.498.12345678"
    cases = [
        entry("case-001", name="Mustermann, Erika", scan=f"/data/Mustermann_Erika/{uid}", results="out/erika-results"),
        entry("case-002", name="case-002", scan="/data/x/other.nii.gz", results="out/other-results"),
    ]
    with Session.create(tmp_path / "Mustermann.session", cases, title="Follow-up of Mustermann") as session:
        paths = ["in /data/Mustermann_Erika/x.nii", r"at C:\pacs\7\m"]
        for text in ("Erika M. has more", f"see {uid}", *paths, "MÜSTERMANN?"):
            session.record("Dr. Ann", "case-001", [Act("comment", "lesion-1", {"text": text})])
        session.record("Dr. Ann", "case-001", [Act("category", "lesion-1", {"category": "like mustermann's"})])
        statistics = {"note": ["of Erika", {"uid": uid}], "volume_mm3": 2}
        session.record("Dr. Ann", "case-001", [Act("added", "mine-1", {"statistics": statistics}, b"x")])
        text = to_bytes(copy_of(session)).decode()

    for planted in ("erika", "mustermann", "/data", "results", "pacs", uid, uid[:12], "other"):
        assert planted not in text.casefold(), planted
    assert "Dr. Ann" in text
    assert "has more" in text
    assert text.count("[removed]") >= 5


def test_what_readers_say_about_images_stays(tmp_path: Path) -> None:
    """Words that all cases or all files have in common name nobody; fractions and either/or are no paths."""
    cases = [entry(f"case-{n}", name=f"vessel {n}", scan=f"/d/scan_{n}/brain.nii.gz") for n in ("001", "002")]
    said = "vessel and/or gliosis in 3/4 of the brain, 12/11 mm, left scan"
    with Session.create(tmp_path / "s", cases) as session:
        session.record("Ann", "case-001", [Act("comment", "lesion-1", {"text": said})])
        copy = copy_of(session)

    assert copy.steps[0].acts[0][1].value["text"] == said


def test_cases_named_by_somebody_become_numbers(tmp_path: Path) -> None:
    """A name given in Python may be a patient's; the same numbers come out of every copy."""
    with Session.create(tmp_path / "s", [entry("Smith"), entry("Jones")]) as session:
        session.record("Ann", "Jones", [verdict("lesion-1")])
        copy = copy_of(session)

    assert [case.id for case in copy.cases] == ["case-001", "case-002"]
    assert copy.steps[0].case == "case-002"
    assert "smith" not in to_bytes(copy).decode().casefold()


@pytest.fixture
def copies(path: Path, tmp_path: Path) -> list[Copy]:
    """Return three copies of one session, in each of which another reader went on."""
    with Session.open(path) as session:
        common = copy_of(session)
    found = [common]
    for reader in ("Ann", "Cleo"):
        with imported(common, tmp_path / f"{reader}.session") as session:
            session.record(reader, "case-002", [verdict("lesion-1")])
            session.record(reader, "case-002", [verdict("lesion-2", "reject"), Act("flag", value={"flag": True})])
            session.undo(reader, "case-002")
            found.append(copy_of(session))
    return found


def test_merging_is_a_union_in_any_order(copies: list[Copy], tmp_path: Path) -> None:
    """Every event once, readers as they were in their own copies; the order of the copies does not matter."""
    merged, conflicts = merge(copies)

    assert conflicts == ()
    uids = [uid for step in merged.steps for uid, _ in step.acts]
    assert len(uids) == len(set(uids)) == 10 + 4 + 4
    for order in random.Random(0).sample([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)], 6):
        assert merge([copies[n] for n in order])[0].steps == merged.steps
    assert merge([merged, *copies])[0].steps == merged.steps
    assert merge([merged])[0].steps == merged.steps
    with imported(merged, tmp_path / "merged.session") as session:
        for reader in ("Ann", "Cleo"):
            state = session.state("case-002", reader)
            assert [state.findings[f"lesion-{n}"].verdict for n in (1, 2)] == ["accept", None]
            assert not state.flagged
        assert session.state("case-001", "Ann").findings["lesion-2"].verdict == "unsure"


def of_reader(copy: Copy, reader: str) -> Sequence[str]:
    """Return the names of a reader's steps in their order."""
    return [step.uid for step in copy.steps if step.reader == reader]


def test_the_order_of_a_reader_is_kept_though_a_clock_was_wrong(copies: list[Copy]) -> None:
    """Steps of Cleo whose times run backwards stay in the order in which they were recorded."""
    common, ann, cleo = copies
    late = [
        replace(step, at=f"2020-01-0{9 - n}T00:00:00+00:00") if step.reader == "Cleo" else step
        for n, step in enumerate(s for s in cleo.steps)
    ]
    wrong = replace(cleo, steps=tuple(late))

    merged, _ = merge([ann, wrong])

    assert of_reader(merged, "Cleo") == of_reader(wrong, "Cleo")
    assert of_reader(merged, "Ann") == of_reader(ann, "Ann")
    assert len(merged.steps) == len(common.steps) + 3 + 3


def test_a_reader_who_went_on_in_two_copies_is_reported(copies: list[Copy], tmp_path: Path) -> None:
    """By name, with what each copy says; both are kept, and the later decision counts."""
    common = copies[0]
    found = []
    for name, word in (("first", "accept"), ("second", "reject")):
        with imported(common, tmp_path / name) as session:
            session.record("Bob", "case-002", [verdict("lesion-1", word), verdict("lesion-2")])
            session.record("Bob", "case-002", [Act("added", "mine-7", {"statistics": {}}, b"x")])
            found.append(copy_of(session))

    merged, conflicts = merge(found)

    assert [(c.reader, c.case, c.finding, c.what) for c in conflicts] == [
        ("Bob", "case-002", "lesion-1", "verdict"),
        ("Bob", "case-002", "mine-7", "the finding itself"),
    ]
    assert conflicts[0].found == {"first": "accept", "second": "reject"}
    assert "Bob, case-002, lesion-1: verdict is accept in first, reject in second" in str(conflicts[0])
    events = [event for event in events_of(merged) if (event.reader, event.case) == ("Bob", "case-002")]
    assert fold(["lesion-1", "lesion-2"], events).findings["lesion-1"].verdict == "reject"


def test_only_copies_of_one_session_are_merged(copies: list[Copy], tmp_path: Path) -> None:
    """Another session, other results, an event that somebody changed: refused by name."""
    with Session.create(tmp_path / "other", [entry("case-001"), entry("case-002")]) as session:
        other = copy_of(session)
    with pytest.raises(InputError, match="other is not a copy"):
        merge([copies[0], other])
    cases = (replace(copies[0].cases[0], pins={"scan": "0"}), *copies[0].cases[1:])
    with pytest.raises(InputError, match="differ: case-001"):
        merge([copies[0], replace(copies[0], cases=cases)])
    step = copies[0].steps[1]
    changed = replace(step, acts=((step.uid, verdict("lesion-1", "accept")),))
    steps = (copies[0].steps[0], changed, *copies[0].steps[2:])
    with pytest.raises(InputError, match="'Bob' in 'case-001'"):
        merge([copies[0], replace(copies[0], steps=steps)])
    with pytest.raises(InputError, match="different orders"):
        merge([copies[0], replace(copies[0], steps=copies[0].steps[::-1])])
    with pytest.raises(InputError, match="nothing to merge"):
        merge([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema_version=99), "version 99"),
        (lambda d: d.pop("steps"), "steps"),
        (lambda d: d["session"].update(uid=""), "uid"),
        (lambda d: d["steps"][0]["acts"][0].update(kind="nonsense"), "nonsense"),
        (lambda d: d["steps"][0]["acts"][0]["value"].update(verdict="maybe"), "maybe"),
        (lambda d: d["steps"][0].update(case="case-999"), "case-999"),
        (lambda d: d["steps"][0]["acts"][0].update(uid=d["steps"][1]["acts"][0]["uid"]), "names of their own"),
        (lambda d: d["steps"][3]["acts"][0]["value"].update(step="nothing"), "nothing"),
        (lambda d: d["steps"][2]["acts"][0].update(mask="%%"), "portable"),
        (lambda d: d["steps"][0].update(acts=[]), "empty"),
        (lambda d: d["steps"][0].update(reader=7), "text"),
    ],
)
def test_a_damaged_copy_is_refused(path: Path, tmp_path: Path, change: Any, message: str) -> None:
    """Files come from elsewhere; what cannot be read is said, and nothing is made of a part."""
    with Session.open(path) as session:
        document = json.loads(to_bytes(copy_of(session)))
    document.pop("seal")
    change(document)
    (tmp_path / "copy.json").write_text(json.dumps(document))

    with pytest.raises(ReadError, match=message):
        read_copy(tmp_path / "copy.json")


def test_a_changed_byte_of_a_copy_is_found(path: Path, tmp_path: Path) -> None:
    """Verdicts that nobody gave must not be merged; copies of older versions carry no seal and are read."""
    with Session.open(path) as session:
        copy, content = copy_of(session), to_bytes(copy_of(session))
    file = tmp_path / "copy.json"
    file.write_bytes(content)
    assert verify(file).right
    for place in (5, len(content) // 2, content.index(b'"accept"') + 2, len(content) - 10, len(content) - 1):
        file.write_bytes(content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :])
        assert not verify(file).right, place
        with pytest.raises(ReadError, match=r"copy\.json"):
            read_copy(file)

    file.write_bytes(content.replace(b'"accept"', b'"reject"', 1))
    with pytest.raises(ReadError, match="has changed since it was written; ask for the copy again"):
        read_copy(file)
    file.write_bytes(content[: content.rindex(b',\n"seal"')] + b"\n}\n")
    assert replace(read_copy(file), name="") == replace(copy, name="")


def test_other_files_are_no_copies(path: Path, tmp_path: Path) -> None:
    """A text, a list, nothing; a session file itself is one."""
    for name, content in (("text", "a text"), ("list", "[1]"), ("deep", "[" * 100_000)):
        (tmp_path / name).write_text(content)
        with pytest.raises(ReadError, match="no portable session"):
            read_copy(tmp_path / name)
    with pytest.raises(ReadError, match="cannot be read"):
        read_copy(tmp_path / "missing")
    with Session.open(path) as session:
        expected = copy_of(session)
    assert read_copy(path) == expected
