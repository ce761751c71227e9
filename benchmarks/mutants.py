"""Damaged files by the ten thousand: whatever is not a refusal or a valid volume is reported and kept.

    python benchmarks/mutants.py [--number 20000] [--seed 0] [--minutes 5] [--only PATTERN] [--keep FOLDER]

Mutants are made from pydicom's and nibabel's own test files, from files made of numbers, and from real scans where
there are any. Each has a name and a seed; ``--number`` goes on with the seeds that follow ``--seed``. A crash or hang
takes nothing but a child process.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from mutant_sources import sources  # noqa: E402 - the tests' helpers are beside the tests
from mutants import GOOD, Outcome, make_mutant, run, write_mutant  # noqa: E402 - likewise

# Costs of so many mutants are listed.
WORST = 5


def report(outcomes: list[Outcome], keep: Path | None) -> bool:
    """Print what was found, keep the mutants that are faults, and say whether there are none."""
    faults = [outcome for outcome in outcomes if outcome.kind not in GOOD]
    print(f"{len(outcomes):,} mutants of {len({o.source for o in outcomes})} sources:", end=" ")
    print(", ".join(f"{n:,} {kind}" for kind, n in Counter(o.kind for o in outcomes).most_common()))
    for word, key in (("s", lambda o: o.seconds), ("MiB", lambda o: o.peak_bytes / 2**20)):
        worst = sorted(outcomes, key=key, reverse=True)[:WORST]
        print("worst:", "; ".join(f"{key(o):.3g} {word} {o.source} {o.seed}" for o in worst))
    for outcome in faults:
        print(f"FAULT {outcome.kind} ({outcome.source}, seed {outcome.seed}): {outcome.detail}")
        if keep:
            folder = keep / f"{outcome.source.replace('/', '_')}-{outcome.seed}"
            write_mutant(folder, make_mutant(sources()[outcome.source], outcome.seed))
    return not faults


def main(argv: list[str] | None = None) -> int:
    """Run as many mutants as asked for; 1 where one is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=20_000, help="mutants in all")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--only", default="", help="sources whose name holds this pattern")
    parser.add_argument("--keep", type=Path, help="folder for the mutants that are faults")
    options = parser.parse_args(argv)
    names = [name for name in sources() if re.search(options.only, name)]
    if not names:
        parser.error(f"no source is called like {options.only!r}")
    rounds = -(-options.number // len(names))
    outcomes: list[Outcome] = []
    seeds = range(options.seed, options.seed + rounds)
    for outcome in run(names, seeds, seconds=60 * options.minutes):
        outcomes.append(outcome)
        if len(outcomes) >= options.number:
            break
    return 0 if report(outcomes, options.keep) else 1


if __name__ == "__main__":
    sys.exit(main())
