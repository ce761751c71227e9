"""Session files: what was acknowledged stays, whatever ends the process; what was refused was never there."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lesionlens.errors import InputError, OutputError, ReadError, SessionError
from lesionlens.review import Act, CaseEntry, Finding, Session
from lesionlens.review.backups import BACKUPS
from lesionlens.review.file import check

N_FINDINGS = 3


def entry(name: str = "case-1", n: int = N_FINDINGS) -> CaseEntry:
    """Return a case with findings."""
    findings = tuple(Finding(f"lesion-{k + 1}", "lesion", k + 1, {"volume_mm3": 10.0 - k}) for k in range(n))
    return CaseEntry(name, name.title(), f"{name}.nii.gz", f"{name}-results", {"scan": "ab" * 32}, findings)


def verdict(finding: str, word: str = "accept") -> Act:
    """Return a verdict."""
    return Act("verdict", finding, {"verdict": word})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a session of two cases."""
    target = tmp_path / "reading.session"
    Session.create(target, [entry("case-1"), entry("case-2")], title="Trial").close()
    return target


def test_what_was_recorded_is_there_when_it_is_opened_again(path: Path) -> None:
    """Every field of every event, and the cases as they were put in."""
    mask = bytes(range(256))
    acts = [Act("added", "mine-1", {"statistics": {"volume_mm3": 1.5}}, mask), verdict("mine-1", "unsure")]
    with Session.open(path) as session:
        events = session.record("Ann", "case-1", acts)

    with Session.open(path) as session:
        assert tuple(session.events("case-1")) == events
        assert session.case("case-1") == entry("case-1")
        assert session.case_ids == ("case-1", "case-2")
        assert session.about["title"] == "Trial"
        assert session.readers == ("Ann",)
        assert session.state("case-1", "Ann").findings["mine-1"].verdict == "unsure"
        assert session.events("case-2") == []


def test_readers_do_not_see_each_other(path: Path) -> None:
    """A second read is blind: one reader's verdicts and undo do not touch those of the other."""
    with Session.open(path) as session:
        session.record("Ann", "case-1", [verdict("lesion-1", "accept")])
        session.record("Bob", "case-1", [verdict("lesion-1", "reject")])
        session.undo("Bob", "case-1")

        assert session.state("case-1", "Ann").findings["lesion-1"].verdict == "accept"
        assert session.state("case-1", "Bob").findings["lesion-1"].verdict is None


def test_a_step_is_stored_whole_or_not_at_all(path: Path) -> None:
    """The second act of a step is about nothing: the first is not there either."""
    with Session.open(path) as session:
        with pytest.raises(InputError, match="lesion-9"):
            session.record("Ann", "case-1", [verdict("lesion-1"), verdict("lesion-9")])

        assert session.events() == []


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (Act("done"), "wait for a verdict"),
        (Act("added", "lesion-1", {"statistics": {}}, b"x"), "already"),
        (Act("undo", value={"step": 7}), "no step 7"),
        (Act("verdict", "lesion-9", {"verdict": "accept"}), "no finding 'lesion-9'.*lesionlens review show"),
    ],
)
def test_acts_that_do_not_fit_the_state_are_refused(path: Path, act: Act, message: str) -> None:
    """A case with open findings is not closed, and nothing is undone that was not done."""
    with Session.open(path) as session, pytest.raises(InputError, match=message):
        session.record("Ann", "case-1", [act])


def test_progress_counts_complete_cases_only(path: Path) -> None:
    """One case judged and closed, one begun and flagged."""
    with Session.open(path) as session:
        session.record("Ann", "case-1", [verdict(f"lesion-{n + 1}") for n in range(N_FINDINGS)])
        assert str(session.progress("Ann")) == "0/2, 0 flagged"
        session.record("Ann", "case-1", [Act("done")])
        session.record("Ann", "case-2", [verdict("lesion-1"), Act("flag", value={"flag": True})])

        assert str(session.progress("Ann")) == "1/2, 1 flagged"
        assert session.progress("Ann").partly == 1
        assert session.progress("Bob").untouched == 2


def test_statuses_are_those_of_the_states(path: Path) -> None:
    """What is read off the last events is what all events come to: closed, opened again, flagged, undone, looked at."""
    judged = [verdict(f"lesion-{n + 1}") for n in range(N_FINDINGS)]
    more = Act("added", "mine-1", {"statistics": {}}, b"x")
    look = Act("viewed", "", {"centre_ras": [0.0, 0.0, 0.0], "zoom": 1.0})
    steps: dict[str, list[list[Act]]] = {
        "closed": [[*judged, Act("done")]],
        "looked at": [[*judged, Act("done")], [look], [Act("opened")]],
        "opened again": [[*judged, Act("done")], [more]],
        "flagged": [[*judged, Act("done")], [Act("flag", value={"flag": True})]],
        "changed": [[*judged, Act("done")], [verdict("lesion-1", "reject")]],
        "only opened": [[Act("opened")]],
        "undone": [[*judged, Act("done")], []],
    }
    with Session.create(path.with_name("many"), [entry(name) for name in steps]) as session:
        for case, rows in steps.items():
            for acts in rows:
                session.record("Ann", case, acts)
        session.undo("Ann", "undone")

        found = session.statuses("Ann")

        states = {case: session.state(case, "Ann") for case in steps}
        assert found == {case: (state.status, state.flagged) for case, state in states.items()}
        assert [status for status, _ in found.values()] == [
            "complete", "complete", "partly", "complete", "complete", "untouched", "untouched"
        ]  # fmt: skip


def standings_of(path: Path, statement: str = "") -> list[tuple[object, ...]]:
    """Return what is kept about how far readers are; first do something to it as no session does."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement or "SELECT 1")
        return connection.execute("SELECT reader, case_id, status, last_event FROM standing ORDER BY 2").fetchall()


@pytest.mark.parametrize(
    "statement", ["DELETE FROM standing", "UPDATE standing SET status = 'untouched', last_event = last_event - 1"]
)
def test_what_is_kept_beside_the_events_never_outdoes_them(path: Path, statement: str) -> None:
    """A standing that is missing, or older than the last event, is worked out from the events, and kept anew."""
    judged = [verdict(f"lesion-{n + 1}") for n in range(N_FINDINGS)]
    with Session.open(path) as session:
        session.record("Ann", "case-1", [*judged, Act("done")])
        session.record("Ann", "case-2", [verdict("lesion-1")])
    assert standings_of(path) == [("Ann", "case-1", "complete", 4), ("Ann", "case-2", "partly", 5)]
    standings_of(path, statement)

    with Session.open(path) as session:
        assert session.statuses("Ann") == {"case-1": ("complete", False), "case-2": ("partly", False)}
        resumed = session.resume("Ann")
        assert resumed is not None
        assert resumed[0] == "case-2"
        session.record("Ann", "case-2", [verdict("lesion-2")])
        events = session.events()

    assert ("Ann", "case-2", "partly", 6) in standings_of(path)
    with Session.create(path.with_name("again"), [entry("case-1"), entry("case-2")], events=events):
        assert [row[2] for row in standings_of(path.with_name("again"))] == ["complete", "partly"]


def test_how_far_a_reader_is_asks_for_no_events(path: Path) -> None:
    """The status of thousands of cases is read without unpacking what was done in them."""
    with Session.open(path) as session:
        session.record("Ann", "case-1", [verdict("lesion-1")])
    asked: list[str] = []
    with Session.open(path) as session:
        session._connection.set_trace_callback(asked.append)
        session.statuses("Ann")

    assert len(asked) == 1


def test_a_reader_goes_on_where_they_stopped(path: Path) -> None:
    """The case of the last event with its view; when it is complete the next one; at the end nothing."""
    look = Act("viewed", "lesion-2", {"centre_ras": [1.5, 2.0, -3.0], "zoom": 4.0})
    with Session.open(path) as session:
        session.record("Ann", "case-2", [verdict("lesion-1"), look])

    with Session.open(path) as session:
        found = session.resume("Ann")
        assert found is not None
        assert (found[0], found[1].view) == ("case-2", ("lesion-2", (1.5, 2.0, -3.0), 4.0))
        for case in ("case-2", "case-1"):
            assert session.resume("Ann") is not None
            session.record("Ann", case, [verdict(f"lesion-{n + 1}") for n in range(N_FINDINGS)])
            session.record("Ann", case, [Act("done")])
        assert session.resume("Ann") is None


def test_events_cannot_be_changed_or_removed_by_any_program(path: Path) -> None:
    """Not even by one that opens the file as what it is."""
    with Session.open(path) as session:
        session.record("Ann", "case-1", [verdict("lesion-1")])
    connection = sqlite3.connect(path)
    for statement in ("DELETE FROM events", "UPDATE events SET reader = 'Bob'"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            connection.execute(statement)
    connection.close()


def test_a_link_leads_to_the_same_session(path: Path, tmp_path: Path) -> None:
    """Two names of one file are one session: who opens it by the other name may not write beside the first."""
    link = tmp_path / "elsewhere" / "link.session"
    link.parent.mkdir()
    link.symlink_to(path)

    with Session.open(path) as session:
        session.record("Ann", "case-1", [verdict("lesion-1")])
        with Session.open(link) as other:
            assert other.read_only
            assert other.events() == session.events()
    with Session.open(link) as other:
        assert not other.read_only


def test_a_second_process_reads_only(path: Path) -> None:
    """It sees what the first has recorded so far, is told that it cannot write, and later can."""
    code = (
        "import sys\nfrom lesionlens.review import Act, Session\n"
        "session = Session.open(sys.argv[1])\n"
        "print(session.read_only, len(session.events()), flush=True)\n"
        "try:\n    session.record('Bob', 'case-1', [Act('opened')])\n"
        "except OSError as error:\n    print(error)\n"
    )
    with Session.open(path) as session:
        session.record("Ann", "case-1", [verdict("lesion-1")])
        out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
        assert out.splitlines()[0] == "True 1"
        assert "read-only" in out
        assert len(session.events()) == 1

    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["False 1"]


WRITER = """
import sys
from lesionlens.review import Act, Session
session = Session.open(sys.argv[1])
number = len(session.events())
while True:
    number += 1
    acts = [Act("comment", "lesion-1", {"text": f"{number} {part}"}) for part in "ab"]
    session.record("Ann", "case-1", acts)
    print(number, flush=True)
"""


def test_every_acknowledged_decision_survives_a_kill_and_none_is_invented(path: Path) -> None:
    """The process is killed in the middle of writing, again and again (longer: benchmarks/killed_sessions.py)."""
    rng = random.Random(0)
    acknowledged: list[int] = []
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        acknowledged.append(int(process.stdout.readline()))
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        acknowledged += [int(line) for line in process.stdout.read().split()]
        process.wait()
        process.stdout.close()

        with Session.open(path) as session:
            texts = [event.act.value["text"] for event in session.events()]
        numbers = [int(text.split()[0]) for text in texts[::2]]
        assert texts == [f"{number} {part}" for number in numbers for part in "ab"]  # steps are whole
        assert set(acknowledged) <= set(numbers)
        assert len(numbers) - len(acknowledged) <= len({*numbers} - {*acknowledged}) <= 12  # at most one more per kill


def test_a_full_disk_is_said_and_loses_nothing(path: Path) -> None:
    """SQLite's own limit of pages stands for the disk: what did not fit is not there, and it goes on after."""
    with Session.open(path) as session:
        session.record("Ann", "case-1", [verdict("lesion-1")])
        (pages,) = session._connection.execute("PRAGMA page_count").fetchone()
        session._connection.execute(f"PRAGMA max_page_count = {pages + 4}")
        big = Act("added", "mine-1", {"statistics": {}}, random.Random(0).randbytes(100_000))

        with pytest.raises(SessionError, match="full"):
            session.record("Ann", "case-1", [verdict("lesion-2"), big])
        assert len(session.events()) == 1

        session._connection.execute("PRAGMA max_page_count = 1000000")
        session.record("Ann", "case-1", [verdict("lesion-2"), big])
        assert len(session.events()) == 3


def test_copies_are_kept_and_named_when_the_file_is_damaged(path: Path) -> None:
    """The newest copy holds what was there at the last opening; a damaged session says where the copies are."""
    for n in range(BACKUPS + 2):
        with Session.open(path) as session:
            session.record("Ann", "case-1", [Act("comment", "lesion-1", {"text": str(n)})])
    copies = sorted(path.parent.glob("*.backup-*"))
    assert len(copies) == BACKUPS
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)

    with pytest.raises(ReadError, match=r"damaged.*reading.session.backup-1"):
        Session.open(path)

    copies[0].replace(path)
    with Session.open(path) as session:
        assert [event.act.value["text"] for event in session.events()] == [str(n) for n in range(BACKUPS + 1)]


def test_other_files_are_no_sessions(tmp_path: Path, path: Path) -> None:
    """Missing, a text, another database, a newer version: each is named, and none is changed."""
    with pytest.raises(ReadError, match="no session"):
        Session.open(tmp_path / "missing")
    (tmp_path / "text").write_text("a text\n" * 1000)
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE events (id)")
    other.commit()
    other.close()
    for name in ("text", "other"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ReadError, match=r"is no LesionLens session.*choose a file that"):
            Session.open(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ReadError, match="newer"):
        Session.open(path)


def test_a_session_is_made_whole_or_not_at_all(tmp_path: Path, path: Path) -> None:
    """An existing file is kept, and one that cannot be filled does not appear."""
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        Session.create(path, [entry()])
    assert path.read_bytes() == before
    twins = CaseEntry("a", "a", "a", "a", {}, (entry().findings[0],) * 2)
    for cases, message in (([], "none"), ([entry(), entry()], "twice"), ([twins], "'a' do not")):
        with pytest.raises(InputError, match=message):
            Session.create(tmp_path / "new", cases)
    assert list(tmp_path.glob("*new*")) == []


def test_a_name_is_needed_to_record(path: Path) -> None:
    """Decisions of nobody are of no use."""
    with Session.open(path) as session, pytest.raises(InputError, match="name"):
        session.record(" ", "case-1", [verdict("lesion-1")])


CRAMPED = """
import resource, signal, sys
from lesionlens.review import Act, Session
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
session = Session.open(sys.argv[1])
session.record("Ann", "case-1", [Act("verdict", "lesion-1", {"verdict": "accept"})])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
big = Act("added", "mine-1", {"statistics": {}}, bytes(200_000))
try:
    session.record("Ann", "case-1", [Act("verdict", "lesion-2", {"verdict": "reject"}), big])
except OSError as error:
    print(type(error).__name__, error)
print(len(session.events()))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
session.record("Ann", "case-1", [Act("verdict", "lesion-3", {"verdict": "unsure"})])
print(len(session.events()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are those of POSIX")
def test_a_write_that_the_system_refuses_is_said_and_loses_nothing(path: Path) -> None:
    """The system itself stops the file from growing in the middle of a step; after it there is room again."""
    done = subprocess.run([sys.executable, "-c", CRAMPED, str(path)], capture_output=True, text=True, check=True)

    said, first, second = done.stdout.splitlines()
    assert said.startswith("SessionError Nothing was recorded in reading.session")
    assert (first, second) == ("1", "2")
    with Session.open(path) as session:
        state = session.state("case-1", "Ann")
        assert [state.findings[f"lesion-{n}"].verdict for n in (1, 2, 3)] == ["accept", None, "unsure"]


def test_what_cannot_be_read_now_is_not_called_damaged(path: Path) -> None:
    """A full disk or a lost network drive says nothing about the content; nobody shall throw a whole session away."""

    class Refusing:
        def execute(self, _query: str) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
            raise error

    with pytest.raises(ReadError, match=r"cannot be read now: disk I/O error.*make room"):
        check(Refusing(), path)  # type: ignore[arg-type]  # the part of a connection that is asked


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a disk of 256 kB, or skip: only the administrator of a Linux machine may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("disks can only be mounted by the administrator of a Linux machine")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_or_read_only(small_disk: Path, path: Path) -> None:
    """A real one: a full disk is said, what was acknowledged is there; read-only, the session is shown and no more."""
    target = small_disk / "reading.session"
    shutil.copy(path, target)
    noise = random.Random(0)
    with Session.open(target) as session:
        n = 0

        def fill() -> None:
            nonlocal n
            while True:
                added = Act("added", f"mine-{n}", {"statistics": {}}, noise.randbytes(20_000))
                session.record("Ann", "case-1", [added, verdict(f"mine-{n}")])
                n += 1

        with pytest.raises(SessionError, match=r"Nothing was recorded.*full"):
            fill()
        assert 0 < n < 20
        assert len(session.state("case-1", "Ann").findings) == N_FINDINGS + n
    with pytest.raises(OutputError, match=r"cannot be copied.*Make room"):
        Session.open(target)
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    with Session.open(target) as session:
        assert len(session.state("case-1", "Ann").findings) == N_FINDINGS + n

    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Session.open(target) as session:
        assert session.read_only
        assert len(session.state("case-1", "Ann").findings) == N_FINDINGS + n
        with pytest.raises(SessionError, match="read-only"):
            session.record("Ann", "case-1", [verdict("lesion-1")])
    with pytest.raises(OutputError, match="new"):
        Session.create(small_disk / "new", [entry()])
