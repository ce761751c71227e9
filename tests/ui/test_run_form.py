"""Method, target and uncertainty in the dock: everything that the command line offers can be chosen, and arrives."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import Notification
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

from lesionlens.explain.fills import BASELINES
from lesionlens.explain.occlusion import _FILLS
from lesionlens.heatmap import LabelMap
from lesionlens.methods import METHODS
from lesionlens.model.layers import BundleLayer
from lesionlens.pipeline import RunOptions
from lesionlens.target import Point
from lesionlens.ui import consent, work
from lesionlens.ui.facts import BundleFacts
from lesionlens.ui.method_options import WORDS
from ui_cases import BLOB, SMALL_BLOB, phantom, result_of, write_bundle
from ui_window import WAIT_MS, Window


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """Return the options of the runs that were started; none of them computes anything."""
    found: list[RunOptions] = []

    def run_case(options: RunOptions, *, volume: Any, channels: Any, progress: Any) -> Any:
        progress("Predicting", 0, 1)
        found.append(options)
        return result_of(volume)

    monkeypatch.setattr(work, "run_case", run_case)
    return found


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    """Return a bundle with two classes and a background that may be executed."""
    folder = write_bundle(tmp_path / "bright", classes=("background", "lesion", "scar"))
    consent.allow(folder)
    return folder


def choose(box: Any, data: object) -> None:
    """Choose the entry of a box that stands for a value."""
    index = next(i for i in range(box.count()) if box.itemData(i) == data)
    assert box.model().item(index).isEnabled()
    box.setCurrentIndex(index)


def look(window: Window) -> Any:
    """Open the part of the form about methods, wait until the network was looked at, and return the method form."""
    form = window.widget.form
    window.click(form.method_section.heading)
    window.qtbot.waitUntil(lambda: form.looker.facts is not None and not form.looker.busy, timeout=WAIT_MS)
    return form.explaining


def run(window: Window) -> None:
    """Press Run and wait for the end."""
    window.click(window.widget.form.bar.run)
    window.wait_for_run()


def click_voxel(window: Window, layer: Any, index: tuple[int, int, int], *, dragged: bool = False) -> None:
    """Click, or drag from, a voxel of a layer, as the canvas does."""
    place = tuple(layer.data_to_world(index))
    event = SimpleNamespace(type="mouse_press", position=place, modifiers=(), button=1)
    running = [callback(window.viewer, event) for callback in window.viewer.mouse_drag_callbacks]
    for kind in ("mouse_press", *["mouse_move"] * dragged, "mouse_release"):
        event.type = kind
        for one in running:
            next(one, None)


def test_every_method_can_be_chosen_under_its_family(window: Window) -> None:
    """What the command line lists must be here, with what it costs and what it cannot say."""
    box = window.widget.form.explaining.method
    entries = [(box.itemData(i), box.itemData(i, Qt.ItemDataRole.ToolTipRole)) for i in range(box.count())]
    headings = [box.itemText(i) for i, (name, _) in enumerate(entries) if name is None]

    assert {name for name, _ in entries if name} == set(METHODS)
    assert len(headings) == len({info.family for info in METHODS.values()})
    for name, tip in entries:
        if name:
            info = METHODS[name]
            assert all(words in tip for words in (info.summary, info.cost, info.caveat))


def test_the_simple_form_stays_simple(window: Window) -> None:
    """Who only wants to run a bundle sees a scan, a bundle and a button."""
    form = window.widget.form

    assert not form.explaining.isVisibleTo(form)
    assert not form.sampling.isVisibleTo(form)
    assert "Grad-CAM" in form.method_section.heading.text()
    window.click(form.method_section.heading)
    assert form.explaining.isVisibleTo(form)


def test_the_method_follows_the_bundle_until_one_is_chosen(window: Window) -> None:
    """What the form shows must be what runs; a choice of the user outlives another bundle."""
    form = window.widget.form
    seen = form.explaining.choice().method, form.explaining.info.name

    form.explaining.show_facts(BundleFacts((), "", "none", {}, "", "detection"))

    assert seen == (None, "gradcam")
    assert (form.explaining.choice().method, form.explaining.info.name) == (None, "hirescam")
    assert "HiResCAM" in form.method_section.heading.text()
    choose(form.explaining.method, "layercam")
    form.explaining.follow("segmentation")
    assert (form.explaining.choice().method, form.explaining.info.name) == ("layercam", "layercam")


def test_methods_that_cannot_explain_the_bundle_say_why(window: Window, trusted: Path) -> None:
    """A menu of methods of which half end in an error would teach nothing; those that serve must stay."""
    window.widget.form.scan.open_bundle(str(trusted))
    form = look(window)
    box = form.method
    enabled = {box.itemData(i): box.model().item(i).isEnabled() for i in range(box.count())}
    tips = {box.itemData(i): box.itemData(i, Qt.ItemDataRole.ToolTipRole) for i in range(box.count())}

    refused = {name for name in METHODS if not enabled[name]}
    attention = {"attention", "attention_rollout", "attention_relevance", "attention_gates"}
    assert refused == {"cam", "guided_backprop", "score_map", "boxes"} | attention  # it has no ReLU
    assert "no attention matrices" in tips["attention"]
    assert "average" in tips["cam"]


def test_a_chosen_method_that_turns_out_not_to_serve_cannot_be_run(window: Window, trusted: Path) -> None:
    """The reason belongs beside the method, not into an error after a minute."""
    window.open(phantom())
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    form.explaining.choose("attention")
    assert form.bar.run.isEnabled()

    look(window)

    assert not form.bar.run.isEnabled()
    assert "Not with this bundle" in form.explaining.about.text()
    form.explaining.choose("gradcam")
    assert form.bar.run.isEnabled()


def test_a_method_waits_until_it_is_known_to_serve(
    window: Window, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was bound to fail must not be started in the seconds before that is known; the default one may."""
    found = BundleFacts((), "", "none", {"attention": "it has no attention matrices"}, "")
    go_on = threading.Event()

    def look_at(*_: object) -> BundleFacts:
        go_on.wait(WAIT_MS / 1000)
        return found

    monkeypatch.setattr(work, "look_at", look_at)
    window.open(phantom())
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    window.click(form.method_section.heading)
    allowed = [form.bar.run.isEnabled()]
    said = []
    for name in ("attention", "smoothgrad"):
        choose(form.explaining.method, name)
        allowed.append(form.bar.run.isEnabled())
        said.append(form.bar.why_not.text())
    go_on.set()
    window.qtbot.waitUntil(lambda: not form.looker.busy, timeout=WAIT_MS)

    assert allowed == [True, False, False]
    assert "Attention works" in said[0]
    assert form.bar.run.isEnabled()  # SmoothGrad serves
    assert not form.bar.why_not.text()
    form.explaining.choose("attention")
    assert not form.bar.run.isEnabled()
    assert "choose another method" in form.bar.why_not.text()


def test_a_field_is_there_where_it_means_something(window: Window) -> None:
    """A field that is grey makes a reader look for what to do about it; an empty one says what it stands for."""
    form = window.widget.form.explaining
    window.click(window.widget.form.method_section.heading)
    shown = []
    for name in ("gradcam", "occlusion", "layercam"):
        form.choose(name)
        shown.append(form.layer.isVisibleTo(form))

    assert shown == [True, False, True]
    form.choose("occlusion")
    assert form.options["stride"].lineEdit().placeholderText() == "half of the size"
    assert form.choice().method_options == {}


def test_a_bundle_from_outside_is_not_looked_at_before_it_may_run(window: Window, tmp_path: Path) -> None:
    """Looking at its layers executes its code."""
    mark = tmp_path / "executed"
    path = write_bundle(tmp_path / "evil", code=f"__import__('pathlib').Path({str(mark)!r}).touch()")
    form = window.widget.form
    form.scan.open_bundle(str(path))

    window.click(form.method_section.heading)

    assert not form.looker.busy
    assert "comes from outside" in form.explaining.layer_note.text()
    assert not mark.exists()


def test_layers_are_listed_and_can_be_joined(window: Window, asked: list[RunOptions]) -> None:
    """Names of layers are nothing that anybody knows by heart."""
    window.open(phantom())
    form = window.widget.form
    layers = tuple(
        BundleLayer(f"encoder.{n}", "Conv3d", 8 * 2**n, (32 >> n,) * 3, (2.0**n,) * 3, (1.5 * 2**n,) * 3)
        for n in range(3)
    )
    form.explaining.show_facts(BundleFacts(layers, "encoder.2", "it is the deepest", {}, ""))
    tree = form.explaining.layers
    rows = [[tree.topLevelItem(n).text(column) for column in range(4)] for n in range(3)]

    assert "deepest" in tree.topLevelItem(2).toolTip(0)
    for n in (1, 2):
        tree.topLevelItem(n).setCheckState(0, Qt.CheckState.Checked)
    run(window)

    assert rows[2] == ["encoder.2", "32", "4", "6"]
    assert asked[0].layer == "encoder.1+encoder.2"


def test_channels_are_stepped_through_to_the_last(window: Window) -> None:
    """Numbers that no channel has would end in an error after a minute; another layer has another number of them."""
    form = window.widget.form.explaining
    layers = tuple(BundleLayer(f"encoder.{n}", "Conv3d", 8 * 2**n, (4,) * 3, (1.0,) * 3, None) for n in range(2))
    form.choose("activation_channel")
    free = form.options["channel"].maximum()

    form.show_facts(BundleFacts(layers, "encoder.1", "it is the deepest", {}, ""))
    default = form.options["channel"].maximum(), form.options["channel"].suffix().strip()
    form.layer.setText("encoder.0")
    named = form.options["channel"].maximum()
    form.choose("activation_strongest")

    assert free > 1000
    assert default == (15, "(0 to 15)")
    assert named == 7
    assert (form.options["rank"].minimum(), form.options["rank"].maximum()) == (1, 8)


def test_everything_that_is_chosen_arrives(window: Window, trusted: Path, asked: list[RunOptions]) -> None:
    """The names and values are those of the command line and of Python."""
    window.open(phantom())
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    form.explaining.choose("smoothgrad")
    form.explaining.options["samples"].setValue(7)
    form.explaining.layer.setText("conv")  # of no meaning for this method, which takes none
    form.asking.target.setCurrentText("scar")
    choose(form.asking.score, "logit")
    choose(form.asking.over, "largest")
    form.asking.against.check("lesion")
    form.asking.gamma.setValue(0.6)

    run(window)

    got = asked[0]
    assert (got.bundle, got.method, dict(got.method_options)) == (str(trusted), "smoothgrad", {"samples": 7})
    assert (got.target, got.score, got.over, got.against, got.gamma) == ("scar", "logit", "largest", ("lesion",), 0.6)
    assert got.layer is None
    assert got.trust


def test_the_words_of_options_are_those_of_the_methods() -> None:
    """A word that a box offers and the method refuses would be a trap."""
    assert set(WORDS["integrated_gradients", "baseline"]) == set(BASELINES)
    assert set(WORDS["occlusion", "fill"]) == set(_FILLS)
    for (method, option), words in WORDS.items():
        assert METHODS[method].options[option] == words[0]


def test_a_painted_mask_is_what_is_asked_about(window: Window, trusted: Path, asked: list[RunOptions]) -> None:
    """The mask must reach the core on the grid of the scan, not mirrored as it is displayed."""
    layer = window.open(phantom())
    painted = np.zeros(layer.data.shape, dtype=np.int32)
    labels = window.viewer.add_labels(painted, scale=layer.scale, translate=layer.translate, name="marks")
    window.viewer.add_labels(np.zeros((3, 4, 5), dtype=np.int32), name="elsewhere")
    labels.data[layer.data == 100] = 3
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    choose(form.asking.over, "mask")
    assert [form.asking.mask_layer.itemText(i) for i in range(form.asking.mask_layer.count())] == ["marks"]

    run(window)

    mask = asked[0].over
    assert isinstance(mask, LabelMap)
    assert mask.label == "marks"
    assert mask.array[BLOB].all()
    assert mask.array[SMALL_BLOB].all()
    assert mask.array.sum() == 8 * 16 * 3 + 3 * 6 * 2


@pytest.mark.parametrize("place", ["voxel", "region"])
def test_a_clicked_voxel_is_what_is_asked_about(
    window: Window, trusted: Path, asked: list[RunOptions], place: str
) -> None:
    """The place in the patient is that of the voxel under the cursor; a drag moves the picture and means nothing."""
    volume = phantom()
    layer = window.open(volume)
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    choose(form.asking.over, place)
    index = tuple(int(n[0]) for n in np.nonzero(layer.data == 100))

    click_voxel(window, layer, (0, 0, 0), dragged=True)
    assert "nothing has been clicked" in form.asking.clicked.text()
    click_voxel(window, layer, index)
    run(window)

    point = asked[0].over
    assert isinstance(point, Point)
    assert point.region == (place == "region")
    i, j, k = np.rint(volume.grid.voxel(point.ras)).astype(int)
    assert volume.array[i, j, k] == 100


def test_clicks_are_only_listened_to_while_they_are_asked_for(window: Window) -> None:
    """A click that moves through the scan must not change what a later run is about."""
    before = len(window.viewer.mouse_drag_callbacks)
    form = window.widget.form

    choose(form.asking.over, "voxel")
    assert len(window.viewer.mouse_drag_callbacks) == before + 1
    choose(form.asking.over, "predicted")
    assert len(window.viewer.mouse_drag_callbacks) == before


def test_the_region_in_the_table_is_what_is_asked_about(window: Window, trusted: Path) -> None:
    """The real core explains that lesion, and its record says so."""
    window.open(phantom())
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    run(window)
    choose(form.asking.over, "table")
    window.click_row(1)

    run(window)

    assert window.widget.result is not None
    (cam,) = window.widget.result.attributions
    assert "region 2" in cam.provenance.target
    inside, outside = (float(cam.array[blob].max()) for blob in (SMALL_BLOB, BLOB))
    assert inside > 0
    assert outside > 0  # the weights are those of the small lesion, the map is of all that looks alike


def test_a_region_that_was_not_chosen_is_asked_for(
    window: Window, trusted: Path, asked: list[RunOptions], notifications: list[Notification]
) -> None:
    """A number that belongs to another bundle's regions would explain another lesion without a word."""
    window.open(phantom())
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    choose(form.asking.over, "table")

    window.click(form.bar.run)
    window.widget.show_result(result_of(phantom()))  # of a bundle called "test", on another scan
    window.click_row(0)
    window.click(form.bar.run)

    assert asked == []
    first, second = (n.message for n in notifications)
    assert "Click a region in the table" in first
    assert "test 1" in second


def test_methods_of_no_class_ask_for_none(window: Window, asked: list[RunOptions]) -> None:
    """A map of a layer's features with a class in its options would claim to be about it."""
    window.open(phantom())
    form = window.widget.form
    form.asking.target.setCurrentIndex(1)
    form.explaining.choose("activation_mean")
    assert not form.asking.isEnabled()

    run(window)

    assert asked[0].target is None


def test_flips_give_maps_and_the_spread_of_every_lesion(window: Window, trusted: Path) -> None:
    """A network of single voxels does not care how the scan lies: nothing spreads, and every sample has each lesion."""
    window.open(phantom())
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    window.click(form.sampling_section.heading)
    choose(form.sampling.kind, "tta")
    form.sampling.samples.setValue(2)

    run(window)

    maps = [name for name in window.names if "information" in name or "SD of" in name]
    assert sorted(maps) == [
        f"{name}: {label}"
        for name in ("Mutual information (nats)", "SD of probability")
        for label in ("lesion", "scar")
    ]
    table = window.widget.table.table.model()
    headings = [table.headerData(n, Qt.Orientation.Horizontal) for n in range(table.columnCount())]
    row = [table.index(0, n).data() for n in range(table.columnCount())]
    assert dict(zip(headings, row, strict=True))["CoV"] == "0%"
    assert dict(zip(headings, row, strict=True))["found"] == "100%"
    assert "Over 2 flips" in window.widget.spread.text()
    assert "± 0.00 mL" in window.widget.spread.text()


def test_kinds_of_uncertainty_that_are_not_available_say_why(window: Window, trusted: Path, tmp_path: Path) -> None:
    """Without dropout all samples are the same; an ensemble needs bundles of the same classes, and has them later."""
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    window.click(form.sampling_section.heading)
    window.qtbot.waitUntil(lambda: form.looker.facts is not None and not form.looker.busy, timeout=WAIT_MS)
    box = form.sampling.kind
    enabled = {box.itemData(i): box.model().item(i).isEnabled() for i in range(box.count())}
    tips = {box.itemData(i): box.itemData(i, Qt.ItemDataRole.ToolTipRole) for i in range(box.count())}

    assert enabled == {None: True, "tta": True, "dropout": False, "ensemble": False}
    assert "no dropout module" in tips["dropout"]
    assert "no other bundle" in tips["ensemble"]
    other = write_bundle(tmp_path / "other", classes=("background", "lesion", "scar"))
    form.scan.open_bundle(str(other))
    form.scan.open_bundle(str(trusted))
    assert box.model().item(3).isEnabled()
    assert str(other) in form.sampling.ensemble.names


def test_what_is_chosen_about_uncertainty_arrives(window: Window, trusted: Path, asked: list[RunOptions]) -> None:
    """Samples and seed of a kind that has none must not stay behind."""
    window.open(phantom())
    form = window.widget.form
    form.scan.open_bundle(str(trusted))
    choose(form.sampling.kind, "tta")
    form.sampling.samples.setValue(12)
    form.sampling.seed.setValue(5)
    form.sampling.calibration.setText("temperature.json")
    run(window)
    choose(form.sampling.kind, None)
    run(window)

    first, second = asked
    assert (first.uncertainty, first.samples, first.seed) == ("tta", 12, 5)
    assert first.calibration == Path("temperature.json")
    assert (second.uncertainty, second.samples, second.seed) == (None, None, 0)


def test_every_bundle_of_an_ensemble_is_asked_about(
    window: Window, trusted: Path, tmp_path: Path, asked: list[RunOptions], answer: Any
) -> None:
    """That one bundle may execute code says nothing about another."""
    window.open(phantom())
    form = window.widget.form
    other = write_bundle(tmp_path / "other", classes=("background", "lesion", "scar"), code="print('executed')")
    form.scan.open_bundle(str(other))
    form.scan.open_bundle(str(trusted))
    choose(form.sampling.kind, "ensemble")
    form.sampling.ensemble.check(str(other))

    said = answer(lambda box: box.button(QMessageBox.StandardButton.Cancel).click())
    window.click(form.bar.run)
    assert asked == []
    assert str(other) in said[0]
    answer(lambda box: next(b for b in box.buttons() if b.text() == "Run it").click())
    run(window)

    assert (asked[0].ensemble, asked[0].trust) == ((str(other),), True)


def test_engine_and_memory_arrive(window: Window, asked: list[RunOptions]) -> None:
    """What runs the network, and in how much memory, is chosen in the form; its heading says which engine."""
    window.open(phantom())
    form = window.widget.form
    run(window)
    window.click(form.computing_section.heading)
    choose(form.computing.engine, "auto")
    form.computing.memory.setValue(3.5)

    run(window)

    assert [(options.engine, options.memory_gib) for options in asked] == [("torch", None), ("auto", 3.5)]
    assert "Engine and memory: auto" in form.computing_section.heading.text()
    assert "agrees with fp32" in form.computing.about.text()
