"""Peak memory of a prediction against the size of the volume and the number of classes, next to MONAI's.

Every measurement is a fresh process on one bundle with random weights: a small U-Net with as many classes as asked for,
behind a sliding window. MONAI runs the inferer and the bundle's softmax; LesionLens ``predict`` as a whole, within a
budget, and within one for a single class. What the process held before the prediction is taken off; what LesionLens
foretold is beside it.

    python benchmarks/memory.py [--sizes 96 128] [--classes 2 26 105] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
# Of what the whole takes, the budget that makes the windows be joined in blocks.
PART = 0.5


def peak_bytes() -> int:
    """Return the largest memory that this process has held."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def child(size: int, classes: int, how: str) -> dict[str, Any]:
    """Predict once and return peak and forecast in MiB."""
    from dataclasses import replace

    import numpy as np
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.networks.nets import UNet

    from lesionlens.computing import Computing
    from lesionlens.model import load_bundle
    from lesionlens.model.inference import infer
    from lesionlens.model.prediction import probabilities
    from lesionlens.model.preprocess import Prepared
    from lesionlens.volume import Grid, Volume

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = UNet(3, 1, classes, (8, 16), (2,), num_res_units=0).eval().requires_grad_(False)
    inferer = SlidingWindowInferer([48] * 3, sw_batch_size=1, overlap=0.25, mode="gaussian")
    base = load_bundle("flair-lesions", device="cpu")
    names = ("background", *(f"class {n}" for n in range(1, classes)))
    info = replace(base.info, outputs=names)
    bundle = replace(base, info=info, network=network, inferer=inferer, engines={}, network_bytes={})
    array = np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32)
    volume = Volume(array, Grid(array.shape, np.eye(4)))
    prepared = Prepared(torch.from_numpy(array)[None, None], volume.grid, volume)
    with torch.no_grad():
        network(torch.zeros(1, 1, 48, 48, 48))
    before = peak_bytes()
    predicted = None
    if how == "monai":
        with torch.no_grad():
            torch.softmax(inferer(prepared.tensor, network), dim=1)
    else:
        kept = names[1:2] if how == "one class" else ()
        whole = classes * size**3 * 4 * 3 / 2**30
        memory = 4096.0 if how == "whole" else PART * whole
        found = infer(bundle, prepared, computing=Computing(memory_gib=memory, classes=kept))
        probabilities(bundle, found, classes=kept)
        assert found.computed is not None
        predicted = found.computed.predicted_bytes
    row = {"size": size, "classes": classes, "how": how, "peak_mib": round((peak_bytes() - before) / 2**20)}
    if predicted is not None:
        row |= {"predicted_mib": round(predicted / 2**20), "in_blocks": found.computed.in_blocks}
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 144])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 26, 105])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        size, classes, how = options.child
        print(json.dumps(child(int(size), int(classes), how)))
        return
    rows = []
    for size in options.sizes:
        for classes in options.classes:
            for how in ("monai", "whole", "blocks", "one class"):
                command = [sys.executable, str(HERE), "--child", str(size), str(classes), how]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
