"""The keys of the dock Review, in one table; what a user changes is kept in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qtpy.QtGui import QKeySequence

from lesionlens.errors import InputError
from lesionlens.settings import read_setting, setting_file, write_setting
from lesionlens.ui.keys import KeyAction, plain_key

__all__ = ["ACTIONS", "KEYS", "TITLES", "check_keys", "keep_keys", "keys_file", "load_keys", "save_keys", "shown"]

_FILE = "review-keys.json"
# Action, what it does, its key. None of these keys means anything to napari, in any kind of layer.
_TABLE = (
    ("next_finding", "Next finding", "K"),
    ("previous_finding", "Previous finding", "G"),
    ("accept", "Accept", "8"),
    ("reject", "Reject", "9"),
    ("unsure", "Unsure", "0"),
    ("confidence_1", "Confidence 1, a guess", "Ctrl+1"),
    ("confidence_2", "Confidence 2", "Ctrl+2"),
    ("confidence_3", "Confidence 3", "Ctrl+3"),
    ("confidence_4", "Confidence 4", "Ctrl+4"),
    ("confidence_5", "Confidence 5, certain", "Ctrl+5"),
    ("hide", "Hide all overlays, show them again", "Shift+H"),
    ("comment", "Write a comment", "N"),
    ("category", "Choose a category", "Shift+C"),
    ("brush", "Brush on and off", "Q"),
    ("erase", "Eraser on and off", "Shift+E"),
    ("lasso", "Lasso on and off", "Shift+Q"),
    ("measure", "Measure with a line, on and off", "Shift+B"),
    ("new_finding", "Draw a new finding", "Shift+N"),
    ("split", "Split into its pieces", "Shift+S"),
    ("merge", "Merge with another", "Shift+M"),
    ("undo", "Take the last step back", "U"),
    ("redo", "Do it again", "Shift+U"),
    ("flag", "Flag the case", "Shift+F"),
    ("done", "Close the case, open the next", "Shift+D"),
    ("next_case", "Next case", "Shift+K"),
    ("previous_case", "Previous case", "Shift+G"),
    ("save_again", "Try again to save", "Shift+R"),
)
ACTIONS = tuple(KeyAction(action, title, key) for action, title, key in _TABLE)
KEYS: Mapping[str, str] = {action: key for action, _, key in _TABLE}
TITLES: Mapping[str, str] = {action: title for action, title, _ in _TABLE}


def keys_file() -> Path:
    """Return where a user's own keys are kept; ``LESIONLENS_CONFIG`` names another folder."""
    return setting_file(_FILE)


def load_keys() -> dict[str, str]:
    """Return the keys: those of the table, but for what the user changed.

    Raises
    ------
    InputError
        If the user's file cannot be used; nothing in it is guessed at.
    """
    path = keys_file()
    if not path.is_file():
        return dict(KEYS)
    try:
        own = read_setting(_FILE)
        known = {action: str(key) for action, key in own.items() if action in KEYS}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"The keys in {path} cannot be read: {error}. Mend the file, or remove it.") from None
    keys = {**KEYS, **known}
    check_keys(keys, {})
    return keys


def save_keys(keys: Mapping[str, str]) -> Path:
    """Keep the keys that differ from the table.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    own = {action: key for action, key in keys.items() if KEYS[action] != key}
    return write_setting(_FILE, own, what="your keys")


def keep_keys(keys: Mapping[str, str], taken: Mapping[str, str]) -> None:
    """Keep keys in the user's file, after making sure that every one does one thing.

    Raises
    ------
    InputError, OutputError
        As :func:`check_keys` and :func:`save_keys`.
    """
    check_keys(keys, taken)
    save_keys(keys)


def check_keys(keys: Mapping[str, str], taken: Mapping[str, str]) -> None:
    """Make sure that every key does one thing.

    Parameters
    ----------
    keys
        Key of each action; an empty one is allowed, the button still works.
    taken
        Keys that mean something elsewhere, and what.

    Raises
    ------
    InputError
        If a key is none, stands there twice, or is taken.
    """
    used: dict[str, str] = {}
    elsewhere = {plain_key(key): what for key, what in taken.items()}
    for action, key in keys.items():
        normal = plain_key(key)
        if key and not normal:
            raise InputError(f"{key!r} is no key; choose one for {TITLES[action]!r} such as 'K' or 'Shift+K'.")
        other = TITLES.get(used.get(normal, ""), elsewhere.get(normal, "")) if normal else ""
        if other:
            raise InputError(f"{key} means {other!r} already; choose another key for {TITLES[action]!r}.")
        used[normal] = action


def shown(key: str) -> str:
    """Return a key as this system writes it."""
    return QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)
