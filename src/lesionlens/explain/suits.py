"""Which methods suit a network: tried on a small image of noise, before anybody waits for a large one.

What is tried is what a method rests upon: a layer that holds a map, gradients that reach the image, attention whose
tokens can be placed, gates, an average over space with a linear end. The network may still refuse the method on the
real image, for what only that shows, such as a class that is nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from math import prod

import torch
from torch import Tensor, nn

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain.calling import NetworkError
from lesionlens.explain.capture import unwrapped
from lesionlens.explain.detection import BoxScore, chosen_layer
from lesionlens.explain.detection_network import DetectionNetwork
from lesionlens.explain.explanation import Request
from lesionlens.explain.inference import Inference
from lesionlens.explain.layers import layer_names, output_shape, small_shape
from lesionlens.explain.targets import Target
from lesionlens.explain.tracing import zeros_for
from lesionlens.methods import METHODS, MethodInfo, Value, method_info, method_options

__all__ = ["Suits", "check_hooks"]

# Methods that rest upon the same as another one, which is cheaper to try.
_STAND_INS = {
    **dict.fromkeys(("gradcampp", "hirescam", "layercam", "xgradcam", "eigencam"), "gradcam"),
    **dict.fromkeys(("smoothgrad", "input_x_gradient", "integrated_gradients"), "saliency"),
    **dict.fromkeys(("ablationcam", "scorecam"), "activation_mean"),
    **dict.fromkeys(("activation_channel", "activation_strongest", "activation_components"), "activation_mean"),
}

# Any network can be asked by these.
_ALWAYS = {"occlusion"}


def check_hooks(network: nn.Module, info: MethodInfo) -> None:
    """Refuse a method that watches the modules of a TorchScript network.

    Raises
    ------
    ExplainError
        The message lists the methods that watch none.
    """
    if info.hooks and isinstance(network, torch.jit.ScriptModule):
        others = ", ".join(name for name, other in METHODS.items() if not other.hooks)
        raise ExplainError(
            f"{info.title} watches modules while the network runs, which a TorchScript module does not allow; load the"
            f" Python network with the same weights, or choose one of: {others}."
        )


@dataclass
class Suits:
    """What a network can be explained by, as far as trials tell; each is made once.

    Parameters
    ----------
    network
        Any module with one tensor in; always left as it was.
    image_shape
        (1, C, *spatial) of what it sees at a time.

    Examples
    --------
    >>> head = [nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)]
    >>> suits = Suits(nn.Sequential(nn.Conv3d(1, 4, 3), *head), (1, 1, 16, 16, 16))
    >>> suits.problem("cam") is None
    True
    >>> suits.problem("attention")
    "The network has no attention matrices that can be watched (Sequential has no module with a dropout named \
drop_weights or attn_drop). Choose 'attention_gates' for an Attention U-Net, else a CAM."
    """

    network: nn.Module
    image_shape: tuple[int, ...]
    _known: dict[str, str | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.network = unwrapped(self.network)

    def check(self, method: str, *, layer: str | None = None, options: Mapping[str, Value] | None = None) -> None:
        """Refuse a method that cannot explain the network.

        Parameters
        ----------
        method, layer, options
            As of :func:`~lesionlens.explain.apply.apply_method`.

        Raises
        ------
        ExplainError
            The message says why not, and which methods would work.
        """
        reason = self.problem(method, layer=layer, options=options)
        if reason is not None:
            would = ", ".join(name for name in METHODS if name != method and self.problem(name) is None)
            raise ExplainError(f"{reason} Methods that would work: {would or 'none'}.")

    def problem(
        self, method: str, *, layer: str | None = None, options: Mapping[str, Value] | None = None
    ) -> str | None:
        """Return why a method cannot explain the network, or None where nothing speaks against it."""
        try:
            check_hooks(self.network, method_info(method))
        except ExplainError as error:
            return str(error)
        if method in _ALWAYS:
            return None
        # Whether a layer has the channel that was asked for only the method itself tells, which costs no more.
        itself = bool(options) and method_info(method).family == "features"
        info = method_info(method if itself else _STAND_INS.get(method, method))
        settings = method_options(info, options or {}) if info.name == method else dict(info.options)
        key = repr((info.name, layer, sorted(settings.items())))
        if key not in self._known:
            self._known[key] = self._tried(info, layer, settings)
        return self._known[key]

    def _tried(self, info: MethodInfo, layer: str | None, options: dict[str, Value]) -> str | None:
        """Try a method on a small image, and where that is refused on one of the true size."""
        try:
            if info.name == "cam" and self._gives_images():
                return "CAM needs a classifier, which averages over space and then decides linearly; this is none."
            layers: tuple[str, ...] = ()
            if info.takes_layer:
                layers = (chosen_layer(self.network, self.image_shape)[0],) if layer is None else layer_names(layer)
            small = self._small(info)
            problem = self._refusal(info, layers, options, small)
            if problem is None or small == self.image_shape:
                return problem
            return self._refusal(info, layers, options, self.image_shape)
        except NetworkError:  # of no size that was tried: no method is to blame
            raise
        except ExplainError as error:
            return str(error)

    def _small(self, info: MethodInfo) -> tuple[int, ...]:
        """Return a smaller image that will do; tokens lie in one of the size that the network was built for."""
        if info.family == "attention" or isinstance(self.network, torch.jit.ScriptModule):
            return self.image_shape
        return small_shape(self.network, self.image_shape)

    def _gives_images(self) -> bool:
        return prod(output_shape(self.network, self.image_shape)[2:]) > 1

    def _refusal(
        self, info: MethodInfo, layers: tuple[str, ...], options: dict[str, Value], shape: tuple[int, ...]
    ) -> str | None:
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(zeros_for(self.network, (1,)))
        target: Target = _Anything()
        if isinstance(self.network, DetectionNetwork):
            target = BoxScore(0, self.network.n_classes)
        request = Request(Inference(self.network, noise), target, info.name, layers, options)
        home = import_module(f"lesionlens.explain.{info.family}")
        try:
            getattr(home, "check", home.run)(request)
        except NetworkError:  # a network may insist on its size: that is not the method's fault
            return None
        except ExplainError as error:
            return str(error)
        except (MemoryError, torch.OutOfMemoryError, Cancelled):  # neither of the method nor of the network
            raise
        except Exception:  # a network is arbitrary code, also where it is called by itself
            return None
        return None


class _Anything:
    """A target that depends on the whole output, of any shape, and on no two classes alike."""

    def __call__(self, logits: Tensor) -> Tensor:
        means = logits.float().flatten(2).mean(dim=2)[0] if logits.ndim > 2 else logits.float()[0]
        return (means * torch.arange(1.0, len(means) + 1, device=means.device)).sum()

    def describe(self, _logits: Tensor) -> str:
        return "all classes"
