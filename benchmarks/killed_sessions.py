"""A program that records decisions is killed at random moments, hundreds of times: what was acknowledged must be there.

    python benchmarks/killed_sessions.py [--kills 300] [--seed 0]

A step is two events. After each kill the session is opened again: every step that the program has printed is there,
whole, and of those that it has not printed at most the last one.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lesionlens.review import CaseEntry, Finding, Session

WRITER = """
import sys
from lesionlens.review import Act, Session
session = Session.open(sys.argv[1])
number = int(sys.argv[2])
print("open", flush=True)
while True:
    number += 1
    session.record("Ann", "case", [Act("comment", "lesion-1", {"text": f"{number} {part}"}) for part in "ab"])
    print(number, flush=True)
"""
# Long enough for the program to be anywhere in its loop.
LONGEST_SECONDS = 0.05


def kill_once(path: Path, known: int, rng: random.Random) -> list[int]:
    """Run the program, kill it, and return the steps that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(known)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, LONGEST_SECONDS))
        process.kill()
        return [int(line) for line in process.stdout.read().split()]


def steps_of(path: Path) -> list[int]:
    """Return the steps of a session; stop where one is not whole."""
    with Session.open(path) as session:
        texts = [event.act.value["text"] for event in session.events()]
    steps = [int(text.split()[0]) for text in texts[::2]]
    if texts != [f"{step} {part}" for step in steps for part in "ab"]:
        raise SystemExit("a step is not whole")
    return steps


def main(argv: list[str] | None = None) -> None:
    """Kill, look, and go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    rng = random.Random(options.seed)
    acknowledged: set[int] = set()
    extra = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "killed.session")
        finding = Finding("lesion-1", "lesion", 1, {})
        Session.create(path, [CaseEntry("case", "case", "scan", "results", {}, (finding,))]).close()
        known = 0
        for kill in range(options.kills):
            new = kill_once(path, known, rng)
            acknowledged |= set(new)
            steps = steps_of(path)
            if not acknowledged <= set(steps):
                raise SystemExit(f"lost after kill {kill}: {sorted(acknowledged - set(steps))}")
            found = [step for step in steps if step > known]
            if len(found) - len(new) not in (0, 1):
                raise SystemExit(f"invented after kill {kill}: {found} of {new}")
            extra += len(found) - len(new)
            known = steps[-1] if steps else 0
    print(f"{options.kills} kills: {len(acknowledged)} steps acknowledged, all there; {extra} stored, not yet said")


if __name__ == "__main__":
    main()
