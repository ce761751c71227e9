"""Inputs that lie elsewhere: what fsspec opens by a URL, and series of archives, are here for the time of the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lesionlens.batch.cases import BatchCase, is_url
from lesionlens.errors import ReadError
from lesionlens.pacs import fetch_series, is_series_url
from lesionlens.progress import Progress, silent

__all__ = ["fetched", "opened_url", "reading_url"]


def opened_url(url: str) -> tuple[Any, str]:
    """Return the file system that a URL is of, and the path in it.

    Raises
    ------
    ReadError
        If there is no such file system, or its package is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ReadError(f"{_named(url)} cannot be opened: {error}.") from error
    return system, str(path)


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
    system, path = opened_url(url)
    place = folder / path.rstrip("/").rsplit("/", 1)[-1]
    folder.mkdir(parents=True)
    with reading_url(url):
        if system.isdir(path):
            system.get(path.rstrip("/") + "/", str(place) + "/", recursive=True)
        else:
            system.get_file(path, str(place))
    return place


@contextmanager
def reading_url(url: str) -> Iterator[None]:
    """Turn what goes wrong with a URL into one sentence.

    Raises
    ------
    ReadError
        Whatever goes wrong inside.
    """
    try:
        yield
    except Exception as error:  # file systems of all kinds, each with its own errors
        raise ReadError(f"{_named(url)} cannot be read: {error}. Check the URL and the access to it.") from error


def _named(url: str) -> str:
    return url.split("?")[0]  # what follows may be a key
