"""What a case's results depend on, as one hash: the bytes of its files, the model, the options."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lesionlens import __version__
from lesionlens.batch.cases import BatchCase, is_url
from lesionlens.batch.folders import files_below
from lesionlens.batch.looks import Looks
from lesionlens.errors import ReadError
from lesionlens.io.reader import existing_path, is_dicom
from lesionlens.options import RunOptions
from lesionlens.seals import digest_of_value, hash_file

__all__ = ["ModelHashes", "case_links", "digest_of_place", "model_hashes", "options_of"]

# Files, which count by their bytes, and what changes no result.
_NOT_BY_VALUE = (
    "input",
    "series",
    "stack",
    "channels",
    "over",
    "anatomy",
    "calibration",
    "bundle",
    "ensemble",
    "trust",
)
# Of these a second file holds the voxels.
_DETACHED = (".hdr", ".img", ".hdr.gz", ".img.gz", ".nhdr", ".mhd")


@dataclass(frozen=True)
class ModelHashes:
    """Hashes of the files of the bundle, of further ones of an ensemble, and of a calibration."""

    bundle: str
    ensemble: tuple[str, ...] = ()
    calibration: str = ""


def model_hashes(options: RunOptions) -> ModelHashes:
    """Hash the bundles and the calibration; what is not there or not trusted is refused."""
    from lesionlens.model.catalogue import hash_files, opened
    from lesionlens.model.permission import permitted

    def one(name: str) -> str:
        with opened(permitted(name, trust=options.trust).path) as folder:
            return hash_files(folder)

    calibration = "" if options.calibration is None else hash_file(existing_path(options.calibration))
    return ModelHashes(one(options.bundle), tuple(map(one, options.ensemble)), calibration)


def case_links(
    case: BatchCase, options: RunOptions, model: ModelHashes, *, looks: Looks | None = None
) -> dict[str, Any]:
    """Return the hash of each thing that the results of a case depend on; ``key`` is over all of them.

    What a URL leads to counts by what its server says of it (size, time, tag; of a series in an archive the images that
    are listed), as reading it takes as long as working on it.

    Parameters
    ----------
    case, options, model
        What is to be done, and with what.
    looks
        What files looked like when they were hashed before; those that look the same are not read again.

    Raises
    ------
    ReadError
        If a file cannot be read.
    PacsError
        If an archive does not answer.
    """
    asked = {one.name: getattr(options, one.name) for one in fields(options) if one.name not in _NOT_BY_VALUE}
    over, anatomy = case.over or options.over, case.anatomy or options.anatomy
    named = dict(case.channels) or {text: text.partition("=")[2] or text for text in options.channels}
    look = Looks() if looks is None else looks
    links = {
        "lesionlens": __version__,
        "input": _digest(case.input, look, case.files),
        # A digest: a series is named by its UID, or by words that may name the patient.
        "which": digest_of_value([case.series or options.series, case.stack or options.stack]),
        "channels": {name: _digest(place, look) for name, place in named.items()},
        "over": _digest(str(over), look) if _is_place(over) else str(over),
        "anatomy": None if anatomy is None else _digest(str(anatomy), look),
        "mask": None if case.mask is None else _digest(case.mask, look),
        **asdict(model),
        "options": digest_of_value(asked),
    }
    return {**links, "key": digest_of_value(links)}


def _is_place(over: Any) -> bool:
    return is_url(str(over)) or Path(str(over)).is_file()


def digest_of_place(place: str) -> str:
    """Return the hash of the bytes that a path leads to, as ``case.json`` keeps it; of a URL of what is said of it.

    Raises
    ------
    ReadError
        If it cannot be read.
    """
    return _digest(place, Looks())


def _digest(place: str, looks: Looks, files: Iterable[str] = ()) -> str:
    if is_url(place):
        return _of_url(place)
    path = existing_path(place)
    try:
        folder, names = _parts(path, files)
        if names is None:
            return looks.hash_of([path], lambda: hash_file(path), kind="file")
        parts = sorted(names)
        return looks.hash_of([folder / name for name in parts], lambda: _of_files(folder, parts), kind="files")
    except OSError as error:
        raise ReadError(f"{path.name} cannot be read: {error.strerror or error}. Check the file.") from error


def _parts(path: Path, files: Iterable[str]) -> tuple[Path, Iterable[str] | None]:
    """Return the folder of a scan and the files in it that are the scan; None where the path is all of it."""
    if path.is_dir():
        return path, files or _below(path)
    if is_dicom(path):  # it stands for its series, which lies beside it
        return path.parent, _below(path.parent)
    if path.name.lower().endswith(_DETACHED):
        stem = path.name.split(".")[0]
        return path.parent, [one.name for one in path.parent.glob("*") if one.name.split(".")[0] == stem]
    return path.parent, None


def _below(folder: Path) -> list[str]:
    """Return the files of a folder without results that lie in it: the case would depend on what was made of it."""
    return [path.relative_to(folder).as_posix() for path in files_below(folder, hidden=True) if path.is_file()]


def _of_files(folder: Path, names: Iterable[str]) -> str:
    found = hashlib.sha256()
    for name in names:
        found.update(name.encode() + b"\0" + bytes.fromhex(hash_file(folder / name)))
    return found.hexdigest()


def _of_url(url: str) -> str:
    from lesionlens.batch.fetching import identity_of_url
    from lesionlens.pacs import is_series_url, listed_images, parse_series

    if is_series_url(url):  # an image that is changed gets another UID; by which protocol it came is all one
        return digest_of_value([parse_series(url).series, *listed_images(url)])
    return identity_of_url(url)


def options_of(case: BatchCase, options: RunOptions, places: Mapping[str, str]) -> RunOptions:
    """Return the options of a run of one case, with each URL in its place on this machine."""

    def local(text: str) -> str:
        return places.get(text, text)

    changes: dict[str, Any] = {
        "input": Path(local(case.input)),
        "series": case.series or options.series,
        "stack": case.stack or options.stack,
    }
    if case.channels:
        changes["channels"] = tuple(f"{name}={local(place)}" for name, place in case.channels)
    if case.over is not None:
        changes["over"] = local(case.over)
    if case.anatomy is not None:
        changes["anatomy"] = Path(local(case.anatomy))
    return replace(options, **changes)
