"""Time of a whole volume by each engine, next to MONAI's own bundle run with the same weights and scan.

For the embedded bundle both sides go from the file on disk to probabilities on the scan's grid, in one process that has
loaded what it needs: MONAI by its own preprocessing, inferer, network and ``Invertd``, with its postprocessing stopped
before it discretises; LesionLens by ``read`` and ``predict``. Architectures of the model zoo have random weights and
see noise in the shape of a head with air around it. Sides take turns, so that what else the machine does hits both, and
the fastest of each counts. Ratios above 1 say how many times faster than MONAI; Dice is of the classes' masks at 0.5,
the difference of probabilities the largest over all voxels and classes.

    python benchmarks/engines.py [--engines auto torch openvino] [--cases flair-lesions] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import DynUNet, SegResNet
from numpy.typing import NDArray

import lesionlens as ll
from lesionlens.computing import ENGINES, Computing
from lesionlens.model.catalogue import embedded_root
from lesionlens.model.inference import infer
from lesionlens.model.prediction import probabilities
from lesionlens.model.preprocess import prepare
from lesionlens.volume import Grid, Volume

OUTPUTS = {"0": "background", "1": "one", "2": "two", "3": "three"}

# Widths and depths are those of bundles of the zoo.
NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {"SegResNet": SegResNet, "DynUNet": DynUNet}
SHAPE = (192, 160, 160)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "SegResNet": {
        "spatial_dims": 3,
        "init_filters": 16,
        "in_channels": 1,
        "out_channels": 4,
        "blocks_down": [1, 2, 2, 4],
        "blocks_up": [1, 1, 1],
        "dropout_prob": 0.2,
    },
    "DynUNet": {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 4,
        "kernel_size": [3, 3, 3, 3],
        "strides": [1, 2, 2, 2],
        "upsample_kernel_size": [2, 2, 2],
        "filters": [16, 32, 64, 128],
        "norm_name": "instance",
    },
}

Maps = NDArray[np.float32]


def head(shape: tuple[int, int, int]) -> Volume:
    """Return smooth noise in an ellipsoid, and air around it."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(1, 1, *(n // 8 for n in shape))).astype(np.float32))
    values = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0, 0].numpy()
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    values[(places**2).sum(axis=0) > 0.7] = -2.0
    return Volume(values, Grid(shape, np.eye(4)), name="head")


def bundle_of(name: str, folder: Path, *, window: int) -> Path:
    """Write an architecture with random weights as a bundle."""
    torch.manual_seed(0)
    network = NETWORKS[name](**ARGUMENTS[name]).eval()
    inferer = {"roi_size": [window] * 3, "sw_batch_size": 1, "overlap": 0.5}
    root = folder / name
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    config = {
        "network_def": {"_target_": f"monai.networks.nets.{name}", **ARGUMENTS[name]},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", **inferer, "mode": "gaussian", "cval": -2.0},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
            ],
        },
    }
    entry = {"type": "image", "modality": "MR", "num_channels": 1, "channel_def": {"0": "image"}}
    result = {"type": "image", "format": "segmentation", "num_channels": 4, "channel_def": OUTPUTS}
    formats = {"inputs": {"image": entry}, "outputs": {"pred": result}}
    metadata = {"name": name, "version": "0.0.1", "network_data_format": formats}
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root


def monai_side(root: Path) -> Callable[[Path], Maps]:
    """Return MONAI's own run of a bundle, up to its probabilities on the scan's grid."""
    parser = ConfigParser(ConfigParser.load_config_file(str(root / "configs" / "inference.json")))
    parser["bundle_root"], parser["output_dir"] = str(root), "unused"
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True))
    before, after = (parser.get_parsed_content(name) for name in ("preprocessing", "postprocessing"))
    inferer = parser.get_parsed_content("inferer")
    kept = [step for step in after.transforms if type(step).__name__ in ("Activationsd", "Invertd")]

    def run(scan: Path) -> Maps:
        data = before({"image": str(scan)})
        with torch.no_grad():
            data["pred"] = inferer(data["image"][None], network)[0]
        for step in kept:
            data = step(data)
        return np.asarray(data["pred"])[1:]

    return run


def our_side(root: Path, engine: Any) -> Callable[[Path], tuple[Maps, dict[str, Any]]]:
    """Return our run of a bundle by an engine, and how it was computed."""
    bundle = ll.load_bundle(root, trust=True, device="cpu")

    def run(scan: Path) -> tuple[Maps, dict[str, Any]]:
        found = infer(bundle, prepare(bundle, ll.read(scan)), computing=Computing(engine))
        assert found.computed is not None
        return np.stack([m.array for m in probabilities(bundle, found)]), found.computed.record()

    return run


def dice(a: Maps, b: Maps) -> float:
    """Return the lowest Dice of the classes' masks; 1 where both are empty."""
    pairs = [(x >= 0.5, y >= 0.5) for x, y in zip(a, b, strict=True)]
    return float(min(2 * (x & y).sum() / n if (n := x.sum() + y.sum()) else 1.0 for x, y in pairs))


def case(root: Path, scan: Path, engines: list[str], repeats: int, *, wall: bool) -> dict[str, Any]:
    """Time MONAI and each engine in turns."""
    clock = time.perf_counter if wall else time.process_time
    theirs, ours = monai_side(root), {engine: our_side(root, engine) for engine in engines}
    seconds: dict[str, list[float]] = {name: [] for name in ("monai", *engines)}
    rows: dict[str, Any] = {}
    for _ in range(repeats):
        start = clock()
        expected = theirs(scan)
        seconds["monai"].append(clock() - start)
        for engine, run in ours.items():
            start = clock()
            found, record = run(scan)
            seconds[engine].append(clock() - start)
            rows[engine] = {
                "largest_difference": float(np.abs(found - expected).max()),
                "dice": round(dice(found, expected), 6),
                **{key: record[key] for key in ("engine", "windows", "windows_of_one_value", "notices")},
            }
    best = min(seconds["monai"])
    for engine, row in rows.items():
        row["seconds"] = [round(s, 2) for s in seconds[engine]]
        row["times_faster_first"] = round(seconds["monai"][0] / seconds[engine][0], 2)
        row["times_faster"] = round(best / min(seconds[engine]), 2)
    return {"monai_seconds": [round(s, 2) for s in seconds["monai"]], **rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=["auto", "torch"], choices=list(ENGINES))
    parser.add_argument("--cases", nargs="+", default=["flair-lesions", *NETWORKS])
    parser.add_argument("--scan", type=Path, help="a FLAIR for the embedded bundle, in place of the sample scan")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="fewer where the machine has other work")
    parser.add_argument("--small", action="store_true", help="architectures see 128 x 96 x 96 voxels, windows of 64")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu where the machine has other work")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for wanted in options.cases:
            if wanted in NETWORKS:
                root = bundle_of(wanted, folder, window=64 if options.small else 96)
                scan = ll.write(head((128, 96, 96) if options.small else SHAPE), folder / f"{wanted}.nii.gz")
            else:
                from run_case import standard_scan

                root, scan = embedded_root() / wanted, options.scan or standard_scan(folder)
            results[wanted] = case(root, scan, options.engines, options.repeats, wall=options.clock == "wall")
            print(json.dumps({wanted: results[wanted]}, indent=2), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
