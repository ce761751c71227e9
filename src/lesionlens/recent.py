"""Cases that were opened lately: a short list in the user's own settings, for the user alone.

What is kept is where a case lies and which part of it was chosen, never anything that was read out of it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from lesionlens.config import config_folder
from lesionlens.errors import OutputError
from lesionlens.io.atomic import atomic_path

__all__ = ["MOST", "SCHEMA", "RecentCase", "forget_cases", "recent_cases", "remember_case"]

# Version of recent.json; another one is left alone, and its cases are not listed.
SCHEMA: Final = 1
#: Cases that are remembered.
MOST: Final = 12


@dataclass(frozen=True)
class RecentCase:
    """A scan that was opened.

    Parameters
    ----------
    path
        File or folder.
    series, stack
        What was chosen in it, as for :func:`lesionlens.io.read`; None where there was nothing to choose.
    irregular
        What was done with irregular slices.
    """

    path: Path
    series: str | int | None = None
    stack: str | int | None = None
    irregular: str = "refuse"

    @property
    def is_there(self) -> bool:
        """Whether the file or folder still is where it was."""
        return os.path.exists(self.path)  # unlike Path.exists, answers False where it may not look


def recent_cases() -> tuple[RecentCase, ...]:
    """Return the cases that were opened lately, the latest first; none where the list cannot be read."""
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
        if found["schema_version"] != SCHEMA:
            return ()
        return tuple(_case(entry) for entry in found["cases"])[:MOST]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()


def remember_case(case: RecentCase) -> None:
    """Put a case first in the list; one of the same place and choice goes.

    Raises
    ------
    OutputError
        If the list cannot be written.
    """
    case = RecentCase(case.path.absolute(), case.series, case.stack, case.irregular)
    others = [other for other in recent_cases() if other != case]
    cases = [{**asdict(one), "path": str(one.path)} for one in (case, *others)][:MOST]
    text = json.dumps({"schema_version": SCHEMA, "cases": cases}, indent=2) + "\n"
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {path.parent} for the list of recent cases: {error}.") from None
    with atomic_path(path, overwrite=True) as temporary:
        temporary.chmod(0o600)  # names of folders may be those of patients
        temporary.write_text(text, encoding="utf-8")


def forget_cases() -> None:
    """Remove the list.

    Raises
    ------
    OutputError
        If it cannot be removed.
    """
    try:
        _file().unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot remove {_file()}: {error}. Remove it by hand.") from None


def _file() -> Path:
    return config_folder() / "recent.json"


def _case(entry: dict[str, Any]) -> RecentCase:
    return RecentCase(Path(entry["path"]), entry["series"], entry["stack"], entry["irregular"])
