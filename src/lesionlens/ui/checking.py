"""The checks of a map in the background, with their pictures: no Qt, no viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lesionlens.checks import CHECKS, TrustReport
from lesionlens.heatmap import LabelMap
from lesionlens.methods import Value
from lesionlens.progress import Progress
from lesionlens.report.trust import draw_charts
from lesionlens.target import Over, ScoreName
from lesionlens.ui.drawn import DOCK_INCHES, pixels_of

if TYPE_CHECKING:
    from lesionlens.volume import Volume

__all__ = ["Checked", "TrustOptions", "check"]


@dataclass(frozen=True, eq=False)
class TrustOptions:
    """What to check; the parameters are those of :func:`lesionlens.trust`.

    ``bundle`` is a name or path, ``allowed`` says that it may execute its config, ``classes`` what it is asked for.
    """

    bundle: str
    method: str | None
    target: str | None = None
    score: ScoreName | None = None
    over: Over | str = "predicted"
    against: tuple[str, ...] = ()
    gamma: float = 1.0
    layer: str | None = None
    method_options: Mapping[str, Value] = field(default_factory=dict)
    mask: LabelMap | None = None
    also: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    whole: bool = False
    allowed: bool = False
    channels: tuple[tuple[str, Volume], ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Checked:
    """What the checks found.

    Parameters
    ----------
    report
        Verdicts, sentences and numbers.
    pictures
        The charts of a check, by its name: (rows, columns, 4) uint8, RGBA.
    missing
        Why a check was not made, by its name.
    """

    report: TrustReport
    pictures: Mapping[str, NDArray[np.uint8]]
    missing: Mapping[str, str]


def check(options: TrustOptions, scan: Volume, progress: Progress) -> Checked:
    """Make the map of a scan, check it, and draw what was found."""
    from lesionlens.model.bundle import load_bundle
    from lesionlens.model.channels import matched
    from lesionlens.model.trust import trust

    progress("Loading the bundle", 0, 1)
    bundle = load_bundle(options.bundle, trust=options.allowed, classes=options.classes)
    report = trust(
        bundle,
        matched(bundle.info, [("", scan), *options.channels])[0],
        method=options.method,
        target=options.target,
        score=options.score,
        over=options.over,
        against=options.against,
        gamma=options.gamma,
        layer=options.layer,
        options=options.method_options,
        mask=options.mask,
        also=options.also,
        checks=options.checks or None,
        whole=options.whole,
        progress=progress,
    )
    drawn = ((one.name, draw_charts(one, width=DOCK_INCHES)) for one in report.checks)
    pictures = {name: pixels_of(figure) for name, figure in drawn if figure is not None}
    return Checked(report, pictures, _missing(options, {one.name for one in report.checks}))


def _missing(options: TrustOptions, made: set[str]) -> dict[str, str]:
    reasons = {
        "localisation": "" if options.mask else "Choose a mask that a reader painted on the scan.",
        "agreement": "" if options.also else "Choose other methods to compare with.",
    }
    return {name: reasons.get(name) or "It was left out." for name in CHECKS if name not in made}
