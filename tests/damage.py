"""Damaged files: whatever their bytes are, they end in a volume or in one of our errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings

from lesionlens.errors import ReadError
from lesionlens.io import read

QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    # The folder is only a place to write to; every example overwrites its one file.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def mutated(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Return the content with single bytes replaced."""
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    return bytes(damaged)


def assert_volume_or_refusal(path: Path) -> None:
    """Read; anything but a valid volume or one of our errors is a failure."""
    try:
        volume = read(path)
    except ReadError as error:
        message = str(error)
    else:
        message = ""
        assert np.isfinite(volume.array).all()
    assert "\n" not in message
