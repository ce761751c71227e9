"""What the canvas says of the pictures on it: the window of the scan, and of every overlay what it is and whence."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Labels

from lesionlens.scales import scale_of
from lesionlens.ui.layers import THRESHOLD_KEY, heatmap_of, is_contour, method_name, scan_of, volume_of
from lesionlens.ui.windows import shown_scan, window_now

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from lesionlens.heatmap import Heatmap

__all__ = ["LONGEST_LINE", "legend"]

#: Characters of a line that most windows can hold beside the letter at the top.
LONGEST_LINE = 48


def legend(viewer: ViewerModel, *, longest: int = LONGEST_LINE) -> str:
    """Return the lines for what is shown, the topmost overlay first; that it is for research stands below them all.

    Of a map: class and kind, values and unit of its colours, model, method, layer, and how finely it can point.

    Parameters
    ----------
    viewer
        Whose layers.
    longest
        Characters of a line.
    """
    wrapped = partial(_wrapped, longest=longest)
    lines: list[str] = []
    for layer in reversed(viewer.layers):
        if layer.visible and not is_contour(layer):
            heatmap = heatmap_of(layer)
            if heatmap is not None:
                lines += [part for line, indent in _of_map(layer, heatmap) for part in wrapped(line, indent=indent)]
            elif isinstance(layer, Labels) and scan_of(layer) is not None:
                lines += wrapped(_of_labels(layer))
    scan = shown_scan(viewer)
    volume = None if scan is None else volume_of(scan)
    if scan is not None and volume is not None:
        now = window_now(scan)
        lines += wrapped(" ".join(filter(None, ("Window", now.name, now.in_words(volume.unit)))))
    return "\n".join(lines)


def _of_map(layer: Layer, heatmap: Heatmap) -> tuple[tuple[str, str], ...]:
    """Return lines and how far they are indented."""
    made = heatmap.provenance
    low, high = layer.contrast_limits
    method = method_name(made.method) if heatmap.kind not in ("probability", "uncertainty") else made.method
    parts = (made.bundle, method, made.layer and f"layer {made.layer}", _resolution(made.resolution_mm))
    return (
        (f"{layer.name}: {_number(low, high)} to {_number(high, high)}, {scale_of(heatmap).unit}", ""),
        (", ".join(filter(None, parts)), "  "),
    )


def _of_labels(layer: Layer) -> str:
    threshold = layer.metadata.get(THRESHOLD_KEY)
    return layer.name if threshold is None else f"{layer.name}: from {threshold:g}"


def _resolution(resolution_mm: tuple[float, float, float] | None) -> str:
    """Say how finely a map can point; one on the network's own grid says nothing of it."""
    if resolution_mm is None:
        return ""
    sizes = dict.fromkeys(f"{size:.3g}" for size in resolution_mm)
    return f"±{' × '.join(sizes if len(sizes) == 1 else (f'{size:.3g}' for size in resolution_mm))} mm"


def _number(value: float, largest: float) -> str:
    """Write a limit; the lower one lies a hair below the threshold, so that this is shown too."""
    return f"{0.0 if abs(value) < 1e-6 * abs(largest) else value:.3g}"


def _wrapped(line: str, *, longest: int, indent: str = "") -> list[str]:
    return textwrap.wrap(line, longest, initial_indent=indent, subsequent_indent="  " + indent)
