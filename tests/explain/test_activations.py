"""Activations that are functions: no layer, so they have to be seen otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lesionlens.errors import ExplainError
from lesionlens.explain import ClassLogit, Inference, apply_method

IMAGE = torch.linspace(-1, 1, 512).view(1, 1, 8, 8, 8)


class Functional(nn.Module):
    """A convolution whose activation is a function, then what a CAM explains."""

    def __init__(self, *, module: bool = False) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv3d(1, 3, 1), nn.Linear(3, 2)
        self.act = nn.ReLU() if module else functional.relu
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0, 0.5]).view(3, 1, 1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (N, 2)."""
        logits: Tensor = self.linear(self.act(self.conv(image)).mean(dim=(2, 3, 4)))
        return logits


@pytest.mark.parametrize(
    "method", ["gradcam", "gradcampp", "hirescam", "layercam", "xgradcam", "ablationcam", "eigencam"]
)
@pytest.mark.parametrize("module", [False, True])
def test_an_activation_that_is_no_module_is_named(method: str, *, module: bool) -> None:
    """The default layer then holds what the network never goes on with; before an activation module it does not."""
    found = apply_method(Inference(Functional(module=module), IMAGE), ClassLogit(1), method=method)

    assert found.layer == ("act" if module else "conv")
    said = [note for note in found.notes if "an activation that is not a module (relu) follows this layer" in note]
    assert len(said) == (not module)


def test_a_layer_before_an_activation_module_has_no_such_note() -> None:
    """The note would be wrong: the module can be chosen, also where it writes in place."""
    for inplace in (False, True):
        network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.ReLU(inplace=inplace), nn.AdaptiveAvgPool3d(1), nn.Flatten())

        found = apply_method(Inference(network, IMAGE), ClassLogit(1), layer="0")

        assert not [note for note in found.notes if "not a module" in note]


def test_cam_behind_an_activation_that_is_no_module_gives_advice_that_helps() -> None:
    """There is no layer before the pooling that could be chosen."""
    with pytest.raises(
        ExplainError, match=r"not a module \(relu\) follows the layer.*Write the activation as a module"
    ):
        apply_method(Inference(Functional(), IMAGE), ClassLogit(1), method="cam")
