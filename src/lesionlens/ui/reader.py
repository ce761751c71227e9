"""napari's reader: NIfTI files and DICOM folders, dropped into the window or opened from the menu."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lesionlens.errors import AmbiguousSeriesError, ReadError
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

    A folder with several series asks in the window which one; without a window the error lists them.

    Raises
    ------
    ReadError
        If there is nothing to read, or several series and nobody to ask.
    """
    from lesionlens.ui.layers import volume_layer

    volume = _read(str(path))
    return _NOTHING if volume is None else [volume_layer(volume)]


def _read(path: str) -> Volume | None:
    if (Path(path) / _RECORD).is_file():
        raise ReadError(
            f"{path} holds the results of a run: open the scan first, then 'Open results…' in the LesionLens widget."
        )
    try:
        return read(path)
    except AmbiguousSeriesError:
        from lesionlens.ui.dialogs import SeriesDialog, main_window

        window = main_window()
        if window is None:
            raise
        dialog = SeriesDialog(path, list_series(path), window)
        answered, series = dialog.exec(), dialog.chosen
        dialog.deleteLater()
        return read(path, series=series) if answered and series else None
