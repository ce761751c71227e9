"""How large a config becomes when its references are followed: few lines can stand for billions of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from monai.bundle import ReferenceResolver

__all__ = ["MOST_UNFOLDED", "unfolded"]

#: Configs of the model zoo unfold to some 10,000 characters.
MOST_UNFOLDED: Final = 1_000_000
# What a range of the longest kind that is allowed counts as; see LONGEST_RANGE in ``expressions``.
_RANGE: Final = 10_000


def unfolded(places: Iterable[str], get: Callable[[str], Any]) -> Mapping[str, int]:
    """Return the characters that each place stands for once every reference is replaced by what it leads to.

    Parameters
    ----------
    places
        Of the parts, levels separated by ``::``.
    get
        Gives the part at a place; KeyError, IndexError, ValueError or TypeError where there is none.

    Notes
    -----
    What leads back to itself counts once: MONAI refuses it.
    """
    sizes: dict[str, int] = {}
    for first in places:
        waiting, begun = [first], set[str]()
        while waiting:
            place = waiting[-1]
            own, needed = _own(place, get)
            first_others = () if place in begun else [one for one in needed if one not in sizes and one not in begun]
            begun.add(place)
            if first_others:
                waiting += first_others
                continue
            waiting.pop()
            sizes.setdefault(place, own + sum(times * sizes.get(one, 0) for one, times in needed.items()))
    return sizes


def _own(place: str, get: Callable[[str], Any]) -> tuple[int, Mapping[str, int]]:
    """Return the characters at a place itself, and how often it needs which others."""
    try:
        node = get(place)
    except (KeyError, IndexError, ValueError, TypeError):
        return 0, {}
    if isinstance(node, str):
        return len(node) + _RANGE * node.count("range("), ReferenceResolver.match_refs_pattern(node)
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return 1, {f"{place}::{key}": 1 for key, _ in children}
