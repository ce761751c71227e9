"""Hashes of input files that are not read again: names, sizes and times say that nothing has changed since."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lesionlens.seals import digest_of_value

__all__ = ["Looks"]

# A file that was written so shortly before it was read may be written again without another time: file systems count
# them in steps of up to two seconds (FAT), and others cache them for about as long.
_SETTLED_NS: Final = 3_000_000_000


@dataclass
class Looks:
    """What files looked like when they were hashed.

    A look is a digest of the paths, sizes, times of writing and of changing (which no program sets back on Linux and
    macOS) and numbers of the files; their names are not in it as text, as they may name the patient.

    Parameters
    ----------
    known
        Hashes by looks, from an earlier time; empty to read every file.
    noted
        Gets those of this time, but of files that were written a moment ago.
    """

    known: Mapping[str, str] = field(default_factory=dict)
    noted: dict[str, str] = field(default_factory=dict)

    def hash_of(self, files: Sequence[Path], make: Callable[[], str], *, kind: str) -> str:
        """Return the hash of files: the known one where they look as they did, else what ``make`` returns.

        Parameters
        ----------
        files
            All files that the hash depends on.
        make
            Reads them.
        kind
            Of the hash: those of the same files made in another way are others.

        Raises
        ------
        OSError
            If a file is not there.
        """
        look, newest = _look(files, kind)
        found = self.known.get(look)
        if found is None:
            began = time.time_ns()
            found = make()
            if newest > began - _SETTLED_NS or _look(files, kind)[0] != look:
                return found
        self.noted[look] = found
        return found


def _look(files: Sequence[Path], kind: str) -> tuple[str, int]:
    """Return what files look like, and when the newest of them was written or changed, ns."""
    found, newest = list[tuple[str, int, int, int, int]](), 0
    for path in files:
        about = path.stat()
        found.append((os.path.abspath(path), about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino))
        newest = max(newest, about.st_mtime_ns, about.st_ctime_ns)
    return digest_of_value([kind, found]), newest
