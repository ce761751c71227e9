"""Judges a bundle's config as data: what would be executed, what of it is harmless, and what needs trust."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from lesionlens.errors import BundleError
from lesionlens.model.safety.expressions import expression_problem, harmless_import, idle_import, is_import
from lesionlens.model.safety.growth import MOST_UNFOLDED, unfolded
from lesionlens.model.safety.names import call_problem, downloads, resolved

__all__ = ["STAND_IN", "Concern", "Judged", "judge", "read_config"]

#: Configs of the model zoo have up to 60 kB; more is no config that a person has written.
_LARGEST_FILE = 2_000_000
_MOST_NODES = 50_000
_DEEPEST = 60
#: What LesionLens reads itself: never called, whatever its arguments.
STAND_IN = ("LoadImaged", "LoadImageD", "LoadImageDict")
#: Methods that set up a detector, the only computed thing that a component may call.
_SETTER = re.compile(
    r"\$@[\w:#]+\.set_(target_keys|box_selector_parameters|box_coder_weights|sliding_window_inferer"
    r"|regular_matcher|atss_matcher)"
)


@dataclass(frozen=True)
class Concern:
    """One thing in a config that is not executed without trust.

    Parameters
    ----------
    place
        Where it stands, levels separated by ``::``.
    text
        What would be executed.
    reason
        Why it is not taken for harmless.
    """

    place: str
    text: str
    reason: str

    def __str__(self) -> str:
        """Return a line for a person."""
        return f"{self.place}: {self.text} ({self.reason})"


@dataclass(frozen=True, eq=False)
class Judged:
    """A config after judgement.

    Parameters
    ----------
    concerns
        What needs trust; empty for a config that may run as it is.
    config
        The config with everything taken out that was not judged: what may be parsed when there are no concerns.
    notices
        What was changed or left out, a sentence each.
    """

    concerns: tuple[Concern, ...]
    config: dict[str, Any]
    notices: tuple[str, ...]


def read_config(path: Path) -> dict[str, Any]:
    """Read a config as data: JSON or plain YAML, nothing of it executed.

    Raises
    ------
    BundleError
        If it is damaged, too large, too deep, names a part twice, or holds no named parts.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise BundleError(
                f"{path} has {path.stat().st_size:,} bytes; a config of at most {_LARGEST_FILE:,} is expected."
            )
        config = ConfigParser.load_config_file(path)
        _count(config)
    except BundleError:
        raise
    except Exception as error:  # yaml and json raise families of their own; all mean the same to the user
        raise BundleError(f"{path} cannot be read: {type(error).__name__}: {' '.join(str(error).split())}.") from None
    if not isinstance(config, dict):
        raise BundleError(
            f"{path} must hold named parts (network_def, preprocessing, ...); found {type(config).__name__}."
        )
    return config


def _count(config: object) -> None:
    """Refuse what unfolds without end: YAML lets few lines stand for billions of nodes."""
    waiting, seen = [(config, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > _MOST_NODES or depth > _DEEPEST:
            raise ValueError(f"it has more than {_MOST_NODES} parts, or is nested more than {_DEEPEST} deep")
        if isinstance(node, dict | list):
            waiting += [(child, depth + 1) for child in (node.values() if isinstance(node, dict) else node)]


def judge(config: Mapping[str, Any], roots: Iterable[str]) -> Judged:
    """Judge what would be executed to build some parts of a config.

    Parameters
    ----------
    config
        As :func:`read_config` returns it; it is not changed.
    roots
        Places of the parts that will be built, such as ``network_def`` or ``postprocessing::transforms::0``.

    Returns
    -------
    Judged
        What the roots do not lead to, and what is refused, is blanked in its config: it cannot run even by mistake.
    """
    walk = _Walk(copy.deepcopy(dict(config)))
    walk.check_keys()
    walk.resolve_relative()
    for root in roots:
        walk.visit(root)
    walk.weigh()
    walk.imports()
    return Judged(tuple(walk.concerns), walk.blanked(), tuple(walk.notices))


@dataclass
class _Walk:
    """Follows references through a config and judges everything on the way."""

    config: dict[str, Any]
    concerns: list[Concern] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    visited: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def check_keys(self) -> None:
        """Refuse keys by which two parts could have one place: what is judged must be what runs."""
        for place, key in _keys(self.config):
            if not isinstance(key, str) or not key or "::" in key or "#" in key:
                self._add(place, f"the key {key!r}", "a part of such a name cannot be told from others")

    def resolve_relative(self) -> None:
        """Write references to neighbours (``@#name``) as MONAI would, and put parts of this file in for macros."""
        for place, node in list(_leaves(self.config)):
            text = ConfigParser.resolve_relative_ids(place, node)
            if text.startswith("%"):
                text = self._macro(place, text)
            if text is not node:
                self._set(place, text)

    def _macro(self, place: str, text: str) -> Any:
        path, name = ConfigParser.split_path_id(text[1:])
        try:
            part = None if path else self._get(name)
        except (KeyError, IndexError, ValueError, TypeError):
            part = None
        if part is None or any(leaf.startswith("%") or "@#" in leaf for _, leaf in _leaves([part])):
            self._add(place, text, "it takes in another file" if path else "it leads nowhere")
            return None
        return copy.deepcopy(part)

    def visit(self, place: str) -> None:
        """Judge the part at a place, and all that it needs."""
        waiting = [place]
        while waiting:
            place = waiting.pop()
            if place in self.visited:
                continue
            self.visited.add(place)
            try:
                node = self._get(place)
            except (KeyError, IndexError, ValueError, TypeError):
                continue  # MONAI will say that it is missing
            waiting += self._judge(place, node)

    def _judge(self, place: str, node: Any) -> list[str]:
        """Judge one node; return the places of what it needs."""
        if isinstance(node, str):
            if node.startswith("$") and not is_import(node):
                self._add(place, node, expression_problem(node))
            return list(ReferenceResolver.match_refs_pattern(node))
        if isinstance(node, dict) and "_target_" in node:
            self._judge_component(place, node)
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        return [f"{place}::{key}" for key, _ in children]

    def _judge_component(self, place: str, node: dict[str, Any]) -> None:
        target, mode = node["_target_"], node.get("_mode_", "default")
        if mode not in ("default", "callable"):
            self._add(place, f"_mode_ {mode}", "it starts a debugger")
        if not isinstance(target, str) or target.startswith("@"):
            self._add(place, f"_target_ {target!r}", "it is no name")
        elif target.startswith("$"):  # judged as an expression too, but one that gives a text would call what it names
            if not _SETTER.fullmatch(target):
                self._add(place, f"_target_ {target}", "what it calls is not known before it is executed")
        elif target.rsplit(".", 1)[-1] not in STAND_IN:
            self._judge_name(place, node, target)

    def _judge_name(self, place: str, node: dict[str, Any], target: str) -> None:
        problem = call_problem(target, node)
        self._add(place, f"_target_ {target}", problem)
        if problem:
            return
        node["_target_"] = resolved(target)  # so that it cannot come to mean something else
        for argument in downloads(target):
            if argument not in node:
                node[argument] = False
                self.notices.append(f"{place}: {target} fetches weights from the net; {argument} is set to False.")

    def _add(self, place: str, text: str, reason: str | None) -> None:
        if reason:
            self.refused.add(place)
            self.concerns.append(Concern(place, text, reason))

    def weigh(self) -> None:
        """Refuse what few lines let grow without end by references to references."""
        sizes = unfolded(self.visited, self._get)
        for place in sorted(place for place, size in sizes.items() if size > MOST_UNFOLDED):
            self._add(place, "its references", f"it unfolds to more than {MOST_UNFOLDED:,} characters")

    def imports(self) -> None:
        """Take out imports: MONAI would execute every one, wherever it stands.

        Those of Python's own modules and of well-known packages are left out in silence, since no expression that is
        allowed can use them.
        """
        for place, node in list(_leaves(self.config)):
            if node.startswith("$") and is_import(node):
                if harmless_import(node):
                    self.visited.add(place)
                    continue
                if place in self.visited and not idle_import(node):
                    self._add(place, node, "what this module does when it is imported is not known")
                self.visited.discard(place)

    def blanked(self) -> dict[str, Any]:
        """Return the config without what was not judged, or was refused."""
        return {} if "" in self.refused else {key: self._blank(node, str(key)) for key, node in self.config.items()}

    def _blank(self, node: Any, place: str) -> Any:
        if place in self.refused:
            return None
        if isinstance(node, str):
            return None if node.startswith(("$", "%", "@")) and place not in self.visited else node
        if isinstance(node, dict):
            if "_target_" in node and place not in self.visited:
                return self._container(node, place)
            return {key: self._blank(value, f"{place}::{key}") for key, value in node.items()}
        if isinstance(node, list):
            return [self._blank(value, f"{place}::{index}") for index, value in enumerate(node)]
        return node

    def _container(self, node: dict[str, Any], place: str) -> Any:
        """Return what is left of a component that is not made, and holds parts that are; None where it holds none."""
        if not any(one.startswith(f"{place}::") for one in self.visited):
            return None
        inside = {key: value for key, value in node.items() if not key.startswith("_")}
        return {key: self._blank(value, f"{place}::{key}") for key, value in inside.items()}

    def _get(self, place: str) -> Any:
        node: Any = self.config
        for key in place.split("::"):
            node = node[int(key)] if isinstance(node, list) else node[key]
        return node

    def _set(self, place: str, value: Any) -> None:
        front, _, key = place.rpartition("::")
        node = self._get(front) if front else self.config
        if isinstance(node, list):
            node[int(key)] = value
        else:
            node[key] = value


def _leaves(node: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the places of all texts below a node."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _leaves(value, f"{place}::{key}" if place else str(key))


def _keys(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the places of all dictionaries below a node with each of their keys."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(node, dict):
                yield place, key
            yield from _keys(value, f"{place}::{key}" if place else str(key))
