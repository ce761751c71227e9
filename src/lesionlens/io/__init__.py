"""Files to values and back: the only place that knows DICOM, LPS and NIfTI.

Names are fetched from their modules when they are first used, so that importing this package loads neither nibabel nor
pydicom (PEP 562). No module here may bear the name of a function listed below: importing it would hide the function.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesionlens.io.atomic import atomic_folder, atomic_path
    from lesionlens.io.nifti.writer import write, write_labels
    from lesionlens.io.overlay import read_overlay
    from lesionlens.io.reader import list_series, read
    from lesionlens.io.reported import read_findings
    from lesionlens.io.series import SeriesInfo

_HOME = {
    "SeriesInfo": "series",
    "atomic_folder": "atomic",
    "atomic_path": "atomic",
    "list_series": "reader",
    "read": "reader",
    "read_findings": "reported",
    "read_overlay": "overlay",
    "write": "nifti.writer",
    "write_labels": "nifti.writer",
}

__all__ = [
    "SeriesInfo",
    "atomic_folder",
    "atomic_path",
    "list_series",
    "read",
    "read_findings",
    "read_overlay",
    "write",
    "write_labels",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'lesionlens.io' has no attribute {name!r}")
    value = getattr(import_module(f"lesionlens.io.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *globals()])
