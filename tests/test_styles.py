"""Styles that a user keeps: what is written is read again, and a damaged file is said and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lesionlens.errors import InputError, OutputError, ReadError
from lesionlens.styles import DIVERGING, Style, read_styles, styles_file, write_styles

SHEET = {
    "probability": Style("magma", 0.25, 0.75, visible=True, contour=True),
    "attribution": Style(DIVERGING, 0.1, 0.5, visible=False),
}


def test_styles_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Names are the user's, in any script; a second write replaces the first."""
    path = tmp_path / "new folder" / "styles.json"
    write_styles(path, {"Läsionen 病変": SHEET})
    write_styles(path, {"Läsionen 病変": SHEET, "empty": {}})

    assert read_styles(path) == {"Läsionen 病変": SHEET, "empty": {}}
    assert [entry.name for entry in path.parent.iterdir()] == ["styles.json"]


def test_no_file_is_no_style(tmp_path: Path) -> None:
    """Before anything was saved there is nothing to complain about."""
    assert read_styles(tmp_path / "styles.json") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema_version": 1}',
        '{"schema_version": 1, "styles": []}',
        '{"schema_version": 1, "styles": {"a": {"probability": {"colours": "plasma"}}}}',
        '{"schema_version": 1, "styles": {"a": {"wavelets": {}}}}',
        json.dumps({"schema_version": 1, "styles": {"a": {"probability": {
            "colours": "jet", "threshold": 0.5, "opacity": 0.5, "visible": True, "contour": False}}}}),
        json.dumps({"schema_version": 1, "styles": {"a": {"probability": {
            "colours": "plasma", "threshold": 7, "opacity": 0.5, "visible": True, "contour": False}}}}),
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_and_kept(tmp_path: Path, text: str) -> None:
    """Whoever edited the file by hand wants it back, not an empty one."""
    path = tmp_path / "styles.json"
    path.write_text(text)

    with pytest.raises(ReadError, match=r"styles\.json.*Rename"):
        read_styles(path)
    assert path.read_text() == text


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    """Guessing what a newer program meant would lose what it wrote."""
    path = tmp_path / "styles.json"
    path.write_text('{"schema_version": 2, "styles": {}}')

    with pytest.raises(ReadError, match=r"version 1.*version 2"):
        read_styles(path)


def test_a_write_that_fails_leaves_the_old_styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not cost the styles of years."""
    path = tmp_path / "styles.json"
    write_styles(path, {"mine": SHEET})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="No space"):
        write_styles(path, {})
    monkeypatch.undo()

    assert read_styles(path) == {"mine": SHEET}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "in the way").touch()

    with pytest.raises(OutputError, match="in the way"):
        write_styles(tmp_path / "in the way" / "styles.json", {})


def test_the_place_of_the_file_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reading rooms share machines; the platform's own place is used otherwise."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path))
    assert styles_file().parent == tmp_path
    monkeypatch.delenv("LESIONLENS_CONFIG")
    assert "lesionlens" in str(styles_file()).lower()


@pytest.mark.parametrize(
    "values", [("jet", 0.5, 0.5, True, False), ("plasma", -0.1, 0.5, True, False), ("plasma", 0.5, 1.5, True, False)]
)
def test_a_style_that_cannot_be_drawn_is_refused(values: tuple[str, float, float, bool, bool]) -> None:
    """Found when it is made, not when it is drawn."""
    colours, threshold, opacity, visible, contour = values

    with pytest.raises(InputError, match=r"colour map|lies in \[0, 1\]"):
        Style(colours, threshold, opacity, visible=visible, contour=contour)
