"""Draw the pictures of docs/explanation/coordinates.md into docs/images.

Every place in them is computed from the numbers below, which are those of the page: ``python docs/make_pictures.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import NDArray
from PIL import Image

from lesionlens import Grid

IMAGES = Path(__file__).parent / "images"
# Flat colours: 64 are enough and keep a picture below 100 KB.
COLOURS = 64
DPI = 130

INK, SOFT, SKIN, PAPER = "#1f2933", "#8a97a6", "#f3e4d4", "white"
WORLD, DICOM, INDEX, MARK = "#0b6e99", "#c4572e", "#5f7f1f", "#b5179e"

# The grid and the voxel of the page.
GRID = Grid((181, 217, 60), np.array([[-1, 0, 0, 90], [0, -1, 0, 126], [0, 0, 3, -72], [0, 0, 0, 1]]))
VOXEL = (130, 60, 40)

# The tilted stack of the page: 14 degrees, 150 mm along the normal.
TILT_DEGREES, STEP_MM, N_SLICES = 14.0, 5.0, 31

Points = NDArray[np.float64]


def main() -> None:
    """Draw all of them."""
    save(frames(), "coordinates-frames.png")
    save(half_voxel(), "coordinates-half-voxel.png")
    save(tilt(), "coordinates-tilt.png")


def save(figure: Figure, name: str) -> None:
    """Save a figure as a small PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor=PAPER)
    plt.close(figure)
    Image.open(buffer).convert("RGB").quantize(COLOURS).save(IMAGES / name, optimize=True)


def frames() -> Figure:
    """Draw the worlds RAS and LPS and the voxel index around a head, as axial and sagittal pictures show it."""
    figure, (axial, sagittal) = plt.subplots(1, 2, figsize=(11, 6.1), gridspec_kw={"width_ratios": [181, 217]})
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.12, top=0.9, wspace=0.06)
    x, y, z = GRID.world(VOXEL)
    # On the screen the patient's left is to the right, so x of RAS+ grows to the left; backwards is down or right.
    _scene(axial, axial_head(), "axial: seen from the feet", "R L A P")
    _box(axial, (90, 126), (-181, -217), ("i", "j"))
    _axes_cross(axial, ("x", "y"))
    _voxel(axial, (-x, y), f"voxel {VOXEL}\nRAS ({x:g}, {y:g}, {z:g}) mm\nLPS ({-x:g}, {-y:g}, {z:g}) mm", (12, 99))
    _scene(sagittal, sagittal_head(), "sagittal: the front on the left", "A P S I")
    _box(sagittal, (126, -72), (-217, 180), ("j", "k"))
    _axes_cross(sagittal, ("y", "z"))
    _voxel(sagittal, (-y, z), "the same voxel", (-122, 84))
    for place, colour, text in (
        (0.08, WORLD, "RAS+: the world of LesionLens"),
        (0.37, DICOM, "LPS+: the world of DICOM"),
        (0.63, INDEX, "voxel index, from the centre of voxel (0, 0, 0)"),
    ):
        figure.text(place, 0.045, "\N{BLACK SQUARE}", color=colour, size=13, va="center")
        figure.text(place + 0.018, 0.045, text, color=INK, size=11, va="center")
    return figure


def axial_head() -> Points:
    """Return the outline of a head from below, in mm to the left of the patient and to the front; nose and ears."""
    angle = np.linspace(0, 2 * np.pi, 400)
    radius_x, radius_y = 68 + 4 * np.cos(2 * angle), 88.0
    points = np.stack([radius_x * np.cos(angle), radius_y * np.sin(angle) + 8], axis=1)
    nose = np.exp(-(((angle - np.pi / 2) / 0.11) ** 2)) * 15
    ears = sum(np.exp(-(((np.angle(np.exp(1j * (angle - at)))) / 0.09) ** 2)) * 8 for at in (-0.1, np.pi + 0.1))
    return points + np.stack([np.sign(points[:, 0]) * ears, nose], axis=1)


def sagittal_head() -> Points:
    """Return the outline of a head from the side, in mm to the back and to the head."""
    profile = [
        (-84, 18), (-82, 44), (-66, 74), (-34, 93), (4, 98), (44, 89), (72, 64), (84, 28), (80, -10), (66, -36),
        (60, -62), (62, -84), (-18, -84), (-20, -70), (-62, -72), (-76, -66), (-79, -56), (-84, -47), (-81, -41),
        (-86, -34), (-82, -27), (-99, -20), (-98, -13), (-86, 6),
    ]  # fmt: skip
    return smooth(np.array(profile, dtype=float))


def smooth(corners: Points, rounds: int = 3) -> Points:
    """Cut the corners of a closed outline (Chaikin)."""
    for _ in range(rounds):
        following = np.roll(corners, -1, axis=0)
        corners = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], axis=1)
        corners = corners.reshape(-1, 2)
    return corners


def _scene(axes: Axes, head: Points, title: str, sides: str) -> None:
    axes.add_patch(Polygon(head, closed=True, facecolor=SKIN, edgecolor=INK, linewidth=1.6, joinstyle="round"))
    axes.set_title(title, color=INK, size=12, pad=14)
    axes.set_aspect("equal")
    axes.axis("off")
    left, right, top, bottom = sides.split()
    for (x, y), text in zip(
        ((0.012, 0.5), (0.988, 0.5), (0.5, 0.985), (0.5, 0.015)), (left, right, top, bottom), strict=True
    ):
        axes.text(x, y, text, transform=axes.transAxes, color=SOFT, size=15, weight="bold", ha="center", va="center")


def _box(axes: Axes, first: tuple[float, float], size: tuple[float, float], names: tuple[str, str]) -> None:
    """Draw the outline of the grid, voxel (0, 0, 0), and the directions in which the indices grow.

    ``first`` is its place in RAS+ mm, of which the first axis grows to the left of the screen; ``size`` is in mm.
    """
    x, y = -first[0], first[1]
    width, height = -size[0], size[1]
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=INDEX, linewidth=1.2, linestyle=(0, (4, 3))))
    axes.plot([x], [y], "o", color=INDEX, markersize=6)
    _arrow(axes, (x, y), (x + np.sign(width) * 44, y), INDEX, names[0], (0, -7 * np.sign(height)))
    _arrow(axes, (x, y), (x, y + np.sign(height) * 44), INDEX, names[1], (-7 * np.sign(width), 0))
    pad = 24
    axes.set_xlim(min(x, x + width) - pad, max(x, x + width) + pad)
    axes.set_ylim(min(y, y + height) - pad, max(y, y + height) + pad)


def _axes_cross(axes: Axes, names: tuple[str, str]) -> None:
    """Draw the axes of both worlds from their common origin; both z grow to the head, side by side."""
    across, along = names
    apart = 2.2 if along == "z" else 0.0
    for colour, right, up, beside in (
        (WORLD, -1, 1, -apart),
        (DICOM, 1, 1 if apart else -1, apart),
    ):
        _arrow(axes, (0, 0), (right * 46, 0), colour, across, (right * 7, 0))
        _arrow(axes, (beside, 0), (beside, up * 46), colour, along, (beside * 2.2, up * 7))
    axes.plot([0], [0], "o", color=INK, markersize=5, zorder=6)
    axes.annotate("(0, 0, 0)", (0, 0), (5, -15), textcoords="offset points", color=INK, size=9)


def _voxel(axes: Axes, place: tuple[float, float], text: str, beside: tuple[float, float]) -> None:
    axes.plot(*place, "s", color=MARK, markersize=8, markeredgecolor="white", zorder=7)
    axes.annotate(
        text,
        place,
        beside,
        color=MARK,
        size=9,
        ha="left",
        va="bottom",
        zorder=8,
        arrowprops={"arrowstyle": "-", "color": MARK, "shrinkB": 5},
    )


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    name: str,
    beside: tuple[float, float],
) -> None:
    axes.annotate(
        "",
        end,
        start,
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "linewidth": 2.2,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 15,
        },
        zorder=5,
    )
    axes.text(
        end[0] + beside[0],
        end[1] + beside[1],
        name,
        color=colour,
        size=14,
        style="italic",
        weight="bold",
        ha="center",
        va="center",
        zorder=6,
    )


def half_voxel() -> Figure:
    """Draw a row of voxels with their centres and faces, and the cells of a layer with a stride of 4."""
    figure = plt.figure(figsize=(11, 3.7))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    n, stride = 12, 4
    for i in range(n):
        axes.add_patch(Rectangle((i - 0.5, 0), 1, 1, facecolor="#e8eef4" if i % 2 else "#f6f9fb", edgecolor=INK))
        axes.plot([i], [0.5], "o", color=INDEX, markersize=6)
        axes.text(i, 1.18, str(i), color=INDEX, size=12, ha="center", va="center", weight="bold")
    for cell in range(n // stride):
        centre = cell * stride + (stride - 1) / 2
        axes.add_patch(
            Rectangle(
                (cell * stride - 0.5, -1.55),
                stride,
                1,
                facecolor=("#e4f1f7", "#d3e8f2")[cell % 2],
                edgecolor=WORLD,
                linewidth=1.4,
            )
        )
        axes.plot([centre], [-1.05], "D", color=WORLD, markersize=7)
        axes.plot([centre, centre], [-1.05, 0], color=WORLD, linewidth=1, linestyle=(0, (3, 3)))
        axes.text(
            centre, -1.78, f"cell {cell}: centre at voxel {centre:g}", color=WORLD, size=11, ha="center", va="center"
        )
    for place, text in ((-0.5, "-0.5"), (n - 0.5, f"{n - 0.5:g}")):
        axes.plot([place, place], [-0.25, 1.45], color=DICOM, linewidth=1.6)
        axes.text(place, 1.62, text, color=DICOM, size=12, ha="center", va="center", weight="bold")
    axes.annotate(
        "ImagePositionPatient and the last column of an affine:\nthe centre of the first voxel, not its corner",
        (0, 0.5),
        (1.0, 2.35),
        color=INK,
        size=11,
        va="center",
        arrowprops={"arrowstyle": "-|>", "color": INK, "connectionstyle": "arc3,rad=0.25", "shrinkB": 4},
    )
    axes.text(-0.5, -2.25, f"cells of a layer with a stride of {stride} voxels", color=WORLD, size=11, va="center")
    axes.text(n - 0.5, 2.05, "outer faces", color=DICOM, size=11, ha="right", va="center")
    axes.set(xlim=(-1.2, n + 0.2), ylim=(-2.5, 2.8))
    axes.axis("off")
    return figure


def tilt() -> Figure:
    """Draw a tilted stack at its true places, and as a program that counts slices puts it."""
    figure, (true, counted) = plt.subplots(1, 2, figsize=(11, 4.7), sharex=True, sharey=True)
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=0.91, wspace=0.02)
    lean = np.tan(np.radians(TILT_DEGREES))
    height = STEP_MM * (N_SLICES - 1)
    bottom = -height / 2 + 8

    def straight(points: Points) -> Points:
        return points

    def sheared(points: Points) -> Points:
        return points - np.stack([(points[:, 1] - bottom) * lean, np.zeros(len(points))], axis=1)

    _stack(true, straight, bottom, lean, "where the slices are: the head is a head")
    _stack(counted, sheared, bottom, 0.0, "slices counted, the tilt ignored: everything slides")
    error, top, edge = height * lean, bottom + height, -112 + height * lean
    counted.plot([edge, edge], [top - 4, top + 34], color=MARK, linewidth=1, linestyle=(0, (3, 3)))
    counted.annotate(
        "",
        (edge - error, top + 28),
        (edge, top + 28),
        arrowprops={"arrowstyle": "-|>", "color": MARK, "linewidth": 2, "shrinkA": 0, "shrinkB": 0},
    )
    counted.text(edge + 4, top + 28, f"{error:.0f} mm off", color=MARK, size=13, weight="bold", va="center")
    true.plot([-112, -112], [bottom, top + 12], color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
    true.text(-110, top + 14, "normal of the images", color=SOFT, size=10, va="bottom", ha="left")
    true.plot([-112, edge], [bottom, top], color=DICOM, linewidth=2)
    middle = -112 + 0.43 * height * lean
    true.text(middle, bottom + 0.88 * height, f"{TILT_DEGREES:g}°", color=DICOM, size=12, weight="bold", ha="center")
    true.annotate("", (138, bottom), (138, top), arrowprops={"arrowstyle": "<|-|>", "color": INK})
    true.text(142, bottom + height / 2, f"{height:g} mm", color=INK, size=11, rotation=90, va="center")
    return figure


def _stack(axes: Axes, move: Callable[[Points], Points], bottom: float, lean: float, title: str) -> None:
    axes.add_patch(Polygon(move(sagittal_head()), closed=True, facecolor=SKIN, edgecolor=INK, linewidth=1.6))
    for k in range(N_SLICES):
        z = bottom + k * STEP_MM
        start = -112 + k * STEP_MM * lean
        axes.plot([start, start + 205], [z, z], color=WORLD, linewidth=0.9, alpha=0.75)
        axes.plot([start], [z], "o", color=DICOM, markersize=3.2)
    axes.set_title(title, color=INK, size=12, pad=10)
    axes.set(xlim=(-135, 158), ylim=(-90, 122), aspect="equal")
    axes.axis("off")


if __name__ == "__main__":
    main()
