"""Bundles from outside that a person allowed to execute code; forgotten when napari is closed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lesionlens.ui.dialogs import trusts_bundle

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from lesionlens.model.catalogue import BundleInfo

__all__ = ["allow", "is_allowed", "may_run"]

_allowed: set[Path] = set()


def allow(root: Path) -> None:
    """Remember that a bundle may execute code."""
    _allowed.add(root)


def is_allowed(info: BundleInfo) -> bool:
    """Say whether a bundle may execute code without a question."""
    return info.embedded or info.root in _allowed


def may_run(info: BundleInfo, parent: QWidget) -> bool:
    """Ask whether a bundle from outside may execute code, once for each; the answer is not kept on disk."""
    if not is_allowed(info) and trusts_bundle(info.root, parent):
        allow(info.root)
    return is_allowed(info)
