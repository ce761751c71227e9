"""Where foreign errors and warnings end: whatever a parser does on bad bytes leaves here as one named error."""

from __future__ import annotations

import logging
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lesionlens.errors import LesionLensError, ReadError

__all__ = ["PARSER_ERRORS", "counted", "named", "one_line", "quiet", "quoted", "reading"]

# Parsers and decoders are written for good files; on damaged ones they fail in the middle of their work, with whatever
# Python raises there. RuntimeError covers RecursionError (deeply nested sequences) and NotImplementedError.
PARSER_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

# A foreign message can quote a whole file; this much tells the cause.
_LONGEST_CAUSE = 200

# What a message quotes is a value out of a file: of a damaged one, it may be the patient's name in another's place. A
# short number is not.
_QUOTED = re.compile(
    r"""(?<![a-zA-Z0-9])b?(?P<mark>['"])(?!\d{1,4}(?P=mark)).*?(?:(?P=mark)(?![a-zA-Z])|$)""", re.DOTALL
)

# They write values, whole paths and what an archive is asked for into the log, which goes to standard error where
# nobody set one up.
_TALKATIVE = tuple(map(logging.getLogger, ("pydicom", "pynetdicom", "dicomweb_client", "retrying", "urllib3")))
# What a field of a header holds fits into this, unless it is damaged.
_LONGEST_QUOTE = 60

# At most this many files are named in one sentence.
_MOST_NAMES = 5


def one_line(error: BaseException) -> str:
    """Return what an error says in one line, or its type where it says nothing; of a foreign one without its quotes."""
    if isinstance(error, RecursionError):
        return "its parts are nested too deeply"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if not isinstance(error, LesionLensError | AttributeError):  # which name what is missing, not what is there
        text = _QUOTED.sub("\N{HORIZONTAL ELLIPSIS}", text)
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= _LONGEST_CAUSE else text[:_LONGEST_CAUSE] + "…"


def quoted(text: str) -> str:
    """Return what a file says as it may stand in a message: no more than a line of it."""
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"


def counted(n: int, what: str) -> str:
    """Return a number with its noun: ``"1 file"``, ``"2 files"``."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def named(names: Sequence[str]) -> str:
    """Return some names as a list, and how many more there are: ``"a, b and 3 more"``."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def reading(failure: str, *more: type[Exception], todo: str = "") -> Iterator[None]:
    """Turn every parser's error inside the block into a :class:`~lesionlens.errors.ReadError`.

    Parameters
    ----------
    failure
        What could not be done, with where: ``"Cannot read scan.nii.gz"``.
    more
        Error types of the library used inside that do not descend from Python's own.
    todo
        What the user can do about it: one sentence.
    """
    try:
        yield
    except LesionLensError:
        raise
    except (*PARSER_ERRORS, *more) as error:
        message = f"{failure}: {one_line(error).rstrip('.')}."
        raise ReadError(f"{message} {todo}".rstrip()) from None  # a traceback would say what the message does not


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings, and what pydicom and the libraries of archives log, inside the block.

    pydicom and nibabel warn about every departure from the standard in values that are not used here; what matters for
    the voxels and their places is checked by name and ends in an error or in ``Source.decisions``.
    """
    with _silence:
        yield


class _Silence:
    """Keeps a library's log and all warnings silent for as long as any thread is inside.

    Both belong to the process. Threads that each kept and put back the filters of warnings would put back each other's:
    after two that overlap, warnings would be ignored for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside, self._levels, self._filters = 0, [logging.NOTSET], warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._levels, self._filters = [log.level for log in _TALKATIVE], warnings.catch_warnings()
                for log in _TALKATIVE:
                    log.setLevel(logging.CRITICAL + 1)
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(None, None, None)
                for log, level in zip(_TALKATIVE, self._levels, strict=True):
                    log.setLevel(level)


_silence = _Silence()
