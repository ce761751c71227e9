"""napari's reader: NIfTI files and DICOM folders, dropped into the window or opened from the menu."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lesionlens.errors import AmbiguousSeriesError, AmbiguousStackError, IrregularSeriesError, ReadError
from lesionlens.io import list_series, read
from lesionlens.volume import Volume

__all__ = ["get_reader", "read_layers"]

LayerData = tuple[Any, ...]

# What npe2 takes for "read, but there is nothing to show": the user closed the question.
_NOTHING: list[LayerData] = [(None,)]
# What a run leaves beside its maps.
_RECORD = "record.json"
# Folders that other readers know how to open.
_FOREIGN_FOLDERS = {".zarr", ".n5"}


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader for a path, or None for what LesionLens does not read (stacks of paths, zarr folders)."""
    if not isinstance(path, str) or Path(path).suffix.lower() in _FOREIGN_FOLDERS:
        return None
    return read_layers


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read a NIfTI file or a DICOM folder as one grey image layer.

    A folder with several series, or a series of several volumes, asks in the window which one; without a window the
    error lists them.

    Raises
    ------
    ReadError
        If there is nothing to read, a choice to make and nobody to ask, or slices off a regular grid: napari has no
        place for the choice what to do with them, so the message names the command that has.
    """
    from lesionlens.ui.layers import volume_layer

    volume = _read(str(path))
    return _NOTHING if volume is None else [volume_layer(volume)]


def _read(path: str) -> Volume | None:
    if (Path(path) / _RECORD).is_file():
        raise ReadError(
            f"{Path(path).name} holds the results of a run: open the scan first, then 'Open results…' in the LesionLens"
            " widget."
        )
    return _choosing(path)


def _choosing(path: str, series: str | None = None, stack: int | None = None) -> Volume | None:
    """Read a scan; where something has to be chosen, ask in the window, or let the error list what there is."""
    try:
        return read(path, series=series, stack=stack)
    except IrregularSeriesError as error:
        raise IrregularSeriesError(f"{error} To see it: {_command(series, stack)}") from None
    except AmbiguousSeriesError as error:
        from lesionlens.ui.dialogs import SeriesDialog, ask_stack, main_window

        window = main_window()
        if window is None:
            raise
        if isinstance(error, AmbiguousStackError):
            stack = ask_stack(error.choices, window)
            return None if stack is None else _choosing(path, series, stack)
    dialog = SeriesDialog(list_series(path), window)
    answered, chosen = dialog.exec(), dialog.chosen
    dialog.deleteLater()
    return _choosing(path, chosen) if answered and chosen else None


def _command(series: str | None, stack: int | None) -> str:
    """Return the command that opens a scan whose slices lie irregularly, with what has been chosen so far.

    The path, which may hold the patient's name, is left to the user.
    """
    chosen = [*(("--series", series) if series else ()), *(("--stack", str(stack)) if stack is not None else ())]
    return shlex.join(["lesionlens", "view", "PATH", *chosen, "--irregular", "resample"])
