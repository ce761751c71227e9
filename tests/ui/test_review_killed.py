"""The real window is killed while somebody reads: what the screen has acknowledged is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.xvfb
def test_what_the_screen_has_acknowledged_survives_a_kill(repository: Path) -> None:
    """Keys, comments and strokes, killed twice at random; hundreds of times by hand: killed_sessions.py --window."""
    program = [sys.executable, str(repository / "benchmarks" / "killed_sessions.py"), "--window", "--kills", "2"]

    found = subprocess.run(program, capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stderr
    assert "2 kills of the window" in found.stdout
    n_said = int(found.stdout.split(": ")[1].split()[0])
    assert n_said > 0
