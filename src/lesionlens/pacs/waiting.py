"""Waiting for an archive in a thread of its own, so that whoever waits can stop at once, also where it says nothing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from lesionlens.errors import Cancelled
from lesionlens.pacs.address import Address
from lesionlens.pacs.connection import Archive, connected
from lesionlens.progress import Progress, silent

__all__ = ["stoppable"]

#: So often it is asked whether somebody has cancelled, seconds.
LOOK_S: Final = 0.2
# So long what was cancelled may take to end; then it is left alone, and ends with the answer that it waits for.
_END_S: Final = 1.0

T = TypeVar("T")
Work = Callable[[Archive, Progress], T]
_Events = queue.SimpleQueue[tuple[str, int, int] | None]


def stoppable(address: Address, stage: str, work: Work[T], progress: Progress) -> T:
    """Do work with an archive; what ``progress`` raises comes out at once, whatever the archive does.

    Parameters
    ----------
    address
        The archive.
    stage
        What the work is called before it says something.
    work
        Is called with the connection, and with the progress that it has to call; that raises ``Cancelled`` where the
        work was given up.
    progress
        Called here, with what the work said, and with the last of it again while it says nothing.
    """
    if progress is silent:
        with connected(address) as archive:
            return work(archive, progress)
    doing = _Doing(address, work)
    thread = threading.Thread(target=doing.run, name="archive", daemon=True)  # no program waits for it to end
    thread.start()
    try:
        _listen(doing.events, stage, progress)
    except BaseException:
        doing.give_up()
        thread.join(_END_S)
        raise
    if doing.error is not None:
        raise doing.error
    return cast("T", doing.result)


class _Doing:
    """What the thread does, and what came of it."""

    def __init__(self, address: Address, work: Work[Any]) -> None:
        self._address, self._work = address, work
        self._archive: Archive | None = None
        self._given_up = threading.Event()
        self.events: _Events = queue.SimpleQueue()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with connected(self._address) as self._archive:
                self.result = self._work(self._archive, self._said)
        except BaseException as error:  # it is raised again where it is waited for
            self.error = error
        self.events.put(None)

    def _said(self, stage: str, done: int, total: int) -> None:
        if self._given_up.is_set():
            raise Cancelled("stopped.")
        self.events.put((stage, done, total))

    def give_up(self) -> None:
        self._given_up.set()
        if self._archive is not None:
            self._archive.stop()


def _listen(events: _Events, stage: str, progress: Progress) -> None:
    """Pass on what the work says until it ends."""
    last = (stage, 0, 0)
    while True:
        try:
            event = events.get(timeout=LOOK_S)
        except queue.Empty:
            event = last
        if event is None:
            return
        last = event
        progress(*event)
