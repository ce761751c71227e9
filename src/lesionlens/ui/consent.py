"""Bundles from outside that a person allowed to execute code: for now, or by their hash for good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error

from lesionlens.errors import BundleError, OutputError
from lesionlens.model.permission import examine
from lesionlens.trusted import remember, remembered
from lesionlens.ui.dialogs import Answer, trusts_bundle

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from lesionlens.model.catalogue import BundleInfo

__all__ = ["allow", "is_allowed", "is_trusted", "may_run"]

_allowed: set[Path] = set()
_harmless: set[Path] = set()


def allow(root: Path) -> None:
    """Remember that a bundle may execute code."""
    _allowed.add(root)


def is_allowed(info: BundleInfo) -> bool:
    """Say whether a bundle may be loaded without a question: it is ours, harmless, or was allowed."""
    return info.embedded or info.root in _allowed or info.root in _harmless


def is_trusted(info: BundleInfo) -> bool:
    """Say whether a person allowed a bundle from outside to execute what is not known to be harmless."""
    return not info.embedded and info.root in _allowed


def may_run(info: BundleInfo, parent: QWidget) -> bool:
    """Ask whether a bundle from outside may execute code, once for each, and show what it would execute.

    One whose code is known to be harmless needs no question. The answer is kept on disk only if the person says so, and
    then for these very files.
    """
    if info.embedded or info.root in _allowed:
        return True
    _harmless.discard(info.root)  # the files may have changed since
    try:
        sha256, concerns = examine(info.root)
        if not concerns:
            _harmless.add(info.root)
            return True
        answer = Answer.YES if sha256 in remembered() else trusts_bundle(info.root, concerns, parent)
        if answer is Answer.ALWAYS:
            remember(sha256)
    except (BundleError, OutputError) as error:
        show_error(str(error))
        return False
    if answer is not Answer.NO:
        allow(info.root)
    return is_allowed(info)
