"""A batch on many machines, as a simulation of events: what a million cases would take, and what gives way first.

Each worker asks the scheduler for a case, reads it from shared storage, computes, writes, and asks again. The scheduler
serves one request after the other. Storage serves so many at a time, each at the speed of one stream. Workers die
by chance, and their case begins again elsewhere; some cases take much longer; some cannot be read. Docs:
docs/explanation/scaling.md. tests/test_scaling.py compares the simulation with closed forms.

    python benchmarks/scaling.py [--cases 1000000] [--workers 1000] [--json results.json]
    python benchmarks/scaling.py --measure      the parameters of dask, and real runs against the simulation
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Costs:
    """What a case takes; seconds and MB.

    Parameters
    ----------
    compute_s, spread
        Median time of a case on its worker, and the SD of its logarithm.
    straggling, slower
        Share of the cases that take so many times as long.
    read_mb, write_mb
        Of a case.
    stream_mb_s, storage_mb_s
        What one worker reads or writes at most, and what all do together.
    schedule_s
        Of scheduler and driver for each case, one case after the other.
    deaths_per_hour, restart_s
        Of a worker, and until another takes its place.
    tries
        After so many deaths of its worker a case counts as failed.
    unreadable
        Share of the cases that fail once they are read.
    """

    compute_s: float = 23.0
    spread: float = 0.3
    straggling: float = 0.01
    slower: float = 10.0
    read_mb: float = 8.0
    write_mb: float = 60.0
    stream_mb_s: float = 100.0
    storage_mb_s: float = 2000.0
    schedule_s: float = 0.005
    deaths_per_hour: float = 0.02
    restart_s: float = 60.0
    tries: int = 4
    unreadable: float = 0.005


@dataclass(frozen=True)
class Simulated:
    """What came of it; ``busy`` is the share of their time in which workers computed what counted."""

    seconds: float
    busy: float
    scheduler_busy: float
    storage_busy: float
    deaths: int
    failed: int
    longest_wait_s: float


class _Storage:
    """So many streams at a time; who comes later waits."""

    def __init__(self, costs: Costs) -> None:
        self.streams = max(1, round(costs.storage_mb_s / costs.stream_mb_s))
        self._speed, self._free, self.used = costs.stream_mb_s, [0.0] * self.streams, 0.0

    def moved(self, now: float, mb: float) -> float:
        """Return when so much is read or written."""
        seconds = mb / self._speed
        end = max(now, self._free[0]) + seconds
        heapq.heapreplace(self._free, end)
        self.used += seconds
        return end


def simulate(n_cases: int, n_workers: int, costs: Costs, *, seed: int = 0) -> Simulated:
    """Run the events of a batch, in the order of their times.

    Parameters
    ----------
    n_cases, n_workers
        How many there are.
    costs
        What each takes.
    seed
        Of what is left to chance.
    """
    rng, storage = random.Random(seed), _Storage(costs)
    # A worker is on the heap once, with what it comes to do: ask for a case, read it, write it, or come back without.
    events = [(0.0, worker, "ask", 0) for worker in range(n_workers)]
    again: list[int] = []  # how often each case that waits to be tried again has lost its worker
    given, free, useful, deaths, failed, end, longest = 0, 0.0, 0.0, 0, 0, 0.0, 0.0
    while events:
        now, worker, what, lost = heapq.heappop(events)
        if what == "lost":
            deaths += 1
            failed += lost >= costs.tries
            if lost < costs.tries:
                again.append(lost)
            what = "ask"
        elif what == "write":
            written = storage.moved(now, costs.write_mb)
            heapq.heappush(events, (written, worker, "ask", 0))
            end = max(end, written)
            continue
        if what == "ask":
            if again:
                lost = again.pop()
            elif given < n_cases:
                given, lost = given + 1, 0
            else:
                end = max(end, now)
                continue
            free = max(now, free) + costs.schedule_s
            longest = max(longest, free - now)
            heapq.heappush(events, (free, worker, "read", lost))
            continue
        loaded = storage.moved(now, costs.read_mb)
        if rng.random() < costs.unreadable:
            failed += 1
            heapq.heappush(events, (loaded, worker, "ask", 0))
            continue
        seconds = _seconds(costs, rng)
        died = _death(costs, rng)
        if died < seconds:
            heapq.heappush(events, (loaded + died + costs.restart_s, worker, "lost", lost + 1))
            continue
        useful += seconds
        heapq.heappush(events, (loaded + seconds, worker, "write", 0))
    asked = given + deaths
    return Simulated(
        seconds=end,
        busy=useful / (end * n_workers),
        scheduler_busy=asked * costs.schedule_s / end,
        storage_busy=storage.used / (end * storage.streams),
        deaths=deaths,
        failed=failed,
        longest_wait_s=longest,
    )


def _seconds(costs: Costs, rng: random.Random) -> float:
    seconds = costs.compute_s * math.exp(rng.gauss(0, costs.spread)) if costs.spread else costs.compute_s
    return seconds * costs.slower if rng.random() < costs.straggling else seconds


def _death(costs: Costs, rng: random.Random) -> float:
    return rng.expovariate(costs.deaths_per_hour / 3600) if costs.deaths_per_hour else math.inf


def ceilings(n_cases: int, n_workers: int, costs: Costs) -> dict[str, float]:
    """Return the hours that each part would take at least by itself: the largest is what gives way first."""
    mean = costs.compute_s * math.exp(costs.spread**2 / 2) * (1 + costs.straggling * (costs.slower - 1))
    moved = costs.read_mb + costs.write_mb * (1 - costs.unreadable)
    return {
        "workers": n_cases * mean * (1 - costs.unreadable) / n_workers / 3600,
        "scheduler": n_cases * costs.schedule_s / 3600,
        "storage": n_cases * moved / costs.storage_mb_s / 3600,
    }


def scenarios(n_cases: int, n_workers: int, costs: Costs) -> dict[str, Any]:
    """Simulate what is likely, and what is worse in one way each."""
    found = {}
    changes: dict[str, dict[str, float]] = {
        "as stated": {},
        "storage of 10 GB/s": {"storage_mb_s": 10_000.0},
        "10 GB/s, scheduler of 50 ms": {"storage_mb_s": 10_000.0, "schedule_s": 0.05},
        "10 GB/s, a GPU for each worker (2 s)": {"storage_mb_s": 10_000.0, "compute_s": 2.0},
        "10 GB/s, workers that die hourly": {"storage_mb_s": 10_000.0, "deaths_per_hour": 1.0},
        "10 GB/s, one case in 1,000 takes an hour": {
            "storage_mb_s": 10_000.0,
            "straggling": 0.001,
            "slower": 3600 / costs.compute_s,
        },
    }
    for name, change in changes.items():
        changed = replace(costs, **change)  # type: ignore[arg-type]  # names of fields
        result = simulate(n_cases, n_workers, changed)
        least = ceilings(n_cases, n_workers, changed)
        first = max(least, key=lambda part: least[part])
        hours = {"hours": round(result.seconds / 3600, 2), "bound": first, "bound_hours": round(least[first], 2)}
        found[name] = hours | {key: round(value, 3) for key, value in asdict(result).items() if key != "seconds"}
    return found


def nap(task: Any) -> Any:
    """Do nothing for as long as the name of the case says."""
    from lesionlens.batch.work import Outcome

    time.sleep(float(task.case.name.partition("-")[0]))
    return Outcome(task.case.name)


def measure() -> dict[str, Any]:
    """Measure what scheduler and driver take for a case, and compare real runs on workers with the simulation."""
    sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tests")]
    from cluster_work import tasks
    from lesionlens.batch.cluster import connected, run_on_cluster

    def real(client: Any, n_cases: int, seconds: float) -> float:
        names = [f"{seconds}-{number}" for number in range(n_cases)]
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            run_on_cluster(tasks(Path(folder), names), client, lambda _: None, do=nap)
        return time.perf_counter() - start

    result: dict[str, Any] = {"runs": []}
    for workers in (1, 2, 4):
        with connected(workers, None) as client:
            client.wait_for_workers(workers)
            real(client, 20, 0.0)  # imports
            each = real(client, 300, 0.0) / 300
            result["runs"].append(_compared(workers, each, real(client, 40 * workers, 0.25)))
            if workers == 1:
                result["driver_s_by_outstanding"] = {n: _look(client, n) for n in (10, 200, 2000)}
    return result


def _compared(workers: int, each: float, seconds: float) -> dict[str, float]:
    costs = Costs(
        compute_s=0.25, spread=0, straggling=0, read_mb=0, write_mb=0, schedule_s=each, deaths_per_hour=0, unreadable=0
    )
    expected = simulate(40 * workers, workers, costs).seconds
    return {
        "workers": workers,
        "schedule_s": round(each, 4),
        "real_s": round(seconds, 2),
        "simulated_s": round(expected, 2),
        "ratio": round(seconds / expected, 2),
    }


def _look(client: Any, outstanding: int) -> float:
    """Return what the driver takes to see that one case of so many has ended."""
    from lesionlens.batch.cluster import _finished

    done = client.submit(int, pure=False)
    done.result()
    waiting = [client.submit(time.sleep, 20, pure=False) for _ in range(outstanding)]
    running: dict[Any, str] = dict.fromkeys([*waiting, done], "")
    start = time.perf_counter()
    for _ in range(5):
        _finished(running, client)
    seconds = (time.perf_counter() - start) / 5
    client.cancel(waiting)
    return round(seconds, 4)


def main() -> None:
    """Simulate or measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = measure() if options.measure else scenarios(options.cases, options.workers, Costs())
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
