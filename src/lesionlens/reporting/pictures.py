"""The pictures of a case: those that the run left, and those that are drawn for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lesionlens.distributions import intensity_limits, split_histogram, threshold_curve
from lesionlens.heatmap import Heatmap, slug
from lesionlens.report.key_image import key_image
from lesionlens.report.lines import PROBABILITY_LEVELS, SHARES, lines_png
from lesionlens.report.montage import NOTICE
from lesionlens.report.pages import Picture
from lesionlens.report.plots import draw_histogram, draw_threshold_curve
from lesionlens.report.words import Words
from lesionlens.results import read_maps, read_regions
from lesionlens.rules import Connectivity
from lesionlens.volume import Array, Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MOST_FINDINGS", "Maps", "finding_pictures", "key_slices", "line_pictures", "plots"]

#: So many of the largest regions of a class are shown from near.
MOST_FINDINGS: Final = 6
_DPI: Final = 130


class Maps:
    """The maps and regions of a run, read once and only when they are asked for."""

    def __init__(self, folder: Path, record: Mapping[str, Any]) -> None:
        self.maps: tuple[Heatmap, ...] = read_maps(folder)[0] if record["maps"] else ()
        regions = read_regions(folder)[0] if record.get("n_regions") else {}
        self.labels: dict[str, Array] = {label: np.asarray(found.array) for label, found in regions.items()}

    def of(self, kind: str, label: str) -> Heatmap | None:
        """Return the first map of a kind of a class."""
        return next((one for one in self.maps if one.kind == kind and one.label == label), None)


def key_slices(folder: Path, labels: list[str], say: Words) -> Iterator[Picture]:
    """Yield the overlays that the run left, which carry their own colour bars."""
    for label in labels:
        path = folder / f"overlay_{slug(label)}.png"
        if path.is_file():
            caption = say(
                "%(label)s. Columns are the slices that show most of it. Rows: the bare scan; the probability from the"
                " threshold on (no unit, 0 to 1) with the outlines and numbers of the regions; evidence for the class"
                " (no unit; comparable within this scan alone). The patient's right is on the left.",
                label=label,
            )
            yield Picture(path.read_bytes(), caption)


def line_pictures(maps: Maps, volume: Volume | None, say: Words) -> Iterator[Picture]:
    """Yield regions and maps as lines, for each class that has regions."""
    for label, labels in maps.labels.items():
        probability, attribution = maps.of("probability", label), maps.of("attribution", label)
        if probability is None:
            continue
        png = lines_png(probability, labels, attribution=attribution, volume=volume)
        if png is None:
            continue
        first, second = (say.number(level, 2) for level in PROBABILITY_LEVELS)
        caption = say(
            "%(label)s without colours. Solid: outlines of the regions, with their numbers in the table. First row:"
            " probability %(first)s (dashed) and %(second)s (dotted).",
            **{"label": label, "first": first, "second": second},
        )
        if attribution is not None:
            shares = [say.number(100 * share, 0) for share in SHARES]
            caption += " " + say(
                "Second row: evidence at %(a)s (dashed), %(b)s (dotted) and %(c)s (dash and dot) per cent of the end of"
                " its colour bar.",
                **dict(zip("abc", shares, strict=True)),
            )
        yield Picture(png, caption)


def finding_pictures(
    maps: Maps, volume: Volume, thresholds: Mapping[str, float], threshold: float, say: Words
) -> Iterator[Picture]:
    """Yield the largest regions of each class: the slice with most of each, whole and from near."""
    for label, labels in maps.labels.items():
        least = thresholds.get(label, threshold)
        for number in [int(name) for name in np.unique(labels) if name][:MOST_FINDINGS]:
            png = key_image(volume, labels == number, probability=maps.of("probability", label), threshold=least)
            caption = say(
                "%(label)s no. %(number)s: the slice with most of it, whole and from near. Solid line: the region."
                " Colours: probability from %(least)s (no unit).",
                **{"label": label, "number": number, "least": say.number(least, 2)},
            )
            yield Picture(png, caption)


def plots(
    maps: Maps,
    volume: Volume | None,
    thresholds: Mapping[str, float],
    threshold: float,
    say: Words,
    *,
    connectivity: Connectivity,
) -> Iterator[Picture]:
    """Yield what each threshold would find, and with the scan how its values lie inside and outside of regions."""
    for label, labels in maps.labels.items():
        probability, least = maps.of("probability", label), thresholds.get(label, threshold)
        if probability is not None:
            curve = threshold_curve(probability, connectivity=connectivity)
            figure = draw_threshold_curve(curve, threshold=least, title=label)
            caption = say("%(label)s: volume and number of connected regions at each threshold.", label=label)
            yield Picture(_png(figure), f"{caption} {_mark(least, say)}")
        if volume is not None and labels.any():
            inside = labels > 0
            limits = intensity_limits(volume.array, inside, valid=volume.valid)
            counted = split_histogram(volume.array, inside, limits=limits, valid=volume.valid)
            unit = f" in {volume.unit}" if volume.unit else ""
            figure = draw_histogram(counted, quantity=f"values of the scan{unit}", title=label)
            yield Picture(
                _png(figure), say("%(label)s: values of the scan inside and outside of regions.", label=label)
            )


def _mark(threshold: float, say: Words) -> str:
    return say("The dashed line is the threshold in use, %(value)s.", value=say.number(threshold, 2))


def _png(figure: Figure) -> bytes:
    found = BytesIO()
    figure.savefig(found, format="png", dpi=_DPI, metadata={"Description": NOTICE})
    return found.getvalue()
