"""Throughput of ``lesionlens batch`` next to one ``lesionlens run`` after the other, and what a case costs by itself.

Both do the same cases, all of their files, in fresh processes on two threads: the sample scan with other noise in
each, on a coarser grid or on its own. ``batch`` loads Python, PyTorch and the bundle once, and reads and writes while
the network computes. Rounds alternate, so that a machine that slows down slows both; the ratio is that of the sums.
Where others use the machine, that of the processor times is the one to look at: it leaves out what overlaps alone.
The peak of memory with few and with all cases says whether what is kept grows with their number.

With ``--tiny`` the cases are 20 voxels wide and the network is one voxel wide: what is left is what a case costs by
itself. ``--workers`` does the same on so many processes of dask.

    python benchmarks/batch.py [--cases 8] [--rounds 2] [--full] [--workers N] [--json results.json]
    python benchmarks/batch.py --tiny [--cases 60] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from run_case import measured

import lesionlens as ll
from lesionlens.sample import sample_scan
from lesionlens.volume import Grid

#: The spacing of small cases, as a multiple of the sample scan's.
COARSER = 2
#: Standard deviation of the noise, as a share of the scan's.
NOISE = 0.02
#: So many cases of a batch are enough to see what starting takes.
FEW = 2
#: What a prediction may take, GiB: the peak may not exceed it by more than what the programs themselves take.
BUDGET_GIB = 1.0


def write_cases(folder: Path, count: int, *, coarser: int) -> Path:
    """Write so many scans into a folder; return it."""
    folder.mkdir()
    sample = ll.read(sample_scan())
    shape = tuple(size // coarser for size in sample.grid.shape)
    grid = Grid((shape[0], shape[1], shape[2]), sample.grid.affine @ np.diag([coarser, coarser, coarser, 1.0]))
    scan, generator = sample.resampled(grid), np.random.default_rng(0)
    for number in range(count):
        noise = generator.normal(0, NOISE * float(scan.array.std()), grid.shape).astype(np.float32)
        ll.write(scan.with_array(scan.array + noise), folder / f"case-{number:03}.nii.gz")
    return folder


def lesionlens(*words: str | Path) -> dict[str, float]:
    """Return time and memory of a command in a fresh process."""
    return measured([sys.executable, "-m", "lesionlens", *map(str, words), "--quiet"])


def throughput(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Compare a batch with runs, round by round."""
    scans = write_cases(folder / "scans", options.cases, coarser=1 if options.full else COARSER)
    memory = ("--memory", str(BUDGET_GIB))
    more = (*memory, *(() if options.workers is None else ("--workers", str(options.workers))))
    runs, batches = [], []
    for number in range(options.rounds):
        place = folder / f"round-{number}"
        place.mkdir()
        runs += [lesionlens("run", path, "--out", place / path.name, *memory) for path in sorted(scans.iterdir())]
        batches.append(lesionlens("batch", scans, "--out", place / "batch", *more))
    few = lesionlens("batch", scans, "--out", folder / "few", "--limit", str(FEW), *more)
    seconds, of_batches = (sum(one["seconds"] for one in some) for some in (runs, batches))
    cpu, cpu_of_batches = (sum(one["cpu_s"] for one in some) for some in (runs, batches))
    return {
        "cases": options.cases,
        "rounds": options.rounds,
        "shape": ll.read(next(scans.iterdir())).grid.shape,
        "workers": options.workers,
        "run_s_per_case": round(seconds / len(runs), 2),
        "batch_s_per_case": round(of_batches / len(runs), 2),
        "batch_s_per_further_case": round(
            (of_batches / options.rounds - few["seconds"]) / max(1, options.cases - FEW), 2
        ),
        "ratio_throughput": round(seconds / of_batches, 2),
        "ratio_throughput_by_round": [
            round(sum(one["seconds"] for one in runs[n * options.cases : (n + 1) * options.cases]) / one_["seconds"], 2)
            for n, one_ in enumerate(batches)
        ],
        "run_cpu_s_per_case": round(cpu / len(runs), 2),
        "batch_cpu_s_per_case": round(cpu_of_batches / len(runs), 2),
        "ratio_cpu": round(cpu / cpu_of_batches, 2),
        "budget_gib": BUDGET_GIB,
        "run_peak_gib": max(run["peak_gib"] for run in runs),
        "driver_peak_gib": max(batch["peak_gib"] for batch in batches),
        f"driver_peak_gib_{FEW}_cases": few["peak_gib"],
    }


def tiny(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Say what a case costs whose network and scan cost nothing: here, and on workers."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from batch_cases import write_scans, write_voxelwise

    few, many = options.cases // 6, options.cases
    scans = write_scans(folder / "scans", {f"c{n:05}": 2 + n % 7 for n in range(many)})
    asked = ("--bundle", write_voxelwise(folder / "bundle"), "--layer", "0", "--trust")
    result: dict[str, Any] = {"cases": many, "s_per_case": {}, "cpu_s_per_case": {}, "start_s": {}, "start_cpu_s": {}}
    for workers in (None, 1, 2):
        more = () if workers is None else ("--workers", str(workers))
        name = "here" if workers is None else f"{workers} workers"
        short, long = (
            lesionlens("batch", scans, "--out", folder / f"{name}-{n}", "--limit", str(n), *asked, *more)
            for n in (few, many)
        )
        for of, start, key in (("s_per_case", "start_s", "seconds"), ("cpu_s_per_case", "start_cpu_s", "cpu_s")):
            each = (long[key] - short[key]) / (many - few)
            result[of][name] = round(each, 3)
            result[start][name] = round(short[key] - few * each, 1)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="the scan on its own grid, not on one twice as coarse")
    parser.add_argument("--tiny", action="store_true", help="what a case costs by itself")
    parser.add_argument("--workers", type=int, help="as of batch; by default it does the cases in its own process")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.cases = options.cases or (60 if options.tiny else 8)
    with tempfile.TemporaryDirectory() as name:
        result = (tiny if options.tiny else throughput)(Path(name), options)
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
