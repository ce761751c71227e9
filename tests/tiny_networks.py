"""Networks so small that what they compute is known by hand, and some that misbehave as networks in the wild do."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def pooled_linear(head: list[list[float]], *, bias: list[float] | None = None) -> nn.Sequential:
    """Return a 3D classifier: channels of the image, mean over space, linear.

    Layer ``"features"`` repeats the single input channel ``x`` as ``k + 1`` times ``x`` in channel ``k``.
    ``logit_c = sum_k head[c][k] (k + 1) mean(x) + bias[c]``.
    """
    classes, channels = len(head), len(head[0])
    features = nn.Conv3d(1, channels, 1, bias=False)
    linear = nn.Linear(channels, classes)
    with torch.no_grad():
        features.weight.copy_(torch.arange(1.0, channels + 1).view(channels, 1, 1, 1, 1))
        linear.weight.copy_(torch.tensor(head))
        linear.bias.copy_(torch.tensor(bias or [0.0] * classes))
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("pool", nn.AdaptiveAvgPool3d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module("linear", linear)
    return network


def voxel_head(head: list[list[float]], *, bias: list[float] | None = None) -> nn.Sequential:
    """Return a 3D segmentation network that looks at each voxel alone.

    Layer ``"features"`` passes the input channels on; ``logit_c(v) = sum_k head[c][k] x_k(v) + bias[c]``.
    """
    classes, channels = len(head), len(head[0])
    conv = nn.Conv3d(channels, classes, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(head).view(classes, channels, 1, 1, 1))
        conv.bias.copy_(torch.tensor(bias or [0.0] * classes))
    network = nn.Sequential()
    network.add_module("features", nn.Identity())
    network.add_module("head", conv)
    return network


def background_decides() -> nn.Sequential:
    """Return a two-class softmax network whose decision is all in the background's logit, as trained ones may have it.

    Input channel 0 is bright in the lesion and lowers the background's logit; channel 1 is bright on the healthy side
    and raises the lesion's logit a little, and the background's as much, so that it decides nothing.
    """
    return voxel_head([[-4.0, 1.0], [0.0, 1.0]], bias=[2.0, 0.0])


class SmallUNet(nn.Module):
    """A 3D network with one strided level, a skip and in-place activations; seeded random weights."""

    def __init__(self, classes: int = 3, *, inplace: bool = True, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.enter = nn.Conv3d(1, 4, 3, padding=1)
            self.down = nn.Conv3d(4, 6, 3, stride=2, padding=1)
            self.norm = nn.BatchNorm3d(6)
            self.act = nn.ReLU(inplace=inplace)
            self.up = nn.ConvTranspose3d(6, 4, 2, stride=2)
            self.head = nn.Conv3d(8, classes, 1)
            nn.init.normal_(self.norm.weight)
            nn.init.normal_(self.norm.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        enter = self.enter(image)
        deep = self.act(self.norm(self.down(enter)))
        return self.head(torch.cat([enter, self.up(deep)], dim=1))


class Ending(nn.Module):
    """A voxelwise network ``conv`` of two channels that ends as networks in the wild do.

    Parameters
    ----------
    how
        ``"softmax"``, ``"sigmoid"``: by a function, so that no module shows it. ``"gate"``: in its logits, with a
        sigmoid that is registered last and runs first. ``"tuple"``, ``"dict"``: with something beside the logits.
        ``"fails"``: not at all.
    """

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv3d(1, 2, 1)
        if how == "gate":
            self.gate = nn.Sigmoid()

    def forward(self, image: Tensor) -> Any:
        """Return logits or probabilities, alone or not."""
        if self.how == "fails":
            raise ValueError("spatial dims must be divisible by 16")
        if self.how == "gate":
            return self.conv(image * (1 + 0 * self.gate(image)))
        logits = self.conv(image)
        if self.how == "softmax":
            return torch.softmax(logits, dim=1)
        if self.how == "sigmoid":
            return torch.sigmoid(logits)
        return (logits, image) if self.how == "tuple" else {"hidden": image, "pred": logits}


class Odd(nn.Module):
    """A classifier with layers that cannot be explained, each for its own reason, and one that can: ``good``."""

    def __init__(self) -> None:
        super().__init__()
        self.good = nn.Conv3d(1, 2, 1)
        self.shared = nn.ReLU(inplace=True)
        self.unused = nn.Conv3d(2, 2, 1)
        self.ignored = nn.Conv3d(2, 2, 1)
        self.pair = _Pair()
        self.whole_numbers = _WholeNumbers()
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.linear = nn.Linear(2, 2)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        x = self.shared(self.shared(self.good(image)) - 0.1)
        self.ignored(x)
        self.pair(x)
        self.whole_numbers(x)
        return self.linear(self.pool(x).flatten(1))


class _Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class _WholeNumbers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.long()


class Checkpointed(nn.Module):
    """A classifier that recomputes its middle in the backward pass instead of storing it."""

    def __init__(self, *, reentrant: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 3, 3, padding=1)
        self.middle = nn.Sequential(nn.Conv3d(3, 3, 3, padding=1), nn.Tanh(), nn.Conv3d(3, 3, 3, padding=1))
        self.linear = nn.Linear(3, 2)
        self.reentrant = reentrant
        self.use_checkpoint = True

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        x = self.first(image)
        x = checkpoint(self.middle, x, use_reentrant=self.reentrant) if self.use_checkpoint else self.middle(x)
        return self.linear(x.mean(dim=(2, 3, 4)))


class Overwriting(nn.Module):
    """A classifier that writes over its input, draws random numbers in evaluation mode and swallows exceptions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 1)
        self.linear = nn.Linear(2, 2)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        image.mul_(2).add_(torch.rand(1) * 0)
        try:
            x = self.conv(image)
        except Exception:
            x = torch.zeros(1, 2, 1, 1, 1)
        return self.linear(x.mean(dim=(2, 3, 4)))


class _View(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view_as(x)


class OverwrittenBehind(nn.Module):
    """A network that writes into the memory of a layer's output through the tensor that went into the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv3d(1, 2, 1)
        self.layer = _View()
        self.head = nn.Conv3d(2, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        x = self.enter(image)
        y = self.layer(x)
        x.add_(1.0)
        return self.head(y)


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")


def state_of(network: nn.Module) -> dict[str, Any]:
    """Return everything about a network, and the random states, that an explanation must leave as it was."""
    modules = dict(network.named_modules())
    return {
        "hooks": {name: [len(getattr(m, kind)) for kind in HOOKS] for name, m in modules.items()},
        "training": {name: m.training for name, m in modules.items()},
        "inplace": {name: getattr(m, "inplace", None) for name, m in modules.items()},
        "compiled": {name: m.__dict__.get("_compiled_call_impl") for name, m in modules.items()},
        "requires_grad": {name: p.requires_grad for name, p in network.named_parameters()},
        "grad": {name: None if p.grad is None else p.grad.tolist() for name, p in network.named_parameters()},
        "values": {name: copy.deepcopy(v.tolist()) for name, v in network.state_dict().items()},
        "random": torch.get_rng_state().tolist(),
        "other random": (random.getstate(), str(np.random.get_state())),
        "grad_mode": torch.is_grad_enabled(),
        "inference_mode": torch.is_inference_mode_enabled(),
    }
