"""On which side of the screen the patient's right is: one convention for all canvases, changed together.

Radiologists look at a patient from the feet and from the front, so that the patient's right is on the left of the
screen; neurological pictures are seen from the head and from behind. Only cameras are turned, never data.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Literal, TypeVar

__all__ = ["NEUROLOGICAL", "RADIOLOGICAL", "Convention", "convention", "follow", "set_convention", "swap", "turned"]

Convention = Literal["radiological", "neurological"]
Orientation = tuple[str, str, str]
Owner = TypeVar("Owner")

RADIOLOGICAL: Convention = "radiological"
NEUROLOGICAL: Convention = "neurological"

# The display axis that runs from the patient's right to the left; see lesionlens.display.
_SIDEWAYS = 2
_OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up", "towards": "away", "away": "towards"}


class _Shown:
    """The convention that is shown, and who has to know of a change."""

    value: Convention = RADIOLOGICAL
    followers: list[tuple[weakref.ref[Any], Callable[[Any], None]]] = []  # noqa: RUF012  # there is one for all


def convention() -> Convention:
    """Return the convention that all canvases are shown in."""
    return _Shown.value


def set_convention(value: Convention) -> None:
    """Show all canvases in a convention."""
    if value == _Shown.value:
        return
    _Shown.value = value
    for reference, step in list(_Shown.followers):
        owner = reference()
        if owner is not None:
            step(owner)


def swap() -> None:
    """Change from the radiological to the neurological convention, or back."""
    set_convention(NEUROLOGICAL if _Shown.value == RADIOLOGICAL else RADIOLOGICAL)


def follow(owner: Owner, step: Callable[[Owner], None]) -> None:
    """Call ``step(owner)`` after each change, for as long as the owner exists, which is not kept alive."""

    def forget(reference: weakref.ref[Any]) -> None:
        _Shown.followers[:] = [pair for pair in _Shown.followers if pair[0] is not reference]

    _Shown.followers.append((weakref.ref(owner, forget), step))


def turned(order: tuple[int, ...], orientation: Orientation, value: Convention) -> Orientation:
    """Return how a camera that is right in the radiological convention stands in another one.

    Where the patient's right and left are seen they change sides, and with them the depth: a 3D rendering is then seen
    from the other side instead of being mirrored. A sagittal picture stays as it is.

    Parameters
    ----------
    order
        Display axes as (depth, vertical, horizontal).
    orientation
        Where these grow on the screen.
    value
        The convention to show.
    """
    if value == RADIOLOGICAL or order[0] == _SIDEWAYS:
        return orientation
    depth, *seen = orientation
    seen[order.index(_SIDEWAYS) - 1] = _OPPOSITE[seen[order.index(_SIDEWAYS) - 1]]
    return _OPPOSITE[depth], seen[0], seen[1]
