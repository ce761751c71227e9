from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lesionlens.explain import ClassLogit, Inference, RegionMargin
from lesionlens.explain.targets import FromProbabilities
from lesionlens.explain.trust import Subject, agreement, edges, map_of, stability
from lesionlens.explain.trust.subject import MapMaker
from tiny_networks import pooled_linear, state_of, voxel_head


def subject(network: nn.Module, image: torch.Tensor, target: object, make: MapMaker) -> Subject:
    """Return a map to be checked."""
    inference = Inference(network, image)
    return Subject(inference, target, make, make(inference, target, lambda *_: None))  # type: ignore[arg-type]


@pytest.fixture
def image(rng: np.random.Generator) -> torch.Tensor:
    """Return an image with values of one size everywhere."""
    return torch.tensor(rng.uniform(0.5, 1.5, (1, 1, 8, 7, 6)), dtype=torch.float32)


def test_a_network_that_moves_along_keeps_its_map(image: torch.Tensor) -> None:
    """A voxelwise network gives the moved map for the moved image: moved back it is the same, for every axis."""
    region = image[0, 0] > 1
    made = subject(
        voxel_head([[0.0], [2.0]]), image, RegionMargin(1, region=region), map_of("gradcam", layer="features")
    )
    found = stability(made)

    assert found.shifts == pytest.approx((1, 1, 1))
    assert found.flips == pytest.approx((1, 1, 1))
    assert min(found.noise) > 0.98  # noise of 5 % of the spread
    assert found.check().verdict == "passes"


def test_the_region_moves_along(image: torch.Tensor) -> None:
    """A map of the region where it was would be one of another place; this network's map is the region itself."""

    def where(inference: Inference, target: object, progress: object) -> np.ndarray:
        logits = inference.logits().requires_grad_()
        (gradient,) = torch.autograd.grad(target(logits), logits)  # type: ignore[operator]
        return gradient[0, 1].numpy()

    region = torch.zeros(8, 7, 6, dtype=torch.bool)
    region[1:4, 2:4, 0:2] = True
    target = FromProbabilities(RegionMargin(1, region=region), sigmoid=True)
    found = stability(subject(voxel_head([[0.0], [2.0]]), image * 0.1, target, where))

    assert min(*found.shifts, *found.flips) > 0.9


def test_a_map_that_hangs_on_noise_fails(image: torch.Tensor) -> None:
    """The check must be able to say no: this map jumps with the last digits of the image."""

    def nervous(inference: Inference, target: object, progress: object) -> np.ndarray:
        digits = inference.image[0, 0].double() * 1e4
        return (digits - digits.floor()).float().numpy()

    check = stability(subject(pooled_linear([[0.0], [1.0]]), image, ClassLogit(1), nervous)).check()

    assert check.verdict == "fails"
    assert abs(check.numbers["worst_noise"]) < 0.3
    assert check.numbers["worst_shift"] == pytest.approx(1)  # moved, the digits are the same


def test_the_network_and_the_image_stay(image: torch.Tensor) -> None:
    """A disturbed image is a copy."""
    network = pooled_linear([[0.0, 1.0], [1.0, 2.0]])
    before, kept = state_of(network), image.clone()
    made = subject(network, image, ClassLogit(1), map_of("gradcam", layer="features"))

    assert stability(made, seed=1) == stability(made, seed=1)
    assert state_of(network) == before
    assert torch.equal(image, kept)


def test_methods_that_contradict_each_other_are_named(image: torch.Tensor) -> None:
    """A reader must know which method says something else; that is a doubt, not a failure."""
    drawing = edges(Inference(pooled_linear([[1.0]]), image), ClassLogit(0))

    good = agreement("a", drawing, {"b": 2 * drawing})
    bad = agreement("a", drawing, {"b": 2 * drawing, "c": -drawing})

    assert good.verdict == "passes"
    assert bad.verdict == "unclear"
    assert "least with c, by -1.00" in bad.sentence
