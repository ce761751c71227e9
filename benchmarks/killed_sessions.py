"""A program that records decisions is killed at random moments, hundreds of times: what was acknowledged must be there.

    python benchmarks/killed_sessions.py [--kills 300] [--seed 0] [--window]

A step is two events. After each kill the session is opened again: every step that the program has printed is there,
whole, and of those that it has not printed at most the last one.

With ``--window`` the program is the viewer with the dock Review (needs a display): keys are pressed, comments are
written and strokes are drawn (``review_window.py``). Every line that the screen has acknowledged is in the session as
it was said, strokes voxel by voxel, and no more than one decision is there that it has not come to acknowledge.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from lesionlens.io import read
from lesionlens.review import CaseEntry, Finding, Session
from lesionlens.review.masks import apply_mask

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
LONGEST_SECONDS_IN_WINDOW = 3.0
# Looking and opening is recorded too, and not acknowledged.
DECISIONS = ("verdict", "confidence", "comment", "flag", "edit", "added", "undo")


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


def kill_window(path: Path, seed: int, rng: random.Random) -> list[dict[str, Any]]:
    """Run the window in a fork of this process, which has loaded napari already, kill it, and return what it said."""
    import review_window

    ours, its = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(its, 1)
        try:
            review_window.read_on(path, seed)
        finally:
            os._exit(1)
    os.close(its)
    with os.fdopen(ours) as said:
        if said.readline() != "ready\n":
            raise SystemExit("the window did not come up")
        time.sleep(rng.uniform(0, LONGEST_SECONDS_IN_WINDOW))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return [json.loads(line) for line in said if line.endswith("\n")]


def check_window(path: Path, before: int, said: list[dict[str, Any]]) -> tuple[int, int]:
    """Compare what the screen said since event number ``before`` with the session; return its last event and extras."""
    import review_window

    with Session.open(path) as session:
        events = session.events()
        folder = path.parent / session.case(events[0].case).results
    labels = np.asarray(read(folder / "regions_lesion.nii.gz").array)
    stored = {event.id: event for event in events}
    for line in said:
        event = stored.get(line["id"])
        if event is None:
            raise SystemExit(f"lost: {line}")
        if (event.act.kind, event.act.finding, dict(event.act.value)) != (line["kind"], line["finding"], line["value"]):
            raise SystemExit(f"not what was said: {line}, {event}")
        if "seen" in line and review_window.digest(mask_at(events, event, labels)) != line["seen"]:
            raise SystemExit(f"not the voxels that were seen: {line}")
    new = {event.id for event in events if event.id > before and event.act.kind in DECISIONS}
    extra = new - {line["id"] for line in said}
    if len(extra) > 1 or (extra and max(extra) < max(new)):
        raise SystemExit(f"invented: {[stored[n] for n in sorted(extra)]}")
    return max(stored), len(extra)


def mask_at(events: list[Any], last: Any, labels: Any) -> Any:
    """Return the voxels of a finding as they were after an event, by whole masks: not in the way of the window."""
    known = [event for event in events if event.id <= last.id]
    undone: set[int] = set()
    for event in reversed(known):
        if event.act.kind == "undo" and event.step not in undone:
            undone.add(event.act.value["step"])
    own = [event for event in known if event.act.finding == last.act.finding and event.step not in undone]
    start = labels == int(last.act.finding.rsplit("-", 1)[1])
    return reduce(apply_mask, (event.act.mask for event in own if event.act.mask), start)


def kill_windows(kills: int, seed: int, folder: Path) -> str:
    """Kill the window again and again on one session, and say what came of it."""
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]
    import review_window  # noqa: F401 - loaded once, before the forks

    from review_cases import blobs, make_session

    rng = random.Random(seed)
    path = make_session(folder, blobs(12))
    last, n_said, n_extra = 0, 0, 0
    for kill in range(kills):
        said = kill_window(path, seed + kill, rng)
        last, extra = check_window(path, last, said)
        n_said, n_extra = n_said + len(said), n_extra + extra
    return f"{kills} kills of the window: {n_said} decisions acknowledged, all there; {n_extra} stored, not yet said"


def main(argv: list[str] | None = None) -> None:
    """Kill, look, and go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window", action="store_true")
    options = parser.parse_args(argv)
    if options.window:
        with tempfile.TemporaryDirectory() as folder:
            print(kill_windows(options.kills, options.seed, Path(folder)))
        return
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
