"""What was found, as tables that people read: the main columns, their units and their meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lesionlens.detections import Detection
from lesionlens.report.columns import column_of
from lesionlens.report.result_page import Head, Sheet
from lesionlens.report.words import N_, Words

__all__ = ["MOST_ROWS", "REGION_COLUMNS", "class_sheet", "detection_sheet", "region_sheet"]

#: So many regions or boxes are on a page, the largest and surest first; the tables beside the results have all.
MOST_ROWS: Final = 60

Row = Mapping[str, str]


@dataclass(frozen=True)
class _Shown:
    """A column of the page: its head, the columns of ``regions.csv`` that it shows, and with how many decimals."""

    head: str
    names: tuple[str, ...]
    digits: int = 1
    factor: float = 1.0
    unit: str | None = None
    meaning: str | None = None


# The head, what it shows; a column that is empty in all rows is left out.
REGION_COLUMNS: Final = (
    _Shown(N_("No."), ("label",), 0, meaning=N_("Number of the region in the pictures; 1 is the largest.")),
    _Shown(N_("Volume"), ("volume_mm3",), 1),
    _Shown(N_("Centroid R, A, S"), tuple(f"centroid_{axis}_mm" for axis in "ras"), 0),
    _Shown(N_("Diameter"), ("diameter_mm",), 1),
    _Shown(N_("Axial diam."), ("axial_diameter_mm",), 1),
    _Shown(N_("Across it"), ("axial_perpendicular_mm",), 1),
    _Shown(N_("Mean prob."), ("probability_mean",), 2),
    _Shown(N_("Most prob."), ("probability_max",), 2, meaning=""),
    _Shown(N_("Contrast / noise"), ("shell_contrast_to_noise",), 1),
    _Shown(
        N_("Evidence"), ("attribution_share",), 1, 100, "%", N_("Share of all evidence for the class that lies inside.")
    ),
    _Shown(N_("Entropy"), ("uncertainty_mean",), 2),
    _Shown(N_("Volume SD"), ("volume_sd_mm3",), 1, unit="mm³"),
)
_FLAGS: Final = {
    "touches_border": N_("at border"),
    "few_voxels": N_("few voxels"),
    "one_slice": N_("one slice"),
    "below_attribution_cell": N_("below a cell"),
    "resampled": N_("resampled"),
}


_MEANINGS: Final = {
    "touches_border": N_("it reaches an outer face of the scan, or voxels without data, and may be cut off"),
    "few_voxels": N_("fewer than eight voxels, too few to measure a volume or a shape"),
    "one_slice": N_("one voxel thick along an axis of the grid"),
    "below_attribution_cell": N_("smaller than a cell of the explained layer, so its evidence is its surroundings'"),
    "resampled": N_("the scan was brought to a regular grid, its voxels are interpolated"),
}


def region_sheet(rows: Sequence[Row], say: Words, *, caption: str = "") -> Sheet:
    """Return the regions of one class, the largest first.

    Parameters
    ----------
    rows
        Of ``regions.csv``.
    say
        The language.
    caption
        Above the table.
    """
    shown = rows[:MOST_ROWS]
    columns = [one for one in REGION_COLUMNS if any(row.get(one.names[0]) for row in shown)]
    heads = [_head(one, say) for one in columns]
    cells = [[_cell(one, row, say) for one in columns] for row in shown]
    for name, title in (("anatomy", N_("Anatomy")), ("", N_("Flags"))):
        texts = [row.get(name, "") if name else _flags(row, say) for row in shown]
        if any(texts):
            heads.append(Head(say(title), meaning=_meaning((name,), say) if name else _flag_meaning(shown, say)))
            cells = [[*row, text] for row, text in zip(cells, texts, strict=True)]
    more = say("The %(shown)s largest of %(all)s are shown; regions.csv has all.", shown=len(shown), all=len(rows))
    return Sheet(heads, cells, [more] if len(rows) > len(shown) else [], caption)


def _head(one: _Shown, say: Words) -> Head:
    unit = column_of(one.names[0]).unit if one.unit is None else one.unit
    return Head(say(one.head), unit, number=True, meaning=_meaning(one.names, say, one.meaning))


def _meaning(names: Sequence[str], say: Words, own: str | None = None) -> str:
    text = column_of(names[0]).meaning if own is None else own
    return say(text) if text else ""  # the translation of nothing is the head of a catalogue


def _cell(one: _Shown, row: Row, say: Words) -> str:
    signed = len(one.names) > 1
    return " ".join(_number(row.get(name, ""), one, say, signed=signed) for name in one.names)


def _number(text: str, one: _Shown, say: Words, *, signed: bool) -> str:
    if not text:
        return ""
    value = float(text) * one.factor
    return say.figure(f"{value:+.{one.digits}f}" if signed else f"{value:.{one.digits}f}")


def _flags(row: Row, say: Words) -> str:
    return ", ".join(say(title) for name, title in _FLAGS.items() if row.get(name) == "true")


def _flag_meaning(rows: Sequence[Row], say: Words) -> str:
    raised = [name for name in _FLAGS if any(row.get(name) == "true" for row in rows)]
    return "; ".join(f"{say(_FLAGS[name])}: {say(_MEANINGS[name])}" for name in raised)


def class_sheet(record: Mapping[str, Any], say: Words) -> Sheet:
    """Return the probabilities of the classes of a classification."""
    calibrated = record["bundle"].get("calibration")
    head = Head(say("Calibrated probability") if calibrated else say("Probability"), number=True)
    rows = [[label, say.number(value, 3)] for label, value in record["class_probabilities"].items()]
    return Sheet([Head(say("Class")), head], rows, [calibrated] if calibrated else [])


def detection_sheet(found: Sequence[Detection], say: Words) -> Sheet:
    """Return the boxes of a detection bundle, the surest first."""

    def place(values: Sequence[float], form: Callable[[float], str]) -> str:
        return " ".join(say.figure(form(value)) for value in values)

    rows = [
        [
            one.label,
            str(one.number),
            say.number(one.confidence, 3),
            place(one.centre_ras, "{:+.0f}".format),
            place(one.size_mm, "{:.1f}".format),
        ]
        for one in found[:MOST_ROWS]
    ]
    heads = [
        Head(say("Class")),
        Head(say("No."), number=True),
        Head(say("Confidence"), number=True, meaning=say("The network's score, between 0 and 1.")),
        Head(say("Centre R, A, S"), "mm", number=True),
        Head(say("Edges"), "mm", number=True, meaning=say("Lengths along the axes of the grid that the network saw.")),
    ]
    more = say("The %(shown)s surest of %(all)s are shown; detections.csv has all.", shown=len(rows), all=len(found))
    return Sheet(heads, rows, [more] if len(found) > len(rows) else [])
