from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lesionlens as ll
from lesionlens.checks import Chart, Check, Curve, TrustReport
from lesionlens.errors import Cancelled, OutputError
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.report.console import print_trust
from lesionlens.report.montage import NOTICE
from lesionlens.report.trust import draw_charts, draw_trust, write_trust
from lesionlens.results import RESEARCH_USE
from lesionlens.volume import Grid, Volume


@pytest.fixture
def report(rng: np.random.Generator) -> TrustReport:
    """Return a report with one check of each verdict."""
    volume = Volume(rng.normal(size=(4, 4, 4)).astype(np.float32), Grid((4, 4, 4), np.eye(4)))
    heatmap = Heatmap(volume, "attribution", "lesion", True, Provenance("b 1.0", method="gradcam", layer="top"))
    x = (0.0, 0.01, 1.0)
    curves = (Curve("own", x, (1.0, 0.2, 0.0)), *(Curve("random order", x, (1.0, y, 0.0)) for y in (0.7, 0.8)))
    chart = Chart("Taken away", "share of the voxels taken away", "answer", curves)
    stages = Chart("Left", "layers", "rank", (Curve("all", (0.0, 1.0), (0.9, 0.1)),), ("head", "stem"), 0.5, False)
    return TrustReport(
        heatmap,
        (
            Check("seen", "passes", "The model sees it."),
            Check("randomisation", "fails", "The map hardly changes.", {"left": 0.9}, (stages,)),
            Check("perturbation", "unclear", "One direction only.", {"area": float("nan")}, (chart,)),
        ),
        {"randomisation": 1.5},
    )


def test_the_folder_says_everything(report: TrustReport, tmp_path: Path) -> None:
    """The record, the picture and the map belong together."""
    write_trust(report, tmp_path / "out")

    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "attribution_gradcam_lesion.nii.gz",
        "trust.json",
        "trust.png",
    ]
    record = json.loads((tmp_path / "out" / "trust.json").read_text())
    assert (record["verdict"], record["schema_version"], record["notice"]) == ("fails", 1, RESEARCH_USE)
    assert [c["verdict"] for c in record["checks"]] == ["passes", "fails", "unclear"]
    back = ll.read(tmp_path / "out" / "attribution_gradcam_lesion.nii.gz")
    np.testing.assert_array_equal(back.array, report.heatmap.array)
    with Image.open(tmp_path / "out" / "trust.png") as picture:
        assert picture.text["Description"] == RESEARCH_USE  # type: ignore[attr-defined]
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    red = (pixels[..., 0] > 150) & (pixels[..., 1:].max(axis=-1) < 100)
    assert red.sum() > 200  # the words of the check that fails


def test_the_picture_shows_the_numbers(report: TrustReport) -> None:
    """Every curve is drawn as it is, limits and names of layers too, and equal labels appear once."""
    figure = draw_trust(report)
    left, answer = (axes for row in figure.subfigs for axes in row.axes)

    np.testing.assert_allclose(left.lines[0].get_xydata(), [(0, 0.9), (1, 0.1)])
    np.testing.assert_allclose(left.lines[1].get_ydata(), [0.5, 0.5])
    assert (left.lines[0].get_linestyle(), left.lines[0].get_marker()) == ("None", "o")  # nothing lies between
    assert (answer.lines[0].get_linestyle(), answer.lines[0].get_marker()) == ("-", "o")
    head, *rows = figure.subfigs
    assert head.get_suptitle().startswith("b 1.0 · Grad-CAM · lesion · layer top\n")
    assert NOTICE in head.get_suptitle()
    assert [text.get_text() for text in left.get_xticklabels()] == ["head", "stem"]
    np.testing.assert_allclose([line.get_ydata()[1] for line in answer.lines], [0.2, 0.7, 0.8])
    legend = answer.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["own", "random order"]
    words = [row.get_suptitle() for row in rows]
    assert "Does the map change when the weights are destroyed? FLAGGED" in words[1]


@pytest.mark.parametrize("checks", [slice(0), slice(1), slice(3)])
def test_words_lie_below_each_other(report: TrustReport, checks: slice) -> None:
    """Also where no check has a chart: words on words cannot be read."""
    figure = draw_trust(replace(report, checks=report.checks[checks]))
    figure.canvas.draw()

    boxes = [row._suptitle.get_window_extent() for row in figure.subfigs]

    assert len(boxes) == 1 + len(report.checks[checks])
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
    assert boxes[0].y1 <= figure.bbox.y1
    assert boxes[-1].y0 >= 0


def test_charts_fit_into_a_narrow_place(report: TrustReport) -> None:
    """Words below a chart ran over the edge of a dock; and a chart of nothing had a scale that nothing was on."""
    long = Chart("T", "group of layers destroyed, from the output down", "rank", (Curve("all", (1.0,), (0.9,)),))
    empty = replace(long, curves=(Curve("all", (1.0,), (float("nan"),)),))
    figure = draw_charts(replace(report.checks[0], charts=(long, empty)), width=3.3)
    assert figure is not None
    figure.draw_without_rendering()

    for axes in figure.axes:
        box = axes.xaxis.label.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
    first, second = figure.axes
    assert not first.texts
    assert [words.get_text() for words in second.texts] == ["not defined here"]
    assert len(second.get_xticks()) == len(second.get_yticks()) == 0


def test_nothing_is_overwritten_or_left_half_written(report: TrustReport, tmp_path: Path) -> None:
    """The folder is tried before minutes of work, and stopping leaves nothing."""
    out = tmp_path / "out"
    write_trust(report, out)
    with pytest.raises(OutputError, match="out"):
        write_trust(lambda: pytest.fail("it worked before it looked"), out)

    def stopped() -> TrustReport:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        write_trust(stopped, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    write_trust(report, out, overwrite=True)


def test_a_verdict_has_one_word_in_the_terminal_and_in_the_picture(
    report: TrustReport, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two words for one verdict make a reader look for a difference that is not there."""
    print_trust(report)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("gradcam: layer 'top'")
    rows = [row.get_suptitle() for row in draw_trust(report).subfigs[1:]]

    for word, check, row in zip(("PASS", "FLAGGED", "UNCLEAR"), report.checks, rows, strict=True):
        assert row.startswith(f"{check.question} {word}\n")
        assert word in next(line for line in printed.splitlines() if check.question in line)
