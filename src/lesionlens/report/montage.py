"""One picture of a case: the slices that matter, with the probability and the attribution over the scan.

Every slice is a column: the bare scan, the probability above the threshold, the attribution. Patient's right is on the
left of axial and coronal pictures, distances are true in both directions, and nothing is resampled but the display of
the scan.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionlens.display import AXIAL, CORONAL, SAGITTAL, DisplayView, Plane
from lesionlens.heatmap import Heatmap
from lesionlens.methods import method_title
from lesionlens.regions import check_same_grid, label_regions
from lesionlens.report import paint
from lesionlens.report.slices import choose_slices, crop_box, head_mask, region_areas
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["NOTICE", "draw_montage", "plane_of", "write_montage"]

NOTICE = "Research use only \N{EM DASH} not a medical device"

FEWEST_SLICES, MOST_SLICES = 6, 12
_SLICES_PER_BAND = 6

# Slices thicker than this, and more than twice the next spacing, are shown in the plane they were acquired in: cut
# across, they would be stripes. Thinner ones are shown in axial pictures, which readers expect.
THICK_MM = 2.0

# An axis off the world axes by more than this is worth saying; less is rounding in the header.
OBLIQUE_DEG = 1.0

# The page in inches; 1,838 pixels wide: a 3 mm lesion is a few pixels, and the picture still fits a laptop.
_WIDTH, _TOP_LINE, _TOP, _BOTTOM, _LEFT, _RIGHT = 12.25, 0.22, 0.15, 0.35, 0.35, 1.3
_GAP = 0.06
_DPI = 150
_TITLE_CHARACTERS = 150

# Pictures of a scan with few slices do not grow beyond this share of the page.
_FEWEST_COLUMNS = 4

# Height of a tile by its width; pictures much flatter or taller, which no head gives, have room around them in it.
_FLATTEST, _TALLEST = 0.25, 3.0

# The picture says on its own what it must not be used for. Grey noise hardly compresses: take the fast way.
_PNG: dict[str, Any] = {"metadata": {"Description": NOTICE}, "pil_kwargs": {"compress_level": 3}}

_SCALE_BAR_MM = 50.0

# The largest regions carry their number, once each: the table's rows are found in the picture, and it stays readable.
_MOST_NUMBERS = 12


@dataclass(frozen=True, eq=False)
class _Scene:
    """Everything that is drawn, as pictures (n, downwards, to the right) of one plane, cropped."""

    plane: Plane
    spacing_mm: tuple[float, float]
    places: list[str]
    scan: NDArray[Any]
    labels: NDArray[Any] | None
    numbers: dict[int, int]
    window: tuple[float, float]
    overlays: list[tuple[paint.Scale, NDArray[Any]]]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width of one picture."""
        return self.scan.shape[1] * self.spacing_mm[0], self.scan.shape[2] * self.spacing_mm[1]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge of a picture in mm, for matplotlib's ``extent``."""
        height, width = self.size_mm
        return 0, width, height, 0


def write_montage(
    path: str | Path,
    volume: Volume,
    probability: Heatmap | None = None,
    attribution: Heatmap | None = None,
    labels: NDArray[Any] | None = None,
    *,
    threshold: float = 0.5,
    title: str | None = None,
) -> Path:
    """Write the montage of a case as a PNG; see :func:`draw_montage` for the parameters.

    The file appears in one piece: the picture is complete before it is opened.

    Returns
    -------
    pathlib.Path
        The file; an existing one is replaced.
    """
    figure = draw_montage(volume, probability, attribution, labels, threshold=threshold, title=title)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, facecolor="black", **_PNG)
    target = Path(path)
    target.write_bytes(picture.getvalue())
    return target


def draw_montage(
    volume: Volume,
    probability: Heatmap | None = None,
    attribution: Heatmap | None = None,
    labels: NDArray[Any] | None = None,
    *,
    threshold: float = 0.5,
    title: str | None = None,
) -> Figure:
    """Draw the slices that matter: those of the largest regions, else of the most attribution, else through the head.

    Parameters
    ----------
    volume
        The scan.
    probability
        Probability map of one class, or the map of its boxes, shown where it is at or above ``threshold``.
    attribution
        Attribution map of the class, or features of a layer. Colours span one scale for the whole volume.
    labels
        (i, j, k) integers, 0 outside: regions to outline. From ``probability`` when not given.
    threshold
        In (0, 1].
    title
        First line of the picture; the scan, the bundle and the class when not given. How the attribution was made
        and what was found follow below it.

    Returns
    -------
    matplotlib.figure.Figure
        On an Agg canvas of its own, outside pyplot.

    Raises
    ------
    InputError
        If a map does not lie on the scan's grid, or the threshold is not valid.
    """
    for heatmap in (probability, attribution):
        if heatmap is not None:
            check_same_grid(f"The {heatmap.kind} map of {heatmap.label!r}", heatmap.grid, volume.grid)
    if labels is None and probability is not None and probability.kind == "probability":
        labels = label_regions(probability, threshold=threshold)
    scene = _scene(volume, probability, attribution, labels, threshold)
    lines = textwrap.wrap(_title(volume, probability or attribution) if title is None else title, _TITLE_CHARACTERS)
    if attribution is not None:
        lines += textwrap.wrap(_making(attribution), _TITLE_CHARACTERS)
    lines.append(_detected(probability, threshold) + _status(volume, labels, scene, threshold))
    if not volume.source.verdict.regular:
        lines += textwrap.wrap(f"geometry {volume.source.verdict}", _TITLE_CHARACTERS)
    return _draw(scene, lines)


def _title(volume: Volume, heatmap: Heatmap | None) -> str:
    if heatmap is None:
        return volume.name
    return " · ".join(part for part in (volume.name, heatmap.provenance.bundle, heatmap.label) if part)


def _detected(conclusion: Heatmap | None, threshold: float) -> str:
    """Say what the colours of boxes are, or that there are none."""
    if conclusion is None or conclusion.kind != "detection":
        return ""
    what = "boxes" if conclusion.provenance.method == "boxes" else "scores"
    found = "" if bool((conclusion.array >= threshold).any()) else "no "
    return f"{found}{what} at or above a confidence of {threshold:.2f} · "


def _making(attribution: Heatmap) -> str:
    """Say how an attribution map was made and how finely it can point."""
    made = attribution.provenance
    parts = [f"{attribution.kind}: {method_title(made.method) or 'map'} of {made.target or attribution.label}"]
    if made.layer and made.layer not in attribution.label:
        parts.append(f"layer {made.layer}")
    if made.resolution_mm is not None:
        parts.append(f"resolution ±{_lengths(made.resolution_mm)} mm")
    return " · ".join(parts)


def _lengths(lengths: tuple[float, ...]) -> str:
    texts = [f"{length:.3g}" for length in lengths]
    return texts[0] if len(set(texts)) == 1 else " × ".join(texts)


def plane_of(view: DisplayView) -> Plane:
    """Return the plane in which a scan is best looked at: axial, or that of its thick slices."""
    thick = int(np.argmax(view.scale))
    thickest, second = view.scale[thick], sorted(view.scale)[1]
    acquired = (AXIAL, CORONAL, SAGITTAL)[thick]
    return acquired if thickest > THICK_MM and thickest > 2 * second else AXIAL


def _scene(
    volume: Volume,
    probability: Heatmap | None,
    attribution: Heatmap | None,
    labels: NDArray[Any] | None,
    threshold: float,
) -> _Scene:
    view = DisplayView(volume.grid)
    plane = plane_of(view)
    slider, down, across = plane.order
    spacing = (view.scale[down], view.scale[across])

    def pictures(array: NDArray[Any]) -> NDArray[Any]:
        return plane.pictures(view.to_display(array))

    inside = head_mask(volume.array)
    scan, head = pictures(volume.array), pictures(inside)
    if labels is not None:
        scores = region_areas(pictures(labels))
    else:
        scores = np.zeros((len(scan), 1))
        ranking = _ranking(probability, attribution, threshold)
        if ranking is not None:
            scores[:, 0] = pictures(ranking).sum(axis=(1, 2), dtype=np.float64)
    fewest = FEWEST_SLICES if scores.any() else MOST_SLICES  # nothing found: show that the whole head was looked at
    chosen = choose_slices(scores, head, spacing_mm=view.scale[slider], fewest=fewest, most=MOST_SLICES)
    shown = pictures(labels) > 0 if labels is not None else np.zeros_like(head)
    if labels is None and probability is not None:
        shown = pictures(probability.array) >= threshold
    part = (chosen, *crop_box(head, shown, spacing_mm=spacing))
    overlays = []
    if probability is not None:
        overlays.append((paint.probability_scale(probability, threshold), pictures(probability.array)[part]))
    if attribution is not None:
        scale = paint.attribution_scale if attribution.kind == "attribution" else paint.feature_scale
        overlays.append((scale(attribution), pictures(attribution.array)[part]))
    return _Scene(
        plane=plane,
        spacing_mm=spacing,
        places=[view.slice_place(slider, index) for index in chosen],
        scan=scan[part],
        labels=None if labels is None else pictures(labels)[part],
        numbers={} if labels is None else _numbered(pictures(labels)[part]),
        window=paint.scan_window(volume, head=inside),
        overlays=overlays,
    )


def _ranking(conclusion: Heatmap | None, attribution: Heatmap | None, threshold: float) -> NDArray[Any] | None:
    """Return what makes a slice worth seeing where there are no regions: the middles of boxes, or evidence."""
    if conclusion is not None:
        inside = conclusion.array >= threshold
        return np.where(inside, ndimage.distance_transform_edt(inside), 0)
    return None if attribution is None else np.maximum(attribution.array, 0)


def _numbered(labels: NDArray[Any]) -> dict[int, int]:
    """Return for the first labels, which are the largest regions, the picture (0..n-1) that shows most of each."""
    names = [int(name) for name in np.unique(labels) if name > 0][:_MOST_NUMBERS]
    return {name: int((labels == name).sum(axis=(1, 2)).argmax()) for name in names}


def _status(volume: Volume, labels: NDArray[Any] | None, scene: _Scene, threshold: float) -> str:
    """Say in words what was found; a picture without colours must not be mistaken for one that failed."""
    parts = [f"{scene.plane.name} slices"]
    tilt = DisplayView(volume.grid).tilt_deg
    if tilt > OBLIQUE_DEG:
        parts.append(f"shown along the scan's own axes, {tilt:.0f}° oblique; positions are of the slice centres")
    if labels is None or scene.labels is None:
        return " · ".join(parts)
    n_regions = len(np.unique(labels[labels > 0]))
    if not n_regions:
        return " · ".join([f"no region at or above {threshold:.2f}", *parts])
    n_shown = len(np.unique(scene.labels[scene.labels > 0]))
    millilitres = np.count_nonzero(labels) * volume.grid.voxel_volume_mm3 / 1000
    plural = "s" if n_regions > 1 else ""
    found = f"{n_regions} region{plural} at or above {threshold:.2f}, {millilitres:.2f} mL, {n_shown} in these slices"
    return " · ".join([found, *parts])


def _draw(scene: _Scene, lines: list[str]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bands = -(-len(scene.places) // _SLICES_PER_BAND)
    columns = -(-len(scene.places) // bands)
    rows = 1 + len(scene.overlays)
    across = (_WIDTH - _LEFT - _RIGHT) / max(columns, _FEWEST_COLUMNS)
    height_mm, width_mm = scene.size_mm
    along = across * min(max(height_mm / width_mm, _FLATTEST), _TALLEST)
    top = _TOP + _TOP_LINE * len(lines)
    height = top + _BOTTOM + along * rows * bands + _GAP * 4 * (bands - 1)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="black")
    FigureCanvasAgg(figure)

    def place(column: float, line: float, band: int) -> tuple[float, float, float, float]:
        bottom = height - top - along * (band * rows + line + 1) - band * _GAP * 4
        left = _LEFT + column * across
        return left / _WIDTH, bottom / height, (across - _GAP) / _WIDTH, (along - _GAP) / height

    for n in range(len(scene.places)):
        band, column = divmod(n, columns)
        for row in range(rows):
            axes = figure.add_axes(place(column, row, band), label=f"slice {n} row {row}")
            _draw_tile(axes, scene, n, row)
    for band in range(bands):
        _draw_margins(figure, scene, [place(0, row, band) for row in range(rows)])
    for number, line in enumerate(lines):
        y = 1 - (_TOP / 2 + _TOP_LINE * (number + 0.5)) / height
        figure.text(_LEFT / _WIDTH, y, line, color="white", size=9, va="center", weight="bold" if not number else None)
    figure.text(_LEFT / _WIDTH, _BOTTOM / 2 / height, NOTICE, color="#ffb000", size=10, weight="bold", va="center")
    figure.text(1 - 0.01, _BOTTOM / 2 / height, "LesionLens", color="0.7", size=9, va="center", ha="right")
    return figure


def _draw_tile(axes: Axes, scene: _Scene, n: int, row: int) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(edgecolor="0.3", linewidth=0.5)
    low, high = scene.window
    overlay = scene.overlays[row - 1] if row else None
    white = high if overlay is None else low + (high - low) / overlay[0].grey
    axes.imshow(scene.scan[n].clip(max=high), cmap="gray", vmin=low, vmax=white, **_on(scene, "bilinear"))
    if overlay is not None:
        scale, pictures = overlay
        axes.imshow(scale.paint(pictures[n]), **_on(scene, "nearest"))
        if scene.labels is not None:
            paint.draw_outline(axes, scene.labels[n] > 0, scene.spacing_mm)
            if row == 1:
                _draw_numbers(axes, scene, n, scene.labels[n])
    height, width = scene.size_mm
    axes.set(xlim=(0, width), ylim=(height, 0))
    left, right, _, _ = scene.plane.edges
    paint.write(axes, left, (0.01, 0.5), "left", "center")
    paint.write(axes, right, (0.99, 0.5), "right", "center")
    paint.write(axes, scene.places[n], (0.01, 0.01), "left", "bottom")
    if n == 0 and row == 0:
        paint.draw_scale_bar(axes, _SCALE_BAR_MM, scene.size_mm)


def _on(scene: _Scene, interpolation: str) -> dict[str, Any]:
    return {"extent": scene.box, "interpolation": interpolation}


def _draw_numbers(axes: Axes, scene: _Scene, n: int, labels: NDArray[Any]) -> None:
    height, width = scene.size_mm
    for name in [name for name, picture in scene.numbers.items() if picture == n]:
        rows, columns = np.nonzero(_largest_piece(labels == name))
        x = (columns.max() + 1.5) * scene.spacing_mm[1] / width
        y = 1 - (rows[columns.argmax()] + 0.5) * scene.spacing_mm[0] / height
        paint.write(axes, str(name), (x, y), "left", "center")


def _largest_piece(mask: NDArray[Any]) -> NDArray[Any]:
    """Return the largest of the pieces that a picture shows of a region: a number beside a speck names the speck."""
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    largest: NDArray[Any] = pieces == np.bincount(pieces[mask]).argmax()
    return largest


def _draw_margins(figure: Figure, scene: _Scene, places: list[tuple[float, float, float, float]]) -> None:
    names = ["scan", *(scale.name for scale, _ in scene.overlays)]
    for row, (name, (_, bottom, _, height)) in enumerate(zip(names, places, strict=True)):
        figure.text(
            _LEFT / 2 / _WIDTH, bottom + height / 2, name, color="0.8", size=9, rotation=90, va="center", ha="center"
        )
        if row:
            left = 1 - (_RIGHT - 0.1) / _WIDTH
            axes = figure.add_axes((left, bottom + 0.1 * height, 0.14 / _WIDTH, 0.8 * height), label=f"colours {name}")
            paint.draw_colour_bar(axes, scene.overlays[row - 1][0])
