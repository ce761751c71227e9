"""What the extra ``pacs`` installs."""

from __future__ import annotations

from importlib.util import find_spec

from lesionlens.errors import PacsError

__all__ = ["require"]


def require(*names: str) -> None:
    """Make sure that packages are installed.

    Raises
    ------
    PacsError
        If one is not; the message says how to install it.
    """
    if any(find_spec(name) is None for name in names):
        raise PacsError(
            "The packages for archives are not installed; install them with: pip install 'lesionlens[pacs]'",
            why="packages",
        )
