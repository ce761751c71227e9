"""The list of recent cases: what is kept, in which order, and that nothing is guessed at."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from lesionlens.config import config_folder
from lesionlens.errors import OutputError
from lesionlens.recent import MOST, RecentCase, forget_cases, recent_cases, remember_case


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the settings: an empty one, which is made when it is needed."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def test_the_latest_case_comes_first_and_once() -> None:
    """Whoever goes on where they stopped finds it at the top; another series is another case."""
    first, second = RecentCase(Path("/a").absolute(), series=3), RecentCase(Path("/b").absolute())
    for case in (first, second, first):
        remember_case(case)
    remember_case(RecentCase(first.path, series=4, stack="TE 20", irregular="resample"))

    assert recent_cases() == (RecentCase(first.path, 4, "TE 20", "resample"), first, second)


def test_a_relative_path_is_found_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next start of the viewer has another working folder."""
    (tmp_path / "scan.nii").touch()
    monkeypatch.chdir(tmp_path)
    remember_case(RecentCase(Path("scan.nii")))
    monkeypatch.chdir("/")

    (case,) = recent_cases()
    assert case.is_there
    (tmp_path / "scan.nii").unlink()
    assert not case.is_there


def test_the_list_stays_short() -> None:
    """The oldest goes."""
    for number in range(MOST + 3):
        remember_case(RecentCase(Path(f"/{number}").absolute()))

    assert [case.path.name for case in recent_cases()] == [str(n) for n in range(MOST + 2, 2, -1)]


def test_forgetting_leaves_no_file(folder: Path) -> None:
    """Names of folders may be those of patients."""
    remember_case(RecentCase(Path("/a").absolute()))
    assert [path.name for path in folder.iterdir()] == ["recent.json"]

    forget_cases()
    forget_cases()

    assert list(folder.iterdir()) == []
    assert recent_cases() == ()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_list_is_for_its_user_alone(folder: Path) -> None:
    """On a shared machine nobody else reads where whose scans lie."""
    remember_case(RecentCase(Path("/a").absolute()))

    assert stat.S_IMODE((folder / "recent.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 2, "cases": []}', '{"schema_version": 1, "cases": [{"path": 1}]}']
)
def test_another_file_lists_nothing(folder: Path, text: str) -> None:
    """A list that cannot be read must not keep the viewer from starting; the next case begins a new one."""
    folder.mkdir()
    (folder / "recent.json").write_text(text)
    assert recent_cases() == ()

    remember_case(RecentCase(Path("/a").absolute()))
    assert len(recent_cases()) == 1
    assert json.loads((folder / "recent.json").read_text())["schema_version"] == 1


def test_a_list_that_cannot_be_written_says_so(folder: Path) -> None:
    """A file where the folder should be."""
    folder.write_text("")

    with pytest.raises(OutputError, match="Cannot make the folder"):
        remember_case(RecentCase(Path("/a").absolute()))


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CONFIG_HOME", "x/lesionlens"),
        ("win32", "APPDATA", "x/LesionLens"),
    ],
)
def test_settings_lie_where_the_system_keeps_them(
    monkeypatch: pytest.MonkeyPatch, platform: str, variable: str, expected: str
) -> None:
    """Each system has its own place; on a Mac there is no variable for it."""
    monkeypatch.delenv("LESIONLENS_CONFIG")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, "x")
    assert config_folder() == Path(expected)

    monkeypatch.setattr(sys, "platform", "darwin")
    assert config_folder() == Path.home() / "Library" / "Preferences" / "lesionlens"
