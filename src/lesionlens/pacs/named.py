"""Archives that a user has given names: addresses alone, in the user's own settings folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lesionlens.config import config_folder
from lesionlens.errors import PacsError, unknown_name
from lesionlens.io.atomic import atomic_path
from lesionlens.pacs.address import Address, parse_address, split_settings
from lesionlens.pacs.query import Query

__all__ = ["archive", "archive_and_query", "is_query", "name_archive", "named_archives", "unname_archive"]

_SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
# How a named archive is told from a path where both may stand.
_MARK = "pacs:"


def named_archives() -> dict[str, Address]:
    """Return the archives that have names.

    Raises
    ------
    PacsError
        If the file with them cannot be understood.
    """
    path = _path()
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema_version"] != _SCHEMA:
            raise PacsError(f"{path.name} was written by another version of LesionLens; remove it and add them again.")
        return {str(name): parse_address(str(text)) for name, text in found["archives"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, PacsError):
            raise
        raise PacsError(f"{path.name} in {path.parent} cannot be read; remove it and add the archives again.") from None


def name_archive(name: str, address: Address) -> None:
    """Give an archive a name; the one that had it loses it.

    Raises
    ------
    PacsError
        If it is no name.
    OutputError
        If it cannot be stored.
    """
    if not _NAME.fullmatch(name):
        raise PacsError("The name of an archive has letters, digits, points, dashes and underscores.")
    _write({**named_archives(), name: address})


def unname_archive(name: str) -> None:
    """Forget the name of an archive.

    Raises
    ------
    PacsError
        If there is none of this name.
    """
    known = named_archives()
    if name not in known:
        raise PacsError(unknown_name("archive", name, known, lister="lesionlens pacs list"))
    _write({other: address for other, address in known.items() if other != name})


def archive(text: str) -> Address:
    """Return the archive of an address or name.

    Raises
    ------
    PacsError
        If it is neither.
    """
    if "://" in text:
        return parse_address(text)
    name, known = text.removeprefix(_MARK), named_archives()
    if name not in known:
        raise PacsError(
            f"{unknown_name('archive', name, known, lister='lesionlens pacs list')} An address is one such as"
            " https://host/dicom-web or dicom://AET@host:port."
        )
    return known[name]


def is_query(text: str) -> bool:
    """Say whether a text, which may also be a path, names an archive and perhaps what is looked for there."""
    return text.startswith(_MARK) or text.partition("://")[0] in ("http", "https", "dicom", "dicoms")


def archive_and_query(text: str) -> tuple[Address, Query]:
    """Take an archive apart from what is looked for there, which stands behind a question mark.

    >>> archive_and_query("dicom://ARCHIVE@pacs.example:104?modality=MR")[1].modality
    'MR'

    Raises
    ------
    PacsError
        If one of the two cannot be understood.
    """
    place, wanted = split_settings(text)
    return archive(place), Query.of(wanted)


def _path() -> Path:
    return config_folder() / "archives.json"


def _write(archives: dict[str, Address]) -> None:
    content = {"schema_version": _SCHEMA, "archives": {name: str(one) for name, one in sorted(archives.items())}}
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
