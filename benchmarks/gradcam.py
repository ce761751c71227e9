"""Class activation maps against plain forward passes, MONAI's Grad-CAM, single runs, and sliding-window inference.

Contestants are timed in turn, round after round, so that a busy machine slows all of them alike; the ratios are what
counts. The memory is what autograd stores for the backward pass, counted tensor by tensor, weights left out.

    python benchmarks/gradcam.py [--parts classifiers,stored,classes,windows] [--size 96] [--rounds 5] [--threads 2]
                                 [--json result.json]

classifiers: Grad-CAM of DenseNet121 and ResNet18 against one forward pass and MONAI's Grad-CAM.
stored:      bytes stored for the backward pass, against the full graph.
classes:     eight classes at once against eight single maps.
windows:     a map through 27 windows against the sliding-window inference that it explains and its backward part.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
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

Runs = dict[str, Callable[[], object]]

CLASSES = 8


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
    return {"windows": len(plan), **found}


PARTS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "classifiers": measure_classifiers,
    "stored": measure_stored,
    "classes": measure_classes,
    "windows": measure_windows,
}


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write it as JSON if asked."""
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


if __name__ == "__main__":
    main()
