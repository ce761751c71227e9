"""Python modules that a trusted bundle brings along, such as its ``scripts`` package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from types import ModuleType

__all__ = ["own_module_names", "own_modules"]

_lock = RLock()


def own_module_names(folder: Path) -> frozenset[str]:
    """Return the names under which a bundle's own modules can be imported, without those of Python and of libraries."""
    files = {path.stem for path in folder.glob("*.py")}
    folders = {path.parent.name for path in folder.glob("*/*.py")}
    return frozenset(name for name in files | folders if name.isidentifier() and not _is_of_others(name))


def _is_of_others(name: str) -> bool:
    """Say whether a name means a module of Python, or of what is installed: no bundle may stand in for these."""
    if name in sys.stdlib_module_names or name in ("lesionlens", "torch", "monai", "numpy"):
        return True
    origin = getattr(sys.modules.get(name), "__file__", None) or ""
    return "site-packages" in origin


@contextmanager
def own_modules(folder: Path) -> Iterator[None]:
    """Let a trusted bundle import its own modules; afterwards those of the same name of other bundles do not clash.

    Nothing is written into the bundle.
    """
    names = own_module_names(folder)
    with _lock:
        before = _taken_out(names)
        path, writes = list(sys.path), sys.dont_write_bytecode
        sys.path.insert(0, str(folder))
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path[:] = path
            sys.dont_write_bytecode = writes
            _taken_out(names)
            sys.modules.update(before)


def _taken_out(names: frozenset[str]) -> dict[str, ModuleType]:
    found = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in found}
