"""OpenVINO as an engine: the network is traced, translated and compiled for the processor, for one size of window."""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lesionlens.computing import EngineName
from lesionlens.explain import main_output
from lesionlens.model.engines.interface import EngineError
from lesionlens.model.engines.torch_engine import bf16_problem

__all__ = ["OpenVino", "is_installed"]


def is_installed() -> bool:
    """Whether the package is there."""
    return find_spec("openvino") is not None


class OpenVino:
    """A network that OpenVINO runs.

    Parameters
    ----------
    network
        On the CPU, in eval mode; it is traced, and left as it was.
    example
        (N, C, *spatial) float32: a batch of the windows that it will see. Fewer windows are filled up to as many.
    bf16
        Compute in bf16.

    Raises
    ------
    EngineError
        If OpenVINO is not installed, or cannot translate the network.
    """

    def __init__(self, network: nn.Module, example: Tensor, *, bf16: bool) -> None:
        self.name: EngineName = "openvino-bf16" if bf16 else "openvino"
        self.notices: tuple[str, ...] = ()
        if not is_installed():
            raise EngineError("OpenVINO is not installed; pip install 'lesionlens[openvino]'")
        if example.device.type != "cpu":
            raise EngineError(f"OpenVINO runs on the processor, and the network is on {example.device}")
        problem = bf16_problem(example.device) if bf16 else ""
        if problem:
            raise EngineError(problem)
        self._shape = tuple(example.shape)
        try:
            self._request = _compiled(network, example, "bf16" if bf16 else "f32")
        except MemoryError:
            raise
        except Exception as error:  # a network is arbitrary code, and a translator meets whatever is in it
            lines = str(error).strip().splitlines()
            reason = (lines[0] if lines else type(error).__name__).rstrip(".:")
            raise EngineError(f"OpenVINO cannot translate the network ({type(error).__name__}: {reason})") from error

    def __call__(self, windows: Tensor) -> Tensor:
        """Run the network."""
        count, most = len(windows), self._shape[0]
        if tuple(windows.shape[1:]) != self._shape[1:]:
            raise ValueError(f"compiled for windows of {self._shape[1:]}; found {tuple(windows.shape[1:])}")
        parts = [self._run(windows[start : start + most]) for start in range(0, count, most)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(self, windows: Tensor) -> Tensor:
        count, missing = len(windows), self._shape[0] - len(windows)
        if missing:
            windows = torch.cat([windows, windows[:1].expand(missing, *windows.shape[1:])])
        plain = windows.detach().as_subclass(Tensor).contiguous()
        found = self._request.infer({0: plain.numpy()}, share_inputs=True)[0]
        return torch.from_numpy(np.array(found[:count], dtype=np.float32))


class _Main(nn.Module):
    """A network whose one output is its main one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, window: Tensor) -> Tensor:
        """Run the network."""
        return main_output(self.network(window)).float()


def _compiled(network: nn.Module, example: Tensor, precision: str) -> Any:
    import openvino

    plain = example.detach().as_subclass(Tensor).clone()
    level = logging.getLogger("openvino").level
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of each size that it reads, and sizes never change here
        traced = torch.jit.trace(_Main(network).eval(), plain, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, example_input=plain, input=[list(plain.shape)])
    logging.getLogger("openvino").setLevel(level)
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.Core().compile_model(model, "CPU", options).create_infer_request()
