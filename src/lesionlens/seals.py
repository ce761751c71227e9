"""Hashes that a folder of results carries about itself, and the search for what has changed in it since.

A sealed JSON file ends with the SHA-256 of its own text without that line, and names the SHA-256 of the files beside
it. It is written in one way only, so that whatever byte of it changes, it is no longer what would be written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

__all__ = [
    "HEADS",
    "PAGES",
    "SEAL",
    "checked",
    "digest_of_value",
    "file_hashes",
    "hash_file",
    "is_sealed",
    "page_complaint",
    "sealed_lines",
    "sealed_page",
    "sealed_text",
    "wrong_files",
]

#: The last key of a sealed file.
SEAL: Final = "seal"
#: Sealed files that name the hashes of those beside them, one or more in each folder of results.
HEADS: Final = (
    "record.json",
    "evaluation.json",
    "trust.json",
    "comparison.json",
    "lesion_changes.json",
    "findings.json",
    "agreement.json",
    "export.json",
    "session.json",
)
#: Pages that may lie beside results, made afterwards; each is sealed by itself.
PAGES: Final = ("report.html", "report.pdf")

# More bytes than the seal of a JSON file takes with its key.
_LENGTH_OF_SEAL: Final = 100
# The last line of a page, which neither browsers nor viewers of PDF show; the SHA-256 is of all bytes before it.
_LAST_LINE: Final = {".html": "<!-- lesionlens seal {} -->\n", ".pdf": "% lesionlens seal {}\n"}


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of files of a folder, in the order of their names."""
    return {name: hash_file(folder / name) for name in sorted(names)}


def digest_of_value(value: Any) -> str:
    """Return the SHA-256 of a value as JSON, with sorted keys and without blanks."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed_text(content: Mapping[str, Any]) -> str:
    """Return the text of a sealed JSON file: the content, and the SHA-256 of its text without the seal."""
    return _text({**content, SEAL: hashlib.sha256(_text(content).encode()).hexdigest()})


def sealed_lines(body: str) -> str:
    """Return a JSON text that was written in lines of its own, without its last bracket, with a seal over all of them.

    The seal, in a last line, is the SHA-256 of the text before the comma that ends the last of the others.
    """
    return f'{body},\n"{SEAL}": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def checked(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Read a sealed JSON file and say what is wrong with it.

    Returns
    -------
    content, complaint
        What it holds, without the seal; None where it cannot be read. The complaint is None where all is right.
    """
    try:
        data = path.read_bytes()
        found = json.loads(data)
    except FileNotFoundError:
        return None, "is missing"
    except (OSError, ValueError, RecursionError):
        return None, "has changed: it can no longer be read as JSON"
    if not isinstance(found, dict):
        return None, "has changed: it holds no keys"
    seal = found.pop(SEAL, None)
    if seal is None:
        return found, "carries no seal: it was written by an older LesionLens, or has changed"
    body = data.rpartition(f',\n"{SEAL}": '.encode())[0]
    written = sealed_lines(body.decode()) if body else sealed_text(found)
    return found, None if data == written.encode() else "has changed since it was written"


def is_sealed(path: Path) -> bool:
    """Say whether a file ends with a seal, be it the right one or not; what cannot be read does not."""
    try:
        return f'"{SEAL}": "'.encode() in path.read_bytes()[-_LENGTH_OF_SEAL:]
    except OSError:
        return False


def wrong_files(folder: Path, hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each file that is not as its hash says, and what is wrong with it."""
    for name, expected in hashes.items():
        path = folder / name
        try:
            right = hash_file(path) == expected
        except OSError as error:
            yield name, "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            continue
        if not right:
            yield name, "has changed since it was written"


def sealed_page(content: bytes, suffix: str) -> bytes:
    """Return the bytes of a page, ``".html"`` or ``".pdf"``, with their SHA-256 in a last line that is not shown."""
    return content + _last_line(content, suffix)


def page_complaint(path: Path) -> str | None:
    """Say what is wrong with a page that :func:`sealed_page` made; None where all is right."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    length = len(_last_line(b"", path.suffix.lower()))
    content, last = data[:-length], data[-length:]
    if last == _last_line(content, path.suffix.lower()):
        return None
    return "has changed since it was written, or carries no seal"


def _last_line(content: bytes, suffix: str) -> bytes:
    return _LAST_LINE[suffix].format(hashlib.sha256(content).hexdigest()).encode()
