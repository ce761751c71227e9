"""How much memory is free."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

__all__ = ["available_bytes", "free_gib"]

# Of the memory that is free, what a prediction takes unless it is told how much it may.
SHARE: Final = 0.8


def available_bytes() -> float:
    """Return how much memory this process can still get; infinite where the system does not say."""
    found = [n for n in (_from_meminfo(), _from_cgroup()) if n is not None]
    if found:
        return min(found)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # macOS does not say what is free
    except (ValueError, OSError, AttributeError):
        return math.inf


def free_gib() -> float | None:
    """Return what a prediction takes at most unless it is told: most of what is free; None where that is not known."""
    free = available_bytes()
    return None if math.isinf(free) else max(SHARE * free, 1) / 2**30


def _from_meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _from_cgroup() -> int | None:
    """Return what the limit of a container leaves."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return max(int(limit) - used, 0) if limit.isdigit() else None
