"""A comparison as files: difference maps, matrices as pictures, and the numbers as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.compare import Comparison, Pair
from lesionlens.heatmap import slug
from lesionlens.io import write
from lesionlens.report.matrices import write_matrix
from lesionlens.seals import file_hashes, sealed_text

__all__ = ["comparison_summary", "write_comparison"]


def comparison_summary(comparison: Comparison) -> dict[str, Any]:
    """Return the numbers of a comparison as plain values that JSON takes; what is not defined is None."""
    counts = comparison.confusion
    return {
        "maps": list(comparison.names),
        "pearson": _plain(comparison.pearson),
        "spearman": _plain(comparison.spearman),
        "pairs": [_pair_summary(pair) for pair in comparison.pairs],
        "classes": list(comparison.classes),
        "confusion_voxels": None if counts is None else counts.tolist(),
    }


def write_comparison(comparison: Comparison, folder: Path, *, chains: Sequence[Mapping[str, str] | None] = ()) -> None:
    """Write ``difference_*.nii.gz``, ``correlation_*.png``, ``confusion.png`` and ``comparison.json`` into a folder.

    ``chains`` are the hashes of what the compared results rest on, as their records hold them.
    """
    for pair in comparison.pairs:
        write(pair.difference.heatmap, folder / _difference_file(pair))
    for kind in ("pearson", "spearman"):
        values = getattr(comparison, kind)
        if values.size:
            title = f"{kind.capitalize()} correlation of maps"
            write_matrix(folder / f"correlation_{kind}.png", values, comparison.names, kind="correlation", title=title)
    if comparison.confusion is not None:
        words = {"title": "Voxels by class", "row_title": "A", "column_title": "B"}
        write_matrix(folder / "confusion.png", comparison.confusion, comparison.classes, kind="counts", **words)
    files = file_hashes(folder, [path.name for path in folder.iterdir()])
    summary = sealed_text({**comparison_summary(comparison), "chains": list(chains), "files": files})
    (folder / "comparison.json").write_text(summary, encoding="utf-8")


def _difference_file(pair: Pair) -> str:
    """Name a difference after both maps, or after what they share."""
    first, second = pair.first.name, pair.second.name
    return f"difference_{slug(first) if first == second else f'{slug(second)}_minus_{slug(first)}'}.nii.gz"


def _pair_summary(pair: Pair) -> dict[str, Any]:
    found, both = pair.difference, pair.overlap
    return {
        "first": pair.first.name,
        "second": pair.second.name,
        "file": _difference_file(pair),
        "scale": found.heatmap.provenance.options["scale"],
        "limit": found.limit,
        "mean_difference": found.mean,
        "mean_absolute_difference": found.mean_absolute,
        "largest_difference": found.largest,
        "cut": pair.cut,
        "dice": both.dice,
        "jaccard": both.jaccard,
        "voxels": {"first": both.first, "second": both.second, "both": both.both},
    }


def _plain(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
