"""The errors of LesionLens.

Every message is one sentence a user can act on: what was expected, what was found, where, and what to do.
The command line prints the message and exits with 1; napari shows it as a notification.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

__all__ = [
    "AmbiguousSeriesError",
    "AmbiguousStackError",
    "BundleError",
    "Cancelled",
    "ClusterError",
    "ExplainError",
    "InputError",
    "IrregularSeriesError",
    "LesionLensError",
    "MissingPackageError",
    "OtherFrameError",
    "OutputError",
    "PacsError",
    "ProcessError",
    "ReadError",
    "SessionError",
    "UntrustedBundleError",
    "counted",
    "printable",
    "unknown_name",
]

# Names as alike as this, by difflib's ratio, are taken for one another: one wrong letter in four is too much to guess.
LIKENESS = 0.75

# More names than this are not taken in at a glance: where something else lists them, the closest are enough.
_AT_A_GLANCE, _N_CLOSEST = 12, 3


class LesionLensError(Exception):
    """Base of every error that LesionLens raises on purpose; its message is one line that any screen can show."""

    def __str__(self) -> str:
        return printable(super().__str__())

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.args), self.__dict__  # some have arguments that have to be named


def _restored(kind: type[LesionLensError], arguments: tuple[object, ...]) -> LesionLensError:
    """Return an error that comes from another process, before its attributes are set."""
    return kind.__new__(kind, *arguments)


class ReadError(LesionLensError, ValueError):
    """A file or folder cannot be read as a volume."""


class IrregularSeriesError(ReadError):
    """The slices of a series do not lie on one regular grid (gap, tilt, duplicates, mixed orientation).

    Attributes
    ----------
    problems : tuple of str
        One sentence for each irregularity, with where it is.
    worst_error_mm : float
        Largest distance in mm of a slice from an upright, even grid.
    choices : tuple of str
        What ``irregular=`` accepts for this series beside refusing it; empty where no grid can be drawn up at all.
    """

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[str] = (),
        worst_error_mm: float = 0.0,
        choices: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        self.worst_error_mm = worst_error_mm
        self.choices = tuple(choices)


class AmbiguousSeriesError(ReadError):
    """A folder holds several volumes and none was chosen.

    Attributes
    ----------
    choices : tuple of str
        What ``series=`` accepts, in the order of the message.
    """

    def __init__(self, message: str, choices: Sequence[str]) -> None:
        super().__init__(message)
        self.choices = tuple(choices)


class AmbiguousStackError(AmbiguousSeriesError):
    """A series or file holds several volumes and none was chosen."""


class OtherFrameError(ReadError):
    """What is to be laid over a scan lies in another frame of reference, so that positions cannot be compared."""


class BundleError(LesionLensError, ValueError):
    """A bundle is missing, incomplete or does something that is not supported."""


class MissingPackageError(BundleError):
    """A bundle needs a package that is not installed, or that does not work here.

    Attributes
    ----------
    package : str
        Its name.
    extra : str
        The extra of LesionLens that installs it.
    """

    def __init__(self, message: str, *, package: str, extra: str) -> None:
        super().__init__(message)
        self.package = package
        self.extra = extra


class UntrustedBundleError(BundleError):
    """A bundle from outside could execute code and was not trusted by the user."""


class InputError(LesionLensError, ValueError):
    """A volume does not suit what is to be done with it (channels, grid, constant or non-finite values)."""


class ExplainError(LesionLensError, ValueError):
    """A method, target or layer does not exist or cannot be explained."""


class OutputError(LesionLensError, OSError):
    """A result cannot be written (exists already, folder not writable, disk full)."""


class SessionError(LesionLensError, OSError):
    """A reader's decision could not be stored; it was not, not even in part."""


class ProcessError(LesionLensError, RuntimeError):
    """The process that works in the background cannot be started, or ended before its work did."""


class ClusterError(LesionLensError, OSError):
    """The machines that a batch was to run on cannot be reached, or went away."""


class PacsError(LesionLensError, OSError):
    """An archive cannot be reached, refuses, or does not send what it says that it has.

    Attributes
    ----------
    why : str
        ``"credentials"``, ``"certificate"``, ``"unreachable"``, ``"answer"`` (not what an archive says), ``"missing"``
        (it has no such thing), ``"incomplete"`` (less came than was announced), ``"refused"``, ``"packages"``; empty
        where the question itself was wrong.
    """

    def __init__(self, message: str, *, why: str = "") -> None:
        super().__init__(message)
        self.why = why


class Cancelled(LesionLensError):
    """The user stopped the work; raised out of the ``progress`` callback."""


def printable(text: str) -> str:
    r"""Return a text with line breaks and what no screen can show written out: file names may hold both (``\\n``)."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def counted(n: int, what: str) -> str:
    """Return a number of things in words, singular where it is one.

    >>> counted(1, "case"), counted(1200, "voxel")
    ('1 case', '1,200 voxels')
    """
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def unknown_name(what: str, name: object, known: Iterable[str], *, limit: int = 30, lister: str = "") -> str:
    """Say that ``name`` does not exist, which one is probably meant, and list those that do.

    Parameters
    ----------
    what
        The kind of thing, singular and lower case: ``"class"``.
    name
        What was asked for.
    known
        The names that exist, in the order to show.
    limit
        At most this many are listed; a network can have hundreds of layers.
    lister
        What lists them all; of many, only the closest are named then.
    """
    names = list(known)
    shown = ", ".join(names[:limit]) or "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    meant = _meant(str(name), names)
    hint = f" (did you mean {meant!r}?)" if meant is not None else ""
    if lister and len(names) > _AT_A_GLANCE:
        close = get_close_matches(str(name), names, n=_N_CLOSEST, cutoff=0)
        return f"There is no {what} {str(name)!r}; the closest are {', '.join(close)}. {lister} lists all {len(names)}."
    return f"There is no {what} {str(name)!r}{hint}; choose one of: {shown}{more}."


def _meant(name: str, known: Sequence[str]) -> str | None:
    """Return the name that is the same but for case, hyphens and the like, or else the one that looks most like it."""

    def plain(text: str) -> str:
        return "".join(letter for letter in text.lower().replace("+", "p") if letter.isalnum())

    by_plain = {plain(text): text for text in reversed(known) if plain(text)}
    close = get_close_matches(plain(name), by_plain, n=1, cutoff=LIKENESS)
    return by_plain[close[0]] if close else None
