"""Feature importance in the background, with its picture: no Qt, no viewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lesionlens.heatmap import Importance, LabelMap
from lesionlens.importance import feature_importance
from lesionlens.progress import Progress
from lesionlens.report.importance import draw_bars
from lesionlens.rules import DEFAULT_RULES, RegionRules
from lesionlens.target import Over, ScoreName
from lesionlens.ui.drawn import DOCK_INCHES, pixels_of

if TYPE_CHECKING:
    from lesionlens.volume import Volume

__all__ = ["ImportanceOptions", "Weighed", "weigh"]


@dataclass(frozen=True, eq=False)
class ImportanceOptions:
    """What to take away; the parameters are those of :func:`lesionlens.importance.feature_importance`.

    ``bundle`` is a name or path, ``allowed`` says that it may execute its config, ``classes`` what it is asked for.
    """

    bundle: str
    features: LabelMap | Literal["channels", "regions"]
    target: str | None = None
    score: ScoreName | None = None
    over: Over | str = "predicted"
    against: tuple[str, ...] = ()
    gamma: float = 1.0
    how: Literal["ablate", "permute"] = "ablate"
    threshold: float = 0.5
    rules: RegionRules = DEFAULT_RULES
    budget_mib: int = 1024
    allowed: bool = False
    channels: tuple[tuple[str, Volume], ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Weighed:
    """What was found.

    Parameters
    ----------
    found
        Falls and heatmap.
    scan
        What was looked at.
    bars
        Picture of the falls: (rows, columns, 4) uint8, RGBA.
    """

    found: Importance
    scan: Volume
    bars: NDArray[np.uint8]


def weigh(options: ImportanceOptions, scan: Volume, progress: Progress) -> Weighed:
    """Take features of a scan away one by one, and draw how far the target falls."""
    from lesionlens.model.bundle import load_bundle
    from lesionlens.model.channels import matched

    progress("Loading the bundle", 0, 1)
    bundle = load_bundle(options.bundle, trust=options.allowed, classes=options.classes)
    found = feature_importance(
        bundle,
        matched(bundle.info, [("", scan), *options.channels])[0],
        features=options.features,
        target=options.target,
        score=options.score,
        over=options.over,
        against=options.against,
        gamma=options.gamma,
        how=options.how,
        budget_mib=options.budget_mib,
        threshold=options.threshold,
        rules=options.rules,
        progress=progress,
    )
    return Weighed(found, scan, pixels_of(draw_bars(found, width=DOCK_INCHES)))
