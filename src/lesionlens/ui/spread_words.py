"""How far several predictions of one scan differ, in a few words: no Qt, no viewer."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesionlens.results import CaseResult

__all__ = ["spread_words"]

_KINDS = {"tta": "flips", "dropout": "samples with dropout", "ensemble": "bundles"}


def spread_words(result: CaseResult, label: str) -> str:
    """Return what the record says about the spread of a class, as rich text; empty where there was one prediction.

    For a segmentation the volume of all its lesions, for a classification the measures of every class.
    """
    record = result.record.get("uncertainty")
    if not record:
        return ""
    head = f"<b>Over {len(record['samples'])} {_KINDS[record['sampling']]}</b>"
    total = record["total_volume_mm3"].get(label)
    rows = "".join(_class_row(name, found) for name, found in record["classes"].items())
    lines = [head]
    if total is not None and result.volume_spreads.get(label) is not None:
        lines.append(f"all of {escape(label)}: {total['mean_mm3'] / 1000:.2f} ± {total['sd_mm3'] / 1000:.2f} mL")
    if rows:
        lines.append(f"<table><tr><td></td><td>mean ± SD&nbsp;</td><td>mutual information</td></tr>{rows}</table>")
    lines += [f"<i>{escape(note)}</i>" for note in record["notes"]]
    return "<br>".join(lines)


def _class_row(name: str, found: dict[str, float]) -> str:
    return (
        f"<tr><td>{escape(name)}&nbsp;</td><td>{found['mean']:.1%} ± {found['sd']:.1%}&nbsp;</td>"
        f"<td>{found['mutual information']:.3f} nats</td></tr>"
    )
