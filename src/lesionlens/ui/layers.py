"""Volumes, heatmaps and regions as napari layers, and back: pure functions, no viewer.

Layers look at the arrays that are there through :class:`~lesionlens.display.DisplayView` (no copy, no resampling); the
values themselves, the true affine and the provenance travel in ``layer.metadata``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.contours import Lines
from lesionlens.display import DisplayView
from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, LabelMap
from lesionlens.methods import METHODS
from lesionlens.report.paint import scan_window
from lesionlens.report.preview import Preview
from lesionlens.scales import limit_of
from lesionlens.spread import VOLUME_COV
from lesionlens.styles import DIVERGING, REGIONS, UNCERTAINTY, Style
from lesionlens.ui.appearance import appearance, cut_of, default_styles, is_signed, kind_of, opacity_of
from lesionlens.ui.colours import lines, outline
from lesionlens.volume import Grid, Source, Volume

if TYPE_CHECKING:
    from napari.layers import Image, Layer

__all__ = [
    "RULES_KEY",
    "THRESHOLD_KEY",
    "contour_layer",
    "heatmap_layer",
    "heatmap_name",
    "heatmap_of",
    "is_contour",
    "is_fixed",
    "is_foreign_image",
    "is_length",
    "is_loading",
    "labels_layer",
    "loading_layer",
    "method_name",
    "mm_per_unit",
    "overlay_layer",
    "scan_of",
    "set_if_other",
    "uncertainty_layer",
    "volume_from_image",
    "volume_layer",
    "volume_of",
    "window_limits",
]

# Lines look like an array and hold none.
LayerData = tuple[NDArray[Any] | Lines, dict[str, Any], str]

# Keys of layer.metadata. The first three hold the values themselves.
VOLUME_KEY = "lesionlens_volume"
HEATMAP_KEY = "lesionlens_heatmap"
SCAN_KEY = "lesionlens_scan"
AFFINE_KEY = "affine_ras_mm"
GEOMETRY_KEY = "geometry"
PROVENANCE_KEY = "provenance"
THRESHOLD_KEY = "threshold"
RULES_KEY = "lesionlens_rules"
NOTICE_KEY = "notice"
LOADING_KEY = "lesionlens_loading"
CONTOUR_KEY = "lesionlens_contour"
# The limits that a scan was first shown with.
WINDOW_KEY = "lesionlens_window"
# Colours that say something else than a style does, and stay as they are.
FIXED_KEY = "lesionlens_fixed_colours"
NOTICE = "Research use only, not a medical device"

# Directions in which the display axes grow: head (superior), back (posterior), patient's left.
AXIS_LABELS = ("S", "P", "L")

# How the methods begin that take parts of a scan away.
_IMPORTANCE = "importance-"
# Maps from elsewhere say nothing about the value from which they count; half is where most are cut.
_FOREIGN_THRESHOLD = 0.5
# Small differences count as well; what is left out is rounding and noise.
_DIFFERENCE_FROM = 0.05


def volume_layer(volume: Volume) -> LayerData:
    """Return a scan as an image layer in grey."""
    source, window = volume.source, scan_window(volume)
    metadata = {
        VOLUME_KEY: volume,
        WINDOW_KEY: window,
        AFFINE_KEY: volume.grid.affine,
        GEOMETRY_KEY: str(source.verdict),
        PROVENANCE_KEY: {"decisions": source.decisions, "sha256": source.sha256, **_identity(source)},
        NOTICE_KEY: NOTICE,
    }
    options = {"name": volume.name, "colormap": "gray", "contrast_limits": window}
    return _layer(volume.array, volume.grid, {**options, "metadata": metadata}, "image")


def loading_layer(preview: Preview) -> LayerData:
    """Return the picture of a scan that is still being read, as a layer that says so.

    Raises
    ------
    InputError
        If there is no slice yet.
    """
    if preview.first is None:
        raise InputError("Expected a slice to show; found none yet. Wait for the first.")
    metadata = {LOADING_KEY: True, NOTICE_KEY: NOTICE}
    options = {"name": f"Loading: {preview.first.name}", "colormap": "gray", "contrast_limits": (0, 255)}
    return _layer(preview.array, preview.first.grid, {**options, "metadata": metadata}, "image")


def heatmap_layer(heatmap: Heatmap, scan: Volume, style: Style) -> LayerData:
    """Return a heatmap as an image layer that is transparent below the style's threshold."""
    colormap, limits = appearance(heatmap, style)
    options = {
        "name": heatmap_name(heatmap),
        "colormap": colormap,
        "contrast_limits": limits,
        "opacity": opacity_of(heatmap, style),
        "visible": style.visible,
        "metadata": {
            HEATMAP_KEY: heatmap,
            SCAN_KEY: scan,
            AFFINE_KEY: heatmap.grid.affine,
            PROVENANCE_KEY: _provenance(heatmap),
            FIXED_KEY: _has_own_colours(heatmap),
            NOTICE_KEY: NOTICE,
        },
    }
    return _layer(heatmap.array, heatmap.grid, options, "image")


def _has_own_colours(heatmap: Heatmap) -> bool:
    """Say whether no style fits a map: a difference is on the scale of two, and of an importance every part counts."""
    return heatmap.kind == "difference" or heatmap.provenance.method.startswith(_IMPORTANCE)


def labels_layer(labels: NDArray[Any], label: str, scan: Volume, style: Style) -> LayerData:
    """Return the regions of a class, (i, j, k) integers on the scan's grid, as a labels layer."""
    metadata = {SCAN_KEY: scan, AFFINE_KEY: scan.grid.affine, THRESHOLD_KEY: style.threshold, NOTICE_KEY: NOTICE}
    options = {
        "name": f"Regions: {label}",
        "colormap": outline(style.colours),
        "opacity": style.opacity,
        "visible": style.visible,
        "metadata": metadata,
    }
    return _layer(labels, scan.grid, options, "labels")


def overlay_layer(overlay: Heatmap | LabelMap, scan: Volume) -> LayerData:
    """Return a mask or map from elsewhere as a layer over its scan."""
    styles = default_styles(threshold=_FOREIGN_THRESHOLD)
    if isinstance(overlay, Heatmap):
        style = replace(styles[kind_of(overlay)], visible=True)
        if overlay.kind == "difference":
            style = replace(style, colours=DIVERGING, threshold=_DIFFERENCE_FROM)
        array, options, layer_type = heatmap_layer(overlay, scan, style)
        return array, {**options, "name": f"{overlay.kind.capitalize()}: {overlay.label}"}, layer_type
    metadata = {
        SCAN_KEY: scan,
        AFFINE_KEY: scan.grid.affine,
        PROVENANCE_KEY: _provenance(overlay),
        NOTICE_KEY: NOTICE,
    }
    options = {"name": f"Mask: {overlay.label}", "opacity": styles[REGIONS].opacity, "metadata": metadata}
    if overlay.names:
        numbers = [0, *overlay.names]
        options["features"] = {"index": numbers, "name": ["outside", *overlay.names.values()]}
    return _layer(overlay.array, scan.grid, options, "labels")


def uncertainty_layer(heatmap: Heatmap, scan: Volume) -> LayerData:
    """Return an uncertainty map as a layer that waits to be switched on: there are several for each class."""
    return heatmap_layer(heatmap, scan, default_styles(threshold=_FOREIGN_THRESHOLD)[UNCERTAINTY])


def contour_layer(heatmap: Heatmap, scan: Volume, style: Style, *, limit: float | None = None) -> LayerData:
    """Return lines around what a heatmap shows in a style, as a labels layer that draws its slices when they are seen.

    Parameters
    ----------
    heatmap, scan, style
        As for :func:`heatmap_layer`.
    limit
        Of the heatmap's colours; see :func:`lesionlens.ui.appearance.appearance`.
    """
    signed = is_signed(heatmap, style)
    limit = limit_of([heatmap], both_signs=signed) if limit is None else limit
    options = {
        "name": f"Contour of {heatmap_name(heatmap)}",
        "colormap": lines(kind_of(heatmap), signed=signed, unseen=heatmap.unseen),
        "opacity": opacity_of(heatmap, style),
        "visible": style.visible,
        "metadata": {SCAN_KEY: scan, AFFINE_KEY: heatmap.grid.affine, CONTOUR_KEY: True, NOTICE_KEY: NOTICE},
    }
    array, placed, kind = _layer(heatmap.array, heatmap.grid, options, "labels")
    return Lines(np.asarray(array), cut_of(heatmap, style, limit), both_signs=signed), placed, kind


def heatmap_name(heatmap: Heatmap) -> str:
    """Return the layer name of a heatmap: ``"Probability: lesion"``, ``"Grad-CAM: lesion"``."""
    if heatmap.kind in ("attribution", "feature", "attention", "detection"):
        seen = " (not seen)" if heatmap.unseen else ""
        return f"{method_name(heatmap.provenance.method)}: {heatmap.label}{seen}"
    if heatmap.kind == "uncertainty":
        return f"{_UNCERTAINTY_NAMES.get(heatmap.provenance.method, 'Uncertainty')}: {heatmap.label}"
    if "temperature" in heatmap.provenance.options:
        return f"Calibrated probability: {heatmap.label}"
    return f"{heatmap.kind.capitalize()}: {heatmap.label}"


_UNCERTAINTY_NAMES = {
    "mean": "Mean probability",
    "sd": "SD of probability",
    "entropy": "Entropy (nats)",
    "mutual information": "Mutual information (nats)",
    VOLUME_COV: "CoV of volume",
}


def method_name(method: str) -> str:
    """Return the name that people know an attribution method by: ``"Grad-CAM"``."""
    if method.startswith(_IMPORTANCE):
        return "Importance"
    return METHODS[method].title if method in METHODS else method.capitalize() or "Attribution"


def volume_of(layer: Layer) -> Volume | None:
    """Return the scan that a layer shows, or None for any other layer."""
    value = layer.metadata.get(VOLUME_KEY)
    return value if isinstance(value, Volume) else None


def heatmap_of(layer: Layer) -> Heatmap | None:
    """Return the heatmap that a layer shows, or None for any other layer."""
    value = layer.metadata.get(HEATMAP_KEY)
    return value if isinstance(value, Heatmap) else None


def scan_of(layer: Layer) -> Volume | None:
    """Return the scan that a layer is an overlay of, or None for any other layer."""
    value = layer.metadata.get(SCAN_KEY)
    return value if isinstance(value, Volume) else None


def set_if_other(layer: Layer, name: str, value: object) -> None:
    """Set a property of a layer unless it has that value: napari slices and draws anew even where nothing changes."""
    if getattr(layer, name) != value:
        setattr(layer, name, value)


def is_loading(layer: Layer) -> bool:
    """Say whether a layer is only the picture of a scan that is still being read."""
    return bool(layer.metadata.get(LOADING_KEY))


def is_contour(layer: Layer) -> bool:
    """Say whether a layer holds the lines around another one's map."""
    return bool(layer.metadata.get(CONTOUR_KEY))


def is_fixed(layer: Layer) -> bool:
    """Say whether the colours of a layer are none of a style's."""
    return bool(layer.metadata.get(FIXED_KEY))


def window_limits(layer: Layer) -> tuple[float, float] | None:
    """Return the values that were black and white when a scan was opened, or None for any other layer."""
    value = layer.metadata.get(WINDOW_KEY)
    return None if value is None else (float(value[0]), float(value[1]))


def is_foreign_image(layer: Layer) -> bool:
    """Say whether a layer is a plain 3D grey image that did not come from LesionLens."""
    ours = volume_of(layer) is not None or heatmap_of(layer) is not None or is_loading(layer)
    return type(layer).__name__ == "Image" and layer.ndim == 3 and not layer.rgb and not layer.multiscale and not ours


def volume_from_image(layer: Image) -> Volume:
    """Take a plain 3D image layer as a scan, as it stands on the screen.

    Its axes are taken for the display axes of LesionLens (towards head, back, patient's left), its ``scale`` and
    ``translate`` for lengths in its ``units``; pixels, which napari assumes where nothing is said, for mm.

    Raises
    ------
    InputError
        If the layer is rotated or sheared, which neither can be shown slice by slice nor be guessed, or an axis is not
        a length.
    """
    straight = (layer.affine.affine_matrix, np.eye(4)), (layer.rotate, np.eye(3)), (layer.shear, np.zeros(3))
    if not all(np.allclose(found, plain) for found, plain in straight):
        raise InputError(
            f"Layer {layer.name!r} is rotated or sheared, so its place in the patient is unknown;"
            " open the file with LesionLens instead."
        )
    to_mm = mm_per_unit(layer)
    (dz, dy, dx), (z, y, x) = layer.scale * to_mm, layer.translate * to_mm
    affine = np.array([[0, 0, -dx, -x], [0, -dy, 0, -y], [dz, 0, 0, z], [0, 0, 0, 1]])
    source = Source(decisions=("The affine was made from the napari layer's scale and translate.", *_unit_notes(layer)))
    return Volume(np.asarray(layer.data), Grid(layer.data.shape, affine), layer.name, source=source)


def mm_per_unit(layer: Layer) -> NDArray[np.float64]:
    """Return the length in mm of the unit of each axis of a layer; a pixel counts as 1 mm.

    Raises
    ------
    InputError
        If an axis is neither in a unit of length nor in pixels.
    """
    foreign = [str(unit) for unit in layer.units if not (_is_pixel(unit) or is_length(unit))]
    if foreign:
        raise InputError(
            f"Expected axes of layer {layer.name!r} in a unit of length; found {', '.join(foreign)}."
            " Give its units in mm (layer.units)."
        )
    return np.array([1.0 if _is_pixel(unit) else (1.0 * unit).to("mm").magnitude for unit in layer.units])


def is_length(unit: Any) -> bool:
    """Say whether a unit of napari measures lengths."""
    return bool(unit.is_compatible_with("mm"))


def _is_pixel(unit: Any) -> bool:
    return str(unit) == "pixel"


def _unit_notes(layer: Layer) -> tuple[str, ...]:
    units = dict.fromkeys(str(unit) for unit in layer.units)
    if "pixel" in units:
        return ("The layer names no unit of length: its pixels were taken for mm.",)
    return () if set(units) == {"millimeter"} else (f"Lengths were converted to mm from {', '.join(units)}.",)


def _identity(source: Source) -> dict[str, Any]:
    """Return who the scan is of, where that was asked for."""
    return {"identity": dict(source.identity)} if source.identity else {}


def _layer(array: NDArray[Any], grid: Grid, options: dict[str, Any], kind: str) -> LayerData:
    view = DisplayView(grid)
    place: dict[str, Any] = {"scale": view.scale, "translate": view.translate, "units": ("mm",) * 3}
    place["axis_labels"] = AXIS_LABELS
    if kind == "image":
        place["rgb"] = False  # napari would take three or four sagittal slices for red, green, blue and alpha
    return view.to_display(array), {**options, **place}, kind


def _provenance(heatmap: Heatmap | LabelMap) -> dict[str, Any]:
    """Return the provenance as plain values, for whoever looks into the layer."""
    values = {field.name: getattr(heatmap.provenance, field.name) for field in fields(heatmap.provenance)}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
