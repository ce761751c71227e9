"""Files of a user's own settings, as JSON in the folder for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lesionlens.config import config_folder
from lesionlens.errors import OutputError
from lesionlens.io.atomic import atomic_path

__all__ = ["read_setting", "setting_file", "write_setting"]


def setting_file(name: str) -> Path:
    """Return where a file of settings lies; ``LESIONLENS_CONFIG`` names another folder."""
    return config_folder() / name


def read_setting(name: str) -> Any:
    """Return what a file of settings holds, unchecked.

    Raises
    ------
    OSError, ValueError, RecursionError
        If it is not there, or is no JSON.
    """
    return json.loads(setting_file(name).read_text(encoding="utf-8"))


def write_setting(name: str, content: object, *, what: str) -> Path:
    """Write a file of settings in one piece.

    Parameters
    ----------
    name
        Of the file.
    content
        Plain values.
    what
        What it holds, for whoever reads that it could not be written: ``"your keys"``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = setting_file(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {path.parent} for {what}: {error}.") from None
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path
