"""What there is to plot, and what a plot is. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lesionlens.calibration import Calibration
    from lesionlens.checks import TrustReport
    from lesionlens.heatmap import Heatmap, LabelMap
    from lesionlens.progress import Progress
    from lesionlens.results import CaseResult

__all__ = ["Plot", "Subject"]


@dataclass(frozen=True, eq=False)
class Subject:
    """What there is to plot.

    Parameters
    ----------
    result
        The results that are shown; None where there are none.
    label
        The class that is shown.
    threshold
        Probability from which it is shown.
    maps
        Names and maps over the scan.
    mask
        What a reader marked on the scan; None where nothing is chosen.
    calibration
        What ``lesionlens calibrate`` found; None where nothing is chosen.
    report
        The latest checks of a map; None where there are none.
    """

    result: CaseResult | None = None
    label: str = ""
    threshold: float = 0.5
    maps: tuple[tuple[str, Heatmap], ...] = ()
    mask: LabelMap | None = None
    calibration: Calibration | None = None
    report: TrustReport | None = None

    @property
    def probability(self) -> Heatmap | None:
        """The probability map of the class that is shown."""
        found = () if self.result is None else self.result.probabilities
        return next((heatmap for heatmap in found if heatmap.label == self.label), None)

    @property
    def regions_threshold(self) -> float:
        """The threshold that the regions were measured at."""
        return self.threshold if self.result is None else self.result.threshold

    @property
    def title(self) -> str:
        """Class and bundle, for the head of a figure."""
        return f"{self.label}, {self.result.bundle}" if self.result is not None else self.label


@dataclass(frozen=True)
class Plot:
    """One kind of plot.

    Parameters
    ----------
    title
        As people choose it.
    lacks
        Says what is missing, and what to do; empty where nothing is.
    key
        What the numbers depend on: they are counted again only when it changes.
    count
        Makes the numbers, in the background.
    draw
        Makes a figure of them.
    wants
        Whether a mask (``"mask"``) or also a calibration (``"reliability"``) is chosen for it; empty for neither.
    words
        One line below the figure.
    draggable
        Whether it has a line at the threshold that can be moved.
    """

    title: str
    lacks: Callable[[Subject], str]
    key: Callable[[Subject], tuple[object, ...]]
    count: Callable[[Subject, Progress], Any]
    draw: Callable[[Any, Subject], Figure]
    wants: str = ""
    words: Callable[[Any, Subject], str] = lambda _found, _subject: ""
    draggable: bool = False
