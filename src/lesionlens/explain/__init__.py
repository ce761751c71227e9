"""Explanations of networks: torch only, for any ``torch.nn.Module`` with one tensor in.

>>> import torch
>>> from lesionlens.explain import ClassLogit, Inference, apply_method
>>> network = torch.nn.Sequential(
...     torch.nn.Conv3d(1, 4, 3), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
... )
>>> heat = apply_method(Inference(network, torch.rand(1, 1, 8, 8, 8)), ClassLogit(1))
>>> heat.layer, heat.values.shape
('0', (8, 8, 8))

The package has the name of the function ``lesionlens.explain(bundle, volume)``, and Python puts a package into its
parent as soon as anything imports it. So it can be called as that function, and ``lesionlens.explain`` is always both.
"""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from lesionlens.explain.apply import apply_method, apply_to_targets
from lesionlens.explain.boxes import Box, CoarseMap, painted
from lesionlens.explain.calling import main_output
from lesionlens.explain.capture import Cut, cut_at
from lesionlens.explain.detection import BoxScore, box_layer, chosen_layer
from lesionlens.explain.detection_network import BoxRules, DetectionNetwork
from lesionlens.explain.explanation import PROBABILITIES_NOTE, Explanation, Request
from lesionlens.explain.final import watching_activations
from lesionlens.explain.inference import Inference
from lesionlens.explain.layers import (
    LayerInfo,
    check_layer,
    default_layer,
    existing_layer,
    final_activation,
    layer_names,
    list_layers,
    misread_layers,
)
from lesionlens.explain.scores import Score
from lesionlens.explain.suits import Suits
from lesionlens.explain.targets import ClassLogit, FromProbabilities, RegionMargin, Target, settled
from lesionlens.explain.windows import Windows

__all__ = [
    "PROBABILITIES_NOTE",
    "Box",
    "BoxRules",
    "BoxScore",
    "ClassLogit",
    "CoarseMap",
    "Cut",
    "DetectionNetwork",
    "Explanation",
    "FromProbabilities",
    "Inference",
    "LayerInfo",
    "RegionMargin",
    "Request",
    "Score",
    "Suits",
    "Target",
    "Windows",
    "apply_method",
    "apply_to_targets",
    "box_layer",
    "check_layer",
    "chosen_layer",
    "cut_at",
    "default_layer",
    "existing_layer",
    "final_activation",
    "layer_names",
    "list_layers",
    "main_output",
    "misread_layers",
    "painted",
    "settled",
    "watching_activations",
]


def _function() -> Any:
    return import_module("lesionlens.model").explain  # only when asked for, as model imports this package


class _Explain(ModuleType):
    # The package, which is also the function lesionlens.model.explain, with its signature and its documentation.

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _function()(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function())

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return inspect.getdoc(_function())


sys.modules[__name__].__class__ = _Explain
