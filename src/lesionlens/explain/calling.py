"""The line between the methods and the code of a network: what it does wrong is said in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from lesionlens.errors import ExplainError, LesionLensError

__all__ = [
    "NetworkError",
    "called",
    "described",
    "is_memory",
    "main_output",
    "noting_choices",
    "stoppable",
    "version",
    "with_classes",
]

# Sentences about outputs that were chosen among several, where somebody listens.
_CHOICES: ContextVar[set[str] | None] = ContextVar("choices", default=None)


class NetworkError(ExplainError):
    """A network raised an error of its own; ``__cause__`` is that error."""


def called(network: nn.Module, image: Tensor) -> Tensor:
    """Run a network and return its main output, see :func:`main_output`.

    Parameters
    ----------
    network
        Any module with one tensor in.
    image
        (N, C, *spatial).

    Returns
    -------
    torch.Tensor
        Mostly (N, K, *spatial) or (N, K); see :func:`with_classes`.

    Raises
    ------
    NetworkError
        For any exception of the network's code. A user's stop and what tells of exhausted memory pass through.
    ExplainError
        If there is no tensor, or convolutions in 3D see an image without its batch axis.
    """
    with _batch_axis(network, image):
        try:
            output = network(image)
        except (LesionLensError, MemoryError):
            raise
        except Exception as error:  # a network is arbitrary code
            if is_memory(error):
                raise
            raise NetworkError(_sentence(network, image, error)) from error
    listening, found = _CHOICES.get(), main_output(output)
    if listening is not None:
        listening.update(_choice(output))
    return found


@contextmanager
def stoppable(network: nn.Module, look: Callable[[], None]) -> Iterator[None]:
    """Call a function before each module of a network runs, while the context lasts; what it raises ends the pass.

    Parameters
    ----------
    network
        Any module; one of TorchScript, whose modules cannot be watched, runs on.
    look
        Raises ``Cancelled`` to stop.
    """
    handles = []
    if not isinstance(network, torch.jit.ScriptModule):
        handles = [module.register_forward_pre_hook(lambda *_: look()) for module in network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def noting_choices() -> Iterator[set[str]]:
    """Collect, while the context lasts, a sentence for each output of a network that was chosen among several."""
    found: set[str] = set()
    token = _CHOICES.set(found)
    try:
        yield found
    finally:
        _CHOICES.reset(token)


def _choice(output: object) -> list[str]:
    """Say which tensor of several is the main output, where it does not go without saying."""
    if isinstance(output, Mapping):
        names = [repr(name) for name, item in output.items() if _holds_a_tensor(item)]
        what, which = f"a dictionary of {', '.join(names)}", "" if "pred" in output else (names or [""])[0]
    elif isinstance(output, tuple | list):
        names = [str(item.shape) for item in output if isinstance(item, Tensor)]
        what, which = f"{len(names)} tensors", "the first"
    else:
        return []
    if len(names) < 2 or not which:
        return []
    return [f"The network gives {what}; {which} is explained. For another, wrap it in a module that returns that one."]


def with_classes(output: Tensor, image: Tensor) -> Tensor:
    """Return what a network gave with an axis of classes, where it left that of its only class away.

    Parameters
    ----------
    output
        One number for each image, (N,) or alone, or for each voxel, (N, *spatial); anything else is returned as it is.
    image
        (N, C, *spatial).
    """
    if output.ndim < 2:
        return output.reshape(-1, 1)
    return output[:, None] if output.shape[1:] == image.shape[2:] else output


def version(tensor: Tensor) -> int:
    """Return how often something was written into a tensor; of those of a network's own inference_mode always 0."""
    return 0 if tensor.is_inference() else tensor._version


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out: of graphics cards an error of its own, of the CPU allocator a text."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def _sentence(network: nn.Module, image: Tensor, error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, torch.jit.Error):  # which begins with where in TorchScript, and ends with what
        lines.reverse()
    reason = (lines[0] if lines else type(error).__name__).rstrip(".")
    kind = _kind(network)
    other = f" Its weights are {kind}: give the image as image.to({kind})." if kind not in (None, image.dtype) else ""
    return (
        f"{type(network).__name__} cannot process an image of shape {tuple(image.shape)} (N, C, *spatial) and"
        f" {image.dtype}: {reason}.{other} A network is called with this one tensor; check its channels, axes and type,"
        " or wrap the network in a module that takes one tensor."
    )


def _kind(network: nn.Module) -> torch.dtype | None:
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), None)


@contextmanager
def _batch_axis(network: nn.Module, image: Tensor) -> Iterator[None]:
    """Refuse convolutions in 3D of an image (C, D, H, W) that is taken for one in 2D: torch would go along with it."""

    def check(_module: nn.Module, args: tuple[object, ...]) -> None:
        if args and isinstance(args[0], Tensor) and args[0].ndim == 4:
            raise ExplainError(
                f"The network's convolutions are in 3D, and the image {tuple(image.shape)} has no batch axis;"
                " expected (1, C, D, H, W): give image[None]."
            )

    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d)] if image.ndim == 4 else []
    handles = [module.register_forward_pre_hook(check) for module in convolutions]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def main_output(output: object) -> Tensor:
    """Return the main tensor of what a network gives: ``pred`` or the first of a dictionary, the first of several.

    Networks add hidden states, deep supervision or a reconstruction behind their answer.

    Parameters
    ----------
    output
        What the network returned: a tensor, or a dictionary, list or tuple of whatever it likes.

    Returns
    -------
    torch.Tensor
        As it is in there, with its graph; mostly (N, K, *spatial) or (N, K), of the network's own type.

    Raises
    ------
    ExplainError
        If there is no tensor.
    """
    found = output
    if isinstance(found, Mapping):
        found = found.get("pred", next(filter(_holds_a_tensor, found.values()), None))
    if isinstance(found, tuple | list):
        found = next((item for item in found if isinstance(item, Tensor)), None)
    if not isinstance(found, Tensor):
        raise ExplainError(
            f"A network must return a tensor, several, or a dictionary of them; found {described(output)}. "
            "Wrap it in a module that returns the one that is meant."
        )
    return found


def _holds_a_tensor(item: object) -> bool:
    return isinstance(item, Tensor) or (isinstance(item, tuple | list) and any(isinstance(x, Tensor) for x in item))


def described(output: object) -> str:
    """Say what a network or a layer gave: ``"a tuple of a tensor of shape (1, 2), a NoneType"``."""
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {', '.join(described(item) for item in output) or 'nothing'}"
    return f"a {type(output).__name__}"
