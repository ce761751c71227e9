from __future__ import annotations

from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain import ClassLogit, Inference, RegionMargin, Windows, apply_method
from lesionlens.explain.budget import peak_bytes
from tiny_networks import SmallUNet, pooled_linear, voxel_head

SHAPE = (9, 8, 7)


def occlusion(inference: Inference, target: Any, **options: Any) -> Any:
    """Return the map of occlusion with some options."""
    return apply_method(inference, target, method="occlusion", options=options)


def relative_error(found: Any, expected: Any) -> float:
    """Return the largest difference as a fraction of the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


class Nonlinear(nn.Module):
    """A classifier of two channels, with layers that mix voxels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv3d(2, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        return self.linear(torch.relu(self.conv(image)).square().mean(dim=(2, 3, 4)))


# ---------------------------------------------------------------------------------------------------- closed forms


def test_covering_one_voxel_of_a_linear_network_takes_away_its_part() -> None:
    """The logit is w mean(x): a voxel that becomes 0 takes w x / N with it."""
    image = torch.randn(1, 1, 3, 4, 5)

    found = occlusion(Inference(pooled_linear([[2.0]]), image), ClassLogit(0), size="1", fill="zero")

    np.testing.assert_allclose(found.values, 2 * image[0, 0].numpy() / 60, atol=1e-6)
    assert found.stride == (1.0, 1.0, 1.0)


def test_overlapping_boxes_are_averaged() -> None:
    """Boxes of 2 at stride 1 over 3 voxels: the middle one has the mean of both."""
    image = torch.tensor([3.0, 6.0, 12.0]).view(1, 1, 3, 1, 1)

    found = occlusion(Inference(pooled_linear([[1.0]]), image), ClassLogit(0), size="2x1x1", stride="1", fill="zero")

    np.testing.assert_allclose(found.values.ravel(), [3.0, 4.5, 6.0], rtol=1e-5)  # (3+6)/3, mean, (6+12)/3
    assert "2 boxes of 2 x 1 x 1 voxels, one every 1 x 1 x 1, covered by: zero." in found.notes


@pytest.mark.parametrize("fill", ["mean", "minimum"])
def test_each_channel_is_covered_with_its_own_value(fill: str) -> None:
    """MONAI's patch is one mean over the channels; a T1 covered with the mean of a FLAIR would be a new finding."""
    image = torch.rand(1, 2, 3, 4, 5) + torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    network = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 1, bias=False))
    weights = network[2].weight.detach()[0].numpy()

    found = occlusion(Inference(network, image), ClassLogit(0), size="1", fill=fill)

    channels = image[0].numpy()
    covers = (channels.mean(axis=(1, 2, 3)) if fill == "mean" else channels.min(axis=(1, 2, 3)))[:, None, None, None]
    np.testing.assert_allclose(found.values, np.tensordot(weights, channels - covers, axes=1) / 60, atol=1e-6)


def test_the_surroundings_hide_what_stands_out_and_nothing_else() -> None:
    """A lesion in even tissue takes its contrast with it; a box of even tissue changes nothing, whatever its value."""
    image = torch.full((1, 1, 9, 9, 9), 5.0)
    image[0, 0, 3:6, 3:6, 3:6] = 7.0

    found = occlusion(Inference(pooled_linear([[1.0]]), image), ClassLogit(0), size="3", stride="3")

    expected = np.zeros((9, 9, 9))
    expected[3:6, 3:6, 3:6] = 2 * 27 / 729
    inside = np.s_[3:6, 3:6, 3:6]
    np.testing.assert_allclose(found.values[inside], expected[inside], rtol=1e-4)
    # beside the lesion the surroundings are brighter than the box: covering it makes the image brighter
    assert found.values[0:3, 3:6, 3:6].max() < 0
    even = occlusion(Inference(pooled_linear([[1.0]]), torch.full((1, 1, 9, 9, 9), 5.0)), ClassLogit(0), size="3")
    assert not even.values.any()
    assert any("stays the same" in note for note in even.notes)


@pytest.mark.parametrize("fill", ["surroundings", "blur", "minimum", "mean", "zero"])
def test_boxes_that_do_not_change_cost_nothing(fill: str) -> None:
    """Most of a scan is air; it is not run."""
    calls = []

    class Counted(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            calls.append(image.shape[0])
            return image.mean(dim=(2, 3, 4))

    occlusion(Inference(Counted(), torch.zeros(1, 1, 16, 16, 16)), ClassLogit(0), size="4", fill=fill)

    assert sum(calls) == 1


# ------------------------------------------------------------------------------------------- other implementations


@pytest.mark.parametrize(("size", "stride"), [("3", "2"), ("4x3x2", "3x3x1"), ("9x8x7", ""), ("2", "2")])
def test_values_equal_captum(size: str, stride: str) -> None:
    """The same boxes, also at the border, and the same mean over them."""
    network, image = Nonlinear().eval(), torch.randn(1, 2, *SHAPE)

    found = occlusion(Inference(network, image), ClassLogit(1), size=size, stride=stride, fill="zero")

    window = tuple(map(int, size.split("x"))) * (1 if "x" in size else 3)
    step = tuple(map(int, stride.split("x"))) * (1 if "x" in stride else 3) if stride else (1, 1, 1)
    theirs = captum.attr.Occlusion(network).attribute(image, (2, *window), (2, *step), 0, target=1)
    # a fall is a difference of two float32 logits and carries their rounding
    np.testing.assert_allclose(found.values, theirs[0, 0].detach(), atol=1e-6 * max(1, abs(found.score)))


def test_windows_that_the_target_does_not_look_at_never_run_again() -> None:
    """A lesion in one corner costs the windows that hold it, and the values stay those of brute force."""
    network, shape, size = SmallUNet().eval(), (24, 8, 8), (8, 8, 8)
    image, region = torch.randn(1, 1, *shape), torch.zeros(shape, dtype=torch.bool)
    region[1:3] = True
    target, plan = RegionMargin(1, region=region), Windows.sliding(shape, size, overlap=0.5)
    sizes: list[int] = []
    network.register_forward_hook(lambda _m, args, _o: sizes.append(len(args[0])))

    found = occlusion(Inference(network, image, plan), target, size="4", stride="4", fill="minimum")

    assert len(plan) == 5
    # The prediction, whose windows are kept; the one window that holds the region, measured, and each of its 8 boxes.
    assert sum(sizes) == 5 + 1 + 8
    expected = np.zeros(shape)
    for start in np.ndindex(6, 2, 2):
        box = tuple(slice(4 * i, 4 * i + 4) for i in start)
        changed = image.clone()
        changed[(..., *box)] = image.min()
        values = [float(target(Inference(network, each, plan).logits())) for each in (image, changed)]
        expected[box] = values[0] - values[1]
    np.testing.assert_allclose(found.values, expected, atol=1e-6 * max(1.0, abs(found.score)))
    assert not found.values[8:].any()


@pytest.mark.parametrize("budget", [1, 4])
@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@pytest.mark.parametrize("shape", [(14, 9, 8), (12, 6, 5)])
def test_windows_equal_the_whole_inference_again(shape: tuple[int, ...], pad_mode: str, budget: int) -> None:
    """Only windows that a box touches run, and the values are those of MONAI's sliding window over every copy."""
    network, image, size = SmallUNet().eval(), torch.randn(1, 1, *shape), (8, 8, 8)
    region = torch.zeros(shape, dtype=torch.bool)
    region[1:9, 2:6, 1:4] = True
    target = RegionMargin(1, region=region)
    plan = Windows.sliding(
        shape, size, overlap=0.5, importance=compute_importance_map(size, mode="gaussian"), pad_mode=pad_mode
    )

    found = occlusion(Inference(network, image, plan), target, size="4", stride="4", fill="minimum", budget_mib=budget)

    def score(changed: Tensor) -> float:
        with torch.no_grad():
            return float(
                target(
                    sliding_window_inference(
                        changed, size, 4, network, overlap=0.5, mode="gaussian", padding_mode=pad_mode
                    )
                )
            )

    expected = np.zeros(shape)
    for start in np.ndindex(*(-(-n // 4) for n in shape)):
        box = tuple(slice(4 * i, 4 * i + 4) for i in start)
        changed = image.clone()
        changed[(..., *box)] = image.min()
        expected[box] = score(image) - score(changed)
    assert np.abs(found.values - expected).max() <= 2e-6 * max(1.0, np.abs(expected).max(), abs(found.score))


def test_the_batch_changes_nothing_and_stays_within_the_budget() -> None:
    """More memory makes it faster, not different."""
    network, image = Nonlinear().eval(), torch.randn(1, 2, 32, 32, 32)
    batches: list[int] = []
    network.register_forward_pre_hook(lambda _, args: batches.append(args[0].shape[0]))
    inference = Inference(network, image)
    single = peak_bytes(network, image) / 2**20

    small = occlusion(inference, ClassLogit(0), size="16", budget_mib=1)
    assert max(batches) == 1
    batches.clear()
    large = occlusion(inference, ClassLogit(0), size="16", budget_mib=8)

    assert max(batches) == int(8 // single) > 1
    np.testing.assert_allclose(small.values, large.values, atol=1e-6 * max(1, abs(small.score)))


def test_peak_bytes_are_those_of_the_tensors_alive() -> None:
    """By hand: input 1, first convolution 8, its ReLU 8 more; what follows is less."""
    network = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 4, 1), nn.ReLU(inplace=True))
    view = torch.rand(1, 1, 16, 16, 16)

    assert peak_bytes(network, view) == 17 * view.nbytes
    assert peak_bytes(network, view.expand(3, -1, -1, -1, -1)) == 3 * 17 * view.nbytes
    assert peak_bytes(nn.Identity(), view) == view.nbytes


# --------------------------------------------------------------------------------------------------------- options


def test_lengths_in_mm_go_through_the_spacing() -> None:
    """A box of 6 mm is 3 voxels of 2 mm and 1 of 5 mm."""
    inference = Inference(pooled_linear([[1.0]]), torch.randn(1, 1, 9, 8, 7), spacing_mm=(2.0, 1.0, 5.0))

    found = occlusion(inference, ClassLogit(0), size="6mm", stride="4 x 2 x 5 mm", fill="zero")

    assert any("boxes of 3 x 6 x 1 voxels, one every 2 x 2 x 1" in note for note in found.notes)
    assert found.stride == (2.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "big"}, r"'size' of occlusion is a length.*'32x32x16' or '20mm'; found 'big'"),
        ({"size": "4x4"}, r"for each of 3"),
        ({"size": "1.2.3"}, r"found '1.2.3'"),
        ({"size": "0"}, r"above 0"),
        ({"size": "4mm"}, r"'size' is in mm, but the image has no spacing"),
        (
            {"size": "2", "stride": "3"},
            r"stride of \(3, 3, 3\) voxels leaves gaps between boxes of \(2, 2, 2\) voxels;",
        ),
        ({"fill": "noise"}, r"no fill for occlusion 'noise'.*surroundings, blur"),
        ({"budget_mib": 0}, r"'budget_mib' of occlusion must be at least 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    """They would give a map of something else, or none."""
    with pytest.raises(ExplainError, match=message):
        occlusion(Inference(pooled_linear([[1.0]]), torch.randn(1, 1, *SHAPE)), ClassLogit(0), **options)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_can_be_asked() -> None:
    """Nothing is hooked, so any callable network will do."""
    network, image = Nonlinear().eval(), torch.randn(1, 2, *SHAPE)

    found = occlusion(Inference(torch.jit.trace(network, image), image), ClassLogit(0), size="4")

    expected = occlusion(Inference(network, image), ClassLogit(0), size="4")
    assert relative_error(found.values, expected.values) <= 1e-5


def test_a_target_that_is_not_finite_is_refused() -> None:
    """A fall of infinity is no evidence."""

    class Division(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return 1 / image.flatten(1).sum(dim=1, keepdim=True)

    with pytest.raises(ExplainError, match=r"logit of class 0 is inf"):
        occlusion(Inference(Division(), torch.ones(1, 1, 2, 2, 2)), ClassLogit(0), size="2", fill="zero")


def test_cancelling_stops_between_batches() -> None:
    """Occlusion takes long; whoever stops it waits for one batch only."""
    calls: list[int] = []

    def stop(stage: str, done: int, _total: int) -> None:
        calls.append(done)
        if stage == "Occluding" and done >= 2:
            raise Cancelled("enough")

    inference = Inference(voxel_head([[1.0], [2.0]]), torch.randn(1, 1, 16, 16, 16))
    with pytest.raises(Cancelled, match="enough"):
        apply_method(
            inference,
            RegionMargin(1),
            method="occlusion",
            options={"size": "4", "budget_mib": 1},
            progress=stop,
        )
    assert calls[-1] < 64
