"""The process in which long work is done: it waits for calls, tells how far they are, and answers.

It is started by :mod:`lesionlens.apart` and ends with it: when its standard input ends, whatever it does.
"""

from __future__ import annotations

import gc
import os
import pickle
import queue
import signal
import threading
import traceback
from functools import partial
from types import MappingProxyType
from typing import Any, BinaryIO

from lesionlens.children import own_streams

__all__ = ["receive", "send", "serve"]


def serve() -> None:
    """Do what is asked until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its parent's, which ends it
    incoming, outgoing = own_streams()
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(incoming, jobs), daemon=True).start()
    while True:
        _answer(jobs.get(), outgoing)
        gc.collect()


def send(stream: BinaryIO, message: Any) -> None:
    """Write a message."""
    _Pickler(stream, protocol=5).dump(message)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read a message.

    Raises
    ------
    EOFError
        If the stream ends.
    """
    return pickle.load(stream)


class _Pickler(pickle.Pickler):
    """Carries read-only views of dictionaries, which :mod:`pickle` does not."""

    def reducer_override(self, value: Any) -> Any:
        return (_read_only, (dict(value),)) if isinstance(value, MappingProxyType) else NotImplemented


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)  # whose own name pickle does not find


def _answer(job: Any, outgoing: BinaryIO) -> None:
    try:
        if isinstance(job, Exception):
            raise job
        function, arguments, named = job
        answer = "result", function(*arguments, progress=partial(_tell, outgoing), **named)
    except Exception as error:  # whatever it is, the parent says it
        answer = "error", _portable(error)
    send(outgoing, answer)


def _tell(outgoing: BinaryIO, stage: str, done: int, total: int) -> None:
    send(outgoing, ("step", stage, done, total))


def _portable(error: Exception) -> Exception:
    """Return an error as the parent can read it, with where it happened."""
    where = "".join(traceback.format_exception(error))
    try:
        found: Exception = pickle.loads(pickle.dumps(error))
    except Exception:  # of a library, which does not know how to build it anew
        found = RuntimeError(f"{type(error).__name__}: {error}")
    found.add_note(where)
    return found


def _listen(incoming: BinaryIO, jobs: queue.SimpleQueue[Any]) -> None:
    while True:
        try:
            jobs.put(receive(incoming))
        except (EOFError, OSError):
            os._exit(0)  # nobody waits for the work any more
        except Exception as error:  # a call that cannot be read is answered as one that fails
            jobs.put(error)
