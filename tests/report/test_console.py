"""Whether tables on a terminal show what is in them."""

from __future__ import annotations

import pytest

from lesionlens.report.console import print_cases, print_table

# Brackets are markup of rich, words between colons its emoji; a closing tag that was never opened would be an error.
NAMES = ("[red]t1[/red]", "a[/]b", ":brain:", "scan [2].nii.gz", "\\[bold]")


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """A class or file may be called anything; whoever reads the table has to find it by that name."""
    print_table(NAMES, [NAMES])

    printed = capsys.readouterr().out
    assert [printed.count(name) for name in NAMES] == [2] * len(NAMES)


def test_a_summary_prints_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """The table of a batch names cases and what went wrong with them."""
    columns = ("case", "class", "n_regions", "n_detections", "total_volume_mm3", "class_probability",
               "probability_max", "error", "status")  # fmt: skip
    row = dict.fromkeys(columns, "") | {"case": NAMES[0], "class": NAMES[1], "error": NAMES[2], "status": "failed"}

    print_cases([row] * 20)

    printed = capsys.readouterr().out
    assert [printed.count(name) for name in NAMES[:3]] == [15] * 3
    assert "5 more rows in summary.csv" in printed
