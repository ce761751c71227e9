"""What ordinary mistakes at the torch-level interface end in: one sentence, never a traceback of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lesionlens.errors import Cancelled, ExplainError, LesionLensError
from lesionlens.explain import ClassLogit, Inference, RegionMargin, apply_method
from lesionlens.explain.calling import NetworkError, called, stoppable
from tiny_networks import pooled_linear, voxel_head

IMAGE = torch.linspace(-1, 1, 512).view(1, 1, 8, 8, 8)


class TwoInputs(nn.Module):
    """A network that wants a second image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 1)

    def forward(self, image: Tensor, other: Tensor) -> Tensor:
        """Add the two."""
        added: Tensor = self.conv(image + other).mean(dim=(2, 3, 4))
        return added


class Chosen(nn.Module):
    """A classifier that gives one number for each image, in the shape that ``choose`` makes of its logits."""

    def __init__(self, choose: str) -> None:
        super().__init__()
        self.network, self.choose, self.last = pooled_linear([[1.0, 2.0], [3.0, -1.0]]), choose, nn.Sigmoid()

    def forward(self, image: Tensor) -> Tensor:
        """Return the logit of class 1, or all without their batch axis."""
        logits: Tensor = self.network(image)
        if self.choose == "classes":
            return logits[0]
        one = logits[:, 1].squeeze() if self.choose == "scalar" else logits[:, 1]
        return self.last(one) if self.choose == "sigmoid" else one


@pytest.mark.parametrize("method", ["saliency", "gradcam", "occlusion", "scorecam", "ablationcam", "activation_mean"])
@pytest.mark.parametrize(
    ("network", "image", "message"),
    [
        (voxel_head([[1.0]]), IMAGE.double(), r"float64: .*Its weights are torch.float32.*image\.to\(torch.float32\)"),
        (voxel_head([[1.0]]), IMAGE.expand(1, 2, 8, 8, 8), r"\(1, 2, 8, 8, 8\).*to have 1 channels, but got 2"),
        (voxel_head([[1.0]]), IMAGE[0], r"convolutions are in 3D.*no batch axis.*image\[None\]"),
        (TwoInputs(), IMAGE, r"TwoInputs cannot process.*missing 1 required positional argument.*takes one tensor"),
    ],
    ids=["type", "channels", "batch axis", "two inputs"],
)
def test_mistakes_are_said_in_words(network: nn.Module, image: Tensor, message: str, method: str) -> None:
    """The reference promises errors of LesionLens alone, and a user without a bundle has nobody else to explain."""
    with pytest.raises(LesionLensError, match=message):
        apply_method(Inference(network, image), ClassLogit(0), method=method)


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), Cancelled("stopped"), torch.OutOfMemoryError()])
def test_a_stop_and_exhausted_memory_pass_through(error: BaseException) -> None:
    """They are no fault of the network, and whoever catches them looks for their type."""
    network = voxel_head([[1.0]])

    def fail(*_: object) -> None:
        raise error

    network.register_forward_hook(fail)

    with pytest.raises(type(error)):
        called(network, IMAGE)


def test_the_cause_is_kept() -> None:
    """A developer looks for the line of the network that fails."""
    with pytest.raises(NetworkError, match="TwoInputs") as caught:
        called(TwoInputs(), IMAGE)

    assert isinstance(caught.value.__cause__, TypeError)


def test_convolutions_in_3d_within_a_network_of_2d_images_are_left_alone() -> None:
    """The check of the batch axis must say no: a 2.5D network makes a volume of the channels by itself."""
    network = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv3d(1, 2, 1), nn.Flatten(2), nn.AdaptiveAvgPool1d(1))
    network.append(nn.Flatten())

    found = apply_method(Inference(network, torch.rand(1, 4, 8, 8)), ClassLogit(1), method="saliency")

    assert found.channels is not None
    assert found.channels.shape == (4, 8, 8)
    assert not network[1]._forward_pre_hooks


@pytest.mark.parametrize("method", ["saliency", "gradcam", "hirescam", "occlusion", "scorecam", "ablationcam", "cam"])
@pytest.mark.parametrize("choose", ["vector", "scalar", "sigmoid"])
def test_one_number_for_each_image_is_one_class(choose: str, method: str) -> None:
    """``net(x)[:, 1]`` and a squeezed logit are common; their maps are those of the class in (1, K)."""
    layer = None if method in {"saliency", "occlusion"} else "network.features"
    options = {"size": "4"} if method == "occlusion" else {}
    one = Inference(Chosen(choose), IMAGE)
    every = Inference(one.network.network, IMAGE)

    found = apply_method(one, ClassLogit(0), method=method, layer=layer, options=options)

    known = apply_method(every, ClassLogit(1), method=method, layer=layer and "features", options=options)
    assert known.values.any()
    torch.testing.assert_close(torch.from_numpy(found.values), torch.from_numpy(known.values), rtol=1e-4, atol=1e-6)


class Several(nn.Module):
    """A classifier that gives something else beside its logits, in some container."""

    def __init__(self, give: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.network, self.give = pooled_linear([[1.0], [2.0]]), give

    def forward(self, image: Tensor) -> object:
        """Return what ``give`` makes of the logits and the mean."""
        return self.give(self.network(image), image.mean(dim=(2, 3, 4)))


@pytest.mark.parametrize(
    ("give", "note"),
    [
        (lambda logits, features: (logits, features), "gives 2 tensors; the first is explained"),
        (lambda logits, features: {"out": logits, "aux": features}, "dictionary of 'out', 'aux'; 'out' is explained"),
        (lambda logits, features: {"loss": None, "logits": logits}, ""),
        (lambda logits, features: {"aux": features, "pred": logits}, ""),
        (lambda logits, features: (logits, [features]), ""),
        (lambda logits, features: [logits], ""),
        (lambda logits, features: logits, ""),
    ],
)
@pytest.mark.parametrize("method", ["saliency", "gradcam"])
def test_which_of_several_outputs_is_explained_is_said(give: Any, note: str, method: str) -> None:
    """Auxiliary heads and deep supervision look like answers; a choice that nobody made must be seen."""
    found = apply_method(Inference(Several(give), IMAGE.abs()), ClassLogit(1), method=method)

    assert found.score == pytest.approx(2 * float(IMAGE.abs().mean()))
    said = " ".join(found.notes)
    assert note in said
    assert ("is explained" in said) == bool(note)


def test_an_error_says_which_of_several_outputs_was_explained() -> None:
    """The first output of deep supervision may not depend on the deepest layer, and the layer is not to blame."""
    network = Several(lambda logits, features: (features.detach(), logits))

    with pytest.raises(ExplainError, match=r"another layer\. The network gives 2 tensors; the first is explained"):
        apply_method(Inference(network, IMAGE), ClassLogit(0), layer="network.features")


@pytest.mark.parametrize("method", ["saliency", "gradcam", "hirescam", "occlusion", "ablationcam"])
def test_one_number_for_each_voxel_is_one_class(method: str) -> None:
    """(1, D, H, W) must not be taken for D classes of an image in 2D: class 0 would be the first slice."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv3d(3, 1, 1))
    squeezed = nn.Sequential(whole, nn.Flatten(0, 1))
    layer = None if method in {"saliency", "occlusion"} else "1"
    options = {"size": "4"} if method == "occlusion" else {}

    found = apply_method(
        Inference(squeezed, IMAGE), RegionMargin(0), method=method, layer=layer and "0.1", options=options
    )

    known = apply_method(Inference(whole, IMAGE), RegionMargin(0), method=method, layer=layer, options=options)
    assert found.target == known.target
    assert known.values.any()
    torch.testing.assert_close(torch.from_numpy(found.values), torch.from_numpy(known.values), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["saliency", "gradcam", "occlusion", "integrated_gradients", "scorecam"])
def test_classes_without_a_batch_axis_are_refused(method: str) -> None:
    """(K,) of one image would be K images of one class."""
    with pytest.raises(ExplainError, match=r"must give \(1, K\).*found \(2, 1\).*output\[None\]"):
        apply_method(Inference(Chosen("classes"), IMAGE), ClassLogit(0), method=method)


def test_a_target_refuses_what_are_no_logits() -> None:
    """A target can be asked without the engine."""
    with pytest.raises(ExplainError, match=r"must give \(1, K\).*found \(1,\)"):
        ClassLogit(0)(torch.zeros(1))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_pass_can_be_stopped_before_any_module_and_leaves_no_hook() -> None:
    """Foreign networks know nothing of a user who no longer waits."""
    network = nn.Sequential(nn.Conv3d(1, 1, 1), nn.ReLU(), nn.ReLU())
    seen: list[int] = []

    def stop() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise Cancelled("Stopped by the user.")

    with pytest.raises(Cancelled, match="Stopped by the user"), stoppable(network, stop):
        called(network, IMAGE)

    assert len(seen) == 3  # the whole, the convolution, the first ReLU
    assert not any(module._forward_pre_hooks for module in network.modules())
    with stoppable(torch.jit.trace(network, IMAGE), stop):
        pass  # TorchScript takes no hooks, and is no reason to fail
