"""Where a user's own settings are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["config_folder"]


def config_folder() -> Path:
    """Return the user's folder for settings; ``LESIONLENS_CONFIG`` names another."""
    if own := os.environ.get("LESIONLENS_CONFIG"):
        return Path(own)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming") / "LesionLens"
    if sys.platform == "darwin":
        return home / "Library" / "Preferences" / "lesionlens"
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "lesionlens"
