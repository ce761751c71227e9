"""Which volume goes into which input channel, and all of them on one grid."""

from __future__ import annotations

from collections.abc import Sequence

from lesionlens.errors import InputError
from lesionlens.heatmap import slug
from lesionlens.model.catalogue import BundleInfo
from lesionlens.volume import Volume

__all__ = ["matched", "spoken_of"]

#: What files and series call a channel beside its name.
_ALIASES = {
    "t1": ("t1w", "t1n", "mprage"),
    "t1c": ("t1ce", "t1gd", "t1post", "t1kontrast"),
    "t1ce": ("t1c", "t1gd", "t1post"),
    "t2": ("t2w", "t2n"),
    "flair": ("t2flair", "t2f", "fla"),
    "dwi": ("b1000",),
}


def matched(info: BundleInfo, given: Sequence[tuple[str, Volume]]) -> tuple[tuple[Volume, ...], tuple[str, ...]]:
    """Put volumes into the order of a bundle's channels, on the grid of the first, and say what was done.

    Parameters
    ----------
    info
        The bundle's.
    given
        Volumes, the one that results are for first; each with the name of its channel, or with nothing: then its own
        name, or the description of its series, says which it is.

    Returns
    -------
    volumes, notices

    Raises
    ------
    InputError
        If there are too few or too many, or it is not clear which is which.
    """
    channels = info.inputs
    if len(given) != len(channels):
        raise InputError(
            f"{info.name} needs {len(channels)} input channel(s) ({', '.join(channels)}); found {len(given)} volume(s)."
            " Give one for each, with --channel NAME=PATH."
        )
    places = _by_name(info, given)
    notices = []
    if places is None:
        places = list(range(len(channels)))
        if len(channels) > 1:
            pairs = (f"{channel}: {volume.name}" for channel, (_, volume) in zip(channels, given, strict=True))
            notices.append(
                f"Volumes were taken for the channels in the order in which they were given: {', '.join(pairs)}."
            )
    grid = given[0][1].grid
    found = []
    for place in places:
        volume = given[place][1]
        if not volume.grid.same_as(grid):
            notices.append(f"{volume.name} was resampled to the grid of {given[0][1].name}.")
            volume = volume.resampled(grid)
        found.append(volume)
    return tuple(found), tuple(notices)


def _by_name(info: BundleInfo, given: Sequence[tuple[str, Volume]]) -> list[int] | None:
    """Return for each channel the place of its volume; None where nothing names any."""
    if len(given) == 1:
        return [0]
    names = [slug(name) for name in info.inputs]
    found: dict[int, int] = {}
    for place, (named, volume) in enumerate(given):
        fits = [n for n, name in enumerate(names) if slug(named) == name] if named else spoken_of(names, volume.name)
        if named and not fits:
            raise InputError(f"{info.name} has no input channel {named!r}; it has: {', '.join(info.inputs)}.")
        if len(fits) == 1 and fits[0] not in found:
            found[fits[0]] = place
        elif fits:
            raise InputError(
                f"It is not clear which channel {volume.name!r} is: it may be"
                f" {', '.join(info.inputs[n] for n in fits)}. Name the channels: --channel NAME=PATH."
            )
    rest = [place for place in range(len(given)) if place not in found.values()]
    if len(rest) == 1 and len(found) == len(names) - 1:  # what is left over is the channel that is left over
        found[next(n for n in range(len(names)) if n not in found)] = rest[0]
    if found and len(found) < len(names):
        unclear = ", ".join(repr(given[place][1].name) for place in rest)
        raise InputError(
            f"It is not clear which of {', '.join(info.inputs)} {unclear} are. Name them: --channel NAME=PATH."
        )
    return [found[n] for n in range(len(names))] if found else None


def spoken_of(channels: Sequence[str], text: str) -> list[int]:
    """Return the places of the channels that the words of a name speak of; the whole word decides before an alias."""
    names, words = [slug(name) for name in channels], set(slug(text).split("-"))
    exact = [n for n, name in enumerate(names) if name in words]
    return exact or [n for n, name in enumerate(names) if words & set(_ALIASES.get(name, ()))]
