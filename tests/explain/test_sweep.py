"""The passes over the windows, where a network runs without gradients whatever it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lesionlens.errors import ExplainError
from lesionlens.explain import ClassLogit, Inference, apply_method
from tiny_networks import pooled_linear

IMAGE = torch.linspace(-1, 1, 512).view(1, 1, 8, 8, 8)


class SwitchesOff(nn.Module):
    """A network that runs without gradients whatever the caller wants, by ``switch``."""

    def __init__(self, switch: Callable[[], Any]) -> None:
        super().__init__()
        self.network, self.switch = pooled_linear([[1.0, 2.0], [3.0, -1.0]]), switch

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (N, 2)."""
        with self.switch():
            logits: Tensor = self.network(image)
            return logits


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["ablationcam", "scorecam", "activation_mean", "occlusion"])
def test_methods_without_gradients_work_where_the_network_switches_them_off(
    method: str, switch: Callable[[], Any]
) -> None:
    """They only run forward, so their maps are those of the network itself."""
    layer = None if method == "occlusion" else "network.features"
    options = {"size": 4} if method == "occlusion" else {}
    network = SwitchesOff(switch)

    found = apply_method(Inference(network, IMAGE), ClassLogit(1), method=method, layer=layer, options=options)

    plain = Inference(network.network, IMAGE)
    known = apply_method(plain, ClassLogit(1), method=method, layer=layer and "features", options=options)
    assert known.values.any()
    np.testing.assert_array_equal(found.values, known.values)


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "eigencam", "cam", "saliency"])
def test_methods_with_gradients_say_that_the_network_switches_them_off(method: str, switch: Callable[[], Any]) -> None:
    """Another layer would not help."""
    with pytest.raises(ExplainError, match=r"switches gradients off.*choose a method"):
        apply_method(Inference(SwitchesOff(switch), IMAGE), ClassLogit(1), method=method)
