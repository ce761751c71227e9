"""Class activation maps against plain forward passes, MONAI's Grad-CAM, single runs, and sliding-window inference.

Contestants are timed in turn, round after round, so that a busy machine slows all of them alike; the ratios are what
counts. The memory is what autograd stores for the backward pass, counted tensor by tensor, weights left out.

    python benchmarks/gradcam.py [--parts classifiers,stored,classes,windows,budget] [--size 96] [--rounds 5]
                                 [--threads 2] [--json result.json]

classifiers: Grad-CAM of DenseNet121 and ResNet18 against one forward pass and MONAI's Grad-CAM.
stored:      bytes stored for the backward pass, against the full graph.
classes:     eight classes at once against eight single maps.
windows:     a map through 27 windows against the sliding-window inference that it explains and its backward part, and
             the copies of the volume by which it grows from 8 windows to 27.
budget:      the tensors that occlusion and Score-CAM hold at most, against the bytes that they were allowed.

At the end each figure that has a limit is printed with the limit and a verdict; the exit code is 1 where one fails.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import DenseNet121, DynUNet, SegResNet, UNet, resnet18
from monai.visualize import GradCAM
from torch import Tensor, nn

from lesionlens.explain import (
    ClassLogit,
    Inference,
    RegionMargin,
    Windows,
    apply_method,
    apply_to_targets,
    cut_at,
    default_layer,
)
from lesionlens.explain.budget import AliveBytes

Runs = dict[str, Callable[[], object]]

CLASSES = 8

# What occlusion and Score-CAM are allowed for a batch; the image, its logits and the map are held beside it.
BUDGET_MIB = 64


def classifiers() -> dict[str, tuple[nn.Module, str]]:
    """Return the classifiers with the layer that both explain."""
    return {
        "DenseNet121": (DenseNet121(spatial_dims=3, in_channels=1, out_channels=2).eval(), "class_layers.relu"),
        "ResNet18": (resnet18(spatial_dims=3, n_input_channels=1, num_classes=2).eval(), "layer4"),
    }


def segmenters() -> dict[str, nn.Module]:
    """Return networks whose output is an image."""
    strides = (1, 2, 2, 2)
    return {
        "UNet": unet(2),
        "DynUNet": DynUNet(3, 1, 2, (3,) * 4, strides, strides[1:], filters=(16, 32, 64, 128)).eval(),
        "SegResNet": SegResNet(3, init_filters=8, in_channels=1, out_channels=2).eval(),
    }


def unet(classes: int) -> nn.Module:
    """Return MONAI's U-Net."""
    return UNet(3, 1, classes, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2).eval()


def contestants(network: nn.Module, layer: str, image: Tensor) -> Runs:
    """Return what is timed, by name: each call does the whole work from image to map."""

    def forward() -> object:
        with torch.no_grad():
            return network(image)

    def monai_cam() -> object:
        return GradCAM(nn_module=network, target_layers=layer).compute_map(image, class_idx=1)

    return {
        "forward": forward,
        "lesionlens": lambda: apply_method(Inference(network, image), ClassLogit(1), layer=layer),
        "lesionlens, default layer": lambda: apply_method(Inference(network, image), ClassLogit(1)),
        "monai": lambda: _without_traces(network, monai_cam),
    }


def _without_traces(network: nn.Module, run: Callable[[], object]) -> object:
    """Run MONAI's Grad-CAM, then take away its hooks and gradients and switch in-place activations on again."""
    inplace = {module: module.inplace for module in network.modules() if hasattr(module, "inplace")}
    try:
        return run()
    finally:
        for module in network.modules():
            module._forward_hooks.clear()
            module._backward_hooks.clear()
        for module, flag in inplace.items():
            module.inplace = flag
        network.zero_grad(set_to_none=True)


def seconds(run: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def stored_bytes(network: nn.Module, run: Callable[[], object]) -> int:
    """Return the bytes that autograd stores for the backward pass, each tensor once, weights left out."""
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    stored: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            stored[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            alive.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(stored.values())


def timed(runs: Runs, rounds: int) -> dict[str, dict[str, float]]:
    """Return for each contestant its median seconds, and its median share of the first one's within a round."""
    for run in runs.values():
        run()  # the first call allocates
    measured = [{name: seconds(run) for name, run in runs.items()} for _ in range(rounds)]
    first = next(iter(runs))
    return {
        name: {
            "seconds": statistics.median(r[name] for r in measured),
            # within a round: what slows the machine slows both
            f"times_{first.replace(' ', '_')}": statistics.median(r[name] / r[first] for r in measured),
        }
        for name in runs
    }


def timed_ratio(found: dict[str, dict[str, float]], slow: str, fast: str) -> float:
    """Return how many times as long one contestant took as another."""
    return found[slow]["seconds"] / found[fast]["seconds"]


def measure_classifiers(size: int, rounds: int) -> dict[str, Any]:
    """Time Grad-CAM of classifiers against a forward pass and MONAI's."""
    image, found = torch.rand(1, 1, size, size, size), {}
    for name, (network, layer) in classifiers().items():
        if default_layer(network, image.shape)[0] != layer:
            raise SystemExit(f"the default layer of {name} is no longer the one that both explain")
        runs = contestants(network, layer, image)
        found[name] = timed(runs, rounds)
        for contestant, run in runs.items():
            found[name][contestant]["stored_bytes"] = stored_bytes(network, run)
        found[name]["monai"]["times_lesionlens"] = timed_ratio(found[name], "monai", "lesionlens")
        fresh = copy.deepcopy(network)  # nobody has probed it
        found[name]["first probe"] = {"seconds": seconds(lambda fresh=fresh: default_layer(fresh, image.shape))}
    return found


def measure_stored(size: int, rounds: int) -> dict[str, Any]:
    """Count what the cut graph of segmentation networks stores, against the full one."""
    del rounds  # counting needs none
    image, found = torch.rand(1, 1, size, size, size), {}
    region = torch.zeros((size,) * 3, dtype=torch.bool)
    region[size // 4 : size // 2] = True
    target = RegionMargin(1, region=region)
    for name, network in segmenters().items():
        layer = default_layer(network, image.shape)[0]
        full = stored_bytes(network, lambda network=network: network(image))
        cut = stored_bytes(
            network,
            lambda network=network, layer=layer: apply_method(Inference(network, image), target, layer=layer),
        )
        found[name] = {"layer": layer, "full_bytes": full, "cut_bytes": cut, "share": cut / full}
    return found


def measure_classes(size: int, rounds: int) -> dict[str, Any]:
    """Time the maps of eight classes at once against one by one."""
    network, image = unet(CLASSES), torch.rand(1, 1, size, size, size)
    inference, targets = Inference(network, image), [RegionMargin(c) for c in range(CLASSES)]
    layer = default_layer(network, image.shape)[0]
    runs: Runs = {
        "single runs": lambda: [apply_method(inference, target, layer=layer) for target in targets],
        "at once": lambda: apply_to_targets(inference, targets, layer=layer),
    }
    return timed(runs, rounds)


def measure_windows(size: int, rounds: int) -> dict[str, Any]:
    """Time a map through 27 windows, with a target in all of them, against inference and backward pass."""
    window, full = (size // 2,) * 3, (size,) * 3
    network, image = unet(2), torch.rand(1, 1, *full)
    plan = Windows.sliding(full, window, overlap=0.5)
    target = RegionMargin(1, region=torch.ones(full, dtype=torch.bool))
    inference = Inference(network, image, plan)
    logits, layer = inference.logits(), default_layer(network, (1, 1, *window))[0]

    def predict() -> object:
        with torch.no_grad():
            return sliding_window_inference(image, window, 1, network, overlap=0.5)

    with cut_at(network, layer) as cut:
        output, activation = cut.forward(plan.view(plan.pad(image), 0))

        def backward() -> object:
            seed = torch.ones_like(output)
            return [torch.autograd.grad(output, activation, seed, retain_graph=True) for _ in range(len(plan))]

        found = timed({"backward part": backward}, rounds)
    runs: Runs = {
        "inference": predict,
        "map, logits known": lambda: apply_method(inference, target, layer=layer, logits=logits),
        "map alone": lambda: apply_method(inference, target, layer=layer),
    }
    found |= timed(runs, rounds)
    whole = found["inference"]["seconds"] + found["backward part"]["seconds"]
    for name in ("map, logits known", "map alone"):
        found[name]["times_inference_and_backward"] = found[name]["seconds"] / whole
    return {"windows": len(plan), "volume_copies": _growth(network, layer, window), **found}


def _growth(network: nn.Module, layer: str, window: tuple[int, ...]) -> float:
    """Return by how many float32 copies of the volume a map grows from 8 to 27 windows: volumes alone, no windows."""
    peaks, voxels = [], []
    for count in (2, 3):
        full = tuple(n * (count + 1) // 2 for n in window)
        image, region = torch.rand(1, 1, *full), torch.ones(full, dtype=torch.bool)
        inference = Inference(network, image, Windows.sliding(full, window, overlap=0.5))
        logits = inference.logits()
        with AliveBytes() as alive:
            apply_method(inference, RegionMargin(1, region=region), layer=layer, logits=logits)
        peaks.append(alive.highest)
        voxels.append(image.numel())
    return (peaks[1] - peaks[0]) / (4 * (voxels[1] - voxels[0]))


def measure_budget(size: int, rounds: int) -> dict[str, Any]:
    """Count the tensors that batches of changed images hold at most."""
    del rounds  # counting needs none
    network = UNet(3, 1, 2, channels=(8, 16, 32), strides=(2, 2), num_res_units=1).eval()
    image, found = torch.rand(1, 1, *(size // 2,) * 3), {}
    layer = default_layer(network, image.shape)[0]
    for method, options in (("occlusion", {"size": str(size // 4)}), ("scorecam", {})):
        named = {} if method == "occlusion" else {"layer": layer}
        allowed = {"budget_mib": BUDGET_MIB, **options}
        with AliveBytes() as alive:
            apply_method(Inference(network, image), RegionMargin(1), method=method, options=allowed, **named)
        found[method] = {"peak_bytes": alive.highest, "share": alive.highest / (BUDGET_MIB * 2**20)}
    return found


PARTS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "classifiers": measure_classifiers,
    "stored": measure_stored,
    "classes": measure_classes,
    "windows": measure_windows,
    "budget": measure_budget,
}

# What is asked for: words, where the figure is found, and the largest (or smallest) that will do.
LIMITS: tuple[tuple[str, tuple[str, ...], float, bool], ...] = (
    *(
        row
        for name in ("DenseNet121", "ResNet18")
        for row in (
            (f"{name}, layer named, times forward", ("classifiers", name, "lesionlens", "times_forward"), 1.2, True),
            (
                f"{name}, layer left open, times forward",
                ("classifiers", name, "lesionlens, default layer", "times_forward"),
                1.2,
                True,
            ),
            (f"{name}, MONAI's Grad-CAM, times ours", ("classifiers", name, "monai", "times_lesionlens"), 2.5, False),
            (f"{name}, bytes stored", ("classifiers", name, "lesionlens", "stored_bytes"), 1024, True),
        )
    ),
    *(
        (f"{name}, stored, share of the full graph", ("stored", name, "share"), 0.6, True)
        for name in ("UNet", "DynUNet", "SegResNet")
    ),
    ("8 classes at once, times 8 single runs", ("classes", "at once", "times_single_runs"), 0.6, True),
    (
        "27 windows, times inference and backward part",
        ("windows", "map, logits known", "times_inference_and_backward"),
        1.3,
        True,
    ),
    # One window of this network holds hundreds of copies of its size for the backward pass.
    ("27 windows instead of 8, copies of the volume more", ("windows", "volume_copies"), 24, True),
    ("occlusion, tensors held, share of the budget", ("budget", "occlusion", "share"), 1.1, True),
    ("Score-CAM, tensors held, share of the budget", ("budget", "scorecam", "share"), 1.1, True),
)


def verdicts(result: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    """Return for each figure that was measured and has a limit: words, value, limit in words, and whether it holds."""
    rows = []
    for words, path, limit, at_most in LIMITS:
        value: Any = result
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            holds = value <= limit if at_most else value >= limit
            rows.append((words, float(value), f"{'at most' if at_most else 'at least'} {limit:g}", holds))
    return rows


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write it as JSON if asked; return 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure, joined by commas")
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis")
    parser.add_argument("--rounds", type=int, default=5, help="each contestant runs once in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    result = {
        "size": options.size,
        "threads": options.threads,
        "rounds": options.rounds,
        "versions": {"torch": torch.__version__, "monai": monai.__version__, "python": platform.python_version()},
    }
    for part in options.parts.split(","):
        result[part] = PARTS[part](options.size, options.rounds)
        print(json.dumps({part: result[part]}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    rows = verdicts(result)
    for words, value, limit, holds in rows:
        print(f"{'holds' if holds else 'FAILS'}  {words}: {value:.3g} ({limit})")
    return int(not all(holds for *_, holds in rows))


if __name__ == "__main__":
    sys.exit(main())
