"""Docks that listen to napari, which does not know when Qt has deleted one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from qtpy.compat import isalive

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["follow_layers", "is_alive", "while_alive"]

Owner = TypeVar("Owner")
Parameters = ParamSpec("Parameters")


def is_alive(thing: object) -> bool:
    """Say whether Qt still has an object."""
    return bool(isalive(thing))  # type: ignore[no-untyped-call]  # qtpy.compat has no hints


def while_alive(
    step: Callable[Concatenate[Owner, Parameters], None],
) -> Callable[Concatenate[Owner, Parameters], None]:
    """Make a method of a widget do nothing once the widget was deleted."""

    @wraps(step)
    def guarded(self: Owner, /, *args: Parameters.args, **options: Parameters.kwargs) -> None:
        if is_alive(self):
            step(self, *args, **options)

    return guarded


def follow_layers(viewer: ViewerModel, step: Callable[[Any], object]) -> None:
    """Call a bound method when layers come, go or change places; napari keeps a weak reference to its object."""
    events = viewer.layers.events
    for changed in (events.inserted, events.removed, events.reordered):
        changed.connect(step)
