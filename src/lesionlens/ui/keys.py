"""The table of keys: which action has which key, what a user changed, and what is taken already.

A dock that has keys of its own registers them here, so that no key means two things, and one dialog changes them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QKeySequence

from lesionlens.errors import InputError
from lesionlens.settings import read_setting, write_setting

__all__ = ["KEYS", "SCHEMA", "KeyAction", "KeyTable", "plain_key"]

_FILE = "keys.json"
# Version of it; another one is refused, not guessed at.
SCHEMA: Final = 1


@dataclass(frozen=True)
class KeyAction:
    """Something that a key does.

    Parameters
    ----------
    name
        As code and the user's file call it.
    title
        As people read it.
    key
        Its key unless the user chose another, as Qt writes it: ``"Shift+F5"``; empty for none.
    repeats
        Whether a key that is held does it again and again.
    """

    name: str
    title: str
    key: str
    repeats: bool = False


# None of these keys means anything to napari, in any kind of layer. Letters are left to docks that are read with one
# hand on the keyboard.
_WINDOW = (
    KeyAction("probability", "Probability on and off", "F2"),
    KeyAction("attribution", "Attribution on and off", "F3"),
    KeyAction("outlines", "Outlines on and off", "F4"),
    KeyAction("run", "Run the bundle that is chosen", "F5"),
    KeyAction("stop", "Stop the run", "Shift+F5"),
    KeyAction("axial", "Show axial slices", "F6"),
    KeyAction("coronal", "Show coronal slices", "F7"),
    KeyAction("sagittal", "Show sagittal slices", "F8"),
    KeyAction("next_region", "Go to the next region", "PgDown", repeats=True),
    KeyAction("previous_region", "Go to the region before", "PgUp", repeats=True),
    KeyAction("lower_threshold", "Lower the threshold", ",", repeats=True),
    KeyAction("higher_threshold", "Raise the threshold", ".", repeats=True),
)


class KeyTable(QObject):
    """All actions with their keys.

    Attributes
    ----------
    changed : Signal()
        Keys or actions changed.
    """

    changed = Signal()

    def __init__(self, actions: Iterable[KeyAction] = _WINDOW) -> None:
        super().__init__()
        self._actions: dict[str, KeyAction] = {action.name: action for action in actions}
        self._own: dict[str, str] | None = None

    @property
    def actions(self) -> tuple[KeyAction, ...]:
        """All actions, in the order in which they were registered."""
        return tuple(self._actions.values())

    @property
    def keys(self) -> dict[str, str]:
        """Key of each action by its name: the user's own, or that of the table."""
        own = self._load()
        return {name: own.get(name, action.key) for name, action in self._actions.items()}

    def register(self, *actions: KeyAction) -> None:
        """Add actions of a dock; those that are there already stay as they are.

        Raises
        ------
        InputError
            If a key means something else already.
        """
        new = {action.name: action for action in actions if action.name not in self._actions}
        merged = {**self._actions, **new}
        _check({name: action.key for name, action in merged.items()}, merged, {}, asked=new)
        self._actions = merged
        if new:
            self.changed.emit()

    def change(self, keys: Mapping[str, str], taken: Mapping[str, str]) -> None:
        """Give actions other keys and keep them in the user's file.

        Parameters
        ----------
        keys
            By the name of the action; those that are left out stay.
        taken
            Keys that mean something to napari, and what.

        Raises
        ------
        InputError
            If a key is none, stands there twice, or is taken.
        OutputError
            If the file cannot be written.
        """
        found = {**self.keys, **keys}
        _check(found, self._actions, taken, asked=keys)
        own = {**self._load(), **found}  # actions of docks that are not loaded keep what was chosen for them
        self._save({name: key for name, key in own.items() if name not in self._actions or key != self._default(name)})
        self.changed.emit()

    def reload(self) -> None:
        """Read the user's file anew."""
        self._own = None
        self.changed.emit()

    def problems(self, taken: Mapping[str, str]) -> tuple[str, ...]:
        """Say which keys mean two things: such as those of the user's file after napari's keys were changed."""
        found = []
        for name, key in self.keys.items():
            try:
                _check({**self.keys, name: key}, self._actions, taken, asked=(name,))
            except InputError as error:
                found.append(str(error))
        return tuple(found)

    def _default(self, name: str) -> str:
        return self._actions[name].key

    def _load(self) -> dict[str, str]:
        """Return the keys that the user chose; none where the file cannot be read."""
        if self._own is None:
            try:
                found = read_setting(_FILE)
                known = found["keys"] if found["schema_version"] == SCHEMA else {}
                self._own = {str(name): str(key) for name, key in known.items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self._own = {}
        return self._own

    def _save(self, own: dict[str, str]) -> None:
        write_setting(_FILE, {"schema_version": SCHEMA, "keys": own}, what="your keys")
        self._own = own


def plain_key(key: str) -> str:
    """Return a key as Qt writes it on every system; empty for what is none."""
    return QKeySequence(key).toString(QKeySequence.SequenceFormat.PortableText)


def _check(
    keys: Mapping[str, str],
    actions: Mapping[str, KeyAction],
    taken: Mapping[str, str],
    *,
    asked: Iterable[str],
) -> None:
    """Make sure that each key of the actions that are asked about does one thing."""
    new = set(asked)
    used: dict[str, str] = {}
    elsewhere = {plain_key(key): what for key, what in taken.items()}
    for name in sorted(keys, key=lambda one: one in new):  # those in question are set against the others
        key, normal = keys[name], plain_key(keys[name])
        if not key:
            continue
        other = actions[used[normal]].title if normal in used else elsewhere.get(normal, "")
        if name in new:
            if not normal:
                raise InputError(f"{key!r} is no key; choose one for {actions[name].title!r} such as 'F9'.")
            if other:
                raise InputError(f"{key} means {other!r} already; choose another key for {actions[name].title!r}.")
        used[normal] = name


#: The keys of LesionLens.
KEYS = KeyTable()
