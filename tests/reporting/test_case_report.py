"""The report of a case: everything that is known about it on one page, as it was written, or marked."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

import lesionlens as ll
from batch_cases import grid, options_for, write_scans, write_voxelwise
from lesionlens.batch import run_batch, verify
from lesionlens.checks import Check, TrustReport
from lesionlens.cli import main
from lesionlens.errors import InputError, MissingPackageError, OutputError, ReadError
from lesionlens.evaluation import cases_to_evaluate, evaluate, write_evaluation
from lesionlens.report.montage import NOTICE
from lesionlens.report.trust import write_trust
from lesionlens.reporting import pictures, write_report
from lesionlens.results import read_case
from lesionlens.review import Act, Session
from lesionlens.rules import RegionRules
from lesionlens.sessions import CaseFiles, start_session
from pdf_text import pdf_pages
from web_pages import HOSTILE, Elements, browse, outside


@dataclass(frozen=True)
class Made:
    """A batch of two cases, and what was found about one of them elsewhere."""

    root: Path

    @property
    def case(self) -> Path:
        """The results of the first case."""
        return self.root / "batch" / "cases" / "a"

    @property
    def scan(self) -> Path:
        """Its scan."""
        return self.root / "scans" / "a.nii.gz"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Run two cases; check one's map, judge its finding, and evaluate both."""
    found = Made(tmp_path_factory.mktemp("made"))
    bundle = write_voxelwise(found.root / "voxelwise")
    parts = (
        "# Blobs",
        "Finds blobs.",
        "## Use it for",
        "Tests.",
        "## Training",
        "None.",
        "## Do not use it for",
        HOSTILE,
    )
    card = "\n\n".join(parts)
    (bundle / "docs").mkdir(exist_ok=True)
    (bundle / "docs" / "README.md").write_text(card + "\n![a picture](https://example.org/x.png)\n")
    write_scans(found.root / "scans", {"a": 3, "b": 5})
    run_batch(found.root / "scans", options_for(bundle), found.root / "batch")
    explained = read_case(found.case, ll.read(found.scan)).attributions[0]
    write_trust(TrustReport(explained, (Check("seen", "fails", HOSTILE),), {}), found.root / "made-trust")
    rows = [f"{name},batch/cases/{name},mask.nii.gz" for name in "ab"]
    mask = (ll.read(found.scan).array > 0.4).astype(np.uint8)
    ll.write(ll.Volume(mask, grid()), found.root / "mask.nii.gz")
    (found.root / "cases.csv").write_text("\n".join(["case,results,mask", *rows]))
    with start_session(found.root / "trial.session", [CaseFiles(found.scan, found.case)]) as session:
        _judge(session)
    return found


def _judge(session: Session) -> None:
    (case,) = session.case_ids
    finding = session.case(case).findings[0].id
    said = [Act("verdict", finding, {"verdict": "reject"}), Act("comment", finding, {"text": HOSTILE})]
    session.record("Ann <i>", case, said)


@pytest.fixture(scope="module")
def evaluation(made: Made) -> Path:
    """Return an evaluation of both cases."""
    write_evaluation(evaluate(cases_to_evaluate(made.root / "cases.csv")), made.root / "evaluation")
    return made.root / "evaluation"


@pytest.fixture(scope="module")
def whole(made: Made, evaluation: Path) -> Path:
    """Return the report with everything beside the results."""
    everything = {"scan": made.scan, "session": made.root / "trial.session", "evaluation": evaluation}
    bundle = str(made.root / "voxelwise")
    return write_report(
        made.case, made.root / "whole.html", trust=made.root / "made-trust", bundle=bundle, **everything
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Return the regions of a run."""
    with (folder / "regions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_curve_counts_regions_as_the_run_did(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where voxels touch by faces alone there are more regions: the curve passes through the number of the table."""
    curves = []

    def note(curve: Any, **_: Any) -> Figure:
        curves.append(curve)
        return Figure()

    monkeypatch.setattr(pictures, "draw_threshold_curve", note)
    options = replace(options_for(made.root / "voxelwise"), rules=RegionRules(connectivity=6))
    array = np.zeros(grid().shape, np.float32)
    array[1:4, 1:4, 1] = array[4, 4, 2] = 1
    ll.write(ll.Volume(array, grid()), tmp_path / "c.nii.gz")
    run_batch(tmp_path / "c.nii.gz", options, tmp_path / "batch")
    case = tmp_path / "batch" / "cases" / "c"

    write_report(case, tmp_path / "report.html", scan=tmp_path / "c.nii.gz")

    record = json.loads((case / "record.json").read_text())
    (curve,) = curves
    assert curve.at(record["options"]["threshold"])[2] == sum(record["n_regions"].values()) == 2


def test_the_page_holds_everything_and_nothing_else(whole: Path, made: Made) -> None:
    """Regions, readers, checks, evaluation, card and hashes are on it; nothing of it is fetched or run."""
    text = whole.read_text("utf-8")
    page = Elements(text)
    record = json.loads((made.case / "record.json").read_text())

    assert outside(text) == []
    assert {tag for tag, _ in page.found}.isdisjoint({"script", "i", "iframe", "object", "link"})
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    titles = [words for tag, words in page.pieces if tag == "h2"]
    assert titles == [
        "Regions",
        "Key slices",
        "Without colours",
        "The largest regions from near",
        "Plots",
        "What readers said",
        "How far the map may be believed",
        "How the model did elsewhere",
        "What the model is for, and what not",
        "How it was run",
        "What it rests on",
    ]
    assert [one for one in record["chain"].values() if one not in page.text] == []
    assert [name for name, version in record["versions"].items() if f"{name} {version}" not in page.text] == []
    assert page.text.count(HOSTILE) == 3  # a reader's comment, a check, the model card
    assert "✗ reject" in page.text
    assert "✗ FLAGGED" in page.text
    assert "Use it for" in page.text
    assert "None." not in page.text  # how it was trained is in the card alone
    assert "verified: all" in page.text


def test_the_table_is_that_of_the_results(whole: Path, made: Made) -> None:
    """Each number of the page, rounded by hand, and its unit and meaning."""
    pieces = Elements(whole.read_text("utf-8")).pieces
    cells = [words for tag, words in pieces if tag == "td"]

    (row,) = rows_of(made.case)
    start = cells.index(row["label"])
    place = " ".join(f"{float(row[f'centroid_{axis}_mm']):+.0f}" for axis in "ras")
    expected = [row["label"], f"{float(row['volume_mm3']):.1f}", place, f"{float(row['diameter_mm']):.1f}"]
    assert cells[start : start + 4] == expected
    assert f"{100 * float(row['attribution_share']):.1f}" in cells
    assert ("span", "mm³") in pieces
    assert [words for tag, words in pieces if tag == "dd" and "Number of voxels times" in words]


def test_the_case_stands_beside_the_cohort(whole: Path, evaluation: Path) -> None:
    """Dice of all cases with its interval, and that of this case as the evaluation has it."""
    page = Elements(whole.read_text("utf-8"))
    with (evaluation / "cases.csv").open(newline="") as file:
        own = next(row for row in csv.DictReader(file) if row["case"] == "a")
    cells = [words for tag, words in page.pieces if tag == "td"]
    start = cells.index("Dice overlap, mean of the cases")

    assert f"{float(own['dice']):.3g}" in cells[start : start + 6]
    assert "This case" in page.text


def test_the_same_results_give_the_same_bytes(made: Made, tmp_path: Path) -> None:
    """A page can be made again and compared; its seal is in its last line."""
    first, second = (write_report(made.case, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))

    assert first == second
    assert re.fullmatch(rb"<!-- lesionlens seal [0-9a-f]{64} -->", first.splitlines()[-1])


@pytest.mark.parametrize("suffix", ["html", "pdf"])
def test_a_flipped_bit_of_a_report_is_found(made: Made, tmp_path: Path, suffix: str) -> None:
    """Wherever it lies, in a page alone and in one beside its results."""
    results = tmp_path / "case"
    shutil.copytree(made.case, results)
    path = write_report(results, results / f"report.{suffix}")
    before = path.read_bytes()
    assert verify(path).right
    assert path.name not in verify(results).strangers
    generator = np.random.default_rng(0)

    for place in (0, len(before) - 1, len(before) - 30, *generator.integers(0, len(before), 5).tolist()):
        changed = bytearray(before)
        changed[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(changed)
        assert not verify(path).right
        assert [one for one in verify(results).problems if one.startswith(path.name)]
    assert write_report(results, path, overwrite=True).read_bytes() == before or suffix == "pdf"


def test_a_flipped_bit_of_checks_and_evaluations_is_found(made: Made, evaluation: Path, tmp_path: Path) -> None:
    """Every file of them is named by a sealed one, and a report with them is refused."""
    generator = np.random.default_rng(0)
    for n, place in enumerate((made.root / "made-trust", evaluation)):
        folder = tmp_path / str(n)
        shutil.copytree(place, folder)
        assert (verify(folder).right, verify(folder).strangers) == (True, ())
        for path in sorted(folder.iterdir()):
            before = path.read_bytes()
            changed = bytearray(before)
            changed[int(generator.integers(len(before)))] ^= 1 << int(generator.integers(8))
            path.write_bytes(changed)
            assert [one for one in verify(folder).problems if one.startswith(path.name)]
            path.write_bytes(before)
    (tmp_path / "0" / "trust.png").write_bytes(b"")
    with pytest.raises(ReadError, match=r"not as they were written: trust\.png"):
        write_report(made.case, tmp_path / "a.html", trust=tmp_path / "0")


def test_changed_results_are_refused_or_marked(made: Made, tmp_path: Path) -> None:
    """Whoever reads a page of results that somebody changed must know it; by default there is no page."""
    results = tmp_path / "case"
    shutil.copytree(made.case, results)
    table = (results / "regions.csv").read_text()
    (results / "regions.csv").write_text(table.replace("lesion", "tumour"))

    with pytest.raises(ReadError, match=r"not as they were written: regions\.csv has changed.*--changed"):
        write_report(results, tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()
    text = write_report(results, tmp_path / "a.html", changed=True).read_text("utf-8")
    notes = [dict(attributes).get("class") for tag, attributes in Elements(text).found if tag == "p"]
    assert "note" in notes
    assert "THE RESULTS HAVE CHANGED" in text
    assert "NOT VERIFIED: regions.csv has changed" in text


def test_what_belongs_to_another_case_is_refused(made: Made, tmp_path: Path) -> None:
    """Another scan, checks and sessions of another case, readers that are none, other endings, vouched files."""
    other = made.root / "batch" / "cases" / "b"
    for words, error, message in (
        ({"scan": made.root / "scans" / "a.nii.gz"}, ReadError, "made from another scan"),
        ({"trust": made.root / "made-trust"}, ReadError, "of another scan"),
        ({"trust": made.root}, ReadError, "holds no trust.json"),
        ({"session": made.root / "trial.session"}, ReadError, "no case of the session"),
        ({"language": "xx"}, InputError, "language"),
    ):
        with pytest.raises(error, match=message):
            write_report(other, tmp_path / "a.html", **words)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="reader"):
        write_report(made.case, tmp_path / "a.html", session=made.root / "trial.session", readers=("Zoe",))
    with pytest.raises(InputError, match=r"\.html or \.pdf"):
        write_report(other, tmp_path / "a.docx")
    with pytest.raises(OutputError, match="belongs to the results"):
        write_report(made.root / "batch", overwrite=True)
    with pytest.raises(ReadError, match=r"holds none of record\.json"):
        write_report(tmp_path, tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_a_pdf_holds_the_numbers_and_the_notice_on_each_page(made: Made, tmp_path: Path) -> None:
    """Page by page; the text is text, not a picture of it."""
    pages = pdf_pages(write_report(made.case, tmp_path / "a.pdf", scan=made.scan).read_bytes())

    (row,) = rows_of(made.case)
    assert f"{float(row['volume_mm3']):.1f}" in " ".join(pages)
    assert len(pages) > 1
    assert [n for n, text in enumerate(pages) if NOTICE not in text] == []
    assert [n for n, text in enumerate(pages, start=1) if f"{n} / {len(pages)}" not in text] == []


def test_without_weasyprint_or_pango_it_says_what_to_install(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any work, in one line, with nothing left behind."""
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'lesionlens\[pdf\]'"):
        write_report(made.root, tmp_path / "a.pdf")

    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "weasyprint.py").write_text("raise OSError('cannot load library libpango\\nlong')")
    monkeypatch.delitem(sys.modules, "weasyprint")
    monkeypatch.syspath_prepend(str(broken))
    with pytest.raises(MissingPackageError, match=r"libpango.*apt-get install libpango-1\.0-0") as caught:
        write_report(made.root, tmp_path / "a.pdf")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.pdf").exists()


def test_browsers_show_and_print_it(whole: Path, tmp_path: Path) -> None:
    """A real browser without a network: pictures are there on the screen, on paper the notice is on each page."""
    shot, printed = tmp_path / "shot.png", tmp_path / "printed.pdf"

    shown = browse(whole, tmp_path, "--window-size=1000,2400", f"--screenshot={shot}")
    browse(whole, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={printed}")

    assert "Report of a" in shown.partition("</title>")[0]
    assert Elements(shown).text.count(HOSTILE) == 3
    pixels = matplotlib.image.imread(shot)[..., :3]
    cyan = (pixels[..., 2] > 0.8) & (pixels[..., 0] < 0.3) & (pixels[..., 1] > 0.6)
    assert cyan.sum() > 50  # outlines of regions
    right = pixels[:, -12:].mean(axis=-1)
    assert (right[:2200] > 0.99).all()  # nothing is wider than the page
    assert len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes())) > 2


def test_the_report_speaks_german(made: Made, tmp_path: Path) -> None:
    """Words, and numbers as they are written there; names stay."""
    text = write_report(made.case, tmp_path / "a.html", language="de").read_text("utf-8")

    (row,) = rows_of(made.case)
    assert '<html lang="de">' in text
    assert "Worauf es beruht" in text
    assert "Nur für die Forschung" in text
    assert f"{float(row['volume_mm3']):.1f}".replace(".", ",") in text
    assert 'content: "Nur f' in text  # on paper


def test_a_batch_has_the_page_that_it_made(made: Made, evaluation: Path, tmp_path: Path) -> None:
    """In English the same bytes but for the seal, in German its words, as PDF its cases; an evaluation has one too."""
    batch = made.root / "batch"
    page = write_report(batch, tmp_path / "a.html").read_bytes()

    assert page.rpartition(b"\n<!-- lesionlens seal")[0] == (batch / "report.html").read_bytes()
    german = write_report(batch, tmp_path / "b.html", language="de").read_text("utf-8")
    assert "2 fertig, 0 gescheitert, 0 warten" in german
    assert "2 done" in " ".join(pdf_pages(write_report(batch, tmp_path / "a.pdf").read_bytes()))
    of_evaluation = Elements(write_report(evaluation, tmp_path / "c.html").read_text("utf-8"))
    assert "Evaluation of" in of_evaluation.text
    assert len([tag for tag, _ in of_evaluation.found if tag == "img"]) == 3


def test_the_command_writes_it(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line, beside the results where nothing else is said; verifying looks at it."""
    results = tmp_path / "case"
    shutil.copytree(made.case, results)

    assert main(["report", str(results)]) == 0
    assert main(["report", str(results)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["verify", str(results / "report.html")]) == 0
    assert "1 file as written" in capsys.readouterr().out
