"""Bundles that a person adds are copied whole, called by name, and do not change unnoticed."""

from __future__ import annotations

import json
import os
import stat
import warnings
import zipfile
from pathlib import Path

import pytest

import lesionlens as ll
from anomaly_bundles import anomaly_bundle
from lesionlens.cli import main
from lesionlens.errors import BundleError
from lesionlens.model import list_bundles
from lesionlens.model.archive import MAX_TOTAL_BYTES
from lesionlens.model.catalogue import hash_files, locate
from lesionlens.model.installed import add_bundle, remove_bundle
from lesionlens.model.permission import permitted
from tiny_bundles import CENTRE, blob, straight_grid, write_bundle


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data folder of the test's own."""
    monkeypatch.setenv("LESIONLENS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def _zipped(folder: Path, path: Path, extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            archive.write(file, Path(folder.name) / file.relative_to(folder))
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("archived", [False, True])
def test_an_added_bundle_is_called_by_its_name(tmp_path: Path, archived: bool) -> None:
    """From then on it is listed and found like those that ship, with the bytes that it had."""
    folder = write_bundle(tmp_path / "Voxel Wise")
    source = _zipped(folder, tmp_path / "b.zip") if archived else folder

    added = add_bundle(source)

    assert added.name == "voxel-wise"
    assert added.sha256 == hash_files(folder)
    assert [info.root for info in list_bundles() if not info.embedded] == [added.folder]
    assert locate("voxel-wise") == (added.folder, False)
    assert not permitted("voxel-wise").trusted


def test_one_changed_byte_stops_an_added_bundle(tmp_path: Path) -> None:
    """What was looked at when it was added is not what would run now."""
    added = add_bundle(write_bundle(tmp_path / "b"))
    config = added.folder / "configs" / "inference.json"
    config.write_text(config.read_text() + " ")

    for name in ("b", added.folder):
        with pytest.raises(BundleError, match="have changed since it was added"):
            permitted(name)


def test_a_reference_made_for_an_added_bundle_is_pinned_with_it(tmp_path: Path) -> None:
    """LesionLens wrote it, so the bundle goes on loading; a byte that anybody else changes still stops it."""
    spec = {"method": "reconstruction", "deviation": "brighter"}
    added = add_bundle(anomaly_bundle(tmp_path / "odd", spec))
    scan = tmp_path / "healthy.nii.gz"
    ll.write(blob(straight_grid(), CENTRE), scan)

    assert main(["bundles", "reference", "odd", str(scan), str(scan), "--trust", "-q"]) == 0

    assert ll.load_bundle("odd", trust=True).reference is not None
    reference = added.folder / "models" / "reference.npz"
    reference.write_bytes(reference.read_bytes() + b" ")
    with pytest.raises(BundleError, match="have changed since it was added"):
        permitted("odd")


def test_names_are_not_taken_twice_unless_asked(tmp_path: Path) -> None:
    """A name must not come to mean something else by accident; those that ship are never replaced."""
    folder = write_bundle(tmp_path / "b")
    add_bundle(folder)

    with pytest.raises(BundleError, match="was added before"):
        add_bundle(folder)
    with pytest.raises(BundleError, match="ships with LesionLens"):
        add_bundle(folder, name="flair-lesions")
    with pytest.raises(BundleError, match="small letters"):
        add_bundle(folder, name="../b")
    (folder / "docs").mkdir()
    (folder / "docs" / "README.md").write_text("changed")
    assert add_bundle(folder, overwrite=True).sha256 == hash_files(folder)
    assert (add_bundle(folder, name="c").folder / "docs" / "README.md").is_file()


def test_removing_takes_everything_away(tmp_path: Path, data: Path) -> None:
    """Nothing of it stays; others, and those that ship, do."""
    add_bundle(write_bundle(tmp_path / "one"))
    add_bundle(write_bundle(tmp_path / "two"))

    remove_bundle("one")

    assert sorted(path.name for path in (data / "bundles").iterdir()) == ["two", "two.json"]
    for name in ("one", "flair-lesions", "../two"):
        with pytest.raises(BundleError, match="no bundle that was added"):
            remove_bundle(name)


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "b/../../escaped", "c:\\escaped", "..\\escaped"])
def test_archives_that_lead_out_are_refused(tmp_path: Path, data: Path, name: str) -> None:
    """A path in an archive is a text that a stranger wrote."""
    archive = _zipped(write_bundle(tmp_path / "b"), tmp_path / "b.zip", {name: b"x"})

    with pytest.raises(BundleError, match="unsafe path"):
        add_bundle(archive)
    assert not list(tmp_path.rglob("*escaped*"))
    assert not (data / "bundles").exists()


def test_links_are_refused_in_archives_and_folders(tmp_path: Path) -> None:
    """A link reads, or writes, where it points."""
    folder = write_bundle(tmp_path / "b")
    archive = _zipped(folder, tmp_path / "b.zip")
    entry = zipfile.ZipInfo("b/models/link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr(entry, "/etc/passwd")
    os.symlink("/etc/passwd", folder / "models" / "link")

    for source in (archive, folder):
        with pytest.raises(BundleError, match="link or special file"):
            add_bundle(source)


def test_archives_with_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """What is shown before somebody trusts it must be what runs, whoever unpacks it."""
    archive = _zipped(write_bundle(tmp_path / "b"), tmp_path / "b.zip")
    with warnings.catch_warnings(), zipfile.ZipFile(archive, "a") as zipped:
        warnings.simplefilter("ignore")  # of zipfile, about just this
        zipped.writestr("b/configs/inference.json", "{}")

    with pytest.raises(BundleError, match=r"holds 'b/configs/inference.json' twice"):
        add_bundle(archive)


def test_archives_that_unfold_to_far_more_than_they_are_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros unpack to a thousand times their size; weights do not."""
    monkeypatch.setattr("lesionlens.model.archive.HARMLESS_BYTES", 1_000_000)
    monkeypatch.setattr("lesionlens.model.archive.MOST_TIMES", 20)
    bundle = write_bundle(tmp_path / "b")
    add_bundle(_zipped(bundle, tmp_path / "b.zip", {"b/noise": os.urandom(2_000_000)}))

    with pytest.raises(BundleError, match="which no bundle does"):
        add_bundle(_zipped(bundle, tmp_path / "c.zip", {"b/zeros": bytes(2_000_000)}), name="c")


def test_archives_that_unfold_to_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes can stand for terabytes; neither what is stated nor what comes may be too much."""
    archive = _zipped(write_bundle(tmp_path / "b"), tmp_path / "b.zip", {"b/zeros": bytes(2_000_000)})
    assert archive.stat().st_size < 50_000
    assert MAX_TOTAL_BYTES > 2_000_000

    monkeypatch.setattr("lesionlens.model.archive.MAX_TOTAL_BYTES", 1_000_000)

    with pytest.raises(BundleError, match="at most 1,000,000 bytes"):
        add_bundle(archive)


def test_the_command_line_adds_lists_and_removes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says whether the bundle needs trust before anybody runs it."""
    good = write_bundle(tmp_path / "good")
    bad = write_bundle(tmp_path / "bad", extra={"imports": ["$print('executed')"]})

    assert main(["bundles", "add", str(good), "--name", "mine"]) == 0
    assert "needs no trust" in capsys.readouterr().out
    assert main(["bundles", "add", str(bad)]) == 0
    said = capsys.readouterr().out
    assert "needs trust for 1 part" in said
    assert "executed" not in said
    assert main(["bundles", "list", "--json"]) == 0
    assert {"good", "bad"} <= {one["name"] for one in json.loads(capsys.readouterr().out)}
    assert main(["bundles", "check", "mine"]) == 0
    assert main(["bundles", "remove", "mine"]) == 0
    assert main(["bundles", "remove", "mine"]) == 1
    assert main(["bundles", "add", str(tmp_path / "data")]) == 1
