"""A run again, as its record says: the same maps bit by bit on the same machine, or what is different."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lesionlens.computing import ENGINES
from lesionlens.errors import InputError, ReadError
from lesionlens.methods import default_method
from lesionlens.options import RunOptions
from lesionlens.results import RECORD_SCHEMA, CaseResult
from lesionlens.rules import RegionRules

__all__ = ["compared", "differences", "read_record", "repeated"]

Record = Mapping[str, Any]

# Options that a record holds as they were given.
_TAKEN = (
    "score",
    "gamma",
    "layer",
    "method_options",
    "registration",
    "threshold",
    "uncertainty",
    "samples",
    "seed",
    "series",
    "stack",
    "device",
)


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a run, from its file or its folder.

    Raises
    ------
    ReadError
        If it is not there, or is no record of a run.
    """
    path = path / "record.json" if path.is_dir() else path
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(f"{path} cannot be read as the record of a run; give the record.json of one.") from error
    if not isinstance(record, dict) or record.get("schema_version") != RECORD_SCHEMA or "options" not in record:
        raise ReadError(f"{path} is not the record of a run; give a record.json that 'run' wrote.")
    return record


def repeated(record: Record, given: RunOptions) -> RunOptions:
    """Return the options of a run, with what a record does not hold taken from those that are given now.

    A record holds no folders: the scan is given again, and so are the files of a bundle from outside, a mask, anatomy
    and a calibration, and what is trusted.

    Raises
    ------
    InputError
        If a file that the run used is not given, or the record holds something that cannot be repeated.
    """
    was = record["options"]
    computing = record.get("computing") or {}
    engine = computing.get("engine", "torch")
    try:
        taken = {name: was[name] for name in _TAKEN}
        target = was["target"]
        return replace(
            given,
            **taken,
            method=None if was["method"] == default_method(record["bundle"]["task"])[0] else was["method"],
            bundle=given.bundle if given.bundle != RunOptions(Path()).bundle else was["bundle"],
            target=tuple(target) if isinstance(target, list) else target,
            over=_over(was["over"], given),
            against=tuple(was["against"]),
            rules=RegionRules(**{name: was[name] for name in _rules()}),
            thresholds=dict(was.get("thresholds", {})),
            anatomy=_same("--anatomy", was["anatomy"], given.anatomy),
            calibration=_same("--calibration", was["calibration"], given.calibration),
            ensemble=given.ensemble or tuple(was["ensemble"]),
            irregular=was["irregular"] or given.irregular,
            engine=engine if engine in ENGINES else "torch",
            memory_gib=given.memory_gib,
            only=tuple(was.get("classes_kept", ())),
            classes=tuple(was.get("classes", ())),
            through_affine=bool(was.get("through_affine", False)),
            channels=_same("--channel", ", ".join(was.get("channels", ())), given.channels or None) or (),
            in_blocks=computing.get("in_blocks"),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"The record lacks something that a run needs ({error}); it cannot be repeated.") from error


def _rules() -> tuple[str, ...]:
    return ("connectivity", "fill_holes", "merge_mm", "minimum_mm3")


def _same(option: str, was: str | None, given: Any) -> Any:
    if was and given is None:
        raise InputError(f"The run used {was!r}, and a record holds no folders; give it again with {option}.")
    return given if was else None


def _over(was: str, given: RunOptions) -> Any:
    mask = was.startswith("mask ") or Path(was).suffix in (".nii", ".gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
    if mask and given.over == "predicted":
        raise InputError(f"The run asked over {was!r}, and a record holds no folders; give it again with --over.")
    return given.over if mask else was


def compared(result: CaseResult, record: Record) -> CaseResult:
    """Return a result whose record and warnings say whether its maps are those of an earlier record."""
    found = list(differences(record, result.record))
    maps = [text for text in found if text.startswith("map ")]
    words = "The maps are equal to those of the record, bit by bit."
    if maps:
        words = f"The maps are not those of the record: {'; '.join(found)}."
    elif found:
        words = f"{words} Otherwise: {'; '.join(found)}."
    said = {"equal": not maps, "differences": found, "created": record.get("created")}
    warnings = [*result.record.get("warnings", ()), *([words] if found else ())]
    return replace(result, record={**result.record, "replay": said, "warnings": warnings})


def differences(before: Record, now: Record) -> Iterator[str]:
    """Yield in words what is different between two runs: input, bundle, versions, how it was computed, maps."""
    places = {
        "input": ("input", "sha256"),
        "bundle": ("bundle", "sha256"),
        "file of weights": ("bundle", "weights_sha256"),
    }
    for name, (part, key) in places.items():
        if before.get(part, {}).get(key) != now.get(part, {}).get(key):
            yield f"another {name}"
    yield from _changed("version of", before.get("versions", {}), now.get("versions", {}))
    compared = ("engine", "device", "windows", "window_voxels", "batch", "in_blocks", "threads")
    was, new = before.get("computing") or {}, now.get("computing") or {}
    yield from _changed("computing:", {k: was.get(k) for k in compared}, {k: new.get(k) for k in compared})
    yield from _maps(before, now)


def _changed(what: str, before: Record, now: Record) -> Iterator[str]:
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            yield f"{what} {name} {before.get(name)} then, {now.get(name)} now"


def _maps(before: Record, now: Record) -> Iterator[str]:
    was = {one["file"]: one for one in before.get("maps", ())}
    new = {one["file"]: one for one in now.get("maps", ())}
    for name in sorted({*was, *new}):
        if name not in new or name not in was:
            yield f"map {name} is only {'there' if name in was else 'here'}"
        elif "sha256" not in was[name]:
            yield f"map {name} has no hash in the record"
        elif was[name]["sha256"] != new[name]["sha256"]:
            values = " to ".join(f"{was[name][end]:.6g}" for end in ("min", "max"))
            other = " to ".join(f"{new[name][end]:.6g}" for end in ("min", "max"))
            yield f"map {name} differs ({values} then, {other} now)"
