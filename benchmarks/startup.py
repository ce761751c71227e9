"""Measure how long `lesionlens --help` takes, beside what it could not go below.

Every program is started in a fresh interpreter, in turn, so that a slow moment of the machine hits all of them alike.
The floors are an empty Python program and a typer program of the same number of commands with help drawn by rich.

Run: python benchmarks/startup.py [--runs 15] [--limit 0.4] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

TYPER_FLOOR = """
import typer
app = typer.Typer()
for name in ("demo", "info", "run", "view", "bundles"):
    app.command(name, help="One line of help.")(lambda path: None)
app()
"""

LESIONLENS = "import sys; from lesionlens.cli import main; sys.exit(main())"

PROGRAMS = {
    "python, empty program": ["-c", "pass"],
    "typer with five commands, --help": ["-c", TYPER_FLOOR, "--help"],
    "import lesionlens": ["-c", "import lesionlens"],
    "lesionlens --help": ["-c", LESIONLENS, "--help"],
}
MEASURED = "lesionlens --help"


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Return wall and processor time in seconds of one run of a Python program."""
    wall, cpu = time.perf_counter(), _cpu_of_children()
    subprocess.run([sys.executable, *arguments], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - wall, _cpu_of_children() - cpu


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(runs: int) -> dict[str, tuple[float, float]]:
    """Return median wall and processor time in seconds of every program, after one run that warms the disk cache."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for run in range(runs + 1):
        for name, arguments in PROGRAMS.items():
            duration = seconds(arguments)
            if run > 0:
                times[name].append(duration)
    return {
        name: (statistics.median(wall for wall, _ in values), statistics.median(cpu for _, cpu in values))
        for name, values in times.items()
    }


def main() -> int:
    """Measure, print, and answer with 1 when `lesionlens --help` takes longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="runs of every program (15)")
    parser.add_argument("--limit", type=float, default=0.4, help="seconds that lesionlens --help may take (0.4)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()

    medians = measure(options.runs)
    if options.json:
        rows = {name: {"wall_s": wall, "cpu_s": cpu} for name, (wall, cpu) in medians.items()}
        print(json.dumps({"runs": options.runs, "median": rows}, indent=2))
    else:
        floor, _ = medians["python, empty program"]
        print(f"{f'median of {options.runs} runs':34}  wall s   cpu s   ratio of wall")
        for name, (wall, cpu) in medians.items():
            print(f"{name:34}  {wall:6.3f}  {cpu:6.3f}  {wall / floor:6.1f} x")
    return 0 if medians[MEASURED][0] <= options.limit else 1


if __name__ == "__main__":
    sys.exit(main())
