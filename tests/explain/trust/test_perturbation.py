from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from lesionlens.explain import ClassLogit, Inference, RegionMargin, Windows
from lesionlens.explain.trust import Perturbation, Subject, filled, perturbation
from lesionlens.explain.trust.perturbation import FEW_FRACTIONS, FRACTIONS, fractions_for, random_order, ranking
from tiny_networks import voxel_head

SHAPE = (4, 5, 6)
EVERY = tuple(np.linspace(0, 1, 121))  # one voxel at a time


def additive(rng: np.random.Generator) -> tuple[nn.Module, torch.Tensor, np.ndarray]:
    """Return ``f(x) = sum_i w_i x_i`` as a network, an image, and the contributions ``w_i x_i`` of its voxels."""
    weights = rng.uniform(0.1, 2, 120)
    image = torch.tensor(rng.uniform(0.5, 1, (1, 1, *SHAPE)), dtype=torch.float32)
    linear = nn.Linear(120, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.stack([torch.zeros(120), torch.tensor(weights, dtype=torch.float32)]))
    return nn.Sequential(nn.Flatten(), linear), image, weights.reshape(SHAPE) * image[0, 0].numpy()


def checked(network: nn.Module, image: torch.Tensor, values: np.ndarray, **options: object) -> Perturbation:
    """Run the check of a map with an image of zeros as the one without content."""
    inference = Inference(network, image)
    subject = Subject(inference, ClassLogit(1), lambda *_: values, values.astype(np.float32))
    return perturbation(subject, fill=torch.zeros_like(image), **options)  # type: ignore[arg-type]


def test_an_additive_network_gives_the_closed_form(rng: np.random.Generator) -> None:
    """Each voxel takes its own contribution away: the curves are cumulative sums, voxel by voxel."""
    network, image, contributions = additive(rng)
    found = checked(network, image, contributions, fractions=EVERY)
    largest_first = np.sort(contributions.ravel())[::-1]
    taken = np.concatenate([[0], np.cumsum(largest_first)])

    np.testing.assert_allclose(found.deletion, taken[-1] - taken, atol=1e-4)  # float32 sums of 120 numbers up to 2
    np.testing.assert_allclose(found.insertion, taken, atol=1e-4)
    shares = taken / taken[-1]
    area = np.sum((shares[1:] + shares[:-1]) / 2) / 120
    assert found.area(found.insertion) == pytest.approx(area, abs=1e-5)
    assert found.area(found.deletion) == pytest.approx(1 - area, abs=1e-5)


def test_the_true_order_is_the_best_and_random_ones_give_half(rng: np.random.Generator) -> None:
    """No order takes an additive network down faster than its contributions; chance lies on the diagonal."""
    network, image, contributions = additive(rng)
    found = checked(network, image, contributions, fractions=EVERY, repeats=40)
    random = [found.area(curve) for curve in found.random_deletion]

    assert found.area(found.deletion) < min(random)
    assert found.area(found.insertion) > max(found.area(curve) for curve in found.random_insertion)
    # The standard error of the mean of 40 orders of 120 voxels is about 0.03 / sqrt(40).
    assert np.mean(random) == pytest.approx(0.5, abs=0.02)
    assert found.check().verdict == "passes"


def test_the_opposite_order_fails(rng: np.random.Generator) -> None:
    """A map that points away from what counts is worse than chance, and must not pass."""
    network, image, contributions = additive(rng)

    assert checked(network, image, -contributions, fractions=EVERY).check().verdict == "fails"


@pytest.mark.parametrize("seed", range(5))
def test_chance_does_not_pass(rng: np.random.Generator, seed: int) -> None:
    """One of a few random orders is always the best of them: that alone must not be enough."""
    network, image, _ = additive(rng)
    order = np.random.default_rng(seed).random(SHAPE)

    assert checked(network, image, order, fractions=EVERY, seed=100 + seed).check().verdict != "passes"


def test_the_curves_are_those_of_voxels_taken_one_by_one(rng: np.random.Generator) -> None:
    """Deletion and insertion of RISE, written again as a loop that changes one voxel at a time of a curved network."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2)).double().eval()
    image, fill = torch.tensor(rng.normal(size=(2, 1, 2, 2, 3, 2)))
    values = rng.normal(size=(2, 3, 2)).astype(np.float32)
    subject = Subject(Inference(network, image), ClassLogit(1), lambda *_: values, values)

    found = perturbation(subject, fill=fill, fractions=np.linspace(0, 1, 13))

    for curve, shown, other in ((found.deletion, image, fill), (found.insertion, fill, image)):
        shown = shown.clone()
        expected = [network(shown)[0, 1].item()]
        for place in sorted(np.ndindex(values.shape), key=lambda place: -values[place]):
            shown[(0, slice(None), *place)] = other[(0, slice(None), *place)]
            expected.append(network(shown)[0, 1].item())
        np.testing.assert_allclose(curve, expected, rtol=1e-5, atol=1e-6)  # scores are rounded to float32
        steps = [(a + b) / 2 - found.empty for a, b in pairwise(expected)]
        area = sum(steps) / len(steps) / (found.whole - found.empty)
        assert found.area(curve) == pytest.approx(area, abs=1e-4)  # both ends are about 1 apart


def test_the_area_is_over_the_true_fractions() -> None:
    """Steps are finest at the beginning: an area over the number of the step would count them all alike."""
    found = Perturbation((0.0, 0.1, 1.0), (4.0, 2.0, 0.0), (0.0, 2.0, 4.0), (), (), 3.0)

    assert found.scaled(found.deletion) == (1.0, 0.5, 0.0)
    assert found.area(found.deletion) == pytest.approx(0.1 * 0.75 + 0.9 * 0.25)
    assert found.average_drop == pytest.approx(0.25)


def test_the_drop_with_the_marked_part_alone_is_the_closed_form(rng: np.random.Generator) -> None:
    """Each voxel keeps its share of the map's largest value; negative ones keep nothing."""
    network, image, contributions = additive(rng)
    values = contributions - 0.5
    found = checked(network, image, values)
    kept = np.clip(values / values.max(), 0, 1)

    expected = 1 - (kept * contributions).sum() / contributions.sum()

    assert found.average_drop == pytest.approx(expected, abs=1e-5)
    assert found.check().numbers["increase"] == 0


def test_a_target_that_no_blur_lowers_is_unclear(rng: np.random.Generator) -> None:
    """Where the image without content gives the same answer, curves between the two mean nothing."""
    network, image, contributions = additive(rng)
    subject = Subject(Inference(network, image), ClassLogit(1), lambda *_: contributions, contributions)

    assert perturbation(subject, fill=image).check().verdict == "unclear"


def test_equal_values_keep_their_order_and_outside_is_left_out() -> None:
    """A map with many equal values must give the same curve on every computer."""
    values = np.array([[1.0, 3.0, 1.0], [3.0, 2.0, 9.0]], dtype=np.float32)
    inside = np.array([[True, True, True], [True, True, False]])

    assert ranking(values, inside).tolist() == [1, 3, 4, 0, 2]


def test_random_orders_take_whole_blocks() -> None:
    """A coarse map takes a block at a time: single random voxels would be another kind of damage."""
    inside = np.ones((6, 6, 4), dtype=bool)
    order = random_order(inside, (2.0, 3.0, 4.0), np.random.default_rng(0))

    assert sorted(order) == list(range(inside.size))
    for block in order.reshape(-1, 24):
        cells = {(i // 2, j // 3, k // 4) for i, j, k in zip(*np.unravel_index(block, inside.shape), strict=True)}
        assert len(cells) == 1


def test_the_blur_keeps_a_flat_image_and_what_is_outside() -> None:
    """Taking away content must not make edges: a head of one brightness keeps it up to its border."""
    image = torch.zeros(1, 1, 24, 24, 24)
    image[:, :, 4:20, 4:20, 4:20] = 5.0
    inside = (image[0, 0] > 0).numpy()

    torch.testing.assert_close(filled(image, inside, (24, 24, 24)), image, rtol=1e-5, atol=1e-6)
    image[0, 0, 12, 12, 12] = 50.0
    assert float(filled(image, inside, (24, 24, 24)).max()) < 6


def test_it_works_through_windows_on_a_region(rng: np.random.Generator) -> None:
    """Voxelwise networks see the same through any windows, so the curves are those of the image seen whole."""
    image = torch.tensor(rng.uniform(0.5, 1, (1, 1, 8, 8, 8)), dtype=torch.float32)
    network = voxel_head([[0.0], [2.0]])
    region = torch.zeros(8, 8, 8, dtype=torch.bool)
    region[2:5, 2:5, 2:5] = True
    values = (image[0, 0] * region).numpy()
    found = []
    for windows in (None, Windows.sliding((8, 8, 8), (4, 4, 4), overlap=0.5)):
        inference = Inference(network, image, windows)
        subject = Subject(inference, RegionMargin(1, region=region), lambda *_: values, values)
        found.append(perturbation(subject, fill=torch.zeros_like(image)))

    np.testing.assert_allclose(found[0].deletion, found[1].deletion, atol=1e-5)
    assert found[0].check().verdict == "passes"


def test_a_large_image_is_asked_fewer_times_and_says_so(rng: np.random.Generator) -> None:
    """Each pass through a large image takes long; the values at the shares that are left are the same."""
    assert fractions_for((128, 128, 128)) == FRACTIONS
    assert fractions_for((129, 128, 128)) == FEW_FRACTIONS
    network, image, contributions = additive(rng)
    all_, few = (checked(network, image, contributions, fractions=f) for f in (FRACTIONS, FEW_FRACTIONS))
    kept = [FRACTIONS.index(fraction) for fraction in FEW_FRACTIONS]

    assert few.deletion == pytest.approx([all_.deletion[n] for n in kept])
    assert few.insertion == pytest.approx([all_.insertion[n] for n in kept])
    assert "asked 21 times: at 3 shares of the voxels, instead of 6 as of smaller images" in few.check().notes[-1]
    assert "asked 39 times: at 6 shares of the voxels, in the order" in all_.check().notes[-1]
