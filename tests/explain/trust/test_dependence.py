"""The box that a target depends on: its reach is that of the kernels, and nothing outside of it matters."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from lesionlens.errors import ExplainError
from lesionlens.explain import Inference, RegionMargin
from lesionlens.explain.trust import focused, subject
from lesionlens.explain.trust.dependence import box_around, grid_of, reach_of
from tiny_networks import state_of


def test_the_reach_is_the_sum_of_the_kernels() -> None:
    """A convolution of k taps at a distance of d looks (k - 1) d / 2 voxels to each side, also with weights of zero."""
    network = nn.Sequential(
        nn.Conv3d(1, 2, (1, 3, 5), padding=(0, 2, 6), dilation=(1, 2, 3)), nn.ReLU(), nn.Conv3d(2, 2, 3, padding=1)
    )
    nn.init.zeros_(network[2].weight)
    before = state_of(network)

    assert reach_of(network, (1, 1, 200, 200, 200)) == ((1, 1), (3, 3), (7, 7))
    assert state_of(network) == before


def test_a_kernel_beside_the_middle_reaches_to_one_side() -> None:
    """Padding before the image alone lets every voxel look back, and none ahead."""
    network = nn.Sequential(nn.ConstantPad2d((0, 0, 4, 0), 0.0), nn.Conv2d(1, 2, (5, 1)))

    assert reach_of(network, (1, 1, 300, 300)) == ((4, 0), (0, 0))


@pytest.mark.parametrize(
    "layer", [nn.InstanceNorm2d(2), nn.Conv2d(2, 2, 3, padding=128, dilation=128), nn.AvgPool2d(2)], ids=repr
)
def test_a_network_that_looks_everywhere_or_gives_another_grid_has_no_reach(layer: nn.Module) -> None:
    """There the answer must be no: a norm over the image carries every change to every voxel."""
    assert reach_of(nn.Sequential(nn.Conv2d(1, 2, 1), layer), (1, 1, 300, 300)) is None


def test_the_box_holds_the_region_and_its_reach_on_whole_cells() -> None:
    """Boxes begin and end at multiples of 32 voxels, or with the image."""
    region = torch.zeros(100, 200, dtype=torch.bool)
    region[70:80, 97] = True

    assert box_around(region, ((5, 5), (1, 30))) == (slice(64, 96), slice(96, 128))
    assert box_around(region, ((7, 30), (2, 31))) == (slice(32, 100), slice(64, 160))
    assert box_around(region, ((7, 30), (2, 31)), grid=1) == (slice(63, 100), slice(95, 129))
    with pytest.raises(ExplainError, match="no voxel"):
        box_around(region & False, ((0, 0), (0, 0)))


def test_boxes_keep_to_the_cells_of_a_network_that_has_any() -> None:
    """Where one layer is coarser than the image, a box that begins elsewhere would be seen through other cells."""
    fine = nn.Sequential(nn.Conv3d(1, 2, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv3d(2, 2, 1))
    coarse = UNet(3, 1, 2, channels=(4, 8), strides=(2,), norm="batch")

    assert grid_of(fine, (1, 1, 200, 200, 200)) == 1
    assert grid_of(coarse, (1, 1, 200, 200, 200)) == 32


class _Thirds(nn.Module):
    """Cells of three voxels, cut to the size of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 3, stride=3, padding=1), nn.ConvTranspose2d(4, 2, 3, stride=3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (N, 2, *spatial)."""
        height, width = image.shape[2:]
        found: torch.Tensor = self.up(torch.tanh(self.down(image)))[..., :height, :width]
        return found


def test_cells_that_fit_into_no_box_leave_the_image_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box from voxel 32 on has other cells of three voxels than the image, and another target."""
    monkeypatch.setattr(subject, "SMALL_VOXELS", 0)
    torch.manual_seed(0)
    network, image = _Thirds().eval().requires_grad_(False), torch.rand(1, 1, 192, 192)
    region = torch.zeros(192, 192, dtype=torch.bool)
    region[70:72, 70:72] = True
    target = RegionMargin(1, region=region)
    place = (..., slice(32, 128), slice(32, 128))
    part = RegionMargin(1, region=region[place])

    assert reach_of(network, (1, 1, 192, 192)) is not None
    assert abs(float(part(network(image[place])) - target(network(image)))) > 1e-3
    assert grid_of(network, (1, 1, 192, 192)) is None
    assert focused(Inference(network, image), target) is None


def test_nothing_outside_the_box_changes_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """A U-Net on its box gives the target of the whole image, and of any image that differs outside alone."""
    monkeypatch.setattr(subject, "SMALL_VOXELS", 0)
    torch.manual_seed(1)
    network = UNet(2, 1, 2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1, norm="batch").eval()
    image = torch.rand(1, 1, 192, 160)
    region = torch.zeros(192, 160, dtype=torch.bool)
    region[75:80, 66:100] = True
    inference, target = Inference(network, image), RegionMargin(1, region=region, region_name="the lesion")
    found = focused(inference, target)
    assert found is not None
    box, part = found
    place = (..., slice(64, 96), slice(32, 128))
    other = torch.rand_like(image)
    other[place] = image[place]

    assert torch.equal(box.image, image[place])
    assert "over the lesion (170 voxels)" in part.describe(box.logits())
    for whole in (image, other):
        assert float(part(box.logits())) == pytest.approx(
            float(target(Inference(network, whole).logits())), rel=1e-5, abs=1e-6
        )
    inside = image.clone()
    inside[..., 77, 80] += 5.0
    assert abs(float(target(Inference(network, inside).logits()) - part(box.logits()))) > 1e-3


def test_a_box_that_saves_little_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region all over the image needs all of it; a small image is looked at whole in any case."""
    network, image = nn.Conv2d(1, 2, 3, padding=1), torch.rand(1, 1, 96, 96)
    region = torch.zeros(96, 96, dtype=torch.bool)
    region[1, 1] = True

    assert focused(Inference(network, image), RegionMargin(1, region=region)) is None
    monkeypatch.setattr(subject, "SMALL_VOXELS", 0)
    assert focused(Inference(network, image), RegionMargin(1, region=region)) is not None
    region[94, 94] = True
    assert focused(Inference(network, image), RegionMargin(1, region=region)) is None
