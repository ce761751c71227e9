"""The components of a config: its dictionaries with a ``_target_``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["components", "short_name"]


def components(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the content of every component (a dict with ``_target_``) below a config node."""
    if isinstance(node, dict) and isinstance(node.get("_target_"), str):
        yield place, node
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from components(value, f"{place}::{key}")


def short_name(component: dict[str, Any]) -> str:
    """Return the name of what a component makes, without its modules."""
    return str(component["_target_"]).rsplit(".", 1)[-1]
