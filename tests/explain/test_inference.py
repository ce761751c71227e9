from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain.inference import Inference
from lesionlens.explain.windows import Windows
from tiny_networks import Overwriting, SmallUNet, pooled_linear, state_of, voxel_head


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(2, 1, 4, 4, 4),
        torch.zeros(1, 4, 4),
        torch.zeros(1, 1, 4, 4, 4, dtype=torch.int64),
        torch.zeros(1, 1, 1, 4, 4, 4),
    ],
)
def test_anything_but_one_image_is_refused(image: torch.Tensor) -> None:
    """A batch, a missing axis or whole numbers are mistakes that would give a map of something else."""
    with pytest.raises(ExplainError, match=r"One image .* found shape"):
        Inference(pooled_linear([[1.0]]), image)


@pytest.mark.parametrize(
    ("network", "image", "found"),
    [
        (pooled_linear([[1.0]]), np.zeros((1, 1, 4, 4, 4), dtype=np.float32), "Sequential and ndarray"),
        (lambda image: image.mean(dim=(2, 3, 4)), torch.zeros(1, 1, 4, 4, 4), "function and Tensor"),
    ],
    ids=["array", "function"],
)
def test_arrays_and_functions_are_refused_in_words(network: Any, image: Any, found: str) -> None:
    """What is wanted instead is one call away, and no traceback says so."""
    with pytest.raises(ExplainError, match=rf"found {found}\. Wrap a function in a module"):
        Inference(network, image)


def test_windows_of_another_image_are_refused() -> None:
    """Windows planned before the image was resampled do not fit it any more."""
    with pytest.raises(
        ExplainError, match=r"windows are for an image of \(8, 8, 8\) voxels; the image has \(4, 4, 4\)"
    ):
        Inference(pooled_linear([[1.0]]), torch.zeros(1, 1, 4, 4, 4), Windows.whole((8, 8, 8)))


def test_logits_of_a_classifier_are_those_of_one_pass() -> None:
    """A classifier sees its image whole; closed form: head times (k + 1) times the mean, plus bias."""
    image = torch.arange(8.0).view(1, 1, 2, 2, 2)
    network = pooled_linear([[1.0, -1.0], [0.0, 3.0]], bias=[0.5, -0.5])

    logits = Inference(network, image).logits()

    assert logits.tolist() == [[(1 - 2) * 3.5 + 0.5, 3 * 2 * 3.5 - 0.5]]


def test_logits_are_plain_numbers() -> None:
    """MONAI's MetaTensor and a graph would be carried into everything that is made of them."""
    image = MetaTensor(torch.randn(1, 2, 4, 4, 4), affine=torch.eye(4))

    logits = Inference(voxel_head([[1.0, 2.0]]), image).logits()

    assert type(logits) is torch.Tensor
    assert not logits.requires_grad


def test_network_and_image_are_left_as_they_were() -> None:
    """A prediction changes neither flags nor random state nor an image that the network overwrites."""
    network, image = nn.Sequential(Overwriting()).train(), torch.randn(1, 1, 4, 4, 4)
    before, image_before = state_of(network), image.clone()

    Inference(network, image).logits()

    assert state_of(network) == before
    assert torch.equal(image, image_before)


def test_prediction_reports_each_window_and_can_be_cancelled() -> None:
    """Cancelling from the progress callback stops at once and restores the network."""
    network, image = SmallUNet().train(), torch.randn(1, 1, 8, 8, 8)
    inference = Inference(network, image, Windows.sliding((8, 8, 8), (4, 4, 4), overlap=0))
    before, seen = state_of(network), []

    def stop_at_the_third(stage: str, done: int, total: int) -> None:
        seen.append((stage, done, total))
        if done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        inference.logits(progress=stop_at_the_third)

    assert seen == [("Predicting", 0, 8), ("Predicting", 1, 8), ("Predicting", 2, 8)]
    assert state_of(network) == before


def test_progress_ends_at_the_total() -> None:
    """A bar that never fills looks like work that never ended."""
    seen: list[tuple[str, int, int]] = []
    image = torch.randn(1, 1, 4, 4, 4)

    Inference(pooled_linear([[1.0]]), image).logits(progress=lambda *step: seen.append(step))

    assert seen[-1] == ("Predicting", 1, 1)
