"""Which cases there are: the scans of a folder, the rows of a manifest, or what an archive has."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Literal

from lesionlens.batch.folders import files_below
from lesionlens.errors import InputError, ReadError, counted, unknown_name
from lesionlens.io import list_series
from lesionlens.io.reader import existing_path, is_dicom
from lesionlens.io.series import ITK_SUFFIXES, NIFTI_SUFFIXES, SeriesInfo
from lesionlens.io.tables import read_rows
from lesionlens.pacs.address import is_series_url, parse_series
from lesionlens.pacs.named import is_query
from lesionlens.progress import Progress, silent

__all__ = ["BatchCase", "FoundCases", "find_cases", "is_url"]

# A pair is one scan: its header stands for it.
_SECOND_OF_A_PAIR = (".img", ".img.gz")
_SCANS: Final = tuple(s for s in (*NIFTI_SUFFIXES, *ITK_SUFFIXES) if s not in _SECOND_OF_A_PAIR)
# What is longer tires the reader of a table, ...
_LONGEST: Final = 100
# ... and file systems take 255 bytes, up to four for a letter; names of temporary files are longer than the case's.
_MOST_BYTES: Final = 200
# What archives hold besides scans: reports, segmentations, what planning makes, registrations.
_NO_SCANS: Final = ("SR", "SEG", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "DOC", "REG")
# More than this is no batch but a whole archive; it would take hours to list.
_MOST_OF_ARCHIVE: Final = 100_000
_CHANNEL: Final = "channel:"
_STRATUM: Final = "stratum:"


@dataclass(frozen=True)
class BatchCase:
    """One case of many.

    Parameters
    ----------
    name
        What its folder is called.
    input
        Path or URL of the scan.
    series, stack
        Which of several; as in :class:`~lesionlens.RunOptions`.
    channels
        Further channels: name and path or URL of each.
    over, anatomy
        Path, URL or words of what is explained, and of labels of anatomy.
    mask
        Path or URL of what a reader marked; the summary says how far the regions agree with it.
    files
        Those of the scan, relative to the folder ``input``; empty where it is all of it.
    strata
        What cases are told apart by in an evaluation: column and value of each. The results do not depend on it.
    """

    name: str
    input: str
    series: str | None = None
    stack: str | None = None
    channels: tuple[tuple[str, str], ...] = ()
    over: str | None = None
    anatomy: str | None = None
    mask: str | None = None
    files: tuple[str, ...] = ()
    strata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FoundCases:
    """The cases, and what of the input is none, a sentence each."""

    cases: tuple[BatchCase, ...]
    left_out: tuple[str, ...] = ()


def find_cases(
    inputs: str | Path, *, pattern: str = "*", series: str | None = None, progress: Progress = silent
) -> FoundCases:
    """Find the cases of a folder (each series of a DICOM tree, each image file), of a manifest, or a single scan.

    Parameters
    ----------
    inputs
        Folder, manifest (``.csv``, ``.json``), or scan; or an archive and what is looked for in it, such as
        ``"https://host/dicom-web?modality=MR"``, or the URL of one of its series.
    pattern
        Image files of a folder whose path in it matches; ``*`` stands for any letters.
    series
        Number or description: of a DICOM tree or an archive these series alone.
    progress
        Called as headers are read.

    Raises
    ------
    ReadError
        If there is nothing to read.
    PacsError
        If an archive cannot be reached, or refuses.
    InputError
        If a manifest is not one, or there are no cases.
    """
    if is_query(str(inputs)):
        return _in_archive(str(inputs), series, progress)
    place = existing_path(inputs).absolute()  # workers may have another folder
    if place.is_dir():
        found = _in_folder(place, pattern, series, progress)
    elif place.suffix.lower() in (".csv", ".json"):
        found = FoundCases(tuple(_in_manifest(place)))
        if not found.cases:
            raise InputError(f"There is no case in {place.name}: expected the names of columns, and a row for each.")
    else:
        found = FoundCases((BatchCase(_without_suffix(place.name), str(place), series=series),))
    if not found.cases:
        why = f" Left out: {'; '.join(found.left_out[:3])}." if found.left_out else ""
        raise InputError(f"There is no case in {place.name}: no image file and no DICOM series that matches.{why}")
    return replace(found, cases=_distinct(found.cases))


def is_url(text: str) -> bool:
    """Say whether a text names something that fsspec opens, and not a path."""
    return "://" in text


def _in_folder(root: Path, pattern: str, series: str | None, progress: Progress) -> FoundCases:
    images, dicom, passed_over = [], [], list[str]()
    for path in files_below(root, passed_over=passed_over):
        relative = path.relative_to(root).as_posix()
        kind = _kind(path)
        if kind == "dicom":
            dicom.append(path)
        elif kind == "image" and path.name.lower().endswith(_SCANS) and fnmatch(relative, pattern):
            images.append(BatchCase(_without_suffix(relative).replace("/", "__"), str(path)))
    cases, left_out = list(images), [f"{counted(n, 'folder')} {why}" for why, n in Counter(passed_over).items()]
    for home in _homes(root, dicom):
        for found in _in_home(home, series, progress):
            if isinstance(found, BatchCase):
                cases.append(found)
            elif found:
                left_out.append(found)
    return FoundCases(tuple(cases), tuple(left_out))


def _kind(path: Path) -> Literal["image", "dicom", "other"]:
    """Say what a file is; one that cannot be opened is what it is called, so that it is missed by somebody."""
    image = path.name.lower().endswith((*NIFTI_SUFFIXES, *ITK_SUFFIXES))
    try:
        return "dicom" if is_dicom(path) else "image" if image else "other"
    except ReadError:
        return "image" if image else "dicom" if path.suffix.lower() in (".dcm", ".ima") else "other"


def _in_home(home: Path, wanted: str | None, progress: Progress) -> Iterator[BatchCase | str]:
    """Yield what each series of a folder is; where the folder cannot be read, that is a case which will fail."""
    try:
        found = list_series(home, identified=True, progress=progress)
    except ReadError:
        yield BatchCase(f"damaged-{_digest(str(home))}", str(home))
        return
    yield from (_of_series(home, info, wanted) for info in found)


def _homes(root: Path, files: Iterable[Path]) -> list[Path]:
    """Return the folders to list: those directly below the root, or the root itself where files lie in it.

    Each is one patient as a rule, so that the headers of one are in memory at a time.
    """
    heads = {path.relative_to(root).parts[:-1][:1] for path in files}
    return [root] if () in heads else [root.joinpath(*head) for head in sorted(heads)]


def _of_series(home: Path, info: SeriesInfo, wanted: str | None) -> BatchCase | str:
    """Return the case that a series is, why it is none, or nothing where it is not asked for."""
    digest = _digest(info.uid or "/".join(info.files))
    if wanted is not None and wanted.casefold() not in (str(info.number), info.description.casefold()):
        return ""
    if info.kind == "damaged file":
        return BatchCase(f"damaged-{digest}", str(home / info.files[0]))
    number = "" if info.number is None else f"-{info.number}"
    name = f"{info.modality.lower() or 'dicom'}{number}-{digest}"  # descriptions and folders may name the patient
    if info.kind != "scan":
        return f"{name} is a {info.kind}"
    folder = home / os.path.commonpath([os.path.dirname(file) for file in info.files])
    files = tuple(os.path.relpath(home / file, folder) for file in info.files)
    return BatchCase(name, str(folder), series=info.uid or None, files=files)


def _in_archive(text: str, wanted: str | None, progress: Progress) -> FoundCases:
    if is_series_url(text):
        return FoundCases((BatchCase(parse_series(text).name, text, series=parse_series(text).series),))
    from lesionlens.pacs import archive_and_query, find_series

    address, query = archive_and_query(text)
    found = find_series(address, query, limit=_MOST_OF_ARCHIVE, progress=progress)
    if found.more:
        raise InputError(f"More than {_MOST_OF_ARCHIVE:,} series match; narrow the search.")
    fitting = [
        one
        for one in found.series
        if wanted is None or wanted.casefold() in (str(one.number), one.description.casefold())
    ]
    left_out = tuple(f"{one.name} is no scan ({one.modality})" for one in fitting if one.modality in _NO_SCANS)
    cases = tuple(BatchCase(one.name, one.url, series=one.uid) for one in fitting if one.modality not in _NO_SCANS)
    if not cases:
        raise InputError(
            f"{address.name} has no series of a scan that matches; 'lesionlens pacs find' lists what it has."
        )
    return FoundCases(cases, left_out)


def _in_manifest(path: Path) -> Iterator[BatchCase]:
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    known = [one.name for one in fields(BatchCase) if one.name not in ("files", "strata")]
    for number, row in enumerate(rows, start=1):
        where = f"Case {number} of {path.name}"
        channels = {str(k): str(v) for k, v in dict(row.pop("channels", None) or {}).items() if v}
        given = {name: str(value).strip() for name, value in row.items() if value not in (None, "")}
        strata = {n.removeprefix(_STRATUM): given.pop(n) for n in list(given) if n.startswith(_STRATUM)}
        given["input"] = given.get("input") or given.pop("scan", "")
        strange = next((name for name in given if name not in known), None)
        if strange is not None:
            columns = (*known, f"{_CHANNEL}NAME", f"{_STRATUM}NAME")
            raise InputError(f"{where}: {unknown_name('column', strange, columns)}")
        if not given["input"]:
            raise InputError(f"{where} names no scan; a manifest needs the column input, and a path in each row.")
        words: dict[str, Any] = {**given}
        words |= {name: _placed(path, given[name]) for name in ("input", "anatomy", "mask") if name in given}
        if "over" in given:  # words, unless there is such a file
            words["over"] = _placed(path, given["over"], must=False)
        words["name"] = given.get("name") or _called(given["input"])
        if is_series_url(given["input"]) and "series" not in given:
            words["series"] = parse_series(given["input"]).series
        found = tuple((channel, _placed(path, file)) for channel, file in channels.items())
        yield BatchCase(**{**words, "channels": found, "strata": tuple(strata.items())})


def _called(place: str) -> str:
    """Return what a case is called that has no name; UIDs lead to the patient in the archive."""
    if is_series_url(place):
        return parse_series(place).name
    plain = place.partition("?")[0] if is_url(place) else place  # what follows may be a key
    return _without_suffix(plain.rstrip("/").rsplit("/", 1)[-1])


def _placed(manifest: Path, text: str, *, must: bool = True) -> str:
    """Return a path from the folder of the manifest; a URL as it is."""
    if is_url(text):
        return text
    path = manifest.resolve().parent / text
    return str(path) if must or path.exists() else text


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    return [
        {
            **{name: value for name, value in row.items() if not name.startswith(_CHANNEL)},
            "channels": {n.removeprefix(_CHANNEL): v for n, v in row.items() if n.startswith(_CHANNEL)},
        }
        for row in read_rows(path)
    ]


def _json_rows(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path.name} cannot be read as JSON: {error}.") from None
    rows = found.get("cases") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("channels", {}), Mapping | None) for row in rows
    ):
        raise InputError(
            f'{path.name} is no manifest: expected a list of cases, or {{"cases": [...]}}, each with keys.'
        )
    return [dict(row) for row in rows]


def _distinct(cases: Iterable[BatchCase]) -> tuple[BatchCase, ...]:
    """Give each case a name that a folder can have; cases of one name get a digest of their path."""
    named = [replace(case, name=_tidy(case.name)) for case in cases]
    counts = Counter(case.name.casefold() for case in named)
    found = tuple(
        case if counts[case.name.casefold()] == 1 else replace(case, name=f"{case.name}-{_digest(case.input)}")
        for case in named
    )
    twice = next((n for n, count in Counter(case.name.casefold() for case in found).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"Two cases are called {twice!r} and have the same scan; name them in the manifest.")
    return found


def _tidy(name: str) -> str:
    """Return a name that a folder can have, and that no spreadsheet takes for a formula.

    Accents are part of their letters, however they are written.
    """
    tidy = re.sub(r"[^\w.+-]+", "-", unicodedata.normalize("NFC", name)).strip("-.+") or "case"
    if len(tidy) <= _LONGEST and len(tidy.encode()) <= _MOST_BYTES:
        return tidy
    start = tidy[: _LONGEST - 9].encode()[: _MOST_BYTES - 9].decode(errors="ignore")
    return f"{start}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _without_suffix(name: str) -> str:
    lower = name.lower()
    suffix = next((s for s in sorted((*_SCANS, ".zip", ".dcm"), key=len, reverse=True) if lower.endswith(s)), "")
    return name[: len(name) - len(suffix)]
