"""Where the cells of a layer lie, of networks that do not cover the image evenly too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lesionlens.explain import BoxScore, ClassLogit, DetectionNetwork, Inference, Windows, apply_method, cells
from lesionlens.explain.capture import cut_at
from lesionlens.explain.cells import cells_of, even_cells
from lesionlens.explain.registration import displacements


class Valid(nn.Module):
    """A classifier of convolutions without padding that hand on what they see: a bright voxel stays one bright cell."""

    def __init__(self, layers: int = 4, *, saves_memory: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(*(nn.Conv3d(1, 1, 3, bias=False) for _ in range(layers)), nn.ReLU())
        self.head = nn.Linear(1, 2)
        self.saves_memory = saves_memory
        with torch.no_grad():
            for conv in self.features[:-1]:
                conv.weight.zero_()
                conv.weight[0, 0, 1, 1, 1] = 1
            self.head.weight.copy_(torch.tensor([[0.0], [1.0]]))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (N, 2)."""
        features = checkpoint(self.features, image, use_reentrant=False) if self.saves_memory else self.features(image)
        return self.head(features.mean(dim=(2, 3, 4)))


def blob(size: int, place: tuple[int, int, int]) -> Tensor:
    """Return an image with one bright voxel."""
    image = torch.zeros(1, 1, size, size, size)
    image[0, 0][place] = 1
    return image


def peak(values: np.ndarray) -> tuple[int, ...]:
    """Return the place of the largest value."""
    return tuple(int(n) for n in np.unravel_index(values.argmax(), values.shape))


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "ablationcam", "activation_mean"])
@pytest.mark.parametrize("place", [(9, 12, 20), (22, 6, 17), (15, 15, 15)])
def test_unpadded_convolutions_leave_a_map_where_the_image_is(method: str, place: tuple[int, int, int]) -> None:
    """A border of four voxels is cut off: cells stretched over the image would lie up to four voxels off."""
    explained = apply_method(Inference(Valid(), blob(32, place)), ClassLogit(1), method=method, layer="features.4")

    assert peak(explained.values) == place
    assert explained.stride == (1.0, 1.0, 1.0)
    assert explained.border == (4.0, 4.0, 4.0)
    assert any("do not cover the image evenly" in note for note in explained.notes)


def test_unpadded_convolutions_behind_checkpointing() -> None:
    """Asking for other images must not disturb the graph that is still needed."""
    network = Valid(saves_memory=True)

    explained = apply_method(
        Inference(network, blob(32, (9, 12, 20))), ClassLogit(1), layer="features.4", method="layercam"
    )

    assert peak(explained.values) == (9, 12, 20)


def test_unpadded_convolutions_measure_as_lying_where_they_are_placed() -> None:
    """What is measured is the rest that the placing leaves: nothing, along no axis, at no place."""
    found = displacements(Inference(Valid(2), torch.rand(1, 1, 40, 40, 40)), "features.2", positions=20)

    assert len(found.places) > 10
    assert np.abs(found.voxels).max() < 0.5


@pytest.mark.parametrize("size", [30, 31, 24])
def test_a_rest_at_the_end_does_not_stretch_the_map(size: int) -> None:
    """Pooling by 8 leaves out what does not fill a cell; the other cells stay where they are, every 8 voxels."""
    network = nn.Sequential(nn.Conv3d(1, 1, 1, bias=False), nn.AvgPool3d(8), nn.Flatten(), nn.Linear(27, 2))
    with torch.no_grad():
        network[0].weight.fill_(1)
        network[3].weight.fill_(1)
    image = torch.zeros(1, 1, size, size, size)
    image[0, 0, 16:24, 8:16, :8] = 1

    network_of_any_size = nn.Sequential(network[0], network[1], nn.AdaptiveAvgPool3d(3), *network[2:])
    explained = apply_method(Inference(network_of_any_size, image), ClassLogit(1), layer="1")

    assert explained.stride == (8.0, 8.0, 8.0)
    # Cells 2, 1 and 0 of the three axes; the outermost cells keep their value up to the border of the image.
    assert explained.values[19:, 11:13, :4] == pytest.approx(explained.values.max(), rel=0.07)
    assert explained.values[12, 11, 3] < 0.2 * explained.values.max()


class _ByFunctions(nn.Module):
    """Convolutions without padding that are functions, and a layer that hands on what they give."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Identity(), nn.Linear(1, 2)
        kernel = torch.zeros(1, 1, 5, 3, 1)
        kernel[0, 0, 2, 1, 0] = 1
        self.register_buffer("kernel", kernel)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (N, 2)."""
        for _ in range(2):
            image = functional.conv3d(image, self.kernel)
        found: Tensor = self.head(self.layer(image).mean(dim=(2, 3, 4)))
        return found


def test_convolutions_that_are_functions_cut_off_a_border_too() -> None:
    """Nothing tells of their padding but the number of cells: four voxels of the first axis, two of the second."""
    network = _ByFunctions()
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[0.0], [1.0]]))

    explained = apply_method(Inference(network, blob(32, (9, 20, 5))), ClassLogit(1), layer="layer")

    assert explained.border == (4.0, 2.0, 0.0)
    assert peak(explained.values) == (9, 20, 5)


@pytest.mark.parametrize(("stride", "padding"), [(3, 1), (5, 2), (2, 1), (6, 2), (7, 3)])
def test_strides_of_all_kinds_are_found(stride: int, padding: int) -> None:
    """The number of cells alone leaves the stride open where the image is not a whole number of them."""
    network = nn.Sequential(nn.Conv2d(1, 1, 2 * padding + 1, stride=stride, padding=padding))
    view = torch.zeros(1, 1, 47, 52)
    with cut_at(nn.Sequential(network, nn.Conv2d(1, 2, 1)), "0") as cut:
        shape = cut.encode(view).shape[2:]
        found = cells_of(network, cut, view, shape)

    assert found.stride == (stride, stride)
    last = [s * (n - 1) + (s - 1) / 2 + b for s, n, b in zip(found.stride, shape, found.border, strict=True)]
    true = [stride * (n - 1) for n in shape]  # centres of the kernels: padding is half of a kernel
    assert all(abs(a - b) <= stride / 2 for a, b in zip(last, true, strict=True))


def test_evenly_covered_images_cost_no_further_pass_and_are_interpolated_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Strides that are powers of two, with padding, leave nothing open."""
    passes: list[object] = []
    monkeypatch.setattr(cells, "_count", lambda *arguments: passes.append(arguments))
    network = nn.Sequential(nn.Conv3d(1, 2, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    image = torch.rand(1, 1, 16, 16, 16)

    explained = apply_method(Inference(network, image), ClassLogit(1), layer="1", method="hirescam")

    assert explained.coarse is not None
    coarse = torch.from_numpy(explained.coarse)[None, None]
    expected = functional.interpolate(coarse, size=(16, 16, 16), mode="trilinear", align_corners=False)[0, 0]
    assert np.array_equal(explained.values, expected.numpy())
    assert not passes
    assert explained.border == (0.0, 0.0, 0.0)


def test_networks_that_insist_on_a_size_keep_the_even_placing() -> None:
    """Nothing is known beyond the number of cells then."""
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(30 * 30, 2))
    explained = apply_method(Inference(network, torch.rand(1, 1, 32, 32)), ClassLogit(1), layer="1")

    # The layer itself runs at any size; only what follows insists, and is not asked.
    assert explained.border == (1.0, 1.0)
    front = (nn.Flatten(), nn.Linear(32 * 32, 15 * 15), nn.Unflatten(1, (1, 15, 15)), nn.ReLU())
    fixed = nn.Sequential(*front, nn.Flatten(), nn.Linear(225, 2))
    even = apply_method(Inference(fixed, torch.rand(1, 1, 32, 32)), ClassLogit(1), layer="3")
    assert even.stride == even_cells((32, 32), (15, 15)).stride
    assert any("could not be tried, as the network takes no image of another size" in note for note in even.notes)
    assert not any("could not be tried" in note for note in explained.notes)


def test_cells_that_follow_no_stride_are_noted() -> None:
    """A layer that is resized to a number of cells lies evenly at best, and a reader must know that nobody looked."""
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(25, 2))

    explained = apply_method(Inference(network, torch.rand(1, 1, 32, 32)), ClassLogit(1), layer="2")

    assert any("could not be tried, as no stride fits" in note for note in explained.notes)


def test_unpadded_convolutions_through_windows() -> None:
    """Each window has a border of its own; inside, the map lies where the image is."""

    class Segmenting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv3d(1, 1, 3, bias=False), nn.Conv3d(1, 1, 3, bias=False), nn.ReLU())
            with torch.no_grad():
                for conv in self.body[:2]:
                    conv.weight.zero_()
                    conv.weight[0, 0, 1, 1, 1] = 1

        def forward(self, image: Tensor) -> Tensor:
            logit = functional.pad(self.body(image), (2,) * 6)
            return torch.cat([torch.zeros_like(logit), logit], dim=1)

    from lesionlens.explain import RegionMargin

    image = blob(32, (13, 18, 9))
    region = torch.zeros(32, 32, 32, dtype=torch.bool)
    region[13, 18, 9] = True
    windows = Windows.sliding((32, 32, 32), (16, 16, 16), overlap=0.5)
    explained = apply_method(
        Inference(Segmenting(), image, windows), RegionMargin(1, region=region), layer="body.2", method="hirescam"
    )

    assert peak(explained.values) == (13, 18, 9)


class _Heads(nn.Module):
    """One anchor at each cell of a layer of stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 3, 3, stride=2, padding=1)
        self.classes, self.offsets = nn.Conv3d(3, 1, 1), nn.Conv3d(3, 6, 1)

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        """Return both maps of the only level."""
        features = torch.tanh(self.layer(x))
        return {"classification": [self.classes(features)], "box_regression": [self.offsets(features)]}


@pytest.mark.parametrize("shape", [(8, 12, 13), (16, 9, 11)])
def test_a_map_of_a_padding_detection_network_is_that_of_the_padded_image(shape: tuple[int, int, int]) -> None:
    """Cells behind the end of the image are no reason to stretch those on it: 8 voxels padded to 16 have 8 cells."""
    torch.manual_seed(0)
    network, image = _Heads(), torch.rand(1, 1, *shape)
    padded = functional.pad(image, [width for n in reversed(shape) for width in (0, -n % 16)])
    one, whole = (
        apply_method(
            Inference(DetectionNetwork(network, lambda *_: torch.empty(0), 1, divisible=divisible), seen),
            BoxScore(0, anchor=5),
            method="layercam",
            layer="network.layer",
        )
        for divisible, seen in (((16, 16, 16), image), ((1, 1, 1), padded))
    )

    assert one.stride == whole.stride == (2.0, 2.0, 2.0)
    assert not one.notes
    np.testing.assert_allclose(one.values, whole.values[tuple(map(slice, shape))], rtol=1e-5, atol=1e-9)
