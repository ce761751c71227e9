"""How much a file may ask for: checked before memory or time is spent on it.

Sizes are compared with what is there: with the bytes of the file where they are plain, with what their compression can
yield at most where they are packed, and with the memory of this machine in any case.
"""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

from lesionlens.errors import ReadError
from lesionlens.io.boundary import reading

__all__ = [
    "ALWAYS_BYTES", "MOST_PASSES", "MOST_PIXELS", "MOST_RATIO", "MOST_RLE_RATIO", "MOST_SEARCHED", "MOST_TILES",
    "available_bytes", "inflated_size", "read_whole", "require_memory",
]  # fmt: skip

# Scans shrink to a half or third, masks to a hundredth; beyond this it is a bomb (DEFLATE alone can reach 1032).
MOST_RATIO = 200

# ... but nothing this small can do harm, and an empty mask of a few megabytes packs better than any scan.
ALWAYS_BYTES = 256 * 1024**2

# Pixels of one image: 16384 x 16384. The largest detectors have 6000 x 5000.
MOST_PIXELS = 2**28

# RLE spends two bytes on 128 equal ones at best.
MOST_RLE_RATIO = 64

# Slices of a mosaic; the largest in use have about a hundred.
MOST_TILES = 1024

# A parser may read each byte so many times. Elements without an end make it search the rest of the file again and
# again, for hours in a file of some megabytes; good files are read twice where something is unusual.
MOST_PASSES = 16

# Bytes that may be searched in vain for the ends of the elements in a sequence: some seconds.
MOST_SEARCHED = 2**31

_CHUNK = 1 << 20


def available_bytes() -> float:
    """Return the memory that this process could still take, as far as the system says; infinite where it does not."""
    found = [float("inf")]
    if sys.platform.startswith("linux"):
        found.append(_field("/proc/meminfo", "MemAvailable:") * 1024)
        used = _field("/sys/fs/cgroup/memory.current", "") - _field("/sys/fs/cgroup/memory.stat", "inactive_file ")
        found.append(_field("/sys/fs/cgroup/memory.max", "") - used)
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):  # not on Windows
        found.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    return min(n for n in found if n == n)  # NaN: not said


def _field(file: str, name: str) -> float:
    """Return the number behind a name in a file of the system; NaN where there is none."""
    try:
        words = Path(file).read_text("ascii").partition(name)[2].split() if name else [Path(file).read_text("ascii")]
        return float(words[0])
    except (OSError, ValueError, IndexError):
        return float("nan")


def require_memory(n_bytes: int, what: str) -> None:
    """Refuse what this machine has no memory for, before it is taken: systems promise memory that they do not have.

    Parameters
    ----------
    n_bytes
        Bytes that would be needed.
    what
        Subject of the message: ``"The voxels of scan.nii.gz"``.

    Raises
    ------
    ReadError
        If there is less.
    """
    if n_bytes <= ALWAYS_BYTES:
        return
    free = available_bytes()
    if n_bytes > free:
        raise ReadError(
            f"{what} would take {n_bytes / 2**30:,.1f} GiB of memory; {free / 2**30:.1f} GiB are free. Use a machine "
            "with more, or copy the file again if it is not that large."
        )


def read_whole(path: Path, name: str) -> bytes:
    """Return all bytes of a file.

    Raises
    ------
    ReadError
        If it cannot be read, or does not fit into memory (files with holes can be larger than any disk).
    """
    with reading(f"Cannot read {name}", todo="Check the file and its permissions."):
        require_memory(path.stat().st_size, f"The bytes of {name}")
        return path.read_bytes()


def inflated_size(packed: bytes) -> int:
    """Return how many bytes a DEFLATE stream without header unpacks to; stops where it is a bomb.

    Raises
    ------
    ValueError
        If it is a bomb: more than :data:`ALWAYS_BYTES` and more than :data:`MOST_RATIO` times its size.
    """
    most = max(ALWAYS_BYTES, MOST_RATIO * len(packed))
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    size, rest = 0, packed
    while not inflate.eof:
        found = inflate.decompress(rest, _CHUNK)
        size += len(found)
        rest = inflate.unconsumed_tail
        if size > most:
            raise ValueError(f"it unpacks to more than {most} bytes, {MOST_RATIO} times its size")
        if not found and not rest:
            break  # it ends too early; the parser says so
    return size
