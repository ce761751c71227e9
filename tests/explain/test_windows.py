from __future__ import annotations

from math import prod

import pytest
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import sliding_window_inference
from monai.inferers.utils import _get_scan_interval

from lesionlens.errors import ExplainError, InputError
from lesionlens.explain.inference import Inference
from lesionlens.explain.windows import Windows
from tiny_networks import SmallUNet

# shape, size, overlap: divisible, not divisible, padded on one or all axes, almost no step, anisotropic, 2D
PLANS = [
    ((16, 16, 16), (8, 8, 8), 0.25),
    ((17, 12, 9), (8, 6, 8), 0.5),
    ((5, 20, 7), (8, 8, 8), 0.25),
    ((3, 4, 5), (8, 8, 8), 0.25),
    ((10, 10, 10), (4, 4, 4), 0.9),
    ((9, 8, 1), (4, 8, 2), (0.5, 0.25, 0.0)),
    ((12, 11), (8, 4), 0.6),
]


@pytest.mark.parametrize(("shape", "size", "overlap"), PLANS)
def test_windows_lie_where_monais_do(shape: tuple[int, ...], size: tuple[int, ...], overlap: float) -> None:
    """A plan repeats MONAI's starts in MONAI's order, and its padding, for any sizes and overlaps."""
    plan = Windows.sliding(shape, size, overlap=overlap)

    padded = tuple(max(pair) for pair in zip(shape, size, strict=True))
    overlaps = overlap if isinstance(overlap, tuple) else (overlap,) * len(shape)
    interval = _get_scan_interval(padded, size, len(shape), overlaps)
    expected = dense_patch_slices(padded, size, interval)
    assert plan.padded_shape == padded
    assert list(plan.starts) == [tuple(int(axis.start) for axis in place) for place in expected]


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize(("shape", "size", "overlap"), PLANS)
def test_blend_equals_monais_sliding_window(
    shape: tuple[int, ...], size: tuple[int, ...], overlap: float, mode: str
) -> None:
    """Cutting, running and blending give MONAI's output, padding with another value than zero included."""
    image = torch.randn(1, 2, *shape)
    weights = torch.rand(size)

    def network(view: torch.Tensor) -> torch.Tensor:
        return torch.cat([view * weights, view.flip(2) ** 2], dim=1)  # depends on the place in the window

    importance = compute_importance_map(size, mode=mode)
    plan = Windows.sliding(shape, size, overlap=overlap, importance=importance, pad_value=0.7)

    padded = plan.pad(image)
    found = plan.blend(network(plan.view(padded, index)) for index in range(len(plan)))

    expected = sliding_window_inference(image, size, 1, network, overlap=overlap, mode=mode, cval=0.7)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_logits_equal_monais_sliding_window_on_a_network() -> None:
    """What is explained is what MONAI's inferer predicts."""
    network, image = SmallUNet().eval(), torch.randn(1, 1, 10, 7, 12)
    importance = compute_importance_map((8, 8, 8), mode="gaussian")
    plan = Windows.sliding(image.shape[2:], (8, 8, 8), overlap=0.5, importance=importance)

    found = Inference(network, image, plan).logits()

    with torch.no_grad():
        expected = sliding_window_inference(image, (8, 8, 8), 2, network, overlap=0.5, mode="gaussian")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("shape", "size", "overlap"), PLANS)
def test_shares_of_all_windows_add_up_to_one(shape: tuple[int, ...], size: tuple[int, ...], overlap: float) -> None:
    """Every voxel's output is a weighted mean: the weights of the windows sum to one."""
    plan = Windows.sliding(shape, size, overlap=overlap, importance=torch.rand(size) + 0.1)

    total = torch.zeros(plan.padded_shape)
    for index, place in enumerate(plan.places):
        total[place] += plan.share(index)

    torch.testing.assert_close(total, torch.ones(plan.padded_shape))


def test_windows_do_not_share_memory_with_the_image() -> None:
    """A network that overwrites its input must not overwrite the scan."""
    image = torch.zeros(1, 1, 4, 4, 4)
    plan = Windows.whole((4, 4, 4))

    plan.view(plan.pad(image), 0).add_(1)

    assert not image.any()


def test_crop_undoes_pad() -> None:
    """Padding goes half before and half after, the odd voxel after, and comes off again."""
    image = torch.randn(1, 1, 3, 8, 5)
    plan = Windows.sliding((3, 8, 5), (8, 8, 8))

    assert plan.padding == ((2, 3), (0, 0), (1, 2))
    assert torch.equal(plan.crop(plan.pad(image)), image)


def test_padding_repeats_the_edge_where_the_bundle_does() -> None:
    """MONAI's padding modes are torch's."""
    plan = Windows.sliding((2, 2), (4, 4), pad_mode="replicate")

    padded = plan.pad(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))

    assert padded[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_whole_image_needs_no_memory_for_weights() -> None:
    """One window that is the image has no weights to store, however large it is."""
    plan = Windows.whole((256, 256, 256))

    assert plan.is_whole
    assert plan.importance.untyped_storage().nbytes() == 4
    assert prod(plan.coverage.shape) == 256**3


def test_one_padded_window_is_not_the_whole_image() -> None:
    """A single window that is larger than the image still has to be cropped."""
    plan = Windows.sliding((3, 4, 5), (8, 8, 8))

    assert len(plan) == 1
    assert not plan.is_whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts": ((0, 0), (3, 0))}, r"window at \(3, 0\) .* leaves the grid"),
        ({"starts": ((0, 0),)}, "leave gaps"),
        ({"starts": ()}, "one number for each"),
        ({"size": (2, 4, 4)}, "one number for each"),
        ({"importance": torch.ones(4, 4)}, "must have that shape"),
        ({"importance": torch.zeros(2, 4)}, "above 0"),
    ],
)
def test_windows_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    """A plan is valid from construction."""
    valid = {
        "shape": (4, 4),
        "size": (2, 4),
        "starts": ((0, 0), (2, 0)),
        "padding": ((0, 0), (0, 0)),
        "importance": torch.ones(2, 4),
    }
    assert len(Windows(**valid)) == 2

    with pytest.raises(InputError, match=message):
        Windows(**{**valid, **changes})


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_impossible_overlap_is_refused(overlap: float) -> None:
    """Windows that share everything would never end."""
    with pytest.raises(InputError, match="overlap in"):
        Windows.sliding((8, 8), (4, 4), overlap=overlap)


def test_output_of_another_size_than_its_window_is_refused() -> None:
    """Outputs of a classifier, or at half resolution, cannot be blended voxel by voxel."""
    plan = Windows.sliding((8, 8), (4, 4))

    with pytest.raises(ExplainError, match=r"windows of \(4, 4\)|Windows of \(4, 4\) voxels .* found .*\(1, 2, 2, 2\)"):
        plan.blend(torch.zeros(1, 2, 2, 2) for _ in plan.starts)
