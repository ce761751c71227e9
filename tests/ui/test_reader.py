"""Scans dropped into napari, opened from its menu, and the sample."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from npe2 import PluginManager, PluginManifest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDialogButtonBox

from dicom_factory import Plan, make_series, make_volumes, voxel_ras
from lesionlens.errors import AmbiguousSeriesError, AmbiguousStackError, IrregularSeriesError, ReadError
from lesionlens.ui.layers import volume_of
from lesionlens.ui.reader import get_reader, read_layers
from lesionlens.ui.samples import sample_scan
from ui_cases import phantom
from ui_window import WAIT_MS, Window

TILTED = Plan(offsets=tuple((0.0, 0.7 * k, 2.5 * k) for k in range(5)))


def nifti(folder: Path, name: str = "scan.nii.gz") -> Path:
    """Write the phantom as NIfTI."""
    volume = phantom()
    nib.save(nib.Nifti1Image(volume.array, volume.grid.affine), folder / name)
    return folder / name


def test_the_manifest_offers_what_the_menus_need(repository: Path) -> None:
    """Reader, sample and dock are found by napari, and each command is a callable."""
    manifest = PluginManifest.from_file(repository / "src" / "lesionlens" / "napari.yaml")
    commands = {c.id: c for c in manifest.contributions.commands or []}

    for contribution in (
        *(manifest.contributions.readers or []),
        *(manifest.contributions.sample_data or []),
        *(manifest.contributions.widgets or []),
    ):
        module, name = str(commands[contribution.command].python_name).split(":")
        assert callable(getattr(import_module(module), name))
    assert [widget.display_name for widget in manifest.contributions.widgets or []] == [
        "LesionLens",
        "Trust",
        "Importance",
        "Compare",
        "Views",
        "Review",
        "Plots",
        "Archive",
    ]


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ", "scan.nrrd", "scan.mha", "image.dcm"])
def test_scans_are_offered_to_the_reader(repository: Path, name: str) -> None:
    """Napari must find the reader for every name that scans have, and not offer it for photographs."""
    manager = PluginManager()
    manager.register(PluginManifest.from_file(repository / "src" / "lesionlens" / "napari.yaml"))

    assert [r.command for r in manager.iter_compatible_readers([name])] == ["lesionlens.read"]
    assert list(manager.iter_compatible_readers(["photo.png"])) == []


def test_folders_are_offered_to_the_reader(repository: Path, tmp_path: Path) -> None:
    """DICOM series are dropped as folders."""
    manager = PluginManager()
    manager.register(PluginManifest.from_file(repository / "src" / "lesionlens" / "napari.yaml"))

    assert [r.command for r in manager.iter_compatible_readers([str(tmp_path)])] == ["lesionlens.read"]


def test_a_nifti_file_opens_through_napari(window: Window, tmp_path: Path) -> None:
    """Drag and drop ends in a scan that the dock offers."""
    path = nifti(tmp_path)

    window.viewer.open(str(path), plugin="lesionlens")

    volume = volume_of(window.viewer.layers[0])
    assert volume is not None
    np.testing.assert_array_equal(volume.array, phantom().array)
    assert window.widget.form.scan.volume.currentData() is window.viewer.layers[0]


def test_a_dicom_folder_opens_through_napari(window: Window, tmp_path: Path) -> None:
    """A folder of slices with names that say nothing is one volume, every voxel at its place."""
    plan = Plan()
    make_series(tmp_path / "series", plan)

    window.viewer.open(str(tmp_path / "series"), plugin="lesionlens")

    layer = window.viewer.layers[0]
    volume = volume_of(layer)
    assert volume is not None
    x, y, z = voxel_ras(plan, (2, 3, 1))
    index = tuple(np.rint(layer.world_to_data((z, -y, -x))).astype(int))
    assert layer.data[index] == plan.values()[2, 3, 1]


def test_bad_input_is_a_readable_error(window: Window, tmp_path: Path) -> None:
    """Napari shows the message; it must be one that helps."""
    path = tmp_path / "broken.nii"
    path.write_text("this is no scan")

    with pytest.raises(ReadError, match=r"broken\.nii"):
        window.viewer.open(str(path), plugin="lesionlens")
    assert window.names == []


def test_an_irregular_series_without_a_window_is_an_error(window: Window, tmp_path: Path) -> None:
    """A script has nobody to ask; the error says what can be chosen in Python."""
    assert window.names == []
    make_series(tmp_path, TILTED)

    with pytest.raises(IrregularSeriesError, match=r"tilt: .* irregular=resample"):
        read_layers(str(tmp_path))


@pytest.mark.xvfb
def test_a_script_with_a_window_is_asked_about_irregular_slices(
    visible_window: Window, tmp_path: Path, answer: Callable[..., list[Any]]
) -> None:
    """The layer is there when the call returns, with what was chosen on record."""
    make_series(tmp_path, TILTED)

    def choose(dialog: Any) -> None:
        dialog.ways["as-is"].setChecked(True)
        dialog.accept()

    answer(choose)
    visible_window.viewer.open(str(tmp_path), plugin="lesionlens")

    volume = volume_of(visible_window.viewer.layers[0])
    assert volume is not None
    assert volume.source.verdict.handled == "as-is"


def test_what_a_user_opens_comes_when_it_is_read(window: Window, tmp_path: Path) -> None:
    """Inside of the event loop, as on drag and drop, the window is not kept waiting."""
    path = nifti(tmp_path)
    returned: list[Any] = []

    def drop() -> None:
        window.viewer.open(str(path), plugin="lesionlens")
        returned.append(window.names)

    QTimer.singleShot(0, drop)
    window.qtbot.waitUntil(lambda: bool(window.names), timeout=WAIT_MS)

    assert returned == [[]]
    assert window.widget.form.scan.volume.currentData() is window.viewer.layers[0]


def test_results_are_not_taken_for_scans(tmp_path: Path) -> None:
    """A results folder holds several NIfTI files, none of which is a scan."""
    (tmp_path / "record.json").write_text("{}")

    with pytest.raises(ReadError, match="Open results"):
        read_layers(str(tmp_path))


@pytest.fixture
def two_series(tmp_path: Path) -> Path:
    """Return a folder with two series."""
    make_series(tmp_path / "both", Plan(number=1, description="FLAIR"))
    make_series(tmp_path / "both", Plan(number=2, description="T1"))
    return tmp_path / "both"


@pytest.mark.parametrize("path", [["a.nii", "b.nii"], "folder.zarr", "folder.n5"])
def test_what_others_read_is_left_to_them(path: Any) -> None:
    """A greedy reader makes napari ask about every zarr folder."""
    assert get_reader(path) is None


def test_a_scan_gets_a_reader() -> None:
    """The check above answers yes for what is ours."""
    assert get_reader("scan.nii.gz") is read_layers


def test_several_series_without_a_window_are_an_error(two_series: Path, window: Window) -> None:
    """Headless there is nobody to ask, and guessing a series could mean the wrong patient."""
    assert window.names == []

    with pytest.raises(AmbiguousSeriesError, match="series"):
        read_layers(str(two_series))


@pytest.mark.xvfb
def test_several_series_ask_which_one(
    visible_window: Window, two_series: Path, answer: Callable[..., list[Any]]
) -> None:
    """The chooser lists both, nothing is chosen beforehand, and the chosen one is opened."""
    found: list[Any] = []

    def choose(dialog: Any) -> None:
        found.append((dialog.list.count(), dialog.chosen, dialog.parent() is not None))
        dialog.list.setCurrentRow(1)
        found.append(dialog.chosen)
        dialog.buttons.button(QDialogButtonBox.StandardButton.Open).click()

    answer(choose)
    visible_window.viewer.open(str(two_series), plugin="lesionlens")

    assert found[0] == (2, None, True)
    volume = volume_of(visible_window.viewer.layers[0])
    assert volume is not None
    assert volume.source.format == "dicom"


@pytest.mark.xvfb
def test_closing_the_question_opens_nothing(
    visible_window: Window, two_series: Path, answer: Callable[..., list[Any]]
) -> None:
    """Changing one's mind is no error."""
    answer(lambda dialog: dialog.reject())

    visible_window.viewer.open(str(two_series), plugin="lesionlens")

    assert visible_window.names == []


@pytest.fixture
def two_echoes(tmp_path: Path) -> Path:
    """Return a folder with one series of two echoes."""
    plans = [Plan(change=lambda d, _, time=time: setattr(d, "EchoTime", time)) for time in ("30", "80")]
    make_volumes(tmp_path / "echoes", plans)
    return tmp_path / "echoes"


def test_several_volumes_without_a_window_are_an_error(two_echoes: Path, window: Window) -> None:
    """The error says how to choose."""
    assert window.names == []

    with pytest.raises(
        AmbiguousStackError, match=r"choose one .* in Python\): 0 'echo time 30 ms', 1 'echo time 80 ms'"
    ):
        read_layers(str(two_echoes))


@pytest.mark.xvfb
@pytest.mark.parametrize("row", [0, 1])
def test_several_volumes_ask_which_one(
    visible_window: Window, two_echoes: Path, answer: Callable[..., list[Any]], row: int
) -> None:
    """The chosen one is opened, and its layer is called by what sets it apart."""

    def choose(dialog: Any) -> None:
        dialog.setTextValue(dialog.comboBoxItems()[row])
        dialog.accept()

    answer(choose)
    visible_window.viewer.open(str(two_echoes), plugin="lesionlens")

    volume = volume_of(visible_window.viewer.layers[0])
    assert volume is not None
    assert volume.source.stack == ("echo time 30 ms", "echo time 80 ms")[row]
    assert volume.array[0, 0, 0] == 3 + 1000 * row


@pytest.mark.xvfb
def test_closing_the_question_for_the_volume_opens_nothing(
    visible_window: Window, two_echoes: Path, answer: Callable[..., list[Any]]
) -> None:
    """Changing one's mind is no error."""
    answer(lambda dialog: dialog.reject())

    visible_window.viewer.open(str(two_echoes), plugin="lesionlens")

    assert visible_window.names == []


def test_the_sample_opens_offline() -> None:
    """A first look needs neither a scan of one's own nor a network."""
    (array, options, kind), *others = sample_scan()

    assert (kind, others) == ("image", [])
    assert array.ndim == 3
    assert options["metadata"]["notice"].startswith("Research use only")
