"""Run a network as it would run anyway, cut its graph at one layer, and leave it as it was found.

A class activation map needs the activations of one layer and the gradient of a score with respect to them, and nothing
else. So the layer's output is replaced by a leaf of a new graph: nothing upstream is stored for the backward pass, and
as all parameters are frozen for the while, no gradient of a parameter is computed. For a layer close to the output of
a classifier the memory stored for the backward pass is practically zero.

Not safe for several threads that share one network: its flags and hooks change while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from lesionlens.errors import ExplainError, unknown_name
from lesionlens.explain.calling import described, version
from lesionlens.explain.final import reading_logits
from lesionlens.explain.frugal import FrugalConvolutions
from lesionlens.explain.handed_on import Before, carrying_on
from lesionlens.explain.recorded import kept_buffers, recorded

__all__ = [
    "Cut",
    "cut_at",
    "hookable",
    "quiet",
    "unwrapped",
]

# What torch says where a network is at fault: reentrant checkpointing, values overwritten that gradients need.
_UNDIFFERENTIABLE = ("use_reentrant", "modified by an inplace operation")


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the plain network inside ``DataParallel``, ``DistributedDataParallel`` or ``torch.compile``."""
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif isinstance(compiled_from := getattr(network, "_orig_mod", None), nn.Module):
            network = compiled_from
        else:
            return network


def hookable(network: nn.Module) -> nn.Module:
    """Return the plain network, see :func:`unwrapped`, if its layers can be watched.

    Raises
    ------
    ExplainError
        If it is a TorchScript module: its layers cannot be hooked.
    """
    network = unwrapped(network)
    if isinstance(network, torch.jit.ScriptModule):
        raise ExplainError(
            f"The network is a TorchScript module ({type(network).__name__}), whose layers cannot be hooked; "
            "load the Python network with the same weights, or choose a method without layers, such as saliency or "
            "occlusion."
        )
    return network


@contextmanager
def quiet(network: nn.Module) -> Iterator[None]:
    """Hold a network in evaluation mode with frozen parameters, then restore every flag.

    Inside, gradients can be recorded even when the caller runs under ``no_grad`` or ``inference_mode``. Afterwards,
    also after an error, ``training`` of every module, ``requires_grad`` of every parameter, every buffer (some networks
    count their calls, or keep running means of their own) and the random state of torch are what they were; ``.grad``
    is never touched. Tensors that the network keeps, such as outputs for deep
    supervision, hold no graph that was recorded inside.

    Raises
    ------
    ExplainError
        If parameters were created under ``inference_mode``: autograd refuses such tensors.
    """
    modules = list(network.modules())  # asked once: a walk through hundreds of modules costs as much as some layers
    parameters = list({id(p): p for m in modules for p in m._parameters.values() if p is not None}.values())
    buffers = [b for m in modules for b in m._buffers.values() if b is not None]
    if any(tensor.is_inference() for tensor in chain(parameters, buffers)):
        raise ExplainError(
            "The network's weights were created under torch.inference_mode(), which rules out gradients; "
            "create or load the network outside of it."
        )
    # Of frozen TorchScript no module has the flag, and nothing is left that would read it.
    training = [(module, module.training) for module in modules if hasattr(module, "training")]
    # Module.compile() leaves this on the module; the compiled code would not see hooks added later.
    compiled = [(module, module.__dict__["_compiled_call_impl"]) for module in modules if _is_compiled(module)]
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    gpus = sorted({p.device.index for p in parameters if p.device.type == "cuda"})
    recorded_before = {id(tensor) for _, _, tensor in recorded(modules)}
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(gpus), kept_buffers(modules):
            for module, _ in training:
                module.training = False  # not eval(): networks override train() to do other things
            for module, _ in compiled:
                module.__dict__["_compiled_call_impl"] = None
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, implementation in compiled:
            module.__dict__["_compiled_call_impl"] = implementation
        for module, flag in training:
            module.training = flag
        for place, key, tensor in recorded(modules):
            if id(tensor) not in recorded_before:
                place[key] = tensor.detach()


def _is_compiled(module: nn.Module) -> bool:
    return module.__dict__.get("_compiled_call_impl") is not None


class _Reached(BaseException):
    """Ends a forward pass at the layer; a BaseException, so that a network's ``except Exception`` lets it through."""


class Cut:
    """A network that runs up to and from one layer; made by :func:`cut_at`.

    Parameters
    ----------
    layer
        Dotted name of the layer.
    logits
        Runs the network, see :func:`reading_logits`.
    """

    def __init__(self, layer: str, logits: Callable[[Tensor], Tensor]) -> None:
        self.layer = layer
        self._logits = logits
        self._leaf: Tensor | None = None
        self._version = 0  # of the leaf when it was taken: autograd counts what is written in place
        self._input_shape: torch.Size | None = None  # while a forward pass runs
        self._stop = False
        self._switched_off = False  # whether the network itself ran the layer without gradients
        self._given: list[tuple[Tensor, int]] = []  # to the layer, with how often something was written into each
        self._handed_on = False  # whether the layer gave what it was given
        self._begin: Tensor | None = None  # the image, where the graph begins there and not at the layer
        self._before: Before | None = None  # in such a graph: where uses of the output before the layer lead to
        self._change: Callable[[Tensor], Tensor] | None = None
        self._save_memory: Callable[[], None] | None = None

    def forward(
        self, image: Tensor, *, gradients: bool = True, change: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the network on a batch.

        Parameters
        ----------
        image
            (N, C, *spatial); the network may overwrite it.
        gradients
            Whether to record the graph from the layer to the logits.
        change
            What to make of a copy of the layer's output before it goes on, such as without a channel. It may give a
            batch of another size, where what follows in the network takes one.

        Returns
        -------
        logits : torch.Tensor
            Before softmax; connected to ``activation`` when ``gradients``. :meth:`gradient` differentiates them, before
            the context ends.
        activation : torch.Tensor
            (N, channels, *cells), the layer's output. What follows in the network leaves its values alone.
        """
        self._change = change
        kept = image.clone() if gradients and change is None else image  # the network may overwrite the first one
        logits = self._passed(image, gradients=gradients)
        if self._handed_on and change is None and logits.requires_grad:
            logits = self._passed_in_full(kept)
        overwritten = self._leaf is not None and version(self._leaf) != self._version
        activation = self._taken()
        if overwritten:
            raise ExplainError(
                f"The network overwrites the output of layer {self.layer!r} in place by a path around the layer; "
                "choose a layer before or after it."
            )
        if gradients and not logits.requires_grad:
            raise self._unconnected()
        return logits, activation

    def _passed(self, image: Tensor, *, gradients: bool) -> Tensor:
        with torch.set_grad_enabled(gradients), ExitStack() as later, self._running(image, stop=False) as fresh:
            # From the layer on, where there is a graph; it costs time at every function.
            self._save_memory = FrugalConvolutions().beginning_later(later) if gradients else None
            return self._logits(fresh)

    def _passed_in_full(self, image: Tensor) -> Tensor:
        """Record the graph from the image on: what is handed on may have been used before the layer too."""
        self._begin = image.detach().clone().requires_grad_()
        try:
            return self._passed(self._begin.clone(), gradients=True)
        finally:
            self._begin = None

    def _unconnected(self) -> ExplainError:
        if self._switched_off:
            return ExplainError(
                "The network's forward switches gradients off (torch.no_grad, inference_mode or reentrant"
                f" checkpointing) at layer {self.layer!r}, and this method needs them; run the network without"
                " that, or choose a method that needs no gradients, such as ablationcam, scorecam or occlusion."
            )
        return ExplainError(
            f"The output does not depend on layer {self.layer!r} through gradients (the layer's output is not used,"
            " or the network detaches it, switches gradients off behind it or uses reentrant checkpointing); choose"
            " another layer."
        )

    def gradient(self, logits: Tensor, activation: Tensor, seed: Tensor, *, keep: bool) -> Tensor:
        """Return the gradient of logits that :meth:`forward` gave with respect to the activation.

        Parameters
        ----------
        logits, activation
            As :meth:`forward` gave them.
        seed
            Gradient of the target with respect to the logits, in their shape.
        keep
            Whether another gradient will be asked for.

        Raises
        ------
        ExplainError
            If the network cannot be differentiated behind the layer.
        """
        try:
            if self._before is not None:
                return self._before.gradient(logits, activation, seed, keep=keep)
            (gradient,) = torch.autograd.grad(logits, activation, seed, retain_graph=keep)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if not any(words in str(error) for words in _UNDIFFERENTIABLE):
                raise
            raise ExplainError(
                f"The network cannot be differentiated behind layer {self.layer!r} ({str(error).split('.')[0]}); choose"
                " a layer nearer to the output, or a method that needs no gradients, such as ablationcam, scorecam or"
                " occlusion."
            ) from error
        return gradient

    def encode(self, image: Tensor) -> Tensor:
        """Run a batch up to the layer only and return its output (N, channels, *cells), without gradients."""
        # no_grad, not inference_mode: a module may keep a tensor (a cached mask) that later needs gradients.
        with torch.no_grad(), self._running(image, stop=True) as fresh, suppress(_Reached):
            self._logits(fresh)
        return self._taken().detach()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let other images run in between, and forget them: the graph of the last one may still be needed."""
        kept = self._leaf, self._version, self._change, self._before
        try:
            yield
        finally:
            self._leaf, self._version, self._change, self._before = kept

    @contextmanager
    def _running(self, image: Tensor, *, stop: bool) -> Iterator[Tensor]:
        self._leaf, self._before, self._input_shape, self._stop = None, None, image.shape, stop
        try:
            yield image.clone() if image.is_inference() else image
        finally:
            self._input_shape = None

    def _taken(self) -> Tensor:
        if self._leaf is None:
            raise ExplainError(f"Layer {self.layer!r} is not used when the network runs; choose another layer.")
        if self._leaf.is_inference() and not torch.is_inference_mode_enabled():
            self._leaf = self._leaf.clone()  # which other code may compute with
        return self._leaf

    def enter(self, _module: object, args: tuple[object, ...], named: Mapping[str, object]) -> None:
        """Note what the layer is given; its forward pre-hook."""
        self._given = [(x, version(x)) for x in (*args, *named.values()) if isinstance(x, Tensor)]

    def replace(self, _module: nn.Module, _args: object, output: object) -> Tensor:
        """Take the place of the layer's output; the forward hook of the layer."""
        given, self._given = self._given, []
        before = [writes for tensor, writes in given if tensor is output]
        if self._input_shape is None:
            # Outside a forward pass a layer runs only when checkpointing recomputes it: repeat what it gave before.
            return self._going_on(self._taken(), output if before else None)
        if self._leaf is not None:
            raise ExplainError(
                f"Layer {self.layer!r} runs several times in one pass through the network, so it has no single map; "
                "choose the block that contains it."
            )
        self._leaf = _checked(output, self._input_shape, self.layer).detach()
        if self._stop:
            raise _Reached
        self._handed_on = before == [version(self._leaf)]
        self._switched_off = not torch.is_grad_enabled()
        if before:
            self._leaf = self._leaf.clone()  # what the layer was given may be written into below
        self._version = version(self._leaf)
        if self._begin is not None and isinstance(output, Tensor) and output.requires_grad:
            self._before = Before(get_gradient_edge(output), self._begin)
        if torch.is_grad_enabled():
            self._leaf.requires_grad_()
            if self._save_memory is not None and self._begin is None:
                self._save_memory()
        return self._going_on(self._leaf, output if before else None)

    def _going_on(self, leaf: Tensor, same: object) -> Tensor:
        """Return what goes on from the layer: the ``same`` tensor that it was given, where that is its output."""
        if self._change is not None:
            return self._change(leaf.clone())
        if not isinstance(same, Tensor):
            # A copy goes on: code after the layer may write in place (ReLU, +=), which a leaf would not allow.
            return leaf.clone()
        return carrying_on(same, leaf, before=self._before)


def _checked(output: object, input_shape: torch.Size, layer: str) -> Tensor:
    """Return a layer's output if a map can be made of it."""
    axes = "(N, C, D, H, W)" if len(input_shape) == 5 else "(N, C, H, W)"
    if not isinstance(output, Tensor):
        raise ExplainError(
            f"Layer {layer!r} must give one tensor {axes}; found {described(output)}. Choose another layer."
        )
    if output.ndim != len(input_shape) or output.shape[0] != input_shape[0]:
        raise ExplainError(
            f"Layer {layer!r} must give a tensor {axes} for an input of shape {tuple(input_shape)}; "
            f"found shape {tuple(output.shape)}. Choose another layer."
        )
    if not output.shape[1]:
        raise ExplainError(f"Layer {layer!r} gives no channel at all; choose another layer.")
    if output.shape[2:].numel() < 2:
        raise ExplainError(
            f"Layer {layer!r} gives a single cell for the whole input, not a map; choose an earlier layer."
        )
    if not output.is_floating_point():
        raise ExplainError(f"Layer {layer!r} must give real numbers; found {output.dtype}. Choose another layer.")
    return output.as_subclass(Tensor)


@contextmanager
def cut_at(network: nn.Module, layer: str) -> Iterator[Cut]:
    """Cut a network's graph at a layer for the duration of the context.

    Parameters
    ----------
    network
        Any module with one tensor in; see :func:`hookable` for wrapped ones.
    layer
        Dotted name of a module, as in ``network.named_modules()``.

    Raises
    ------
    ExplainError
        If there is no such layer. Whether it can be explained shows when :class:`Cut` runs.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2))
    >>> with cut_at(network, "0") as cut:
    ...     logits, activation = cut.forward(torch.ones(1, 1, 4, 4))
    ...     gradient = cut.gradient(logits, activation, torch.tensor([[0.0, 1.0]]), keep=False)
    >>> gradient.shape
    torch.Size([1, 2, 2, 2])
    """
    network = hookable(network)
    modules = dict(network.named_modules(remove_duplicate=False))
    if not layer or layer not in modules:
        raise ExplainError(unknown_name("layer", layer, sorted(filter(None, modules), key=_depth)))
    if isinstance(modules[layer], torch.jit.ScriptModule):
        raise ExplainError(
            f"Layer {layer!r} is a TorchScript module, which cannot be hooked; choose the layer before or behind it."
        )
    with quiet(network), reading_logits(network) as logits:
        cut = Cut(layer, logits)
        handles = (
            modules[layer].register_forward_pre_hook(cut.enter, with_kwargs=True),
            modules[layer].register_forward_hook(cut.replace),
        )
        try:
            yield cut
        finally:
            for handle in handles:
                handle.remove()


def _depth(name: str) -> int:
    """Order names from the outer blocks to the inner ones, which otherwise hide the end of a long network."""
    return name.count(".")
