"""Windows that a series suggests for showing it (VOI LUT Module, PS3.3 C.11.2), taken from its middle slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

from pydicom.dataset import Dataset

from lesionlens.errors import InputError
from lesionlens.io.boundary import PARSER_ERRORS, quiet
from lesionlens.io.dicom.elements import value_of
from lesionlens.io.dicom.header import PYDICOM_ERRORS
from lesionlens.io.dicom.parse import parse
from lesionlens.io.dicom.slices import Slice
from lesionlens.io.identity import Identities, hide_uids
from lesionlens.windowing import SIGMOID_NOTE, Window, WindowFunction

__all__ = ["stored_windows"]

# Files have two or three windows; of more, the first are taken.
MOST_WINDOWS = 16
_LONGEST_NAME = 64

# Of enhanced files they are in the functional groups, the frame's own before the shared ones.
_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")


def stored_windows(slices: Sequence[Slice], identities: Identities) -> tuple[tuple[Window, ...], tuple[str, ...]]:
    """Return the windows of the middle slice, and what of them is not applied.

    A window is no part of the scan: one that is damaged is left out, and said.

    Parameters
    ----------
    slices
        Of the scan, in their order.
    identities
        Says what a name may not hold.
    """
    middle = slices[len(slices) // 2]
    try:
        with quiet(), middle.instance.path.open("rb") as stream:
            header = parse(stream, stop_before_pixels=True)
            found = _windows(_holder(header, middle.frame.index), identities)
    except (*PARSER_ERRORS, *PYDICOM_ERRORS) as error:
        return (), (f"The window of {middle.name} cannot be read ({type(error).__name__}) and is left aside.",)
    return found


def _holder(header: Dataset, index: int) -> Dataset:
    """Return the part of a header that holds the windows of a frame."""
    for keyword in _GROUPS:
        groups = value_of(header, keyword) or ()
        place = index if keyword.startswith("PerFrame") else 0
        group = groups[place] if place < len(groups) else Dataset()
        items = value_of(group, "FrameVOILUTSequence")
        if items:
            return cast(Dataset, items[0])
    return header


def _windows(holder: Dataset, identities: Identities) -> tuple[tuple[Window, ...], tuple[str, ...]]:
    centres, widths = (_several(value_of(holder, keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    names = _several(value_of(holder, "WindowCenterWidthExplanation"))
    function = str(value_of(holder, "VOILUTFunction") or "LINEAR").strip().upper()
    notes = []
    if value_of(holder, "VOILUTSequence"):
        notes.append("The files hold a VOI LUT, a table of grey levels, which is not applied.")
    if function not in get_args(WindowFunction):
        notes.append("The function of the stored windows is unknown; they are shown as LINEAR.")
        function = "LINEAR"
    if function == "SIGMOID" and centres:
        notes.append(f"Of the stored windows {SIGMOID_NOTE}.")
    found: list[Window] = []
    for n, (centre, width) in enumerate(zip(centres[:MOST_WINDOWS], widths[:MOST_WINDOWS], strict=False)):
        name = _name(names[n] if n < len(names) else "", n + 1, identities)
        note = SIGMOID_NOTE if function == "SIGMOID" else ""
        try:
            window = Window(name, float(centre), float(width), cast(WindowFunction, function), "DICOM", note)
        except InputError as error:
            notes.append(f"A stored window is left aside. {error}")
            continue
        found.append(window)
    return tuple(dict.fromkeys(found)), tuple(dict.fromkeys(notes))


def _name(said: Any, number: int, identities: Identities) -> str:
    """Return what a file calls a window, with nothing in it that leads to the patient."""
    line = identities.mask(" ".join(str(said).split()))
    line = line if identities.identified else hide_uids(line)
    return f"DICOM: {line}" if line and line.isprintable() and len(line) <= _LONGEST_NAME else f"DICOM {number}"


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str | int | float) or not hasattr(value, "__iter__") else list(value)
