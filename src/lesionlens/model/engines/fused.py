"""The same network in fewer steps: for copies that an engine computes with, equal to the network up to rounding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final, cast

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["NarrowUpsampling", "PairedInput", "fuse", "is_fusible", "pair_inputs"]

_CONVOLUTIONS: Final = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TRANSPOSED: Final = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS: Final = (nn.BatchNorm2d, nn.BatchNorm3d)
# What hands its input on, in eval mode; and activations that may overwrite it.
_NOTHING: Final = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Dropout3d)
_ACTIVATIONS: Final = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.Mish, nn.ReLU6, nn.Hardswish)
# Up to so many channels a transposed convolution leaves most of a processor's vectors empty.
_NARROW: Final = 4
# Of the kernel of 3 at stride 2, what an output at an even and at an odd place takes: offset of the input, place in it.
_TAPS: Final = (((0, 1),), ((0, 2), (1, 0)))


class NarrowUpsampling(nn.Module):
    """A transposed convolution with stride 2 and few output channels, as a plain one with eight times as many.

    Each output takes at most two inputs along an axis; which, and by which weights, its parity decides. So eight plain
    convolutions, one for each parity, give all outputs, which only have to be laid out in turns.

    Parameters
    ----------
    layer
        With kernel 3, padding 1 and output padding 1.
    """

    def __init__(self, layer: nn.ConvTranspose3d) -> None:
        super().__init__()
        weight = layer.weight.detach()
        n_in, self.channels = weight.shape[:2]
        self.plain = nn.Conv3d(n_in, 8 * self.channels, 2, padding=1, bias=layer.bias is not None)
        found = weight.new_zeros((8, self.channels, n_in, 2, 2, 2))
        for number in range(8):
            along = [_TAPS[number >> shift & 1] for shift in (2, 1, 0)]
            for d, i in along[0]:
                for h, j in along[1]:
                    for w, k in along[2]:
                        found[number, :, :, d, h, w] = weight[:, :, i, j, k].T
        self.plain.weight = nn.Parameter(found.flatten(0, 1), requires_grad=False)
        if layer.bias is not None:
            self.plain.bias = nn.Parameter(layer.bias.detach().repeat(8), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, channels, 2 D, 2 H, 2 W) of an image (N, C, D, H, W)."""
        found: Tensor = self.plain(image)[:, :, 1:, 1:, 1:]  # zeros are wanted behind the last voxels alone
        n, _, d, h, w = found.shape
        turns = found.reshape(n, 2, 2, 2, self.channels, d, h, w).permute(0, 4, 5, 1, 6, 2, 7, 3)
        return turns.reshape(n, self.channels, 2 * d, 2 * h, 2 * w)

    @staticmethod
    def suits(layer: nn.Module) -> bool:
        """Say whether a layer is such a convolution."""
        return (
            type(layer) is nn.ConvTranspose3d
            and layer.out_channels <= _NARROW
            and (layer.kernel_size, layer.stride) == ((3,) * 3, (2,) * 3)
            and (layer.padding, layer.output_padding, layer.dilation, layer.groups) == ((1,) * 3, (1,) * 3, (1,) * 3, 1)
        )


class PairedInput(nn.Module):
    """A convolution of one channel with stride 2, as one of two channels: neighbours along the last axis are those.

    With channels last, pairs of neighbours lie in memory as channels do, so that nothing has to be moved. In bf16,
    which processors multiply in pairs, that takes less than half the time.

    Parameters
    ----------
    layer
        With kernel 3 and padding 1.
    """

    def __init__(self, layer: nn.Conv3d) -> None:
        super().__init__()
        self.plain = layer
        weight = layer.weight.detach()
        pairs = weight.new_zeros((len(weight), 2, 3, 3, 2))  # of the pair before an output's own, the second voxel
        pairs[:, 1, ..., 0], pairs[:, 0, ..., 1], pairs[:, 1, ..., 1] = weight[:, 0].unbind(-1)
        self.pairs = nn.Parameter(pairs, requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return what the layer does with an image (N, 1, D, H, W)."""
        n, _, d, h, w = image.shape
        if w % 2:
            return cast("Tensor", self.plain(image))
        paired = functional.pad(image, (2, 0)).reshape(n, d, h, w // 2 + 1, 2).permute(0, 4, 1, 2, 3)
        return functional.conv3d(paired, self.pairs, self.plain.bias, stride=(2, 2, 1), padding=(1, 1, 0))

    @staticmethod
    def suits(layer: nn.Module) -> bool:
        """Say whether a layer is such a convolution."""
        return (
            type(layer) is nn.Conv3d
            and (layer.in_channels, layer.groups, layer.padding_mode) == (1, 1, "zeros")
            and (layer.kernel_size, layer.stride) == ((3,) * 3, (2,) * 3)
            and (layer.padding, layer.dilation) == ((1,) * 3, (1,) * 3)
        )


def fuse(network: nn.Module) -> None:
    """Fold batch norms into the convolutions before them, and lay out narrow transposed convolutions anew.

    Activations behind convolutions overwrite their input, so that no memory has to be found for what they give. Only
    what stands one after the other in a ``Sequential``, at one place, and without hooks: there nothing else can see
    what lies between.

    Parameters
    ----------
    network
        A copy of one in eval mode, in fp32; it is changed.
    """
    for holder, name, home, next_name in list(_norms(network)):
        layer, folded = holder._modules[name], cast("Any", fuse_conv_bn_eval)  # transposed ones too, unlike its types
        holder._modules[name] = folded(layer, home._modules[next_name], transpose=isinstance(layer, _TRANSPOSED))
        home._modules[next_name] = nn.Identity()
    for activation in list(_activations(network)):
        activation.inplace = True  # type: ignore[assignment]  # torch's own name of a flag
    for holder, name in list(_suiting(network, NarrowUpsampling.suits)):
        holder._modules[name] = NarrowUpsampling(cast("nn.ConvTranspose3d", holder._modules[name]))


def pair_inputs(network: nn.Module) -> None:
    """Lay out convolutions of one channel with stride 2 anew; see :class:`PairedInput`.

    Parameters
    ----------
    network
        A copy that is to run in bf16; it is changed.
    """
    for holder, name in list(_suiting(network, PairedInput.suits)):
        holder._modules[name] = PairedInput(cast("nn.Conv3d", holder._modules[name]))


def is_fusible(network: nn.Module) -> bool:
    """Say whether :func:`fuse` would change anything."""
    return next(_norms(network), None) is not None or next(_suiting(network, NarrowUpsampling.suits), None) is not None


def _norms(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module, str]]:
    """Yield where each convolution lies that takes the norm behind it, and where that norm lies."""
    times = _times(network)
    for holder in list(network.modules()):
        for name, (home, next_name) in _in_turn(holder):
            layer, norm = holder._modules[name], home._modules[next_name]
            if _foldable(layer, norm) and times[id(layer)] == times[id(norm)] == 1:
                yield holder, name, home, next_name


def _activations(network: nn.Module) -> Iterator[nn.Module]:
    """Yield activations whose input is the output of a convolution and of no use to anybody else."""
    times = _times(network)
    for holder in list(network.modules()):
        alone: nn.Module | None = None  # the convolution whose output comes next, if it is as it was
        for module in _steps(holder):
            if times[id(module)] != 1 or _watched(module):
                alone = None
            elif type(module) in _CONVOLUTIONS:
                alone = module
            elif alone is not None and type(module) in _ACTIVATIONS:
                yield module
                alone = None
            elif not isinstance(module, _NOTHING):
                alone = None


def _steps(holder: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of a Sequential in the order in which they run, and of those within it."""
    for module in holder._modules.values() if _is_plain(holder) else ():
        assert module is not None
        if _is_plain(module):
            yield from _steps(module)
        else:
            yield module


def _suiting(network: nn.Module, suits: Callable[[nn.Module], bool]) -> Iterator[tuple[nn.Module, str]]:
    """Yield where layers lie that suit, occur once, and have no hooks."""
    times = _times(network)
    for holder in list(network.modules()):
        for name, layer in holder._modules.items():
            if layer is not None and suits(layer) and times[id(layer)] == 1 and not _watched(layer):
                yield holder, name


def _times(network: nn.Module) -> Counter[int]:
    """Count how often each module occurs, by its id."""
    return Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))


def _in_turn(holder: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
    """Yield the name of each module of a Sequential, with where the module lies that runs next."""
    if not _is_plain(holder):
        return
    for name, after in pairwise(list(holder._modules)):
        home, place = holder, after
        while _is_plain(home._modules[place]) and len(home._modules[place]._modules):  # type: ignore[union-attr]
            home = home._modules[place]  # type: ignore[assignment]  # a Sequential holds no None
            place = next(iter(home._modules))
        yield name, (home, place)


def _is_plain(module: nn.Module | None) -> bool:
    return type(module).forward is nn.Sequential.forward if isinstance(module, nn.Sequential) else False


def _foldable(layer: nn.Module | None, norm: nn.Module | None) -> bool:
    if type(layer) not in _CONVOLUTIONS or type(norm) not in _NORMS or _watched(layer) or _watched(norm):
        return False
    assert isinstance(layer, _CONVOLUTIONS)
    assert isinstance(norm, _NORMS)
    return not norm.training and norm.running_mean is not None and (layer.groups == 1 or type(layer) not in _TRANSPOSED)


def _watched(module: nn.Module | None) -> bool:
    assert module is not None
    return bool(module._forward_hooks or module._forward_pre_hooks)
