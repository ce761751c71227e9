"""Measured offsets are kept in a file that belongs to weights, and are never taken for those of others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lesionlens.errors import InputError, OutputError, ReadError
from lesionlens.registration import (
    LayerOffset,
    Registration,
    find_registration,
    places,
    read_registration,
    store_registration,
)

OFFSET = LayerOffset((-0.5, 0.25, 0.0), (0.1, 0.2, 0.3), n=64, stride=(2.0, 2.0, 4.0), scans=1)
FOUND = Registration("mine 1.0", "a" * 64, {"encoder.2": OFFSET})


def test_what_was_stored_comes_back(tmp_path: Path) -> None:
    """The file holds everything, and lies where it was said to."""
    files = [tmp_path / "mine.registration.json", tmp_path / "user" / "a.json"]

    stored = store_registration(FOUND, files)

    assert stored == files[0]
    assert read_registration(stored) == FOUND
    assert find_registration(files, FOUND.weights_sha256) == (FOUND, "")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.registration.json"]  # no temporary file is left


def test_another_layer_is_added_and_the_same_one_replaced() -> None:
    """Layers are measured one by one."""
    again = FOUND.with_layer("encoder.1", OFFSET).with_layer("encoder.2", replace(OFFSET, n=32))

    assert {name: layer.n for name, layer in again.layers.items()} == {"encoder.1": 64, "encoder.2": 32}
    assert FOUND.layers == {"encoder.2": OFFSET}


def test_the_offset_of_other_weights_is_left_alone_and_said_to_be_there(tmp_path: Path) -> None:
    """A network that was trained again has its features elsewhere, under the same path and name."""
    files = [tmp_path / "mine.registration.json", tmp_path / "none.json"]
    store_registration(FOUND, files)

    found, stale = find_registration(files, "b" * 64)

    assert found is None
    assert stale == "mine.registration.json was measured with other weights and is not applied; measure again."


def test_of_two_places_the_one_for_these_weights_counts(tmp_path: Path) -> None:
    """A stale file beside the bundle does not hide what the user's folder has."""
    files = [tmp_path / "mine.registration.json", tmp_path / "user.json"]
    store_registration(replace(FOUND, weights_sha256="b" * 64), files[:1])
    store_registration(FOUND, files[1:])

    assert find_registration(files, FOUND.weights_sha256) == (FOUND, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record | {"schema_version": 2}, "of another version"),
        (lambda record: {"temperature": 1.0}, "holds no registration"),
        (lambda record: [1, 2], "holds no registration"),
        (lambda record: record | {"layers": {"a": {"voxels": [0, 0, 0]}}}, "holds no registration"),
        (lambda record: _with(record, voxels=[0, 0]), "holds no registration"),
        (lambda record: _with(record, voxels=[0, 0, float("nan")]), "holds no registration"),
        (lambda record: _with(record, stride=[2, 2, 0]), "holds no registration"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    """A damaged offset would move every map of the bundle."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(change(FOUND.record())))

    with pytest.raises(ReadError, match=message):
        find_registration([path], FOUND.weights_sha256)


def _with(record: dict[str, Any], **values: Any) -> dict[str, Any]:
    return record | {"layers": {"encoder.2": record["layers"]["encoder.2"] | values}}


def test_an_offset_holds_for_its_stride_alone() -> None:
    """An image of another size has its cells elsewhere."""
    assert OFFSET.holds_for((2.0, 2.0, 4.0001))
    assert not OFFSET.holds_for((2.0, 2.0, 4.1))


def test_offsets_are_three_numbers() -> None:
    """Two would be taken for those of a picture."""
    with pytest.raises(InputError, match="three numbers"):
        replace(OFFSET, voxels=(1.0, 2.0))


def test_embedded_bundles_and_folders_that_cannot_be_written_use_the_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation belongs to all users; a shared bundle may be read-only."""
    monkeypatch.setenv("LESIONLENS_DATA", str(tmp_path / "own"))
    user = tmp_path / "own" / "registration" / f"{'a' * 64}.json"
    beside = tmp_path / "bundle.zip.registration.json"

    assert places(tmp_path / "flair-lesions", "a" * 64, embedded=True) == [user]
    assert places(tmp_path / "bundle.zip", "a" * 64, embedded=False) == [beside, user]

    beside.mkdir()  # nothing can be written there, whoever asks
    assert store_registration(FOUND, [beside, user]) == user
    with pytest.raises(OutputError, match=r"Cannot write .*LESIONLENS_DATA"):
        store_registration(FOUND, [beside])


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/lesionlens"),
        ("linux", {}, "/home/me/.local/share/lesionlens"),
        ("darwin", {}, "/home/me/Library/Application Support/LesionLens"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/LesionLens"),
    ],
)
def test_every_system_has_its_own_folder(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], folder: str
) -> None:
    """Where the system's programs keep such files."""
    for name in ("LESIONLENS_DATA", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))

    (found,) = places(Path("a"), "b", embedded=True)

    assert found.parent.parent == Path(folder)
