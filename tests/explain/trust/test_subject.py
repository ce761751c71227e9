from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lesionlens.errors import ExplainError
from lesionlens.explain import ClassLogit, Inference, RegionMargin, Windows
from lesionlens.explain.targets import FromProbabilities
from lesionlens.explain.trust import Subject, edges, focused, map_of, perturbation, randomisation, stability
from lesionlens.explain.trust.subject import inside_of
from lesionlens.progress import silent
from tiny_networks import SmallUNet, pooled_linear, voxel_head


def test_surroundings_of_one_value_are_left_out_and_others_are_not() -> None:
    """Air that was set to a value, not to zero, is half of a head scan and would decide every correlation."""
    image = torch.randn(1, 2, 8, 8, 8)
    assert inside_of(image).all()
    image[:, :, :3] = -2.0
    expected = np.ones((8, 8, 8), dtype=bool)
    expected[:3] = False

    np.testing.assert_array_equal(inside_of(image), expected)
    image[:, 1, :3] = torch.randn(3, 8, 8)  # one channel has something to say there
    assert inside_of(image).all()
    assert inside_of(torch.ones(1, 1, 4, 4, 4)).all()


def test_edges_are_edges() -> None:
    """The control must follow the image alone: a ramp of slope 3 gives 3 times the filter's 2 x 4 x 4, a plane 0."""
    image = torch.zeros(1, 1, 8, 8, 8)
    image[..., 4:] = 3 * torch.arange(4.0)
    found = edges(Inference(pooled_linear([[1.0]]), image), ClassLogit(0))

    np.testing.assert_allclose(found[2:-2, 2:-2, 5:-1], 3 * 32)
    assert not found[..., :3].any()


def test_the_window_with_most_of_the_region_is_checked() -> None:
    """The target of the window is the mean margin over the part of the region that lies in it."""
    image = torch.rand(1, 1, 6, 12, 6)
    windows = Windows.sliding((6, 12, 6), (8, 6, 6), overlap=0.5)  # padded along the first axis
    region = torch.zeros(6, 12, 6, dtype=torch.bool)
    region[2:4, 7:11, 1:3] = region[0, 0, 0] = True
    inference = Inference(voxel_head([[0.0], [3.0]], bias=[0.0, 1.0]), image, windows)

    for target in (RegionMargin(1, region=region), FromProbabilities(RegionMargin(1, region=region))):
        found = focused(inference, target)
        assert found is not None
        window, part = found
        assert window.image.shape == (1, 1, 8, 6, 6)
        torch.testing.assert_close(window.image[0, 0, 1:7], image[0, 0, :, 6:])
        assert "in one window (16 voxels)" in part.describe(window.logits().sigmoid())
    found = focused(inference, RegionMargin(1, region=region))
    assert found is not None
    expected = 3 * image[0, 0, 2:4, 7:11, 1:3].mean() + 1

    assert float(found[1](found[0].logits())) == pytest.approx(float(expected), abs=1e-5)


def test_an_image_seen_whole_is_checked_whole() -> None:
    """There is nothing to choose from, and a classifier's target has no region."""
    network = pooled_linear([[1.0]])

    assert focused(Inference(network, torch.rand(1, 1, 4, 4, 4)), ClassLogit(0)) is None


def test_flat_images_are_checked_too() -> None:
    """The engine explains networks of two axes, and their maps look just as convincing."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(2, 2)
    )
    inference = Inference(network, torch.rand(1, 1, 12, 10))
    subject = Subject(inference, ClassLogit(1), edges, edges(inference, ClassLogit(1)))

    assert randomisation(subject).check().verdict == "fails"
    assert stability(subject).flips == pytest.approx((1, 1))
    assert len(perturbation(subject, repeats=1).random_deletion) == 1


def test_a_map_of_another_shape_is_refused() -> None:
    """It would be compared with the wrong voxels."""
    inference = Inference(pooled_linear([[1.0]]), torch.rand(1, 1, 4, 4, 4))
    with pytest.raises(ExplainError, match="must be the same"):
        Subject(inference, ClassLogit(0), edges, np.ones((2, 2, 2), dtype=np.float32))


@pytest.mark.parametrize("check", [perturbation, randomisation, stability])
def test_progress_ends_with_all_steps(check: Callable[..., object]) -> None:
    """A bar that stays at 90 % looks like a check that was given up."""
    inference, steps = Inference(SmallUNet().eval(), torch.rand(1, 1, 8, 8, 8)), []
    make = map_of("gradcam", layer="act")
    target = RegionMargin(1, region=torch.ones(8, 8, 8, dtype=torch.bool))
    subject = Subject(inference, target, make, make(inference, target, silent), (2.0, 2.0, 2.0))

    check(subject, progress=lambda _stage, done, total: steps.append((done, total)))

    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1][0] == steps[-1][1] == len({done for done, _ in steps}) - 1
    assert len({total for _, total in steps}) == 1
