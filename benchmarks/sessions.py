"""A review session of 2,000 cases with 50 findings each, three quarters of them read: opening, resuming, recording.

    python benchmarks/sessions.py [--json result.json]

Every finding was looked at and judged, one in ten was edited. The floor is what SQLite needs to read the file's events
and nothing else. ``open`` is what ``lesionlens review open`` does with the session before the first scan is read, and
``status`` the command of that name; ``copy``
is ``open`` after an event, which copies the file. The scans and results of the cases are not there: no file is hashed.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import lesionlens.report.console  # noqa: F401 - loaded before anything is measured
from lesionlens.cli.review import review_status
from lesionlens.review import Act, CaseEntry, Event, Finding, Session
from lesionlens.review.file import recognise
from lesionlens.review.reading import Reading

N_CASES, N_FINDINGS, N_READ = 2000, 50, 1500
# One finding in so many was edited, with a stroke of so many bytes.
EDITED, STROKE_BYTES = 10, 400
STATISTICS = {
    "volume_mm3": 123.456,
    "probability_mean": 0.8123,
    "probability_max": 0.9876,
    "centroid_ras": [12.345678, -23.456789, 34.567891],
    "centroid_ijk": [101.234567, 93.456789, 84.567891],
    "bbox_ijk": [95, 88, 80, 107, 99, 89],
}
VIEW = {"centre_ras": [12.345678912, -23.456789123, 34.567891234], "zoom": 5.678912345, "plane": "axial"}


def acts(findings: tuple[Finding, ...], rng: random.Random) -> Iterator[Act]:
    """Yield what a reader does in a case."""
    yield Act("opened")
    for n, finding in enumerate(findings):
        yield Act("viewed", finding.id, VIEW)
        if n % EDITED == 0:
            yield Act("edit", finding.id, {}, rng.randbytes(STROKE_BYTES))
        yield Act("verdict", finding.id, {"verdict": "accept"})
    yield Act("done")


def make(path: Path) -> None:
    """Make the session, with three quarters of it read."""
    rng = random.Random(0)
    findings = tuple(Finding(f"lesion-{n}", "lesion", n, STATISTICS) for n in range(1, N_FINDINGS + 1))
    names = [f"case-{n:04}" for n in range(N_CASES)]
    pins = {"scan": "0" * 64, "regions_lesion.nii.gz": "1" * 64}
    done = [(name, act) for name in names[:N_READ] for act in acts(findings, rng)]
    at = "2026-08-01T12:00:00.000+00:00"
    events = [Event(n, n, at, "Ann", name, act, f"{n:032x}") for n, (name, act) in enumerate(done, start=1)]
    cases = [CaseEntry(n, n, f"{n}.nii.gz", f"{n}-results", pins, findings) for n in names]
    Session.create(path, cases, events=events).close()


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def floor(path: Path) -> None:
    """Read all events with nothing but SQLite."""
    connection = sqlite3.connect(path)
    connection.execute("SELECT * FROM events").fetchall()
    connection.close()


def check(path: Path) -> None:
    """Let SQLite look at every page and index."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()


def go_on(path: Path) -> None:
    """Open a session where its reader stopped, as the window does."""
    recognise(path)
    with Session.open(path) as session:
        reading = Reading(session, "Ann")
        reading.open(reading.first_case())


def status(path: Path) -> None:
    """Run ``lesionlens review status``, and let nobody see what it says; packages are there already."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        review_status(path)


def main(argv: list[str] | None = None) -> None:
    """Measure, print a line for each, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.session")
        found = {"make": seconds(lambda: make(path)), "floor": seconds(lambda: floor(path))}
        found |= {"check": seconds(lambda: check(path)), "open": seconds(lambda: go_on(path))}
        with Session.open(path) as session:
            found["resume"] = seconds(lambda: session.resume("Ann"))
            found["progress"] = seconds(lambda: session.progress("Ann"))
            verdict = Act("verdict", "lesion-1", {"verdict": "reject"})
            found["record"] = seconds(lambda: session.record("Ann", f"case-{N_READ:04}", [verdict]))
        found["status"] = seconds(lambda: status(path))
        found["copy"] = seconds(lambda: go_on(path))
        print(f"{N_CASES} cases, {N_CASES * N_FINDINGS} findings, {path.stat().st_size / 2**20:.0f} MiB")
    for name, value in found.items():
        print(f"{name:9} {value:7.3f} s  {value / found['floor']:7.2f} x the floor")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
