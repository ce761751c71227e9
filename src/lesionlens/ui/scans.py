"""Reading a scan for the viewer in the background, up to the layers: no Qt, no viewer.

What only a person can decide comes back as a :class:`Question`; the answer is another :class:`Request`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lesionlens.errors import (
    AmbiguousSeriesError,
    AmbiguousStackError,
    Cancelled,
    IrregularSeriesError,
    LesionLensError,
    ReadError,
)
from lesionlens.heatmap import Heatmap, LabelMap
from lesionlens.io import SeriesInfo, list_series, read, read_overlay
from lesionlens.io.early import OnSlice
from lesionlens.io.policy import Irregular
from lesionlens.progress import Progress
from lesionlens.results import CaseResult, read_case
from lesionlens.ui.layers import LayerData, volume_layer
from lesionlens.volume import Volume

__all__ = ["Opened", "Question", "Request", "open_scan"]

# What a run leaves beside its maps.
_RECORD = "record.json"


@dataclass(frozen=True)
class Request:
    """A scan to open, and what to show over it.

    Parameters
    ----------
    path, series, stack, irregular, identified
        As for :func:`lesionlens.io.read`.
    results
        Folder that a run on this scan wrote.
    overlays
        Masks and maps from elsewhere.
    other_frame
        Take overlays of another frame of reference too.
    measured
        Measure the regions of the results; who shows no table of them need not wait for it.
    scan_alone
        Where the results or overlays cannot be shown, open the scan without them, and say why.
    remembered
        Whether it goes into the list of recent cases; not what lies here for a while alone.
    """

    path: Path
    series: str | int | None = None
    stack: str | int | None = None
    irregular: Irregular = "refuse"
    identified: bool = False
    results: Path | None = None
    overlays: tuple[Path, ...] = ()
    other_frame: bool = False
    measured: bool = True
    scan_alone: bool = False
    remembered: bool = True


@dataclass(frozen=True)
class Opened:
    """A scan that was read whole.

    Parameters
    ----------
    volume
        The scan.
    layer
        How it is shown: its grey window takes seconds for a large one, so it is made in the background too.
    result, overlays
        What is shown over it.
    failure
        Why there is nothing over it, although it was asked for.
    """

    volume: Volume
    layer: LayerData
    result: CaseResult | None
    overlays: tuple[Heatmap | LabelMap, ...]
    failure: str = ""


@dataclass(frozen=True)
class Question:
    """What has to be chosen before a scan can be read.

    Parameters
    ----------
    request
        What was asked for.
    error
        What is to be chosen: a series, a volume in it, or what to do with irregular slices.
    series
        What there is to choose from, where it is a series.
    """

    request: Request
    error: AmbiguousSeriesError | IrregularSeriesError
    series: tuple[SeriesInfo, ...] = ()


def open_scan(request: Request, progress: Progress, on_slice: OnSlice | None = None) -> Opened | Question:
    """Read a scan and what is shown over it, or return what has to be chosen first.

    Raises
    ------
    LesionLensError
        If something cannot be read, whatever is chosen.
    """
    path = request.path
    if (path / _RECORD).is_file():
        raise ReadError(
            f"{path.name} holds the results of a run: open the scan first, then 'Open results…' in the LesionLens"
            " widget."
        )
    try:
        volume = read(
            path,
            series=request.series,
            stack=request.stack,
            irregular=request.irregular,
            identified=request.identified,
            progress=progress,
            on_slice=on_slice,
        )
    except AmbiguousStackError as error:
        return Question(request, error)
    except AmbiguousSeriesError as error:
        return Question(request, error, tuple(list_series(path, identified=request.identified, progress=progress)))
    except IrregularSeriesError as error:
        if not error.choices or request.irregular != "refuse":
            raise
        return Question(request, error)
    try:
        return Opened(volume, volume_layer(volume), *_over(request, volume))
    except LesionLensError as error:
        if not request.scan_alone or isinstance(error, Cancelled):
            raise
        return Opened(volume, volume_layer(volume), None, (), str(error))


def _over(request: Request, volume: Volume) -> tuple[CaseResult | None, tuple[Heatmap | LabelMap, ...]]:
    """Read what is shown over a scan."""
    result = None if request.results is None else read_case(request.results, volume, measured=request.measured)
    maps = tuple(
        found
        for file in request.overlays
        for found in read_overlay(file, volume, other_frame=request.other_frame, identified=request.identified)
    )
    return result, maps
