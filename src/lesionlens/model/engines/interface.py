"""What an engine is, and how far it may differ from PyTorch in fp32."""

from __future__ import annotations

from typing import Final, Protocol

from torch import Tensor

from lesionlens.computing import EngineName

__all__ = ["TOLERANCES", "Engine", "EngineError"]

# Largest absolute difference of a probability on the window that an engine is checked with. In fp32 engines differ by
# the order of sums: mostly 1e-6, which is all that folding may cost, but 0.004 elsewhere for norms over channels that
# hardly vary, of random weights. bf16 has 8 bits, and a trained network of some dozen layers loses about 0.005.
TOLERANCES: Final[dict[EngineName, float]] = {
    "torch": 0.0,
    "torch-folded": 1e-4,
    "openvino": 0.02,
    "torch-bf16": 0.02,
    "openvino-bf16": 0.02,
}


class EngineError(Exception):
    """An engine cannot run a network here; the text is a reason without a full stop."""


class Engine(Protocol):
    """Runs one network."""

    @property
    def name(self) -> EngineName:
        """Which one it is."""

    @property
    def notices(self) -> tuple[str, ...]:
        """One sentence for each thing that it does otherwise than its name says; more may come with a later window."""

    def __call__(self, windows: Tensor) -> Tensor:
        """Run the network.

        Parameters
        ----------
        windows
            (N, C, *spatial) float32; those of one engine all have one size.

        Returns
        -------
        torch.Tensor
            (N, K, ...) float32: the network's main output.
        """
