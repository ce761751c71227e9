"""How overlays are shown, and the styles that a user keeps: one file in the user's own folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from lesionlens.config import config_folder
from lesionlens.errors import InputError, OutputError, ReadError, unknown_name
from lesionlens.io.atomic import atomic_path

__all__ = [
    "ALL_REGIONS",
    "ANOMALY",
    "ATTRIBUTION",
    "DIVERGING",
    "OUTLINES",
    "PROBABILITY",
    "REGIONS",
    "SELECTED_ONLY",
    "SEQUENTIAL",
    "UNCERTAINTY",
    "OverlayKind",
    "Style",
    "StyleSheet",
    "read_styles",
    "styles_file",
    "write_styles",
]

OverlayKind = Literal["probability", "attribution", "uncertainty", "anomaly", "regions"]

PROBABILITY: Final = "probability"
ATTRIBUTION: Final = "attribution"
UNCERTAINTY: Final = "uncertainty"
ANOMALY: Final = "anomaly"
REGIONS: Final = "regions"

# Perceptually even and readable with any colour vision; napari ships all four.
SEQUENTIAL: Final = ("inferno", "magma", "plasma", "viridis")
# For signed values: blue against orange differ for every common colour vision.
DIVERGING: Final = "blue-orange"
# Outlines cover the outermost voxels, so that those of all regions would hide the rim of every colour overlay.
OUTLINES: Final = ("selected region", "all regions")
SELECTED_ONLY, ALL_REGIONS = OUTLINES

# Version of the file; another one is refused, not guessed at.
SCHEMA: Final = 1


@dataclass(frozen=True)
class Style:
    """How an overlay is shown; changing it recomputes nothing.

    Parameters
    ----------
    colours
        One of :data:`SEQUENTIAL`, or :data:`DIVERGING`; for regions one of :data:`OUTLINES`.
    threshold
        What lies below is transparent: a probability, or a fraction of the limit of the colours.
    opacity
        Opacity of all that is shown, in [0, 1].
    visible
        Whether it is shown at all.
    contour
        Whether a line is drawn around what is shown, instead of colours inside.

    Raises
    ------
    InputError
        If a number lies outside [0, 1] or the colours are unknown.
    """

    colours: str
    threshold: float
    opacity: float
    visible: bool
    contour: bool = False

    def __post_init__(self) -> None:
        known = (*SEQUENTIAL, DIVERGING, *OUTLINES)
        if self.colours not in known:
            raise InputError(unknown_name("colour map", self.colours, known))
        for name in ("threshold", "opacity"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"The {name} of a style lies in [0, 1]; found {value}.")
        if not (isinstance(self.visible, bool) and isinstance(self.contour, bool)):
            raise InputError("A style is visible and has a contour, or not: expected true or false.")


StyleSheet = Mapping[OverlayKind, Style]


def styles_file() -> Path:
    """Return the file with the user's styles; ``LESIONLENS_CONFIG`` names another folder."""
    return config_folder() / "overlay-styles.json"


def read_styles(path: Path) -> dict[str, dict[OverlayKind, Style]]:
    """Return the styles that a file holds, by name; none where there is no file.

    Raises
    ------
    ReadError
        If the file is damaged or of another version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema_version"] != SCHEMA:
            raise ReadError(
                f"Expected overlay styles of version {SCHEMA} in {path}; found version {found['schema_version']!r}."
                " Rename the file to begin anew."
            )
        return {str(name): _sheet(sheet) for name, sheet in found["styles"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(
            f"Expected overlay styles in {path}; found a file that cannot be understood ({_reason(error)})."
            " Rename the file to begin anew."
        ) from error


def write_styles(path: Path, styles: Mapping[str, StyleSheet]) -> None:
    """Write styles in one step: the file is the old one or the new one, whatever happens.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    sheets = {name: {kind: asdict(style) for kind, style in sheet.items()} for name, sheet in styles.items()}
    text = json.dumps({"schema_version": SCHEMA, "styles": sheets}, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot make the folder {path.parent}: {error.strerror}. Name another in LESIONLENS_CONFIG."
        ) from error
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sheet(found: Mapping[str, Any]) -> dict[OverlayKind, Style]:
    unknown = found.keys() - set(get_args(OverlayKind))
    if unknown:
        raise InputError(unknown_name("kind of overlay", min(unknown), get_args(OverlayKind)))
    return {kind: Style(**found[kind]) for kind in get_args(OverlayKind) if kind in found}


def _reason(error: BaseException) -> str:
    return str(error).rstrip(".") if isinstance(error, InputError) else type(error).__name__
