"""What several commands share."""

from __future__ import annotations

import pytest

from lesionlens import progress
from lesionlens.cli.options import progress_bars


@pytest.mark.parametrize("quiet", [False, True])
def test_what_takes_long_is_said_once_beside_the_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, quiet: bool
) -> None:
    """On standard error, as the bars are: the result of a command can be piped on."""
    monkeypatch.setattr(progress, "LOOK_S", 0.0)
    monkeypatch.setattr(progress, "LONG_S", 0.0)
    with progress_bars(quiet) as show:
        for done in range(5):
            show("Occluding", done, 1200)

    printed = capsys.readouterr()
    assert printed.err.count("Occluding: 1,200 steps, about ") == (not quiet)
    assert not printed.out
