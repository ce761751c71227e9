"""A bundle's network looked at in the background, when somebody wants to choose among its layers and methods."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from lesionlens.ui import work
from lesionlens.ui.consent import is_allowed
from lesionlens.ui.jobs import Job, start_job

if TYPE_CHECKING:
    from pathlib import Path

    from lesionlens.model.catalogue import BundleInfo
    from lesionlens.ui.facts import BundleFacts
    from lesionlens.ui.scan_form import ScanForm

__all__ = ["Looker"]

_FROM_OUTSIDE = (
    "This bundle comes from outside. Its layers are listed, and what cannot explain it is marked, once you have let it"
    " run."
)


class Looker(QObject):
    """Looks at the bundle that is chosen in a form, once for each.

    Attributes
    ----------
    facts : BundleFacts or None
        Of the chosen bundle, as far as they are known.
    message : str
        Why they are not.
    told : Signal()
        Facts or message changed.
    """

    told = Signal()

    def __init__(self, form: ScanForm, parent: QObject) -> None:
        super().__init__(parent)
        self._form = form
        self._known: dict[Path, BundleFacts] = {}
        self._failed: dict[Path, str] = {}
        self._job: Job | None = None

    @property
    def facts(self) -> BundleFacts | None:
        """What is known of the chosen bundle."""
        return None if self._form.info is None else self._known.get(self._form.info.root)

    @property
    def message(self) -> str:
        """Why nothing is known of the chosen bundle yet; empty where something is."""
        info = self._form.info
        if info is None or info.root in self._known:
            return ""
        if not is_allowed(info):
            return _FROM_OUTSIDE
        return self._failed.get(info.root, "Looking at the network…" if self._job else "")

    @property
    def busy(self) -> bool:
        """Whether a bundle is being looked at."""
        return self._job is not None

    def look(self) -> None:
        """Look at the chosen bundle, unless that was done, or it may not be executed."""
        info = self._form.info
        if info is not None and self._job is None and self._wants(info):
            self._job = start_job(
                self,
                f"LesionLens: looking at {info.name}",
                partial(work.look_at, info),
                done=partial(self._know, info.root),
                failed=partial(self._fail, info.root),
            )
            self._job.ended.connect(self._end)
        self.told.emit()

    def stop(self) -> None:
        """Stop looking."""
        if self._job is not None:
            self._job.cancel()

    def _wants(self, info: BundleInfo) -> bool:
        return is_allowed(info) and info.root not in self._known and info.root not in self._failed

    def _know(self, root: Path, facts: BundleFacts) -> None:
        self._known[root] = facts

    def _fail(self, root: Path, message: str) -> None:
        self._failed[root] = message

    def _end(self) -> None:
        self._job = None
        info = self._form.info
        if info is not None and self._wants(info):  # another one was chosen meanwhile
            self.look()
        else:
            self.told.emit()
