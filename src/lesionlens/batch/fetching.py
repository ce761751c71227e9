"""Inputs that lie elsewhere: what fsspec opens by a URL, and series of archives, are here for the time of the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lesionlens.batch.cases import BatchCase, is_url
from lesionlens.errors import MissingPackageError, ReadError
from lesionlens.pacs import fetch_series, is_series_url
from lesionlens.progress import Progress, silent
from lesionlens.seals import digest_of_value

__all__ = ["fetched", "identity_of_url"]

# How long a web server may say nothing, seconds.
_SILENT_S: Final = 60
# What web servers say of a file that is another for other content.
_OF_CONTENT: Final = ("ETag", "Content-MD5", "Digest")


def _opened(url: str) -> tuple[Any, str]:
    """Return the file system that a URL is of, and the path in it.

    Raises
    ------
    ReadError
        If there is no such file system, or its package is not installed.
    MissingPackageError
        If it is a web server, and the package is not.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url, **(_patience() if _is_web(url) else {}))
    except (ImportError, ValueError) as error:
        if _is_web(url) and isinstance(error, ImportError):
            raise MissingPackageError(
                "Inputs of web servers need aiohttp; install it with: pip install 'lesionlens[urls]'.",
                package="aiohttp",
                extra="urls",
            ) from None
        raise ReadError(f"{_named(url)} cannot be opened: {error}.") from error
    return system, str(path)


def identity_of_url(url: str) -> str:
    """Return what tells the content behind a URL from another: what its server says of it, as a digest.

    Raises
    ------
    ReadError
        If it cannot be asked.
    """
    system, path = _opened(url)
    with _reading(url):
        if not _is_web(url):
            return digest_of_value([url, str(system.ukey(path))])
        said = system.info(path)  # fsspec itself takes what is on the web for unchanging
        tag = {name: said[name] for name in _OF_CONTENT if name in said}
        # A tag is of the content, whatever the URL was signed with.
        place = url.partition("?")[0] if tag else url
        return digest_of_value([place, said.get("size"), said.get("Last-Modified") if not tag else "", tag])


def fetched(case: BatchCase, folder: Path, *, progress: Progress = silent) -> dict[str, str]:
    """Copy what a case names by URLs into a folder; return the place of each.

    Raises
    ------
    ReadError
        If one cannot be read.
    PacsError
        If an archive does not send one of its series.
    """
    texts = [case.input, case.over, case.anatomy, case.mask, *(place for _, place in case.channels)]
    urls = dict.fromkeys(text for text in texts if text is not None and is_url(text))
    return {url: str(_fetched(url, folder / str(number), progress)) for number, url in enumerate(urls)}


def _fetched(url: str, folder: Path, progress: Progress) -> Path:
    if is_series_url(url):
        return fetch_series(url, folder / "series", progress=progress)
    system, path = _opened(url)
    plain = path.partition("?")[0] if _is_web(url) else path
    place = folder / (plain.rstrip("/").rsplit("/", 1)[-1] or "scan")
    folder.mkdir(parents=True)
    with _reading(url):
        if plain.endswith("/") or (not _is_web(url) and system.isdir(path)):  # of the web it would get the whole file
            system.get(path.rstrip("/") + "/", str(place) + "/", recursive=True)
        else:
            system.get_file(path, str(place))
    return place


@contextmanager
def _reading(url: str) -> Iterator[None]:
    """Turn what goes wrong with a URL into one sentence.

    Raises
    ------
    ReadError
        Whatever goes wrong inside.
    """
    try:
        yield
    except Exception as error:  # file systems of all kinds, each with its own errors
        raise ReadError(
            f"{_named(url)} cannot be read: {_reason(error, url)}. Check the URL and the access to it."
        ) from None


def _reason(error: Exception, url: str) -> str:
    """Say what went wrong without the URL, which may hold a key and is quoted by most errors."""
    status = getattr(error, "status", None) or getattr(error.__cause__, "status", None)
    if status:
        return f"the server answers {status}"
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    return str(error) if str(error) and _named(url) == url else type(error).__name__


def _named(url: str) -> str:
    """Return a URL without what may be secret: user and password, and what follows the question mark."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _is_web(url: str) -> bool:
    return url.partition("://")[0] in ("http", "https")


def _patience() -> dict[str, Any]:
    """Return how long a web server may take: by itself, aiohttp gives up a file that takes five minutes."""
    from aiohttp import ClientTimeout

    return {"client_kwargs": {"timeout": ClientTimeout(total=None, sock_connect=_SILENT_S, sock_read=_SILENT_S)}}
