from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.networks.nets import (
    UNETR,
    AttentionUnet,
    BasicUNet,
    Classifier,
    DenseNet121,
    DynUNet,
    EfficientNetBN,
    FlexibleUNet,
    SegResNet,
    SEResNet50,
    UNet,
    VNet,
    resnet18,
)
from torch import Tensor, nn

from lesionlens.errors import ExplainError
from lesionlens.explain import tracing
from lesionlens.explain.calling import NetworkError
from lesionlens.explain.capture import cut_at
from lesionlens.explain.layers import (
    check_layer,
    default_layer,
    existing_layer,
    final_activation,
    list_layers,
    output_shape,
)
from tiny_networks import Ending, Odd, SmallUNet, pooled_linear, state_of


def meshnet(blocks: int = 4) -> nn.Sequential:
    """Return a dilated network without downsampling, as MeshNet is: blocks of one stride and a 1x1x1 head."""
    hidden = [
        nn.Sequential(nn.Conv3d(1 if i == 0 else 5, 5, 3, padding=2**i, dilation=2**i), nn.BatchNorm3d(5), nn.ReLU())
        for i in range(blocks)
    ]
    return nn.Sequential(*hidden, nn.Conv3d(5, 2, 1))


# network, (C, *spatial), the layer expected, its cells
CHOICES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str, tuple[int, ...]]] = {
    "densenet": (lambda: DenseNet121(3, 1, 2), (1, 64, 64, 64), "class_layers.relu", (2, 2, 2)),
    "resnet": (lambda: resnet18(n_input_channels=1, num_classes=2), (1, 40, 40, 40), "layer4", (3, 3, 3)),
    "seresnet": (
        lambda: SEResNet50(spatial_dims=3, in_channels=1, num_classes=2),
        (1, 64, 64, 64),
        "layer4",
        (2, 2, 2),
    ),
    "efficientnet": (
        lambda: EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=2),
        (1, 96, 64),
        "_bn1",
        (3, 2),
    ),
    "efficientnet of one last cell": (  # what pads that cell to three is no layer to look at
        lambda: EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=2),
        (1, 32, 32),
        "_blocks.5.11._bn0",
        (2, 2),
    ),
    "unet": (
        lambda: UNet(3, 1, 2, channels=(4, 8, 16, 32), strides=(2, 2, 2), num_res_units=2),
        (1, 32, 32, 32),
        "model.1.submodule.1.submodule.1.submodule",
        (4, 4, 4),
    ),
    "two-level unet": (
        lambda: UNet(3, 1, 2, channels=(4, 8), strides=(2,)),
        (1, 16, 16, 16),
        "model.1.submodule",
        (8, 8, 8),
    ),
    "unet 2d": (
        lambda: UNet(2, 1, 2, channels=(4, 8, 16), strides=(2, 2)),
        (1, 96, 64),
        "model.1.submodule.1.submodule",
        (24, 16),
    ),
    "dynunet": (
        lambda: DynUNet(3, 1, 2, (3, 3, 3), (1, 2, 2), (2, 2), filters=(4, 8, 16)),
        (1, 32, 32, 32),
        "bottleneck",
        (8, 8, 8),
    ),
    "segresnet": (lambda: SegResNet(init_filters=8), (1, 32, 32, 32), "down_layers.3", (4, 4, 4)),
    "basicunet": (
        lambda: BasicUNet(3, 1, 2, features=(4, 4, 8, 8, 16, 4)),
        (1, 32, 32, 32),
        "down_4",
        (2, 2, 2),
    ),
    "unet with inverted residuals": (
        lambda: FlexibleUNet(1, 2, "efficientnet-b0", spatial_dims=2),
        (1, 96, 64),
        "encoder._blocks.6",
        (3, 2),
    ),
    "vnet": (lambda: VNet(spatial_dims=2), (1, 32, 32), "down_tr256", (2, 2)),
    "attentionunet": (
        lambda: AttentionUnet(3, 1, 2, channels=(4, 8, 16), strides=(2, 2)),
        (1, 32, 32, 32),
        "model.1.submodule.1.submodule",
        (8, 8, 8),
    ),
    "unetr": (
        lambda: UNETR(1, 2, (32, 48), feature_size=2, hidden_size=8, mlp_dim=8, num_heads=2, spatial_dims=2),
        (1, 32, 48),
        "decoder5",
        (4, 6),
    ),
    "meshnet": (meshnet, (1, 16, 16, 16), "3", (16, 16, 16)),
    "pooled linear": (lambda: pooled_linear([[1.0]]), (1, 4, 4, 4), "features", (4, 4, 4)),
    "small unet": (SmallUNet, (1, 8, 8, 8), "act", (4, 4, 4)),
}


@pytest.mark.parametrize("name", CHOICES)
def test_default_layer_is_the_one_a_person_would_take(name: str) -> None:
    """Classifiers: the last layer with positions; encoders with decoders: the bottleneck alone, not what it joins."""
    make, shape, expected, cells = CHOICES[name]
    network = make()

    found, reason = default_layer(network, (1, *shape))

    sizes = {layer.name: layer.shape[2:] for layer in list_layers(network, (1, *shape))}
    assert found == expected
    assert sizes[found] == cells
    assert reason


@pytest.mark.parametrize("name", CHOICES)
def test_small_probe_chooses_as_the_true_size_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice is made on a small image to save time; it must be the one for the real image."""
    make, shape, expected, _ = CHOICES[name]
    monkeypatch.setattr(tracing, "_PROBE_SIZES", ())

    assert default_layer(make(), (1, *shape))[0] == expected


def test_default_layer_costs_a_small_image_only() -> None:
    """A whole-head input is not run through the network just to look at its layers."""
    network, seen = meshnet(), []
    network.register_forward_pre_hook(lambda _module, args: seen.append(tuple(args[0].shape)))

    default_layer(network, (1, 1, 256, 256, 256))

    assert seen == [(1, 1, 64, 32, 32)]


def test_network_that_insists_on_its_size_is_run_at_that_size() -> None:
    """A network with a fixed flattening fails on small images; that is no reason to fail."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(2 * 50 * 36, 2))

    assert default_layer(network, (1, 1, 100, 72))[0] == "0"


def test_layer_behind_pooling_is_not_taken() -> None:
    """Adaptive pooling to several cells leaves positions that are no longer those of the image."""
    network = nn.Sequential(
        nn.Conv3d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Dropout(), nn.Flatten(), nn.Linear(16, 2)
    )

    assert default_layer(network, (1, 1, 16, 16, 16))[0] == "1"


def test_network_without_any_map_is_refused() -> None:
    """A perceptron has no layer with positions."""
    with pytest.raises(ExplainError, match="no layer that a map can be made of"):
        default_layer(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), (1, 1, 4, 4, 4))


def test_listed_layers_are_those_that_can_be_explained() -> None:
    """The list offers what the engine accepts and nothing else: tried on every module of a network full of traps."""
    network, image = Odd(), torch.rand(1, 1, 4, 4, 4)
    accepted = []
    for name, _ in network.named_modules():
        try:
            with cut_at(network, name) as cut:
                cut.forward(image.clone(), gradients=False)
            accepted.append(name)
        except ExplainError:
            continue

    listed = [layer.name for layer in list_layers(network, (1, 1, 4, 4, 4))]

    assert sorted(listed) == sorted(accepted)


def test_listed_sizes_are_those_of_the_activations() -> None:
    """Shape and stride are for the image asked about."""
    found = {layer.name: layer for layer in list_layers(SmallUNet(), (1, 1, 8, 6, 4))}

    assert list(found) == ["enter", "down", "norm", "act", "up", "head"]
    assert found["down"].shape == (1, 6, 4, 3, 2)
    assert found["down"].stride == (2.0, 2.0, 2.0)
    assert found["down"].kind == "Conv3d"


def test_listing_leaves_the_network_as_it_was() -> None:
    """Looking at layers changes no flag, hook or random state, also when the network fails."""
    network = SmallUNet().train()
    before = state_of(network)

    list_layers(network, (1, 1, 8, 8, 8))
    default_layer(network, (1, 1, 8, 8, 8))
    with pytest.raises(NetworkError, match="channels"):
        list_layers(network, (1, 5, 8, 8, 8))

    assert state_of(network) == before


def test_existing_layer_is_returned_and_an_unknown_one_refused_with_the_choices() -> None:
    """Outer blocks come first in the message, so that a long network's end is seen."""
    network = meshnet(2)

    assert existing_layer(network, "1.0", (1, 1, 8, 8, 8)) == "1.0"
    with pytest.raises(ExplainError, match=r"no layer 'x'; choose one of: 0, 1, 2, 0\.0, 0\.1, 0\.2, 1\.0"):
        existing_layer(network, "x", (1, 1, 8, 8, 8))


def test_modules_known_by_two_names_can_be_named_by_either() -> None:
    """DynUNet holds its blocks twice; both names lead to the same layer."""
    network = DynUNet(3, 1, 2, (3, 3, 3), (1, 2, 2), (2, 2), filters=(4, 8, 16)).eval()
    image = torch.rand(1, 1, 16, 16, 16)

    def activation(name: str) -> Tensor:
        with cut_at(network, name) as cut:
            return cut.encode(image)

    assert torch.equal(activation("bottleneck"), activation("skip_layers.next_layer.next_layer"))


@pytest.mark.parametrize(
    ("layer", "message"), [("shared", "runs several times"), ("unused", "is not used"), ("pool", "a single cell")]
)
def test_layer_without_a_map_is_refused_before_the_work(layer: str, message: str) -> None:
    """The reason is that of the engine itself; a layer that serves passes."""
    with pytest.raises(ExplainError, match=message):
        check_layer(Odd(), layer, (1, 1, 8, 8, 8))

    check_layer(Odd(), "good", (1, 1, 8, 8, 8))


def test_layer_that_pools_small_images_away_is_tried_with_the_real_size() -> None:
    """A stage of stride 64 has one cell of the small image and several of the scan."""
    network = nn.Sequential(nn.AvgPool3d(64), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(1, 1, 128, 64, 64))

    check_layer(network, "0", (1, 1, 128, 64, 64))


def test_end_of_a_network_is_what_ran_last() -> None:
    """The order in which modules are registered says nothing."""
    gated = Ending("gate")

    assert final_activation(gated, (1, 1, 8, 8, 8)) is None
    assert final_activation(nn.Sequential(gated, nn.Softmax(dim=1)), (1, 1, 8, 8, 8)) == "softmax"
    assert final_activation(nn.Sequential(gated, nn.Sigmoid()), (1, 1, 8, 8, 8)) == "sigmoid"
    assert final_activation(nn.Sequential(gated, nn.LogSoftmax(dim=1)), (1, 1, 8, 8, 8)) == "log_softmax"
    assert output_shape(gated, (1, 1, 8, 8, 8)) == (1, 2, 16, 8, 8)  # axes are made unequal


class ChannelsLast(nn.Module):
    """Keeps its channels last for a while, as transformers and ConvNeXt do."""

    def __init__(self, classes: int, *, pooled: bool) -> None:
        super().__init__()
        self.patch = nn.Conv3d(1, 6, 4, stride=4)
        self.norm = nn.LayerNorm(6)
        self.mlp = nn.Linear(6, 12)
        self.act = nn.GELU()
        self.head = nn.Conv3d(12, classes, 1)
        self.pooled = pooled

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of the volume, or of the classes."""
        inside = self.act(self.mlp(self.norm(self.patch(x).movedim(1, -1))))
        out = self.head(inside.movedim(-1, 1))
        return out.mean((2, 3, 4)) if self.pooled else nn.functional.interpolate(out, scale_factor=4.0)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("size", [(64, 64, 64), (32, 32, 32), (24, 24, 24)], ids=str)
def test_layers_that_keep_their_channels_last_are_not_taken(pooled: bool, size: tuple[int, ...]) -> None:
    """Read as channels first, their maps would be of cells that do not exist."""
    network = ChannelsLast(2, pooled=pooled).eval()

    assert default_layer(network, (1, 1, *size))[0] in ("patch", "head")
    for name in ("norm", "mlp", "act"):
        with pytest.raises(ExplainError, match="does not keep its channels on the second axis"):
            check_layer(network, name, (1, 1, *size))
    check_layer(network, "patch", (1, 1, *size))


def test_unequal_strides_are_proven_and_taken() -> None:
    """Networks for thick slices leave the third axis alone: that is no reason to refuse their layers."""
    network = nn.Sequential(nn.Conv3d(1, 4, 3, stride=(2, 2, 1), padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1)).eval()

    assert default_layer(network, (1, 1, 48, 48, 20))[0] == "1"
    check_layer(network, "0", (1, 1, 48, 48, 20))


def test_a_first_layer_is_not_passed_off_as_the_last() -> None:
    """Where all else is tokens, the only layer with positions is the first; whoever reads the map must know."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.block, self.head = nn.Conv3d(1, 6, 8, stride=8), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(self.patch(x).flatten(2).transpose(1, 2)).mean(1))

    layer, reason = default_layer(Tokens().eval(), (1, 1, 32, 32, 32))

    assert layer == "patch"
    assert "everything comes after it" in reason


def test_modules_that_give_one_tensor_are_known() -> None:
    """Their maps are the same. What is written in place is another tensor's values, also where its address stays."""
    inner = nn.Sequential(nn.Conv3d(1, 2, 1), nn.ReLU(inplace=True))
    network = nn.Sequential(inner, nn.Dropout(), nn.Conv3d(2, 2, 1), nn.Upsample(scale_factor=1.5))

    found = {layer.name: set(layer.same) for layer in list_layers(network, (1, 1, 8, 8, 8))}

    assert found == {"0.0": set(), "0.1": {"0", "1"}, "0": {"0.1", "1"}, "1": {"0.1", "0"}, "2": set(), "3": set()}


def test_a_block_that_holds_all_convolutions_is_no_first_layer() -> None:
    """MONAI's Classifier is one block and a linear layer: all that was learned of places is in the block."""
    layer, reason = default_layer(Classifier((1, 32, 32, 32), 2, (4, 8), (2, 2)), (1, 1, 32, 32, 32))

    assert (layer, reason) == ("net", "the last layer before positions are pooled")
