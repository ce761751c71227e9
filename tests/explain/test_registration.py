"""Where the cells of a layer lie is measured to a fraction of a voxel, or said to be not measurable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain import Inference, Windows
from lesionlens.explain.registration import CellOffset, cell_offset, displacements
from tiny_networks import state_of

Triple = tuple[float, float, float]


def conv(kernel: int, stride: int, padding: int, at: Triple | None = None) -> nn.Conv3d:
    """Return a convolution that sums its kernel, or takes the one voxel ``at`` of it."""
    found = nn.Conv3d(1, 1, kernel, stride=stride, padding=padding, bias=False)
    with torch.no_grad():
        found.weight.fill_(1.0 if at is None else 0.0)
        if at is not None:
            found.weight[(0, 0, *at)] = 1.0
    return found


def measured(*layers: nn.Module, size: Sequence[int] = (32, 36, 40), windows: Windows | None = None) -> CellOffset:
    """Measure the layer that these modules make, in a classifier."""
    network = nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    image = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(3))
    return cell_offset([displacements(Inference(network, image, windows), "0")], "0")


@pytest.mark.parametrize(
    ("layers", "stride", "offset"),
    [
        ([conv(3, 1, 1)], 1, (0.0, 0.0, 0.0)),
        ([conv(2, 2, 0)], 2, (0.0, 0.0, 0.0)),  # cell c is voxels 2c and 2c + 1: the convention itself
        ([conv(4, 2, 1)], 2, (0.0, 0.0, 0.0)),  # 2c - 1 to 2c + 2
        ([conv(3, 2, 1)], 2, (-0.5, -0.5, -0.5)),  # 2c - 1 to 2c + 1
        ([conv(5, 4, 2)], 4, (-1.5, -1.5, -1.5)),  # 4c - 2 to 4c + 2
        ([conv(3, 2, 1), conv(3, 2, 1)], 4, (-1.5, -1.5, -1.5)),  # centred on 4c
        ([nn.AvgPool3d(4)], 4, (0.0, 0.0, 0.0)),
        # Two voxels before the first axis and one after the others: 2c - 2 to 2c, and 2c to 2c + 2.
        ([nn.ConstantPad3d((0, 1, 0, 1, 2, 0), 0.0), conv(3, 2, 0)], 2, (-1.5, 0.5, 0.5)),
        ([conv(5, 1, 2, (0, 2, 4))], 1, (-2.0, 0.0, 2.0)),  # takes voxel c - 2, c and c + 2
        ([conv(5, 1, 2, (2, 2, 2))], 1, (0.0, 0.0, 0.0)),
        ([conv(5, 2, 2, (0, 2, 3))], 2, (-2.5, -0.5, 0.5)),
    ],
    ids=["k3", "k2 s2", "k4 s2", "k3 s2", "k5 s4", "twice", "pool", "asymmetric", "shifted", "middle", "shifted s2"],
)
def test_cells_are_found_where_the_kernel_puts_them(layers: list[nn.Module], stride: int, offset: Triple) -> None:
    """The centre of a receptive field is known by hand from kernel, stride and padding, for one voxel exactly."""
    found = measured(*layers)

    assert found.stride == (stride,) * 3
    np.testing.assert_allclose(found.voxels, offset, atol=0.02)  # the centroid of a few cells sways by some hundredths
    assert found.n == 64
    assert max(found.spread) < 0.4 * stride


class Flipped(nn.Module):
    """A module that sees everything mirrored along some axes, and mirrors back what it gives."""

    def __init__(self, inner: nn.Module, axes: Sequence[int]) -> None:
        super().__init__()
        self.inner, self.axes = inner, tuple(axes)

    def forward(self, image: Tensor) -> Tensor:
        """Return the inner module's answer to the mirrored image, mirrored back."""
        found: Tensor = self.inner(image.flip(self.axes)).flip(self.axes)
        return found


def test_a_mirrored_network_has_the_opposite_offset() -> None:
    """Boxes of voxels look the same from both sides, so mirroring must turn the sign along its own axes alone."""
    shifted = conv(5, 2, 2, (0, 2, 3))

    found = measured(Flipped(shifted, (2, 4)))

    np.testing.assert_allclose(found.voxels, (2.5, -0.5, -0.5), atol=0.02)


def test_a_learned_layer_keeps_to_the_centre_that_its_kernels_share() -> None:
    """Random weights, a norm over the whole image and rectification scatter, and do not mislead."""
    layers = [nn.Conv3d(1, 16, 3, stride=2, padding=1), nn.InstanceNorm3d(16), nn.ReLU()]

    found = measured(*layers, nn.Conv3d(16, 16, 3, stride=2, padding=1))

    standard_error = np.array(found.spread) / np.sqrt(found.n)
    assert (np.abs(np.array(found.voxels) + 1.5) < 0.5 + 4 * standard_error).all()  # kernels lean a little themselves


def test_windows_do_not_change_where_cells_lie() -> None:
    """Every window is measured in its own voxels."""
    plan = Windows.sliding((32, 36, 40), (24, 24, 24), overlap=0.5)

    found = measured(conv(3, 2, 1), windows=plan)

    assert found.window == (24, 24, 24)
    np.testing.assert_allclose(found.voxels, (-0.5, -0.5, -0.5), atol=0.02)


class MeanEverywhere(nn.Module):
    """Every cell holds the mean of all: there are cells, and no places."""

    def forward(self, image: Tensor) -> Tensor:
        """Return (1, 1, *cells) of one value."""
        pooled = nn.functional.avg_pool3d(image, 8)
        return torch.ones_like(pooled) * pooled.mean()


class Scattered(nn.Module):
    """A single cell answers, and which one has nothing to do with the place."""

    def forward(self, image: Tensor) -> Tensor:
        """Return (1, 1, *cells), zero but for one cell."""
        cells = torch.zeros_like(nn.functional.avg_pool3d(image, 2))
        cells.view(-1)[int(image.double().sum().abs() * 1e6) % cells.numel()] = 1.0
        return cells


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([Scattered()], r"single blobs scatter by .* voxels along axis 0, more than its stride \(2\)"),
        ([MeanEverywhere()], "its answers do not follow the blobs along axis 0"),
        ([conv(3, 2, 1), nn.Threshold(1e6, 0.0)], "it answers only 0 of 64 blobs"),
        ([nn.AvgPool3d(16)], "it has 2 x 2.* cells; at least 3"),
    ],
    ids=["scattered", "everywhere", "dead", "two cells"],
)
def test_what_knows_no_places_is_refused(layers: list[nn.Module], reason: str) -> None:
    """An offset of such a layer would move its maps by chance."""
    with pytest.raises(ExplainError, match=f"'0' lie is not measurable: {reason}"):
        measured(*layers, size=(32, 32, 32))


def test_images_of_other_strides_are_not_mixed() -> None:
    """8 cells for 24 voxels are another stride than 8 for 32, and another offset."""
    network = nn.Sequential(conv(3, 1, 1), nn.AdaptiveAvgPool3d(8), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    parts = [displacements(Inference(network, torch.randn(1, 1, n, n, n)), "1") for n in (24, 32)]

    with pytest.raises(ExplainError, match="its stride depends on the size of the image"):
        cell_offset(parts, "0")


def test_images_that_are_no_multiple_of_the_stride_measure_as_others_do() -> None:
    """13 cells for 25 voxels lie where 16 for 32 do: kernels of 3 are centred on every second voxel from the first."""
    network = nn.Sequential(conv(3, 2, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    parts = [displacements(Inference(network, torch.randn(1, 1, n, n, n)), "0") for n in (25, 32)]

    assert cell_offset(parts, "0").voxels == pytest.approx((-0.5, -0.5, -0.5), abs=0.05)


def test_the_same_seed_measures_the_same_and_leaves_the_network_alone() -> None:
    """A stored offset can be made again, and a user's stop leaves no hook behind."""
    network = nn.Sequential(conv(3, 2, 1), nn.BatchNorm3d(1), nn.AdaptiveAvgPool3d(1), nn.Flatten()).train()
    subject = Inference(network, torch.randn(1, 1, 16, 16, 16))
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def stop(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise Cancelled("enough")

    first, second, other = (displacements(subject, "0", seed=seed) for seed in (1, 1, 2))
    with pytest.raises(Cancelled, match="enough"):
        displacements(subject, "0", progress=stop)

    np.testing.assert_array_equal(first.voxels, second.voxels)
    assert not np.array_equal(first.places, other.places)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_an_error_while_measuring_leaves_everything_as_it_was() -> None:
    """Also where the network itself fails, in the middle of the blobs."""

    class Failing(nn.Module):
        calls = 0

        def forward(self, image: Tensor) -> Tensor:
            self.calls += 1
            if self.calls > 3:
                raise ValueError("out of order")
            return image

    network = nn.Sequential(Failing(), conv(3, 2, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten()).train()
    image = torch.randn(1, 1, 16, 16, 16)
    before, image_before = state_of(network), image.clone()

    with pytest.raises(ValueError, match="out of order"):
        displacements(Inference(network, image), "1")

    assert state_of(network) == before
    assert torch.equal(image, image_before)


def test_an_image_that_is_not_finite_is_not_measured_on() -> None:
    """A centroid of nothing would be an offset of nothing."""
    image = torch.randn(1, 1, 16, 16, 16)
    image[0, 0, 8, 8, 8] = torch.nan

    with pytest.raises(ExplainError, match="not finite"):
        displacements(Inference(nn.Sequential(conv(3, 2, 1), nn.AdaptiveAvgPool3d(1)), image), "0")
