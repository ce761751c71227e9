"""MONAI's networks, each at the layer that is explained when none is named, against captum on a copy of the network."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from monai.networks import nets
from torch import Tensor, nn

from lesionlens.explain import Inference, apply_method, chosen_layer, main_output

# Small ones: what is tested is how they are built, not what they have learnt.
_MAKERS: dict[str, Callable[[], nn.Module]] = {
    "AttentionUnet": lambda: nets.AttentionUnet(3, 1, 2, channels=(4, 8, 16), strides=(2, 2)),
    "BasicUNet": lambda: nets.BasicUNet(3, 1, 2, features=(4, 4, 8, 8, 8, 4)),
    "BasicUNetPlusPlus": lambda: nets.BasicUNetPlusPlus(3, 1, 2, features=(4, 4, 8, 8, 8, 4)),
    "DynUNet": lambda: nets.DynUNet(
        3, 1, 2, [3] * 4, [1, 2, 2, 2], [2] * 3, filters=[4, 8, 8, 8], deep_supervision=True, deep_supr_num=1
    ),
    "FlexibleUNet": lambda: nets.FlexibleUNet(1, 2, "resnet10", spatial_dims=3, decoder_channels=(8, 8, 4, 4, 4)),
    "HighResNet": lambda: nets.HighResNet(3, 1, 2),
    "SegResNet": lambda: nets.SegResNet(3, 8, 1, 2, blocks_down=(1, 1, 1), blocks_up=(1, 1)),
    "SegResNetDS": lambda: nets.SegResNetDS(3, 4, 1, 2, blocks_down=(1, 1, 1), dsdepth=2),
    "SegResNetVAE": lambda: nets.SegResNetVAE((32, 32, 32), init_filters=8, in_channels=1, out_channels=2),
    "UNETR": lambda: nets.UNETR(1, 2, (32, 32, 32), feature_size=4, hidden_size=24, mlp_dim=24, num_heads=2),
    "VNet": lambda: nets.VNet(3, 1, 2),
    "DenseNet121": lambda: nets.DenseNet121(3, 1, 2, init_features=8, growth_rate=4),
    "EfficientNetBN": lambda: nets.EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=3, in_channels=1),
    "SEResNet50": lambda: nets.SEResNet50(spatial_dims=3, in_channels=1, num_classes=2),
}


class _Sum:
    """The sum of one class over all voxels: linear, so that captum sees the same."""

    def __call__(self, logits: Tensor) -> Tensor:
        return logits[:, 1].sum()

    def describe(self, _logits: Tensor) -> str:
        return "sum"


@pytest.mark.parametrize("name", _MAKERS)
def test_maps_of_the_default_layer_equal_captum(name: str) -> None:
    """Deep supervision, several outputs and in-place activations change nothing of what a layer's map is."""
    network = _MAKERS[name]().eval()
    image = torch.rand(1, 1, 32, 32, 32)
    layer, _ = chosen_layer(network, tuple(image.shape))
    before = copy.deepcopy(network.state_dict())
    found = {
        method: apply_method(Inference(network, image), _Sum(), method=method, layer=layer).coarse
        for method in ("gradcam", "hirescam")
    }

    copied = copy.deepcopy(network)
    module = copied.get_submodule(layer)

    def score(x: Tensor) -> Tensor:
        return main_output(copied(x))[:, 1].reshape(1, -1).sum(dim=1)

    grad_cam = LayerGradCam(score, module).attribute(image, relu_attributions=False)[0, 0].detach().numpy()
    products = LayerGradientXActivation(score, module).attribute(image)[0].sum(dim=0).detach().numpy()

    for one, other in ((found["gradcam"], grad_cam), (found["hirescam"], products)):
        assert one.shape == other.shape
        assert np.abs(other).max() > 0
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
