"""Whether results are still what was written: of a run, of a whole batch, and of what else is sealed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionlens.batch.store import BATCH, CASE, Store
from lesionlens.errors import ReadError
from lesionlens.progress import Progress, silent
from lesionlens.seals import HEADS, PAGES, checked, hash_file, page_complaint, wrong_files

__all__ = ["Verified", "verify"]

_RECORD = "record.json"


@dataclass(frozen=True)
class Verified:
    """What was looked at, and what is wrong.

    Parameters
    ----------
    files
        How many files were compared with their hashes.
    problems
        A sentence for each file that is not as it was written.
    strangers
        Files that nobody vouches for, as they were not written with the results.
    """

    files: int
    problems: tuple[str, ...]
    strangers: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(folder: Path | str, *, progress: Progress = silent) -> Verified:
    """Compare every file of a folder of results with the hash that was written with it, or look at one page.

    A seal is no signature: it finds damage, and changes by whoever does not make the seals again.

    Parameters
    ----------
    folder
        What ``lesionlens run``, ``batch``, ``evaluate``, ``trust``, ``importance``, ``compare``, ``compare-lesions``,
        ``export``, ``review export``, ``review agree`` or ``review report`` wrote; or a page that ``lesionlens report``
        wrote, or what ``lesionlens calibrate`` wrote, whose diagram is looked at as well.
    progress
        Called for each case.

    Raises
    ------
    ReadError
        If it is none of these.
    """
    place = Path(folder)
    if place.is_file() and place.suffix.lower() in {Path(name).suffix for name in PAGES}:
        return _verified(place.parent, [(place, page_complaint(place))], alone=True)
    if place.is_file() and place.suffix.lower() == ".json":
        return _verified(place.parent, list(_sealed(place.parent, place.name)), alone=True)
    heads = [name for name in HEADS if (place / name).exists()]
    if heads:
        return _verified(place, [look for name in heads for look in _sealed(place, name)] + list(_pages(place)))
    store = Store(place)
    if (place / BATCH).exists() or store.cases.is_dir():
        return _verified(place, list(_batch(store, progress)))
    raise ReadError(
        f"{place} holds neither {_RECORD} nor {BATCH} nor another file with seals; give a folder of results, such as"
        " 'run' or 'batch' wrote."
    )


# Each file that was looked at, with what is wrong with it, if anything.
_Look = tuple[Path, str | None]


def _verified(place: Path, looks: list[_Look], *, alone: bool = False) -> Verified:
    seen = {path for path, _ in looks}
    problems = tuple(f"{path.relative_to(place).as_posix()} {wrong}" for path, wrong in looks if wrong)
    others = () if alone else sorted(place.rglob("*"))
    present = (p for p in others if p.is_file() and not p.relative_to(place).parts[0].startswith("."))
    strangers = tuple(path.relative_to(place).as_posix() for path in present if path not in seen)
    return Verified(len(seen), problems, strangers)


def _sealed(folder: Path, head: str) -> Iterator[_Look]:
    """Look at a sealed file and all that it vouches for."""
    found, wrong = checked(folder / head)
    yield folder / head, wrong
    yield from _files(folder, (found or {}).get("files"))


def _pages(folder: Path) -> Iterator[_Look]:
    """Look at the pages that were made of results afterwards."""
    for path in (folder / name for name in PAGES):
        if path.exists():
            yield path, page_complaint(path)


def _files(folder: Path, hashes: Any) -> Iterator[_Look]:
    if not isinstance(hashes, dict):
        return
    wrong = dict(wrong_files(folder, {str(name): str(value) for name, value in hashes.items()}))
    for name in hashes:
        yield folder / name, wrong.get(name)


def _batch(store: Store, progress: Progress) -> Iterator[_Look]:
    """Look at the files of a batch, and of each of its cases; one that was stopped has no seal of its own yet."""
    sealed: dict[str, Any] = {}
    path = store.root / BATCH
    if path.exists():
        found, wrong = checked(path)
        yield path, wrong
        sealed = found or {}
        yield from _files(store.root, sealed.get("files"))
        named = sealed.get("files") or {}
        yield from (look for look in _pages(store.root) if look[0].name not in named)
    cases = sealed.get("cases")
    expected = {str(k): str(v) for k, v in cases.items()} if isinstance(cases, dict) else {}
    there = {one.name for one in store.cases.iterdir()} if store.cases.is_dir() else set()
    names = sorted({*expected, *there})
    for done, name in enumerate(names):
        progress("Verifying", done, len(names))
        yield from _case(store.cases / name, expected.get(name))
    progress("Verifying", len(names), len(names))
    for failure in sorted(store.failed.glob("*.json")):
        yield failure, checked(failure)[1]


def _case(folder: Path, expected: str | None) -> Iterator[_Look]:
    path = folder / CASE
    found, wrong = checked(path)
    if wrong is None and expected is not None and hash_file(path) != expected:
        wrong = f"is not the one that {BATCH} names"
    yield path, wrong
    record = folder / _RECORD
    for place, complaint in _sealed(folder, _RECORD):
        if place == record and complaint is None and found and hash_file(record) != found.get("record"):
            complaint = f"is not the one that {CASE} names"
        yield place, complaint
    yield from _pages(folder)
