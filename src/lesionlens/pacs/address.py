"""Where an archive is, and which of its series: one text that can be typed, kept in a manifest and sent to a worker.

``https://host/dicom-web`` speaks DICOMweb, ``dicom://AET@host:port`` DIMSE; what else a connection needs follows a
question mark. A series is the archive with ``/studies/<uid>/series/<uid>`` behind it, as DICOMweb itself has it. None
of these texts holds a password: a URL ends in histories, logs and lists of processes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal, get_args
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from lesionlens.errors import PacsError, unknown_name

__all__ = [
    "Address",
    "Retrieve",
    "SeriesAddress",
    "digest",
    "is_series_url",
    "parse_address",
    "parse_series",
    "split_settings",
]

#: How DIMSE brings images: over the connection that asks (C-GET), or to a port of ours (C-MOVE).
Retrieve = Literal["get", "move"]

_WEB, _DIMSE = ("http", "https"), ("dicom", "dicoms")
_ENCRYPTED = ("https", "dicoms")
_SETTINGS: tuple[str, ...] = ("ca", "calling", "retrieve", "listen")
_EXAMPLES = "https://host/dicom-web, or dicom://AET@host:port"

_SERIES = re.compile(r"/studies/(?P<study>[0-9.]{1,64})/series/(?P<series>[0-9.]{1,64})/?$")
# An AE title as the standard has it: up to 16 characters without backslash and control characters.
_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Address:
    """An archive.

    Parameters
    ----------
    scheme
        ``"https"`` and ``"http"`` for DICOMweb, ``"dicoms"`` and ``"dicom"`` for DIMSE with and without TLS.
    host, port
        Where it listens.
    path
        Of its DICOMweb services.
    title
        Its AE title.
    ca
        File with the certificates that it is checked against; by default those of the system.
    calling
        Our AE title.
    retrieve, listen
        How images come over DIMSE, and for C-MOVE the port at which they are awaited.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    title: str = ""
    ca: str = ""
    calling: str = "LESIONLENS"
    retrieve: Retrieve = "get"
    listen: int = 11112

    @property
    def is_web(self) -> bool:
        """Whether it speaks DICOMweb."""
        return self.scheme in _WEB

    @property
    def is_private(self) -> bool:
        """Whether nobody else can listen: encrypted, or on this machine."""
        return self.scheme in _ENCRYPTED or self.is_here

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def origin(self) -> str:
        """What a password is for: scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def name(self) -> str:
        """The archive as messages call it."""
        start, host = self.origin.split("://")
        return f"{start}://{quote(self.title)}@{host}" if self.title else f"{self.origin}{self.path}"

    def __str__(self) -> str:
        return self.name + self._settings()

    def series(self, study: str, series: str) -> str:
        """Return the URL of a series."""
        return f"{self.name}/studies/{study}/series/{series}{self._settings()}"

    def _settings(self) -> str:
        plain = Address(self.scheme, self.host, self.port)
        given: dict[str, str] = {
            name: str(getattr(self, name)) for name in _SETTINGS if getattr(self, name) != getattr(plain, name)
        }
        return f"?{urlencode(given, safe='/:')}" if given else ""


@dataclass(frozen=True)
class SeriesAddress:
    """A series in an archive."""

    address: Address
    study: str
    series: str

    @property
    def name(self) -> str:
        """A name for a folder or case, which leads to nobody."""
        return f"series-{digest(self.series)}"


def digest(uid: str) -> str:
    """Return eight letters in the place of a UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:8]


def is_series_url(text: str) -> bool:
    """Say whether a text names a series in an archive."""
    scheme, found, rest = text.partition("://")
    return bool(found) and scheme in (*_WEB, *_DIMSE) and _SERIES.search(rest.partition("?")[0]) is not None


def parse_series(text: str) -> SeriesAddress:
    """Read the URL of a series.

    Raises
    ------
    PacsError
        If it is none.
    """
    place, mark, settings = text.partition("?")
    found = _SERIES.search(place)
    if found is None:
        raise PacsError(
            "Expected the URL of a series, which ends in /studies/<uid>/series/<uid>; 'pacs find' gives it."
        )
    return SeriesAddress(parse_address(place[: found.start()] + mark + settings), found["study"], found["series"])


def split_settings(text: str) -> tuple[str, dict[str, str]]:
    """Take from an address what follows its question mark and is no setting of the connection: what is looked for."""
    place, _, behind = text.partition("?")
    given = dict(parse_qsl(behind, keep_blank_values=True))
    ours = {name: given.pop(name) for name in _SETTINGS if name in given}
    return place + (f"?{urlencode(ours)}" if ours else ""), given


def parse_address(text: str) -> Address:
    """Read the address of an archive.

    Raises
    ------
    PacsError
        If it is none, or holds a password.
    """
    parts, port = _split(text)
    if parts.scheme not in (*_WEB, *_DIMSE):
        raise PacsError(f"Expected the address of an archive, such as {_EXAMPLES}.")
    if parts.password is not None or (parts.scheme in _WEB and parts.username is not None):
        raise PacsError(
            "An address must not hold a user or password, as it ends in histories and lists of processes; store them"
            " with: lesionlens pacs login"
        )
    if not parts.hostname:
        raise PacsError(f"The address names no host; expected one such as {_EXAMPLES}.")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    strange = next((name for name in given if name not in _SETTINGS), None)
    if strange is not None:
        raise PacsError(unknown_name("setting of an archive", strange, _SETTINGS))
    settings = _checked(given)
    if parts.scheme in _WEB:
        port = port or (443 if parts.scheme == "https" else 80)
        return Address(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), **settings)
    title = unquote(parts.username or "").strip()
    if not _TITLE.fullmatch(title) or port is None or parts.path.strip("/"):
        raise PacsError("Expected dicom://AET@host:port, with the AE title of the archive (16 characters at most).")
    return Address(parts.scheme, parts.hostname, port, title=title, **settings)


def _split(text: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(text.strip())
        return parts, parts.port
    except ValueError:  # brackets, or a port that is no number; the message would quote the text
        raise PacsError(f"This is not the address of an archive; expected one such as {_EXAMPLES}.") from None


def _checked(given: dict[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = dict(given)
    if given.get("retrieve", "get") not in get_args(Retrieve):
        raise PacsError(unknown_name("way to retrieve", given["retrieve"], get_args(Retrieve)))
    if not _TITLE.fullmatch(given.get("calling", "X").strip()):
        raise PacsError("An AE title (calling=) has 1 to 16 characters.")
    if "listen" in given:
        if not given["listen"].isdecimal() or not 0 < int(given["listen"]) <= _HIGHEST_PORT:
            raise PacsError("The port at which images are awaited (listen=) is a number from 1 to 65535.")
        settings["listen"] = int(given["listen"])
    return settings
