"""What a user prefers, from the page *LesionLens* of napari's preferences; the manifest declares it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from napari.settings import get_plugin_settings

from lesionlens.methods import METHODS
from lesionlens.pipeline import RunOptions
from lesionlens.ui.colours import ATTRIBUTION_COLOURS, PROBABILITY_COLOURS
from lesionlens.ui.convention import RADIOLOGICAL, Convention

__all__ = ["GROUPS", "Preferences", "preferences", "set_preference", "when_preferences_change"]

_PLUGIN = "lesionlens"


@dataclass(frozen=True)
class Preferences:
    """What a user prefers.

    Parameters
    ----------
    threshold
        Probability that new results start at.
    opacity
        Of overlays, in [0, 1].
    probability_colours, attribution_colours
        Names of colour maps.
    convention
        On which side of the screen the patient's right is, when napari starts and after each change here.
    show_hint
        Show what to do first.
    remember_cases
        Keep a list of cases that were opened.
    budget_mib
        Memory for what a method tries at a time.
    """

    threshold: float = RunOptions(input=Path()).threshold
    opacity: float = 0.5
    probability_colours: str = PROBABILITY_COLOURS
    attribution_colours: str = ATTRIBUTION_COLOURS
    convention: Convention = RADIOLOGICAL
    show_hint: bool = True
    remember_cases: bool = True
    budget_mib: int = int(METHODS["occlusion"].options["budget_mib"])


#: In which part of the page each preference is.
GROUPS = {
    "threshold": "overlays",
    "opacity": "overlays",
    "probability_colours": "overlays",
    "attribution_colours": "overlays",
    "convention": "window",
    "show_hint": "window",
    "remember_cases": "privacy",
    "budget_mib": "computing",
}


def preferences() -> Preferences:
    """Return what the user prefers now; the defaults where napari does not know the page."""
    settings = _settings()
    if settings is None:
        return Preferences()
    return Preferences(
        **{one.name: getattr(getattr(settings, GROUPS[one.name]), one.name) for one in fields(Preferences)}
    )


def set_preference(name: str, value: object) -> None:
    """Change what the user prefers; napari keeps it."""
    settings = _settings()
    if settings is not None:
        setattr(getattr(settings, GROUPS[name]), name, value)


def when_preferences_change(step: Callable[[Any], object]) -> bool:
    """Call a bound method after each change, for as long as its object exists; napari keeps a weak reference.

    Return whether there are preferences that can change.
    """
    settings = _settings()
    if settings is None:
        return False
    for group in dict.fromkeys(GROUPS.values()):
        getattr(settings, group).events.connect(step)
    return True


def _settings() -> Any:
    """Return napari's settings of the plugin; None where it is switched off, or was never installed."""
    try:
        return get_plugin_settings(_PLUGIN)
    except KeyError:
        return None
