from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lesionlens.errors import Cancelled, OutputError
from lesionlens.io import atomic_folder, atomic_path

STOPS = [ValueError("bug"), Cancelled("stopped"), KeyboardInterrupt("ctrl-c"), SystemExit(1), GeneratorExit()]

Atomic = Callable[..., AbstractContextManager[Path]]


def everything(folder: Path) -> list[str]:
    """Return all files and folders below, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    """Until the block ends there is only a temporary file of the same suffix beside the target."""
    target = tmp_path / "map.nii.gz"

    with atomic_path(target) as temporary:
        temporary.write_text("done")

        assert not target.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz")

    assert target.read_text() == "done"
    assert everything(tmp_path) == ["map.nii.gz"]


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: type(stop).__name__)
def test_a_stopped_file_leaves_nothing(tmp_path: Path, stop: BaseException) -> None:
    """Errors, cancelling and Ctrl-C alike; what was there before stays."""
    (tmp_path / "old").write_text("old")

    for name, overwrite in (("new", False), ("old", True)):
        with pytest.raises(type(stop)), atomic_path(tmp_path / name, overwrite=overwrite) as temporary:  # noqa: PT012
            temporary.write_text("half")
            raise stop

    assert everything(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_an_existing_file_is_refused_before_the_work(tmp_path: Path) -> None:
    """Also when it is a link to nothing."""
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "gone")

    for name in ("old", "link"):
        with pytest.raises(OutputError, match=f"{name} exists already"), atomic_path(tmp_path / name):
            pytest.fail("the block must not run")


def test_a_file_that_appears_during_the_work_is_kept(tmp_path: Path) -> None:
    """Two runs with one target: the second to finish must not win silently."""
    with pytest.raises(OutputError, match="new exists already"), atomic_path(tmp_path / "new") as temporary:  # noqa: PT012
        temporary.write_text("second")
        (tmp_path / "new").write_text("first")

    assert everything(tmp_path) == ["new"]
    assert (tmp_path / "new").read_text() == "first"


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """Even with overwriting allowed."""
    (tmp_path / "results").mkdir()

    with pytest.raises(OutputError, match="a folder has this name"), atomic_path(tmp_path / "results", overwrite=True):
        pytest.fail("the block must not run")


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    """Colleagues on a shared disk can read results: temporary files are often private."""
    with atomic_path(tmp_path / "new") as temporary:
        temporary.write_text("x")
    (tmp_path / "usual").write_text("x")

    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "usual")}
    assert len(modes) == 1


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    """Missing parents are made; nothing is visible under the target's name before the end."""
    target = tmp_path / "a" / "b" / "out"

    with atomic_folder(target) as temporary:
        (temporary / "table.csv").write_text("x")
        (temporary / "deep").mkdir()
        (temporary / "deep" / "map").write_text("y")

        assert not target.exists()

    assert everything(tmp_path) == ["a", "a/b", "a/b/out", "a/b/out/deep", "a/b/out/deep/map", "a/b/out/table.csv"]


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: type(stop).__name__)
def test_a_stopped_folder_leaves_nothing(tmp_path: Path, stop: BaseException) -> None:
    """Neither the folder, nor parents made for it, nor anything in a folder that was there."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "keep").write_text("keep")
    (tmp_path / "empty").mkdir()

    for name in ("a/b/out", "old", "empty"):
        with pytest.raises(type(stop)), atomic_folder(tmp_path / name, overwrite=True) as temporary:  # noqa: PT012
            (temporary / "half").write_text("half")
            raise stop

    assert everything(tmp_path) == ["empty", "old", "old/keep"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    """Making the folder first is no mistake."""
    (tmp_path / "out").mkdir()

    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "new").write_text("new")

    assert everything(tmp_path) == ["out", "out/new"]


def test_a_full_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    """A folder with anything in it may hold somebody's results."""
    (tmp_path / "something").write_text("x")

    with pytest.raises(OutputError, match=r"is not empty\. Choose another folder"), atomic_folder(tmp_path):
        pytest.fail("the block must not run")


def test_overwriting_replaces_files_of_the_same_name_only(tmp_path: Path) -> None:
    """A mistyped folder loses nothing that has another name."""
    (tmp_path / "out" / "deep").mkdir(parents=True)
    for name in ("old", "both", "deep/old"):
        (tmp_path / "out" / name).write_text("old")

    with atomic_folder(tmp_path / "out", overwrite=True) as temporary:
        (temporary / "deep").mkdir()
        for name in ("new", "both", "deep/new"):
            (temporary / name).write_text("new")

    assert everything(tmp_path / "out") == ["both", "deep", "deep/new", "deep/old", "new", "old"]
    assert (tmp_path / "out" / "both").read_text() == "new"
    assert (tmp_path / "out" / "deep" / "old").read_text() == "old"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """Neither as target nor as parent."""
    (tmp_path / "file").write_text("x")

    for target, message in (("file", "it is not a folder"), ("file/out", "Not a directory")):
        with pytest.raises(OutputError, match=message), atomic_folder(tmp_path / target, overwrite=True):
            pytest.fail("the block must not run")
    assert everything(tmp_path) == ["file"]


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    """The link stays a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with atomic_folder(tmp_path / "link") as temporary:
        (temporary / "new").write_text("new")

    assert (tmp_path / "link").is_symlink()
    assert everything(tmp_path / "real") == ["new"]


@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, atomic: Atomic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes of computing must not end with a permission error."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(Path, "touch", refuse)

    with pytest.raises(OutputError, match=r"Cannot write .*out: Permission denied"), atomic(tmp_path / "out"):
        pytest.fail("the block must not run")
    assert everything(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_read_only_folder_is_refused_before_the_work(tmp_path: Path, atomic: Atomic) -> None:
    """The same with the operating system's own refusal."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match=r"Permission denied"), atomic(tmp_path / "out"):
            pytest.fail("the block must not run")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_full_disk_is_our_error_and_others_pass_unchanged(tmp_path: Path, atomic: Atomic) -> None:
    """Only errors of the place are translated; a missing input read inside the block stays what it is."""
    with pytest.raises(OutputError, match="No space left"), atomic(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError, match="input"), atomic(tmp_path / "out"):
        raise FileNotFoundError(2, "No such file", "input")
    assert everything(tmp_path) == []


def test_an_empty_text_is_no_folder_for_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stand for the current folder."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(OutputError, match="found an empty text"), atomic_folder(""):
        pytest.fail("the work began")

    assert list(tmp_path.iterdir()) == []
