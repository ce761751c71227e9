"""Time and peak memory of a whole ``lesionlens run``, next to MONAI's own prediction with the same bundle and scan.

Both run in fresh processes on two threads, from the file on disk to files on disk. MONAI predicts and saves a mask;
``run`` also explains, measures, draws and records. The scan is 182 x 218 x 182 voxels of 1 mm: one given by
``--scan``, or the sample scan resampled to that grid.

    python benchmarks/run_case.py [--scan FLAIR.nii.gz] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import lesionlens as ll
from lesionlens.model.catalogue import embedded_root
from lesionlens.sample import sample_scan
from lesionlens.volume import Grid

SHAPE = (182, 218, 182)
THREADS = "2"

# MONAI alone, as `monai.bundle run` does it but without an engine: load, transform, infer, invert, discretise, save.
MONAI_ALONE = """
import sys, torch
from monai.bundle import ConfigParser
root, scan, out = sys.argv[1:]
parser = ConfigParser(ConfigParser.load_config_file(root + "/configs/inference.json"))
parser["bundle_root"], parser["output_dir"] = root, out
network = parser.get_parsed_content("network_def").eval()
network.load_state_dict(torch.load(root + "/models/model.pt", weights_only=True))
data = parser.get_parsed_content("preprocessing")({"image": scan})
with torch.no_grad():
    data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
parser.get_parsed_content("postprocessing")(data)
"""


def measured(command: list[str]) -> dict[str, float]:
    """Run a command; return wall time and processor time (with children) in seconds, and its peak memory in GiB."""
    environment = {**os.environ, "OMP_NUM_THREADS": THREADS, "MKL_NUM_THREADS": THREADS}
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{command[:4]} failed: {error.strip().splitlines()[-1:]}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on macOS, KiB on Linux
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": round(seconds, 1), "cpu_s": round(cpu, 1), "peak_gib": round(usage.ru_maxrss * unit / 2**30, 2)}


def standard_scan(folder: Path) -> Path:
    """Write the sample scan on a grid of 182 x 218 x 182 voxels of 1 mm around its centre."""
    sample = ll.read(sample_scan())
    affine = np.eye(4)
    middle = sample.grid.world((np.array(sample.grid.shape) - 1) / 2)
    affine[:3, 3] = middle - (np.array(SHAPE) - 1) / 2
    return ll.write(sample.resampled(Grid(SHAPE, affine)), folder / "scan.nii.gz")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--repeats", type=int, default=2, help="the fastest of this many counts")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = options.scan or standard_scan(folder)
        bundle = embedded_root() / "flair-lesions"
        ours, theirs = [], []
        for n in range(options.repeats):
            run = ["-m", "lesionlens", "run", str(scan), "--out", str(folder / f"r{n}"), "--quiet"]
            ours.append(measured([sys.executable, *run]))
            theirs.append(measured([sys.executable, "-c", MONAI_ALONE, str(bundle), str(scan), str(folder / f"m{n}")]))
        record = json.loads((folder / "r0" / "record.json").read_text())
    best, peer = (min(runs, key=lambda r: r["seconds"]) for runs in (ours, theirs))
    result = {
        "shape": record["input"]["shape"],
        "lesionlens_run": best,
        "monai_prediction": peer,
        "ratio_time": round(best["seconds"] / peer["seconds"], 2),
        "ratio_memory": round(best["peak_gib"] / peer["peak_gib"], 2),
        "stages_s": record["seconds"],
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
