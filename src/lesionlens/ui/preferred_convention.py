"""The convention that the user prefers, for all canvases: at the start, and after each change of the preference."""

from __future__ import annotations

from lesionlens.ui.convention import Convention, convention, set_convention
from lesionlens.ui.preferences import preferences, when_preferences_change

__all__ = ["prefer_convention"]


class _Preferred:
    """The preference as it was taken over last: what was toggled on a canvas meanwhile stays."""

    def __init__(self) -> None:
        self._taken: Convention = convention()
        self._follows = False

    def take(self, _event: object = None) -> None:
        """Show what is preferred, if that changed."""
        before, self._taken = self._taken, preferences().convention
        if self._taken != before:
            set_convention(self._taken)

    def follow(self) -> None:
        """Take it over now and from now on."""
        if not self._follows:
            self._follows = when_preferences_change(self.take)
        self.take()


_PREFERRED = _Preferred()


def prefer_convention() -> None:
    """Show all canvases in the convention that the user prefers; calling it again changes nothing."""
    _PREFERRED.follow()
