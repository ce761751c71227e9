"""The command that opens the viewer, as far as it needs no window."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesionlens.cli import main
from lesionlens.cli.view import said


def test_a_report_of_many_findings_is_told_in_a_few_lines() -> None:
    """Two hundred lines would hide what else is said; no note is said twice."""
    notes = [f"lesion-{n}: Volume {n} mm3" for n in range(200)]

    assert said(notes[:3] * 2) == notes[:3]
    assert said(notes) == [*notes[:3], "197 more, such as one for each finding of a report; the window shows all"]


def test_a_wrong_path_is_said_before_a_missing_display(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever mends the display first would meet the typo after."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)

    assert main(["view", str(tmp_path / "none.nii")]) == 1

    assert "There is no file or folder none.nii" in capsys.readouterr().err
