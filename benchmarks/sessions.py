"""A review session of 2,000 cases with 50 findings each, three quarters of them read: opening, resuming, recording.

    python benchmarks/sessions.py [--json result.json]

The floor is what SQLite needs to read the file's events and nothing else.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lesionlens.review import Act, CaseEntry, Finding, Session

N_CASES, N_FINDINGS, N_READ = 2000, 50, 1500
STATISTICS = {
    "volume_mm3": 123.456,
    "probability_mean": 0.8123,
    "probability_max": 0.9876,
    "centroid_ras": [12.345678, -23.456789, 34.567891],
    "centroid_ijk": [101.234567, 93.456789, 84.567891],
    "bbox_ijk": [95, 88, 80, 107, 99, 89],
}


def make(path: Path) -> None:
    """Make the session, and read three quarters of it."""
    findings = tuple(Finding(f"lesion-{n}", "lesion", n, STATISTICS) for n in range(1, N_FINDINGS + 1))
    names = [f"case-{n:04}" for n in range(N_CASES)]
    pins = {"scan": "0" * 64, "regions_lesion.nii.gz": "1" * 64}
    acts = [*(Act("verdict", finding.id, {"verdict": "accept"}) for finding in findings), Act("done")]
    with Session.create(path, [CaseEntry(n, n, f"{n}.nii.gz", f"{n}-results", pins, findings) for n in names]) as made:
        for name in names[:N_READ]:
            made.record("Ann", name, acts)


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


def main(argv: list[str] | None = None) -> None:
    """Measure, print a line for each, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.session")
        found = {"make": seconds(lambda: make(path)), "floor": seconds(lambda: floor(path))}
        found["open"] = seconds(lambda: Session.open(path).close())
        with Session.open(path) as session:
            found["resume"] = seconds(lambda: session.resume("Ann"))
            found["progress"] = seconds(lambda: session.progress("Ann"))
            verdict = Act("verdict", "lesion-1", {"verdict": "reject"})
            found["record"] = seconds(lambda: session.record("Ann", f"case-{N_READ:04}", [verdict]))
        print(f"{N_CASES} cases, {N_CASES * N_FINDINGS} findings, {path.stat().st_size / 2**20:.0f} MiB")
    for name, value in found.items():
        print(f"{name:9} {value:7.3f} s  {value / found['floor']:7.2f} x the floor")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
