"""Which of several volumes in one file or series is meant."""

from __future__ import annotations

from collections.abc import Sequence

from lesionlens.errors import AmbiguousStackError, ReadError, unknown_name

__all__ = ["choose_stack", "stack_names"]

# Volumes of one file that can be listed; the largest known time series have some thousands. More is a damaged header.
MOST_STACKS = 100_000

# NIfTI calls its axes x, y, z, t, u, v, w.
_AXES = "tuvw"

# At most this many names are spelled out in a message.
_MOST_NAMES = 12

_OPTION = "--stack (stack= in Python)"


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


def choose_stack(wanted: str | int | None, names: Sequence[str], what: str) -> int:
    """Return the number of the volume that is meant.

    Parameters
    ----------
    wanted
        Name (capitals do not matter), number from 0 (also as text), or None where there is only one.
    names
        Names of the volumes; empty, or one, where there is one only.
    what
        What holds them, as the subject of a sentence: ``"bold.nii.gz"``, ``"MR series 4"``.

    Raises
    ------
    AmbiguousStackError
        If there are several and none was chosen.
    ReadError
        If there is no such volume.
    """
    count = max(1, len(names))
    listed = [f"{n} {name!r}" for n, name in enumerate(names)]
    if wanted is None and count > 1:
        more = f" and {count - _MOST_NAMES} more" if count > _MOST_NAMES else ""
        raise AmbiguousStackError(
            f"{what} holds {count} volumes; choose one by number or name with {_OPTION}: "
            f"{', '.join(listed[:_MOST_NAMES])}{more}.",
            names,
        )
    if wanted is None:
        return 0
    text = str(wanted).strip()
    if text.isascii() and text.isdigit() and len(text) <= len(str(count)) and int(text) < count:
        return int(text)
    called = [n for n, name in enumerate(names) if name.casefold() == text.casefold() != ""]
    if called:
        return next((n for n in called if names[n] == text), called[0])
    if count == 1:
        raise ReadError(f"{what} is a single volume; leave out {_OPTION}.")
    raise ReadError(f"{what}: {unknown_name('stack', wanted, listed, limit=_MOST_NAMES)}")
