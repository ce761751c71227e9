"""Grad-CAM of a 3D DenseNet121 against one plain forward pass and against MONAI's Grad-CAM.

All are timed in turn, round after round, so that a busy machine slows all of them alike; the ratios are what counts.
The memory is what autograd stores for the backward pass, counted tensor by tensor, weights left out.

    python benchmarks/gradcam.py [--size 96] [--rounds 5] [--threads 2] [--json result.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import monai
import torch
from monai.networks.nets import DenseNet121
from monai.visualize import GradCAM
from torch import Tensor, nn

from lesionlens.explain import ClassLogit, Inference, apply_method, default_layer

LAYER = "class_layers.relu"


def contestants(network: nn.Module, image: Tensor) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name: each call does the whole work from image to map."""

    def forward() -> object:
        with torch.no_grad():
            return network(image)

    def monai_cam() -> object:
        return GradCAM(nn_module=network, target_layers=LAYER).compute_map(image, class_idx=1)

    return {
        "forward": forward,
        "lesionlens": lambda: apply_method(Inference(network, image), ClassLogit(1), layer=LAYER),
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


def main(argv: list[str] | None = None) -> None:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis")
    parser.add_argument("--rounds", type=int, default=5, help="each contestant runs once in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = DenseNet121(spatial_dims=3, in_channels=1, out_channels=2).eval()
    image = torch.rand(1, 1, options.size, options.size, options.size)
    if default_layer(network, image.shape)[0] != LAYER:
        raise SystemExit("the default layer is no longer the one that both explain")

    runs = contestants(network, image)
    for run in runs.values():
        run()  # the first call allocates
    rounds = [{name: seconds(run) for name, run in runs.items()} for _ in range(options.rounds)]
    result = {
        "network": "DenseNet121, 3D",
        "size": options.size,
        "threads": options.threads,
        "rounds": options.rounds,
        "seconds": {name: statistics.median(r[name] for r in rounds) for name in runs},
        # the median of the ratios within a round: what slows the machine slows both
        "times_forward": {name: statistics.median(r[name] / r["forward"] for r in rounds) for name in runs},
        "stored_bytes": {name: stored_bytes(network, run) for name, run in runs.items()},
        "versions": {"torch": torch.__version__, "monai": monai.__version__, "python": platform.python_version()},
    }
    for name in runs:
        print(
            f"{name:26} {result['seconds'][name]:7.2f} s {result['times_forward'][name]:6.2f} x forward"
            f" {result['stored_bytes'][name] / 2**20:9.3f} MiB stored for backward"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
