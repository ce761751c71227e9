"""A batch is killed at random moments, again and again: what is finished is whole, and the end is as without kills.

    python benchmarks/killed_batches.py [--kills 30] [--cases 4] [--seed 0]

The same batch is begun, killed (SIGKILL) somewhere between its start and its end, and begun again. After each kill
every case that is there is whole: each of its files has the hash that its record holds, and those finished before
have not been touched. When all cases are done, or after so many kills, the batch is left to end; every file but the
records, which hold times, is equal byte by byte to those of a batch that nobody killed. Then a new round begins.

Each process is forked from one that has loaded all that a batch loads, so that it is killed at its work, not while it
loads programs; that needs Linux or macOS. When it is killed follows how long the work takes: a moment that came too
late brings the next ones forward.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from batch_cases import write_scans, write_voxelwise  # noqa: E402 - the tests' helpers are beside the tests
from lesionlens.batch import verify  # noqa: E402 - likewise
from lesionlens.cli import main as command  # noqa: E402 - likewise

# By how much the time in which a process is killed shrinks when one ended before, and grows when one was killed: one of
# six ends before its kill, and the last steps of a batch are met as well.
_SHRINK, _GROW = 0.8, 1.05

# The records of a run hold times; case.json is sealed over its record's hash.
_WITH_TIMES = ("record.json", "case.json")


class Batch:
    """A batch of small cases that can be begun, killed and looked at."""

    def __init__(self, folder: Path, cases: int) -> None:
        self.seconds = 0.0
        self._scans = write_scans(folder / "scans", {f"c{n}": 2.0 + n for n in range(cases)})
        self._bundle = write_voxelwise(folder / "bundle")
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(_loaded(self._words(folder / "loading"), folder / "programs.json"))

    def _words(self, out: Path) -> list[str]:
        words = ["batch", str(self._scans), "--bundle", str(self._bundle), "--trust", "--layer", "0", "-q"]
        return [*words, "--out", str(out)]

    def begin(self, out: Path) -> multiprocessing.process.BaseProcess:
        """Begin it, or go on."""
        process = self._processes.Process(target=do, args=(self._words(out),))
        process.start()
        return process

    def end(self, out: Path) -> None:
        """Let it end; it is seen how long that takes."""
        start = time.perf_counter()
        process = self.begin(out)
        process.join()
        if process.exitcode:
            raise SystemExit("the batch failed")
        self.seconds = time.perf_counter() - start


def _loaded(words: list[str], note: Path) -> list[str]:
    """Return the modules that a command loads, in their order."""
    process = multiprocessing.get_context("spawn").Process(target=do, args=(words, note))
    process.start()
    process.join()
    found: list[str] = json.loads(note.read_text())
    return found


def do(words: list[str], note: Path | None = None) -> None:
    """Give a command, whose words go nowhere; the modules that it loaded go into a file, if one is named."""
    with Path("/dev/null").open("w") as nothing:
        sys.stdout = sys.stderr = nothing
        code = command(words)
        if note is not None:
            note.write_text(json.dumps([name for name in sys.modules if _loadable(name)]))
        sys.exit(code)


def _loadable(name: str) -> bool:
    """Say whether a module can be loaded by its name."""
    return getattr(sys.modules[name], "__spec__", None) is not None and not name.startswith("_")


def finished(out: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of every case that is there; stop where one is not whole."""
    found = {}
    for case in sorted((out / "cases").glob("*")):
        problems = verify(case).problems
        if problems:
            raise SystemExit(f"{case.name} is not whole: {problems}")
        found[case.name] = {file.name: file.read_bytes() for file in sorted(case.iterdir())}
    return found


def one_round(batch: Batch, out: Path, right: dict[str, dict[str, bytes]], kills: int, rng: random.Random) -> int:
    """Kill a batch until it is done or often enough; return how often it was killed."""
    before, done = dict[str, dict[str, bytes]](), 0
    while done < kills and len(before) < len(right):
        process = batch.begin(out)
        process.join(rng.uniform(0, batch.seconds))
        killed = process.exitcode is None
        done += killed
        batch.seconds *= _GROW if killed else _SHRINK
        process.kill()
        process.join()
        after = finished(out) if out.exists() else {}
        if any(after.get(name) != files for name, files in before.items()):
            raise SystemExit(f"a finished case was touched after kill {done}")
        before = after
    seconds = batch.seconds
    batch.end(out)
    batch.seconds = seconds
    found = finished(out)
    for name, files in right.items():
        differing = [one for one in files if one not in _WITH_TIMES and found.get(name, {}).get(one) != files[one]]
        if differing or not verify(out).right:
            raise SystemExit(f"{name} is not as without kills: {differing}")
    return done


def main() -> None:
    """Kill, look, and go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, done, rounds = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batch = Batch(folder, options.cases)
        batch.end(folder / "first")  # which loads the programs
        batch.end(folder / "right")
        right = finished(folder / "right")
        while done < options.kills:
            done += one_round(batch, folder / f"round-{rounds}", right, options.kills - done, rng)
            rounds += 1
    print(
        f"{done} kills in {rounds} batches of {options.cases} cases: every finished case whole and untouched, and the"
    )
    print("results as without kills, byte by byte")


if __name__ == "__main__":
    main()
