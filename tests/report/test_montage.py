"""The montage, judged by its pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, Kind, Provenance
from lesionlens.report import draw_montage, montage, paint, write_montage
from lesionlens.report.montage import NOTICE
from lesionlens.scales import FARTHEST
from lesionlens.volume import GeometryVerdict, Grid, Source, Volume
from orientations import ORIENTATIONS, Orientation, oblique, reoriented

SCAN, FIRST, SECOND = 0, 1, 2  # rows of tiles

Pixels = NDArray[np.float64]


def make_map(array: NDArray[Any], grid: Grid, kind: Kind = "probability", **provenance: Any) -> Heatmap:
    """Return a heatmap of lesions."""
    return Heatmap(
        Volume(array.astype(np.float32), grid),
        kind,
        "lesion",
        kind not in ("probability", "anomaly"),
        Provenance(**provenance),
    )


def head(grid: Grid) -> Volume:
    """Return a grey block with air around it."""
    scan = np.zeros(grid.shape)
    scan[2:-2, 2:-2, 1:-1] = 100
    return Volume(scan, grid, name="phantom")


class Picture:
    """A figure and its pixels (downwards, to the right, RGB in 0..1), drawn once, at half the file's size."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.figure = draw_montage(*args, **options)
        self.figure.set_dpi(75)
        self.pixels = render(self.figure)
        self.tiles = {axes.get_label(): axes for axes in self.figure.axes}

    @property
    def n_slices(self) -> int:
        """Number of slices shown."""
        return sum(label.endswith(f"row {SCAN}") for label in self.tiles)

    @property
    def words(self) -> str:
        """Everything that is written around the tiles."""
        return "\n".join(text.get_text() for text in self.figure.texts)

    @property
    def letters(self) -> list[str]:
        """Everything that is written into the tiles."""
        return [text.get_text() for axes in self.figure.axes for text in axes.texts]

    def tile(self, n: int, row: int) -> Pixels:
        """Return the pixels of one tile without its frame."""
        box = self.tiles[f"slice {n} row {row}"].get_window_extent()
        top = self.pixels.shape[0] - box.y1
        return self.pixels[round(top) + 1 : round(top + box.height) - 1, round(box.x0) + 1 : round(box.x1) - 1]

    def slices_with_colour(self) -> list[int]:
        """Return the slices whose first overlay shows anything."""
        return [n for n in range(self.n_slices) if coloured(self.tile(n, FIRST)).any()]


def number_place(figure: Figure, number: str) -> tuple[float, float]:
    """Return where in its tile the number of a region stands, as fractions from the lower left."""
    (place,) = [text.get_position() for axes in figure.axes for text in axes.texts if text.get_text() == number]
    return place


def render(figure: Figure) -> Pixels:
    """Return all pixels of a figure."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255.0


def coloured(pixels: Pixels) -> NDArray[np.bool_]:
    """Say which pixels are not grey, as letters and the scan are."""
    return np.ptp(pixels, axis=-1) > 0.08


def bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of what is true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def test_colour_appears_only_at_or_above_the_threshold(rng: np.random.Generator) -> None:
    """Every voxel at or above the threshold is coloured at its middle, none below it is, one by one."""
    grid = Grid((16, 12, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))  # stored as displayed
    values = rng.uniform(0, 1, grid.shape)
    values[0, 0] = values[-1, -1] = 0.6
    scan = Volume(np.full(grid.shape, 5.0), grid)
    probability = make_map(values, grid)

    picture = Picture(scan, probability, labels=np.zeros(grid.shape, int), threshold=0.6)

    plain, shown = picture.tile(0, SCAN), coloured(picture.tile(0, FIRST))
    rows = ((np.arange(12) + 0.5) * shown.shape[0] / 12).astype(int)
    columns = ((np.arange(16) + 0.5) * shown.shape[1] / 16).astype(int)
    written_on = np.abs(plain - np.median(plain)).max(axis=-1)[np.ix_(rows, columns)] > 0.01
    expected = np.float32(0.6) <= probability.array[:, :, 0].T
    assert written_on.sum() < 12  # letters hide few of the 192 voxels
    assert np.array_equal(shown[np.ix_(rows, columns)] | written_on, expected | written_on)
    assert expected.sum() > 50


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_the_patients_right_is_on_the_left_and_the_front_on_top(orientation: Orientation) -> None:
    """A bright spot and a lesion at the right front appear in the upper left, however the scan is stored."""
    grid = Grid((24, 26, 8), np.eye(4))
    scan, lesion = head(grid).array.copy(), np.zeros(grid.shape)
    scan[16:20, 18:22, 3:5] = 200
    lesion[16:20, 18:22, 3:5] = 0.9
    stored_scan, stored = reoriented(scan, grid, orientation)
    stored_lesion, _ = reoriented(lesion, grid, orientation)

    picture = Picture(Volume(stored_scan, stored), make_map(stored_lesion, stored))

    (n,) = picture.slices_with_colour()
    plain, overlaid = picture.tile(n, SCAN), coloured(picture.tile(n, FIRST))
    top, bottom, left, right = bounds(overlaid)
    height, width = overlaid.shape
    assert bottom < height / 2
    assert right < width / 2
    inside = plain[top + 3 : bottom - 3, left + 3 : right - 3].mean()
    assert inside > 0.9
    assert plain[top + 3 : bottom - 3, width - right : width - left].mean() < 0.8


@pytest.mark.parametrize(
    ("spacing_mm", "box"),
    [((1.0, 1.0, 8.0), (12, 12, 2)), ((1.0, 1.9, 2.0), (19, 10, 2)), ((0.9, 0.45, 1.0), (10, 20, 4))],
)
def test_proportions_are_those_of_the_patient(
    spacing_mm: tuple[float, float, float], box: tuple[int, int, int]
) -> None:
    """A lesion as wide as it is deep is square in the picture, whatever the voxels are."""
    grid = Grid((48, 40, 6), np.diag([*spacing_mm, 1.0]))
    lesion = np.zeros(grid.shape)
    lesion[8 : 8 + box[0], 10 : 10 + box[1], 2 : 2 + box[2]] = 1

    picture = Picture(head(grid), make_map(lesion, grid), labels=np.zeros(grid.shape, int))

    top, bottom, left, right = bounds(coloured(picture.tile(picture.slices_with_colour()[0], FIRST)))
    assert "axial slices" in picture.words
    assert bottom - top == pytest.approx(right - left, abs=2)  # whole pixels at both ends
    assert bottom - top > 20


def test_thick_sagittal_slices_are_shown_in_their_own_plane() -> None:
    """Cut across, slices of 8 mm would be stripes; in their plane the front is on the left and the head on top."""
    grid = Grid((30, 32, 6), np.array([[0, 0, -8.0, 20], [-1, 0, 0, 15], [0, -1, 0, 16], [0, 0, 0, 1]]))
    scan, lesion = np.zeros(grid.shape), np.zeros(grid.shape)
    scan[2:-2, 2:-2] = 100
    lesion[4:10, 5:13, 2] = 1  # towards the front and the top of the head

    picture = Picture(Volume(scan, grid), make_map(lesion, grid), labels=np.zeros(grid.shape, int))

    shown = coloured(picture.tile(picture.slices_with_colour()[0], FIRST))
    top, bottom, left, right = bounds(shown)
    assert "sagittal slices" in picture.words
    assert right < shown.shape[1] / 2
    assert bottom < shown.shape[0] / 2
    assert (bottom - top) * 6 == pytest.approx((right - left) * 8, abs=16)  # whole pixels at both ends


def test_evidence_for_has_colour_and_evidence_against_none() -> None:
    """Healthy tissue speaks against a lesion nearly everywhere: painted, it would hide what speaks for one."""
    values = np.array([[[-2.0, 0.0, 1.0, 2.0]]])
    scale = paint.attribution_scale(make_map(values, Grid((1, 1, 4), np.eye(4)), "attribution"))

    opacity = scale.paint(values[0])[0, :, 3]

    assert opacity[0] == opacity[1] == 0
    assert 0 < opacity[2] < opacity[3] == paint.ATTRIBUTION_OPACITY
    assert scale.limits == (0.0, pytest.approx(1.99))  # the 99th percentile of 1 and 2
    assert dict(scale.ticks)[scale.limits[1]] == "≥2"


def test_features_of_both_signs_have_colours() -> None:
    """What a layer holds below 0 is no less than what it holds above: the colours differ, the opacity does not."""
    signed = make_map(np.array([[[-2.0, 0.0, 1.0, 2.0]]]), Grid((1, 1, 4), np.eye(4)), "feature")
    scale = paint.feature_scale(signed)

    colours = scale.paint(signed.array[0])[0]

    assert colours[0, 3] == colours[3, 3] > colours[2, 3] > colours[1, 3] == 0
    assert colours[0, 2] > colours[0, 0]  # violet
    assert colours[3, 0] > colours[3, 2]  # orange
    assert scale.limits == (-2.0, 2.0)
    assert scale.name == "feature"
    assert "of lesion, no unit" in scale.caption


def test_an_anomaly_map_is_not_stretched_to_its_own_maximum() -> None:
    """A quiet scan looks quiet: the colours end where the reference says, whatever the scan holds."""
    grid = Grid((1, 1, 4), np.eye(4))
    quiet = make_map(np.array([[[0.0, 0.1, 0.2, 0.3]]]), grid, "anomaly")
    loud = make_map(np.array([[[0.0, 0.1, 3.0, 30.0]]]), grid, "anomaly")

    scales = [paint.feature_scale(one) for one in (quiet, loud)]

    assert [scale.limits for scale in scales] == [(0.0, FARTHEST)] * 2
    np.testing.assert_array_equal(scales[0].paint(quiet.array), scales[1].paint(quiet.array))
    assert [dict(scale.ticks)[FARTHEST] for scale in scales] == ["3", "≥3"]


def test_a_map_without_evidence_for_the_class_says_so() -> None:
    """The least negative voxel is no evidence, and an empty row must not look like a failure."""
    scale = paint.attribution_scale(make_map(np.full((1, 1, 4), -1.0), Grid((1, 1, 4), np.eye(4)), "attribution"))

    assert scale.caption == "no evidence for lesion"
    assert not scale.paint(np.full((2, 2), -1.0))[..., 3].any()


def test_attribution_colours_mean_the_same_in_every_slice() -> None:
    """The limits come from the volume: a weak slice looks weak."""
    grid = Grid((20, 20, 12), np.diag([1, 1, 6.0, 1]))
    values = np.zeros(grid.shape)
    values[5:15, 5:15, 3], values[5:15, 5:15, 8] = 4.0, 1.0

    picture = Picture(head(grid), attribution=make_map(values, grid, "attribution"))

    strengths = [np.ptp(picture.tile(n, FIRST), axis=-1).max() for n in range(picture.n_slices)]
    strong, weak = sorted(strengths, reverse=True)[:2]
    assert strong > 2 * weak > 0


def test_without_probability_the_slices_with_most_attribution_are_shown() -> None:
    """A classifier has no map of probabilities; its attribution chooses the slices."""
    grid = Grid((20, 20, 60), np.eye(4))
    values = np.zeros(grid.shape)
    values[8:12, 8:12, 37] = 1

    picture = Picture(head(grid), attribution=make_map(values, grid, "attribution"))

    assert len(picture.slices_with_colour()) == 1
    assert "S 37.0 mm" in picture.letters
    assert "region" not in picture.words


def test_no_region_is_said_in_words_and_shown_without_colour() -> None:
    """A clean scan must not look like a picture that failed."""
    grid = Grid((20, 20, 60), np.eye(4))

    picture = Picture(head(grid), make_map(np.full(grid.shape, 0.49), grid), threshold=0.5)

    assert "no region at or above 0.50" in picture.words
    assert picture.n_slices == 12
    assert picture.slices_with_colour() == []


def test_regions_are_counted_in_words() -> None:
    """Number, volume and how many of them the slices show are read without the table."""
    grid = Grid((20, 20, 60), np.diag([1, 1, 2.0, 1]))
    lesion = np.zeros(grid.shape)
    lesion[4:14, 4:9, 10:20] = lesion[5, 15, 40] = 1

    picture = Picture(head(grid), make_map(lesion, grid))

    assert "2 regions at or above 0.50, 1.00 mL, 2 in these slices" in picture.words


def test_the_largest_regions_carry_their_numbers() -> None:
    """A row of the table is found in the picture: each number is written once, beside its region."""
    grid = Grid((40, 40, 8), np.diag([1, 1, 6.0, 1]))
    lesion = np.zeros(grid.shape)
    lesion[5:15, 5:15, 3] = lesion[25:30, 25:30, 5] = 1

    picture = Picture(head(grid), make_map(lesion, grid))

    assert picture.letters.count("1") == picture.letters.count("2") == 1


@pytest.mark.parametrize("island", [(4, 15), (35, 15), (30, 4)], ids=["left of it", "right of it", "above it"])
def test_a_number_stands_beside_the_largest_piece_of_its_region(island: tuple[int, int]) -> None:
    """A region that is whole in three dimensions may be pieces in a slice; the speck among them is not what counts."""
    grid = Grid((40, 40, 8), np.diag([-1, -1, 6.0, 1]))  # stored as displayed
    block = np.zeros(grid.shape, int)
    block[10:20, 10:20, 3] = 1
    pieces = block.copy()
    pieces[*island, 3] = 1

    places = [number_place(draw_montage(head(grid), make_map(labels, grid), labels=labels), "1")
              for labels in (block, pieces)]  # fmt: skip

    assert places[0] == places[1]


def test_the_picture_says_what_it_is() -> None:
    """Notice, bundle, class, method, target, layer and resolution stand in the picture."""
    grid = Grid((20, 20, 8), np.diag([1, 1, 6.0, 1]))
    made = {"bundle": "tiny 1.2", "method": "gradcam", "layer": "model.2", "resolution_mm": (4.0, 4.0, 8.0)}
    attribution = make_map(np.ones(grid.shape), grid, "attribution", target="margin of 'lesion'", **made)

    text = Picture(head(grid), make_map(np.zeros(grid.shape), grid, bundle="tiny 1.2"), attribution).words

    assert "Research use only — not a medical device" in text
    assert "phantom · tiny 1.2 · lesion" in text
    assert "attribution: Grad-CAM of margin of 'lesion' · layer model.2 · resolution ±4 × 4 × 8 mm" in text


def test_a_title_replaces_the_first_line_only() -> None:
    """How the attribution was made is said whatever the title is."""
    grid = Grid((20, 20, 8), np.diag([1, 1, 6.0, 1]))
    attribution = make_map(np.ones(grid.shape), grid, "attribution", method="gradcam", resolution_mm=(4.0, 4.0, 4.0))

    text = Picture(head(grid), attribution=attribution, title="My title").words

    assert "My title" in text
    assert "phantom" not in text
    assert "attribution: Grad-CAM of lesion · resolution ±4 mm" in text


@pytest.mark.parametrize(("degrees", "said"), [(15.0, True), (0.0, False)])
def test_an_oblique_scan_is_named_so(degrees: float, said: bool) -> None:
    """Pictures along the scan's own axes are not parallel to the patient's; the reader is told."""
    grid = oblique((20, 20, 8), (1.0, 1.0, 6.0), degrees)

    assert ("oblique" in Picture(head(grid)).words) is said


def test_irregular_geometry_is_written_into_the_picture() -> None:
    """A picture is passed on without its record; what is wrong with the places has to be in it."""
    grid = Grid((20, 20, 8), np.diag([1, 1, 6.0, 1]))
    verdict = GeometryVerdict(("tilt: the slices are stacked 14 degrees off their normal",), 0.0, "as-is")

    assert "geometry" not in Picture(head(grid)).words
    words = Picture(replace(head(grid), source=Source(verdict=verdict))).words
    assert "geometry irregular: tilt: the slices are stacked 14 degrees off their normal" in words
    assert "voxels kept as they are" in words


EDGE_CASES = {
    "scan alone": (Grid((20, 20, 8), np.eye(4)), None, None),
    "one slice": (Grid((20, 20, 1), np.eye(4)), 1.0, 1.0),
    "one voxel": (Grid((1, 1, 1), np.eye(4)), 1.0, 1.0),
    "everything is lesion": (Grid((20, 20, 8), np.eye(4)), 1.0, None),
    "attribution is zero": (Grid((20, 20, 8), np.eye(4)), None, 0.0),
    "attribution is negative": (Grid((20, 20, 8), np.eye(4)), 0.0, -1.0),
}


@pytest.mark.parametrize("value", [0.0, -1000.0])
@pytest.mark.parametrize(("grid", "probability", "attribution"), EDGE_CASES.values(), ids=EDGE_CASES.keys())
def test_unusual_cases_are_drawn(
    grid: Grid, probability: float | None, attribution: float | None, value: float
) -> None:
    """Constant scans and maps, single slices and missing maps give a picture, not an error."""
    maps = [
        None if one is None else make_map(np.full(grid.shape, one), grid, kind)
        for one, kind in ((probability, "probability"), (attribution, "attribution"))
    ]

    picture = Picture(Volume(np.full(grid.shape, value), grid), *maps)

    assert 1 <= picture.n_slices <= grid.shape[2]
    assert NOTICE in picture.words


def test_the_outline_runs_along_the_edges_of_the_voxels() -> None:
    """An L of three voxels of 2 x 3 mm, one at the border, has the eight edges that a pencil draws."""
    axes = Figure().add_subplot()
    mask = np.array([[True, False], [True, True]])

    paint.draw_outline(axes, mask, (2.0, 3.0))

    segments = axes.collections[0].get_segments()
    drawn = {tuple(sorted(tuple(point) for point in segment.tolist())) for segment in segments}
    level = {((0, 0), (3, 0)), ((3, 2), (6, 2)), ((0, 4), (3, 4)), ((3, 4), (6, 4))}
    upright = {((0, 0), (0, 2)), ((0, 2), (0, 4)), ((3, 0), (3, 2)), ((6, 2), (6, 4))}
    assert drawn == level | upright
    assert len(segments) == 8


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5), (1.5, 3.0), (3.0, 8.0)])
def test_the_outline_is_as_thin_on_coarse_scans(spacing_mm: tuple[float, float]) -> None:
    """A line as wide as a voxel covers the lesion that it is to outline."""
    axes = Figure().add_subplot()

    paint.draw_outline(axes, np.ones((2, 3), dtype=bool), spacing_mm, edged=True)

    rim, line = axes.collections
    assert line.get_linewidth() == [0.5]
    assert 0.5 < rim.get_linewidth()[0] < 3


def test_values_that_are_not_finite_are_black() -> None:
    """A NaN in the scan does not spoil the window of the rest."""
    grid = Grid((20, 20, 8), np.eye(4))
    scan = head(grid).array.copy()
    scan[10, 10, 4] = np.nan

    assert paint.scan_window(Volume(scan, grid)) == paint.scan_window(head(grid))


def test_ct_has_the_soft_tissue_window_and_other_scans_their_own() -> None:
    """Hounsfield units have a meaning; MR values have none."""
    grid = Grid((20, 20, 8), np.eye(4))
    scan = head(grid).array

    assert paint.scan_window(Volume(scan, grid, unit="HU")) == (-160.0, 240.0)
    assert paint.scan_window(Volume(scan, grid)) != (-160.0, 240.0)


def test_the_window_follows_the_scale_of_the_scan(rng: np.random.Generator) -> None:
    """MR intensities have no unit: a scan times 1000 looks the same."""
    grid = Grid((20, 20, 8), np.eye(4))
    scan = head(grid).array * rng.uniform(0.5, 1, grid.shape)

    low, high = paint.scan_window(Volume(scan, grid))

    assert paint.scan_window(Volume(scan * 1000, grid)) == pytest.approx((low * 1000, high * 1000))
    assert 49 < low < high < 101


def test_the_file_is_the_figure_and_carries_the_notice(tmp_path: Path) -> None:
    """The picture is written as drawn; its metadata say what it is not for."""
    grid = Grid((20, 20, 8), np.diag([1, 1, 6.0, 1]))
    lesion = np.zeros(grid.shape)
    lesion[5:9, 5:9, 4] = 1
    probability = make_map(lesion, grid)

    path = write_montage(tmp_path / "overlay_lesion.png", head(grid), probability, threshold=0.5, title="t")

    with Image.open(path) as image:
        assert "not a medical device" in image.info["Description"]
        written = np.asarray(image.convert("RGB")) / 255.0
    drawn = render(draw_montage(head(grid), probability, threshold=0.5, title="t"))
    np.testing.assert_allclose(written, drawn, atol=1 / 255)


def test_a_picture_that_cannot_be_drawn_leaves_the_old_file(tmp_path: Path) -> None:
    """Nothing is opened before the picture is complete."""
    path = tmp_path / "overlay.png"
    path.write_bytes(b"old")
    grid, other = Grid((20, 20, 8), np.eye(4)), Grid((20, 20, 8), np.diag([1, 1, 2.0, 1]))

    with pytest.raises(InputError, match="probability map of 'lesion' does not lie on the scan's grid"):
        write_montage(path, head(grid), make_map(np.zeros(other.shape), other))
    with pytest.raises(InputError, match="attribution map of 'lesion' does not lie on the scan's grid"):
        write_montage(path, head(grid), attribution=make_map(np.zeros(other.shape), other, "attribution"))

    assert path.read_bytes() == b"old"


def test_drawing_leaves_pyplot_alone() -> None:
    """Figures of the user's own session are neither used nor closed."""
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    draw_montage(head(Grid((20, 20, 8), np.eye(4))))

    assert plt.get_fignums() == before


ODD_SHAPES = [(64, 2, 64), (200, 2, 2), (2, 200, 2), (2, 2, 200), (2, 2, 2), (3, 300, 40), (300, 3, 40), (1, 50, 1)]


@pytest.mark.parametrize("shape", ODD_SHAPES, ids=str)
def test_scans_of_any_shape_are_drawn(shape: tuple[int, int, int]) -> None:
    """A stack of two slices or a strip is no head, but its picture must not end a run that has done all its work."""
    grid = Grid(shape, np.diag([1.0, 1.0, 3.0, 1.0]))
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    probability = make_map(values / values.max(), grid)

    picture = Picture(Volume(values, grid, name="strip"), probability, make_map(values, grid, "attribution"))

    assert picture.n_slices >= 1
    assert max(picture.pixels.shape) < 4000


def test_distances_stay_true_in_flat_pictures() -> None:
    """A strip is shown as a strip, not drawn out to fill its tile."""
    grid = Grid((100, 4, 20), np.eye(4))

    picture = Picture(Volume(np.arange(8000.0).reshape(grid.shape), grid))

    (axes, *_) = picture.tiles.values()
    box, (left, right), (low, high) = axes.get_window_extent(), axes.get_xlim(), axes.get_ylim()
    assert abs((right - left) / (high - low)) > 1.5 / montage._FLATTEST  # flatter than the tile
    assert box.width / box.height == pytest.approx(abs((right - left) / (high - low)), rel=1e-3)


def test_the_scan_is_darker_beneath_an_attribution_alone() -> None:
    """Evidence mostly lies in bright lesions; its colours were pale on white, and nobody saw them."""
    grid = Grid((20, 20, 8), np.diag([1, 1, 6.0, 1]))
    evidence = np.zeros(grid.shape)
    evidence[:3] = 1  # at the edge, not in the middle

    picture = Picture(head(grid), make_map(np.zeros(grid.shape), grid), make_map(evidence, grid, "attribution"))

    tiles = [picture.tile(picture.n_slices // 2, row) for row in range(3)]
    bare, first, second = (tile[tile.shape[0] // 2, tile.shape[1] // 2].mean() for tile in tiles)
    assert bare == first > 0.9
    assert second == pytest.approx(paint.ATTRIBUTION_GREY * bare, abs=0.02)
