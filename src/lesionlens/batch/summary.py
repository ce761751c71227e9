"""What the cases of a batch found, one row for each case and class, read back from their folders one at a time."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlens.batch.store import CASE, Store
from lesionlens.io.tables import read_results, row_writer
from lesionlens.report.review import NOTICE_COLUMN, NOTICE_OF_TABLES
from lesionlens.report.words import N_

__all__ = [
    "FAILURE_COLUMNS",
    "FEATURES",
    "SUMMARY_COLUMNS",
    "CaseSummary",
    "summarised",
    "summary_of",
    "table_writer",
    "write_rows",
]

SUMMARY_COLUMNS: Final = (
    "case",
    "status",
    "class",
    "n_regions",
    "total_volume_mm3",
    "largest_volume_mm3",
    "probability_max",
    "class_probability",
    "n_detections",
    "mask_dice",
    "mask_volume_mm3",
    "n_warnings",
    "seconds",
    "error",
)
FAILURE_COLUMNS: Final = ("case", "kind", "error", "tries")

#: Columns of ``regions.csv`` that are set against each other over all regions of a batch.
FEATURES: Final = (
    "volume_mm3",
    "diameter_mm",
    "sphericity",
    "elongation",
    "flatness",
    "intensity_mean",
    "intensity_sd",
    "shell_contrast",
    "probability_mean",
    "probability_max",
    "attribution_mean",
    "attribution_share",
    "uncertainty_mean",
)

Row = dict[str, Any]

_NO_REGIONS: Final = np.empty((0, len(FEATURES)))


@dataclass(frozen=True, eq=False)
class CaseSummary:
    """What a report says of one case.

    Parameters
    ----------
    name
        Of the case.
    status
        ``"done"``, ``"failed"`` or ``"waiting"``.
    rows
        One for each class, keys as :data:`SUMMARY_COLUMNS`; at least one.
    regions
        (regions, features) the numbers named by :data:`FEATURES`; NaN where one was not measured.
    classes
        The class of each of these regions.
    picture
        The overlay of a class, the first by name, where there is one.
    basis
        What the results of a case that is done rest on, name by name.
    error, kind, tries
        Of a case that failed.
    """

    name: str
    status: str
    rows: tuple[Row, ...]
    regions: NDArray[np.float64] = field(default_factory=lambda: _NO_REGIONS, repr=False)
    classes: tuple[str, ...] = field(default=(), repr=False)
    picture: Path | None = None
    basis: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    error: str = ""
    kind: str = ""
    tries: int = 0


def summarised(store: Store, names: Iterable[str]) -> Iterator[CaseSummary]:
    """Yield what there is to say of each case, in the order of the names."""
    return (summary_of(store, name) for name in names)


def summary_of(store: Store, name: str) -> CaseSummary:
    """Return what there is to say of a case; results that cannot be read any more count as failed."""
    folder, failure = store.cases / name, store.failure_of(name)
    if (folder / CASE).is_file():
        try:
            return _done(name, folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            what = f"The results in cases/{name} are not as they were written ({type(error).__name__})"
            return _failed(name, f"{what}; remove this folder, and give the same command again.", "ReadError", 1)
    if failure is not None:
        why, kind, tries = str(failure.get("error")), str(failure.get("kind")), int(failure.get("tries", 1))
        return _failed(name, why, kind, tries)
    return CaseSummary(name, "waiting", (_row(name, "waiting"),))


def _failed(name: str, error: str, kind: str, tries: int) -> CaseSummary:
    return CaseSummary(name, "failed", (_row(name, "failed", error=error),), error=error, kind=kind, tries=tries)


def _row(case: str, status: str, **values: Any) -> Row:
    return {**dict.fromkeys(SUMMARY_COLUMNS), "case": case, "status": status, **values}


def _done(name: str, folder: Path) -> CaseSummary:
    record, about = _json(folder / "record.json"), _json(folder / CASE)
    regions = _table(folder / "regions.csv")
    of_case = {"n_warnings": len(record["warnings"]), "seconds": about["seconds"]}
    mask = about["mask"] or {}
    of_case |= {"mask_dice": mask.get("dice"), "mask_volume_mm3": mask.get("volume_mm3")}
    detections = record.get("detections")
    classes = list(record["n_regions"]) or list(record["class_probabilities"])
    classes = classes or sorted({one["label"] for one in detections or ()}) or [""]
    rows = tuple(_row(name, "done", **of_case, **_of_class(label, record, regions)) for label in classes)
    found = np.array([[_number(row.get(feature)) for feature in FEATURES] for row in regions], dtype=np.float64)
    of_regions = tuple(sys.intern(row["class"]) for row in regions)
    found = found if len(found) else _NO_REGIONS
    return CaseSummary(name, "done", rows, found, of_regions, _picture(folder), _basis(record, about["links"]))


def _basis(record: Mapping[str, Any], links: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    bundle = record["bundle"]
    found = {
        "LesionLens": record["lesionlens"],
        N_("bundle"): f"{bundle['name']} {bundle['version']}",
        N_("SHA-256 of the bundle"): links["bundle"],
        N_("SHA-256 of the weights"): bundle["weights_sha256"],
        N_("SHA-256 of further bundles"): ", ".join(links["ensemble"]),
        N_("SHA-256 of the calibration"): links["calibration"],
        N_("SHA-256 of the options"): links["options"],
        N_("options"): ", ".join(f"{name} {value}" for name, value in record["options"].items()),
        N_("versions"): ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }
    return _shared(tuple((name, sys.intern(str(value))) for name, value in found.items()))


@lru_cache(maxsize=64)
def _shared(basis: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return what was given before, where it was: the cases of a batch rest on the same things."""
    return basis


def _of_class(label: str, record: Mapping[str, Any], regions: Sequence[Mapping[str, str]]) -> Row:
    own = [row for row in regions if row["class"] == label]
    volumes = [v for row in own if (v := _number(row["volume_mm3"])) is not None]
    highest = [v for row in own if (v := _number(row["probability_max"])) is not None]
    boxes = record.get("detections")
    return {
        "class": label,
        "n_regions": record["n_regions"].get(label),
        "total_volume_mm3": record["total_volume_mm3"].get(label),
        "largest_volume_mm3": max(volumes, default=None),
        "probability_max": max(highest, default=None),
        "class_probability": record["class_probabilities"].get(label),
        "n_detections": None if boxes is None else sum(one["label"] == label for one in boxes),
    }


def _picture(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("overlay_*.png"))), None)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return read_results(stream)


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table as CSV (RFC 4180, UTF-8), whose last column says what it is not for."""
    with path.open("w", newline="", encoding="utf-8") as file:
        add = table_writer(file, columns)
        for row in rows:
            add(row)


def table_writer(file: IO[str], columns: Sequence[str]) -> Callable[[Mapping[str, Any]], None]:
    """Write the head of such a table, and return what adds a row to it."""
    add_cells = row_writer(file)
    add_cells((*columns, NOTICE_COLUMN))

    def add(row: Mapping[str, Any]) -> None:
        add_cells((*(row[name] for name in columns), NOTICE_OF_TABLES))

    return add
