"""Which of several volumes in one file is meant."""

from __future__ import annotations

from collections.abc import Sequence

from lesionlens.errors import AmbiguousStackError, ReadError, unknown_name

__all__ = ["choose_stack", "stack_names"]

# Volumes of one file that can be listed; the largest known time series have some thousands. More is a damaged header.
MOST_STACKS = 100_000

# NIfTI calls its axes x, y, z, t, u, v, w.
_AXES = "tuvw"

# So many names are shown in a message.
_MOST_NAMES = 5


def stack_names(further: Sequence[int], name: str) -> tuple[str, ...]:
    """Return the names of the volumes along the axes after the third, as they lie in the file: ``"t=3, u=1"``.

    Parameters
    ----------
    further
        Numbers of volumes along t, u, v and w; axes of one are not named.
    name
        File name for messages.

    Returns
    -------
    tuple of str
        Empty where there is one volume only.
    """
    n = 1
    for length in further:  # Python integers: a hostile header must not overflow
        n *= length
    if n > MOST_STACKS or len(further) > len(_AXES):
        raise ReadError(
            f"Cannot read {name}: its header promises {n:,} volumes along {len(further)} axes. Copy the file again."
        )
    names = [""]
    for axis, length in zip(_AXES, further, strict=False):
        if length > 1:
            names = [f"{before}, {axis}={at}".lstrip(", ") for at in range(length) for before in names]
    return tuple(names) if n > 1 else ()


def choose_stack(stack: str | int | None, names: Sequence[str], what: str) -> int:
    """Return the index of the volume that is meant.

    Parameters
    ----------
    stack
        Name, index from 0 (also as text), or None.
    names
        Names of the volumes; empty where there is one only.
    what
        What holds them, as the subject of a sentence: ``"bold.nii.gz"``.

    Raises
    ------
    AmbiguousStackError
        If there are several and none was chosen.
    ReadError
        If there is no such volume.
    """
    count = max(1, len(names))
    if stack is None:
        if count == 1:
            return 0
        shown = "; ".join(names[:_MOST_NAMES]) + (f"; ... {names[-1]}" if count > _MOST_NAMES else "")
        raise AmbiguousStackError(
            f"{what} holds {count} volumes: {shown}. Choose one by name or index with stack= or --stack.", names
        )
    if stack in names:
        return list(names).index(str(stack))
    index = int(stack) if str(stack).isascii() and str(stack).isdigit() else -1
    if 0 <= index < count:
        return index
    if count == 1:
        raise ReadError(f"{what} holds one volume; leave out stack={stack!r}.")
    raise ReadError(f"{what}: {unknown_name('volume', stack, names)} An index from 0 to {count - 1} serves as well.")
