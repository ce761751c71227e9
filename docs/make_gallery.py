"""Draw the pictures of docs/explanation/gallery.md into docs/images: every method on the sample scan.

Maps are kept in a folder and not made again, so that a run that was stopped goes on: ``python docs/make_gallery.py``.
Without that folder it takes about ten minutes. ``--only METHOD`` makes again what was kept of one method.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image

from lesionlens.display import AXIAL, DisplayView
from lesionlens.errors import ExplainError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.io import read
from lesionlens.io.atomic import atomic_path
from lesionlens.methods import METHODS
from lesionlens.model.bundle import Bundle, load_bundle
from lesionlens.model.explanation import Wish, explained
from lesionlens.model.inference import infer, windows_of
from lesionlens.model.plan import planned
from lesionlens.model.prediction import probabilities
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.regions import measure
from lesionlens.report import paint
from lesionlens.report.slices import crop_box, head_mask
from lesionlens.sample import sample_lesions, sample_scan
from lesionlens.target import TargetSpec
from lesionlens.volume import Grid, Volume

IMAGES = Path(__file__).parent / "images"
KEPT = Path(gettempdir()) / "lesionlens-gallery"
SLICE = "slice.json"
# Of the segmentation the largest lesion, seen through the one window that has it in the middle: all windows would take
# some twenty times as long, and show nothing else of that lesion.
BUNDLES = {
    "flair-lesions": TargetSpec(over="largest"),
    "flair-lesion-load": TargetSpec(),
}
# Half of that window: the part of the slice that is drawn.
AROUND_MM = {"flair-lesions": 48.0}
# What takes long with the default options; the captions say what was taken instead.
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("flair-lesions", "smoothgrad"): {"samples": 10},
    ("flair-lesion-load", "smoothgrad"): {"samples": 10},
    ("flair-lesions", "integrated_gradients"): {"steps": 16},
    ("flair-lesion-load", "integrated_gradients"): {"steps": 16},
    ("flair-lesions", "occlusion"): {"size": "24mm", "stride": "24mm"},
    ("flair-lesion-load", "occlusion"): {"size": "48mm", "stride": "48mm"},
}
# They come last: what is there can be looked at.
SLOW = ("integrated_gradients", "smoothgrad", "scorecam", "occlusion")
COLUMNS, TILE, CAPTION_LINES, CHARACTERS = 5, 2.0, 5, 40
MOST_BYTES, COLOURS, DPI = 400_000, 256, 110


def main(arguments: list[str] | None = None) -> None:
    """Make the maps that are missing, and draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder of the maps")
    parser.add_argument("--only", action="append", default=[], choices=list(METHODS), help="make these again")
    parser.add_argument("--draw", action="store_true", help="draw what is kept, make nothing")
    given = parser.parse_args(arguments)
    given.kept.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        for path in given.kept.glob(f"*-{name}.json"):
            path.unlink()
    volume = read(sample_scan())
    if not given.draw:
        for name in BUNDLES:
            make(name, volume, given.kept)
    for name in BUNDLES:
        draw(name, volume, given.kept)


def make(name: str, volume: Volume, kept: Path) -> None:
    """Make the maps of a bundle that are not kept yet."""
    order = sorted(METHODS, key=lambda method: SLOW.index(method) + 1 if method in SLOW else 0)
    missing = [method for method in order if not (kept / f"{name}-{method}.json").exists()]
    if not missing:
        return
    bundle = load_bundle(name)
    prepared = prepare(bundle, volume)
    if not (kept / SLICE).exists():
        choose_slice(kept, bundle, prepared)
    prepared = around(bundle, prepared, kept)
    for method in missing:
        wish = Wish(method, None, None, OPTIONS.get((name, method), {}), BUNDLES[name], registration=False)
        start = time.perf_counter()
        try:
            (found,), _ = explained(bundle, planned(bundle, prepared, wish), None)
        except ExplainError as error:
            keep(kept / f"{name}-{method}.json", {"refused": str(error)})
            continue
        spent = round(time.perf_counter() - start, 1)
        np.savez_compressed(kept / f"{name}-{method}.npz", array=found.array)
        keep(kept / f"{name}-{method}.json", {**record(found, wish), "seconds": spent})
        print(f"{name} {method}: {spent} s", file=sys.stderr)


def choose_slice(kept: Path, bundle: Bundle, prepared: Prepared) -> None:
    """Keep the voxel where the largest lesion that the segmentation finds is surest: all pictures show its slice."""
    (heatmap,) = probabilities(bundle, infer(bundle, prepared))
    region = measure(prepared.volume, heatmap)[0]
    keep(kept / SLICE, {"ijk": [round(value) for value in region.peak_ijk]})


def keep(path: Path, value: dict[str, Any]) -> None:
    """Write a small file in one step; it comes after the map that it tells of."""
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def around(bundle: Bundle, prepared: Prepared, kept: Path) -> Prepared:
    """Return one window of what the network sees, with the lesion in its middle; all where it sees all at once."""
    windows = windows_of(bundle.inferer, prepared.tensor.shape[2:])
    if len(windows) == 1:
        return prepared
    middle = prepared.grid.voxel(prepared.volume.grid.world(json.loads((kept / SLICE).read_text())["ijk"]))
    ends = zip(middle, windows.size, prepared.grid.shape, strict=True)
    start = [int(np.clip(round(at) - n // 2, 0, whole - n)) for at, n, whole in ends]
    box = tuple(slice(first, first + n) for first, n in zip(start, windows.size, strict=True))
    shift = np.eye(4)
    shift[:3, 3] = start
    grid = Grid((windows.size[0], windows.size[1], windows.size[2]), prepared.grid.affine @ shift)
    # Undoing the preprocessing takes all that it gave; a part of it comes back through the affines.
    return replace(prepared, tensor=prepared.tensor[(..., *box)].contiguous(), grid=grid, undo=None)


def record(found: Heatmap, wish: Wish) -> dict[str, Any]:
    """Return what a caption and the colours need."""
    made = found.provenance
    return {
        "kind": found.kind,
        "label": found.label,
        "signed": found.signed,
        "method": made.method,
        "target": made.target,
        "layer": made.layer,
        "resolution_mm": made.resolution_mm,
        "options": dict(wish.options),
        "notes": list(made.notes),
    }


def draw(name: str, volume: Volume, kept: Path) -> None:
    """Draw all maps of a bundle that are kept, each in the colours that reports give it, as one small PNG."""
    scene = Scene(volume, tuple(json.loads((kept / SLICE).read_text())["ijk"]), AROUND_MM.get(name))
    tiles: list[tuple[dict[str, Any], Heatmap | None]] = [({"kind": "scan"}, None)]
    for method in METHODS:
        path = kept / f"{name}-{method}.json"
        made = json.loads(path.read_text()) if path.exists() else {"refused": "not made"}
        if "refused" in made:
            print(f"{name} {method} is left out: {made['refused']}", file=sys.stderr)
            continue
        tiles.append((made, heatmap(volume, made, np.load(path.with_suffix(".npz"))["array"])))
    rows = -(-len(tiles) // COLUMNS)
    high = TILE * scene.size_mm[0] / scene.size_mm[1]
    head, line = 0.75, 0.15
    below = line * CAPTION_LINES + 0.08
    width, height = COLUMNS * TILE, head + rows * (high + below)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    target = next(made["target"] for made, _ in tiles if made.get("target"))
    for number, text in enumerate((f"{name} on the simulated sample scan, {scene.place}", f"target: {target}", NOTE)):
        style: dict[str, Any] = {"weight": "bold"} if not number else {}
        figure.text(0.008, 1 - (0.14 + 0.2 * number) / height, text, color="white", size=8, va="center", **style)
    for number, (made, found) in enumerate(tiles):
        row, column = divmod(number, COLUMNS)
        top = height - head - row * (high + below)
        box = (column / COLUMNS, (top - high) / height, 0.985 / COLUMNS, (high - 0.02) / height)
        scale = scene.draw(figure.add_axes(box), found)
        for place, text in enumerate((*caption(made, scale), *scene.share(found))):
            y = (top - high - line * (place + 0.6)) / height
            weight = "bold" if not place else "normal"
            figure.text(column / COLUMNS + 0.004, y, text, color="white", size=6.5, va="center", weight=weight)
    save(figure, IMAGES / f"gallery-{name}.png")


NOTE = (
    "Cyan: the true lesions. Colours of each map: one scale for the whole volume, written below it. "
    "Research use only, not a medical device."
)


class Scene:
    """One axial slice of the scan, cropped to the head, or to some mm around a voxel."""

    def __init__(self, volume: Volume, ijk: tuple[int, int, int], around_mm: float | None) -> None:
        self.view = DisplayView(volume.grid)
        marker = np.zeros(volume.grid.shape, dtype=bool)
        marker[ijk] = True
        self.index = int(self.pictures(marker).any(axis=(1, 2)).argmax())
        slider, down, across = AXIAL.order
        self.spacing_mm = (self.view.scale[down], self.view.scale[across])
        self.place = self.view.slice_place(slider, self.index)
        head = head_mask(volume.array)
        self.truth = read(sample_lesions()).array > 0
        self.box = crop_box(self.pictures(head), np.zeros_like(self.pictures(head)), spacing_mm=self.spacing_mm)
        if around_mm is not None:
            _, row, column = np.argwhere(self.pictures(marker))[0]
            reach = [round(around_mm / mm) for mm in self.spacing_mm]
            self.box = (slice(row - reach[0], row + reach[0]), slice(column - reach[1], column + reach[1]))
        self.window = paint.scan_window(volume, head=head)
        self.scan, self.lesions = self.slice(volume.array), self.slice(self.truth)
        self.size_mm = tuple(n * mm for n, mm in zip(self.scan.shape, self.spacing_mm, strict=True))

    def pictures(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return all axial pictures of an array on the grid of the scan."""
        return AXIAL.pictures(self.view.to_display(array))

    def slice(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the picture of the slice that is shown."""
        return self.pictures(array)[(self.index, *self.box)]

    def draw(self, axes: Axes, found: Heatmap | None) -> paint.Scale | None:
        """Draw the scan and a map over it; return the scale of its colours."""
        height, width = self.size_mm
        axes.set(xticks=[], yticks=[])
        extent = (0, width, height, 0)
        low, high = self.window
        axes.imshow(self.scan, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
        scale = None
        if found is not None:
            scale = (paint.attribution_scale if found.kind == "attribution" else paint.feature_scale)(found)
            axes.imshow(scale.paint(self.slice(found.array)), extent=extent, interpolation="nearest")
        paint.draw_outline(axes, self.lesions, self.spacing_mm)
        axes.set(xlim=(0, width), ylim=(height, 0))
        left, right, _, _ = AXIAL.edges
        for text, place, side in ((left, 0.02, "left"), (right, 0.98, "right")):  # larger than in reports: small pixels
            letter = axes.text(place, 0.5, text, transform=axes.transAxes, color="white", size=9, ha=side, va="center")
            letter.set_path_effects([withStroke(linewidth=2, foreground="black")])
        return scale

    def share(self, found: Heatmap | None) -> list[str]:
        """Say how much of the evidence in the whole volume lies inside the true lesions."""
        if found is None or found.kind != "attribution" or not (found.array > 0).any():
            return []
        evidence = np.maximum(found.array, 0)
        return [f"{100 * evidence[self.truth].sum() / evidence.sum():.0f} % of its evidence in lesions"]


def heatmap(volume: Volume, made: dict[str, Any], array: NDArray[np.float32]) -> Heatmap:
    """Return a kept map as it was."""
    provenance = Provenance(method=made["method"], target=made["target"], layer=made["layer"])
    return Heatmap(volume.with_array(array), made["kind"], made["label"], signed=made["signed"], provenance=provenance)


def caption(made: dict[str, Any], scale: paint.Scale | None) -> list[str]:
    """Say what a tile shows: the method, the layer, how finely it points, how long it took, and what colours mean."""
    if scale is None:
        return ["The scan"]
    mm = " x ".join(dict.fromkeys(f"{length:.3g}" for length in made["resolution_mm"]))
    layer = f"layer {made['layer']}, " if made["layer"] else ""
    options = ", ".join(f"{name} {value}" for name, value in made["options"].items())
    low, high = scale.limits
    nothing = scale.caption.startswith("no evidence")
    colours = "nothing above 0" if nothing else f"colours {low:.2g} to {high:.2g}"
    lines = [
        METHODS[made["method"]].title,
        f"{layer}\N{PLUS-MINUS SIGN}{mm} mm",
        "" if made["target"] else "of no class",
        options,
        f"{made['seconds']:.0f} s; {colours}",
    ]
    return [textwrap.shorten(text, CHARACTERS, placeholder=" ...") for text in lines if text]


def save(figure: Figure, path: Path) -> None:
    """Save a figure as a PNG of few colours, which a page can hold.

    Raises
    ------
    ValueError
        If it is too large.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor="black")
    small = (
        Image.open(buffer)
        .convert("RGB")
        .quantize(COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=8, dither=Image.Dither.NONE)
    )
    small.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are kept in the docs.")


if __name__ == "__main__":
    main()
