"""What lies below a folder of scans: its files, without results that lie there too, and what was passed over."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from lesionlens.seals import HEADS, is_sealed

__all__ = ["files_below"]

# What a batch makes as it begins, long before it has a seal.
_OF_A_BATCH = frozenset({"cases", "failed", ".work"})


def files_below(root: Path, *, hidden: bool = False, passed_over: list[str] | None = None) -> Iterator[Path]:
    """Yield the files below a folder in the order of their names.

    Folders in which results lie are passed over, as their maps are no scans; so are links to folders, which can loop.
    The folder itself is looked into whatever it holds.

    Parameters
    ----------
    root
        The folder.
    hidden
        Yield what begins with a dot as well.
    passed_over
        Gets for each folder that was not looked into why; not its name, which may be the patient's.
    """
    why = [] if passed_over is None else passed_over

    def unreadable(_: OSError) -> None:
        why.append("that cannot be opened")

    for folder, folders, files in os.walk(root, onerror=unreadable):
        if Path(folder) != root and _holds_results(Path(folder), folders, files):
            why.append("with results")
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if hidden or not name.startswith("."))
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                why.append("behind a link")
        yield from (Path(folder, name) for name in sorted(files) if hidden or not name.startswith("."))


def _holds_results(folder: Path, folders: Collection[str], files: Collection[str]) -> bool:
    """Say whether a command wrote a folder; other programs write files of the same names, but no seals."""
    if set(folders) >= _OF_A_BATCH:
        return True
    return any(name in files and is_sealed(folder / name) for name in HEADS)
