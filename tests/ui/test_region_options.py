"""Rules of regions in the form, definitions and flags in the table, and diameters on their slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from lesionlens.display import DisplayView
from lesionlens.regions import measure_classes
from lesionlens.report.columns import COLUMNS, column_of
from lesionlens.report.table import region_rows
from lesionlens.results import CaseResult
from lesionlens.rules import RegionRules
from lesionlens.ui.diameters import NAME, lines_of
from lesionlens.ui.parts import DOCK_WIDTH
from lesionlens.volume import Grid, Volume
from orientations import oblique
from ui_cases import BLOB, SMALL_BLOB, phantom, result_of
from ui_window import WAIT_MS, Window


def measured(volume: Volume, array: Any) -> CaseResult:
    """Return a result whose regions have their shapes, as those of a run have."""
    result = result_of(volume, {"lesion": array})
    found = measure_classes(volume, result.probabilities, (), 0.5)
    return CaseResult(
        volume, "test 1", result.probabilities, (), found.regions, found.labels, {}, 0.5, {}, steps=found.steps
    )


# Pixels of a table in a dock that leaves room for the scan.
NARROW_DOCK = 300
# Margins of the dock, and the scroll bars of the dock and of the table.
BESIDE_TABLE = 60


@pytest.fixture
def result() -> CaseResult:
    """Return a result with a large and a small region."""
    volume = phantom()
    array = np.full(volume.grid.shape, 0.1, np.float32)
    array[BLOB], array[SMALL_BLOB] = 0.9, 0.6
    return measured(volume, array)


def shown(window: Window, result: CaseResult) -> None:
    """Open the scan of a result and show the result over it."""
    window.open(result.volume)
    window.widget.show_result(result)


def wait_for(window: Window, words: str) -> None:
    """Wait until the caption of the table says something."""
    window.qtbot.waitUntil(lambda: words in window.widget.table.caption.text(), timeout=WAIT_MS)


def test_other_rules_measure_again_and_say_what_was_left_out(window: Window, result: CaseResult) -> None:
    """A least volume between the two regions leaves the small one out, and brings it back."""
    shown(window, result)
    table, form = window.widget.table, window.widget.form.regions
    assert [region.volume_mm3 > 1000 for region in table.regions] == [True, False]

    form.minimum.setValue(1000)
    wait_for(window, "1 region left out as too small")

    assert len(table.regions) == 1
    assert "At least 1000 mm³" in table.caption.text()
    assert int(window.layer("Regions: lesion").data.max()) == 1
    assert form.rules == RegionRules(minimum_mm3=1000)
    form.minimum.setValue(0)
    wait_for(window, "2 regions measured")
    assert "left out" not in table.caption.text()


def test_the_form_shows_the_rules_of_a_result(window: Window, result: CaseResult) -> None:
    """Opening the results of an earlier run measures nothing anew: the form takes its rules over."""
    rules = RegionRules(6, True, 2.5, 10.0)
    shown(window, CaseResult(**{**vars(result), "rules": rules}))

    assert window.widget.form.regions.rules == rules
    assert "merged within 2.5 mm" in window.widget.table.caption.text()
    assert "measured at" in window.widget.table.caption.text()


def test_headings_say_the_definitions_of_the_reference(window: Window, result: CaseResult) -> None:
    """One definition for the file, the page and the tool tip, with unit and formula."""
    shown(window, result)
    model = window.widget.table.table.model()
    tips = {
        model.headerData(n, Qt.Orientation.Horizontal, Qt.ItemDataRole.DisplayRole): model.headerData(
            n, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole
        )
        for n in range(model.columnCount())
    }

    named = {
        "mL": "volume_mm3",
        "mean p": "probability_mean",
        "share": "attribution_share",
        "axial mm": "axial_diameter_mm",
    }
    for heading, name in named.items():
        column = column_of(name)
        assert column.meaning in tips[heading]
        assert column.formula in tips[heading]
    assert "Unit: mm³." in tips["mL"]
    assert column_of("axial_perpendicular_mm").meaning in tips["axial mm"]


def test_every_figure_of_the_chosen_region_is_shown_with_its_definition(window: Window, result: CaseResult) -> None:
    """What a file says of a region is there without the file: the same names, values and definitions."""
    shown(window, result)
    figures = window.widget.table.figures
    assert figures.rowCount() == 0

    for number in (0, 1):
        window.click_row(number)
        row = region_rows(result.regions)[number]
        wanted = [column for column in COLUMNS if any(row[name] is not None for name in column.names)]
        assert figures.rowCount() == len(wanted) > 30
        for place, column in enumerate(wanted):
            name, value = figures.item(place, 0), figures.item(place, 1)
            assert name.text().removesuffix(" …") == column.names[0]
            assert all(part in name.toolTip() for part in (*column.names, column.meaning, column.unit, column.formula))
            assert value.toolTip() == name.toolTip()
            for text, cell in zip(value.text().split(", "), [row[one] for one in column.names], strict=True):
                if isinstance(cell, bool | str):
                    assert text == (cell if isinstance(cell, str) else "yes" if cell else "no")
                else:
                    assert float(text) == pytest.approx(cell, rel=1e-4)

    window.viewer.layers.clear()
    window.qtbot.waitUntil(lambda: figures.rowCount() == 0, timeout=WAIT_MS)


def test_flags_are_words_in_the_table_and_absent_where_none_is_raised(window: Window) -> None:
    """A region at the face and of one slice, and one of which nothing is to be said; seen without scrolling."""
    volume = phantom()
    array = np.full(volume.grid.shape, 0.1, np.float32)
    array[BLOB] = 0.9
    array[0, 2:6, 2] = 0.9
    shown(window, measured(volume, array))
    model = window.widget.table.table.model()

    headings = [model.headerData(n, Qt.Orientation.Horizontal) for n in range(model.columnCount())]
    place, last = headings.index("flags"), headings.index("max p")
    header = window.widget.table.table.horizontalHeader()
    cells = [model.index(row, place).data() for row in range(model.rowCount())]

    assert cells == ["", "border, one slice, few voxels"]
    assert header.sectionPosition(place) + header.sectionSize(place) <= NARROW_DOCK
    assert header.sectionPosition(last) + header.sectionSize(last) <= DOCK_WIDTH - BESIDE_TABLE


@pytest.mark.parametrize("grid", [phantom().grid, oblique((24, 30, 18), (0.8, 1.1, 2.0))], ids=["straight", "oblique"])
def test_the_lines_lie_in_a_slice_of_the_region_and_have_the_lengths_of_the_table(grid: Grid) -> None:
    """Ends as the layer gets them, back to the world: in one slice of the region, as long as the columns say."""
    array = np.full(grid.shape, 0.1, np.float32)
    array[6:15, 10:14, 5:9] = 0.9
    array[6:19, 10:14, 7] = 0.9  # longest in slice 7
    volume = Volume(np.zeros(grid.shape, np.float32), grid)
    case = measured(volume, array)
    (region,) = case.regions["lesion"]
    assert region.shape is not None

    lines = lines_of(region, volume)

    view = DisplayView(grid)
    labels = view.to_display(case.labels["lesion"])
    lengths = [np.linalg.norm(np.subtract(*grid.world(view.voxel_index(line)))) for line in lines]
    assert lengths == pytest.approx([region.shape.axial_diameter.length_mm, region.shape.axial_perpendicular.length_mm])
    (place,) = {float(end[0]) for line in lines for end in line}
    assert place == view.display_index((0, 0, 7))[0]
    assert labels[int(place)].any()


def test_diameters_are_drawn_for_the_chosen_region_while_asked_for(window: Window, result: CaseResult) -> None:
    """A row leads to the slice of its lines and draws two; another row moves them; the box takes them away."""
    shown(window, result)
    box = window.widget.diameters.box
    window.click_row(0)
    assert NAME not in window.names

    box.setChecked(True)

    layer = window.layer(NAME)
    regions = result.regions["lesion"]
    assert len(layer.data) == 4  # both lines, each on its dark rim
    np.testing.assert_allclose(np.stack(layer.data[2:]), np.stack(lines_of(regions[0], result.volume)), atol=1e-6)
    assert window.viewer.dims.current_step[0] == layer.data[0][0, 0]
    window.click_row(1)
    moved = window.layer(NAME)
    np.testing.assert_allclose(np.stack(moved.data[2:]), np.stack(lines_of(regions[1], result.volume)), atol=1e-6)
    assert window.names.count(NAME) == 1
    box.setChecked(False)
    assert NAME not in window.names


def test_anatomy_and_rules_go_into_the_run(window: Window) -> None:
    """A labels layer on the scan is offered, the regions of a result are not; numbers and names are kept."""
    from lesionlens.ui.masks import anatomy_of

    volume = phantom()
    shown(window, result_of(volume))
    atlas = np.zeros(volume.grid.shape, np.uint8)
    atlas[4:9], atlas[9:12] = 3, 7
    layer = window.viewer.add_labels(
        DisplayView(volume.grid).to_display(atlas),
        name="atlas",
        scale=DisplayView(volume.grid).scale,
        translate=DisplayView(volume.grid).translate,
        units=("mm",) * 3,
        features={"index": [0, 3, 7], "name": ["outside", "white", "grey"]},
    )
    box = window.widget.form.regions.anatomy

    offered = [box.itemText(n) for n in range(box.count())]

    assert offered == ["none", "atlas"]
    found = anatomy_of(layer, volume)
    np.testing.assert_array_equal(found.array, atlas)
    assert dict(found.names) == {3: "white", 7: "grey"}
