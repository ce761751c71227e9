"""The page of a batch: figures as numpy makes them of the tables, cases unlike the others, and nothing that runs."""

from __future__ import annotations

import csv
import json
import tracemalloc
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from scipy.stats import median_abs_deviation

import lesionlens.batch.cohort as cohort_module
import lesionlens.batch.cohort_page as cohort_page_module
from lesionlens.batch.cohort import UNUSUAL, Correlations, Outlier, outliers, robust_z, spread_of
from lesionlens.batch.cohort_page import MOST_THUMBNAILS, cohort_page
from lesionlens.batch.gathered import Gathered
from lesionlens.batch.reports import write_reports
from lesionlens.batch.store import Store
from lesionlens.batch.summary import FEATURES, SUMMARY_COLUMNS, CaseSummary, summarised
from lesionlens.report.cohort import correlation_png, thumbnail

HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)> & "quoted" {{ 7 * 7 }}'
NAMES = tuple(f"case-{n:02}" for n in range(12))
#: The mean intensity and volume of this one are far from those of the others.
ODD = "case-07"


class Page(HTMLParser):
    """What is on a page: elements with attributes, rows of tables as texts, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._texts: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element, and begin a row or cell."""
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        """End a cell."""
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self._texts.append(data)
        if self._cell:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        """Return all text."""
        return "".join(self._texts)

    @property
    def pictures(self) -> list[bytes]:
        """Return the PNGs."""
        sources = (str(attributes["src"]) for tag, attributes in self.elements if tag == "img")
        return [b64decode(one.removeprefix("data:image/png;base64,")) for one in sources]


def write_case(store: Store, name: str, regions: list[dict[str, float]], seconds: float) -> None:
    """Write what the page reads of a case."""
    folder = store.cases / name
    folder.mkdir(parents=True)
    with (folder / "regions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("class", *FEATURES))
        writer.writeheader()
        writer.writerows({"class": "lesion", **row} for row in regions)
    record: dict[str, Any] = {
        "lesionlens": "0.1.0",
        "bundle": {"name": "tiny", "version": "1", "weights_sha256": "w" * 64},
        "options": {"threshold": 0.5},
        "versions": {"python": "3.12"},
        "warnings": [],
        "n_regions": {"lesion": len(regions)},
        "total_volume_mm3": {"lesion": sum(row["volume_mm3"] for row in regions)},
        "class_probabilities": {},
        "detections": None,
    }
    links = {"bundle": "b" * 64, "ensemble": [], "calibration": "", "options": "o" * 64, "key": name}
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "case.json").write_text(json.dumps({"links": links, "mask": None, "seconds": seconds}))
    picture = np.random.default_rng(len(name)).uniform(size=(60, 90))
    matplotlib.image.imsave(folder / "overlay_lesion.png", picture, cmap="gray")


def write_batch(root: Path, *, seconds: float = 1.0) -> Store:
    """Write a batch of twelve cases with one to three regions each, one of them odd."""
    generator, store = np.random.default_rng(5), Store(root)
    store.failed.mkdir()
    for number, name in enumerate(NAMES):
        rows = []
        for _ in range(number % 3 + 1):
            values = generator.uniform(9, 11, len(FEATURES))
            row = dict(zip(FEATURES, map(float, values), strict=True))
            row |= {"intensity_mean": 1000.0, "volume_mm3": 5000.0} if name == ODD else {}
            row["diameter_mm"] = 2 * row["volume_mm3"] + float(generator.normal())
            row["probability_max"] = float(generator.uniform(0.5, 1))
            rows.append({key: value for key, value in row.items() if key != "uncertainty_mean"})
        write_case(store, name, rows, seconds)
    store.note_failure("broken", f"cannot be read: {HOSTILE}", "ReadError", "k")
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return the batch with its reports."""
    found = write_batch(tmp_path_factory.mktemp("cohort"))
    write_reports(found, [*NAMES, "broken", "later"], ["ct-1 is a localiser"])
    return found


@pytest.fixture(scope="module")
def page(store: Store) -> Page:
    """Return its page."""
    return Page((store.root / "report.html").read_text("utf-8"))


def table(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV table."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def column(store: Store, name: str) -> np.ndarray:
    """Return a column of the regions of all cases, read back from the tables."""
    return np.array([float(row[name]) for case in NAMES for row in table(store.cases / case / "regions.csv")])


def summary(name: str, **values: Any) -> CaseSummary:
    """Return a case that is done, with values of its only class."""
    row = {**dict.fromkeys(SUMMARY_COLUMNS), "case": name, "status": "done", "class": "lesion", **values}
    return CaseSummary(name, "done", (row,))


def page_of(summaries: list[CaseSummary], left_out: list[str] | None = None) -> str:
    """Return the page of these cases."""
    return cohort_page(iter(summaries), {one.name: one for one in summaries}.__getitem__, left_out=left_out or ())


def correlation(values: np.ndarray, rows: int = 7) -> np.ndarray:
    """Return the correlations of columns whose values come a few rows at a time."""
    found = Correlations(values.shape[1])
    for start in range(0, len(values), rows):
        found.add(values[start : start + rows])
    return found.matrix


def unusual(summaries: Iterable[CaseSummary]) -> list[Outlier]:
    """Return what is unusual of these cases."""
    found = Gathered(0, lambda name: pytest.fail(f"{name} is not to be read again"))
    for one in summaries:
        found.add(one)
    return outliers(found.compared())


def test_statistics_are_the_percentiles_of_the_tables(store: Store, page: Page) -> None:
    """Four figures are shown: numpy's of the tables, read back, are the same to 0.05 %."""
    rows = [row for row in table(store.root / "summary.csv") if row["status"] == "done"]
    expected = {
        "volume of a region, mm³": column(store, "volume_mm3"),
        "volume of all regions of a case, mm³": np.array([float(row["total_volume_mm3"]) for row in rows]),
        "regions of a case": np.array([float(row["n_regions"]) for row in rows]),
        "highest probability of a case": np.array([float(row["probability_max"]) for row in rows]),
    }
    shown = {row[1]: row[2:] for row in page.rows if row and row[0] == "lesion" and row[1] in expected}
    assert set(shown) == set(expected)
    for what, values in expected.items():
        number, *figures = (float(text.replace(",", "")) for text in shown[what])
        assert number == len(values)
        np.testing.assert_allclose(figures, np.percentile(values, [0, 25, 50, 75, 100]), rtol=5e-4)


def test_correlations_are_those_of_numpy_and_the_heatmap_shows_them(store: Store, page: Page) -> None:
    """Over all regions of the tables; what was not measured is left out, what does not vary is not defined."""
    known = [name for name in FEATURES if name != "uncertainty_mean"]
    values = np.column_stack([column(store, name) for name in known])

    found = correlation(values)

    np.testing.assert_allclose(found, np.corrcoef(values, rowvar=False), atol=1e-12)
    assert found[0, 1] > 0.9, "the diameters were made from the volumes"
    assert correlation_png(found, known) in page.pictures
    gaps = np.column_stack([values, np.full(len(values), 3.0)])
    gaps[:5, 0] = np.nan
    found = correlation(gaps)
    assert found[0, 1] == pytest.approx(np.corrcoef(values[5:, 0], values[5:, 1])[0, 1], abs=1e-12)
    assert np.isnan(found[-1]).all()
    assert np.isnan(correlation(values[:9])).all(), "nine regions are too few"


def test_correlations_keep_their_digits_far_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals of scanners lie around 1e6 with a spread of 1; sums of their squares alone would lose it."""
    generator = np.random.default_rng(3)
    common = generator.normal(size=(5000, 1))
    values = 1e6 + common + generator.normal(size=(5000, 3))
    values[0] = -1e5  # a scan on another scale comes first
    gone = generator.uniform(size=values.shape) < 0.3
    gone[0] = False
    values[gone] = np.nan
    monkeypatch.setattr(cohort_module, "_ROWS", 50)

    found = correlation(values, rows=1)

    for first, second in ((0, 1), (0, 2), (1, 2)):
        both = values[np.isfinite(values[:, [first, second]]).all(axis=1)]
        expected = np.corrcoef(both[:, first], both[:, second])[0, 1]
        assert found[first, second] == found[second, first] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_array_equal(np.diag(found), 1)
    assert np.isnan(correlation(values[1:, :2] * 0 + 7)).all(), "one value says nothing, on any scale"


def test_a_robust_z_score_by_hand() -> None:
    """The median of 1, 2, 3, 4, 100 is 3, the median distance from it 1; few or equal values say nothing."""
    scores = robust_z([1, 2, 3, 4, 100, np.nan])

    np.testing.assert_allclose(scores[:5], 0.67448975 * np.array([-2, -1, 0, 1, 97]), rtol=1e-8)
    assert np.isnan(scores[5])
    assert np.isnan(robust_z([1, 2, 3, 100])).all()
    assert np.isnan(robust_z([0.1 + 0.2, 0.3, 0.3, 0.3, 0.3, 9])).all(), "rounding is no spread"
    assert spread_of([]) is None


def test_outliers_are_those_of_scipy_and_the_odd_case_is_one(store: Store, page: Page) -> None:
    """From the table, read back; the odd case is the first, with its value and the median."""
    found = unusual(summarised(store, NAMES))
    rows = [row for row in table(store.root / "summary.csv") if row["status"] == "done"]
    for feature in ("n_regions", "total_volume_mm3", "largest_volume_mm3", "probability_max"):
        values = np.array([float(row[feature]) for row in rows])
        scores = (values - np.median(values)) / median_abs_deviation(values, scale="normal")
        expected = {
            NAMES.index(row["case"]): score for row, score in zip(rows, scores, strict=True) if abs(score) > 3.5
        }
        assert {one.case: one.z for one in found if one.feature == feature} == pytest.approx(expected)
    assert NAMES[found[0].case] == ODD
    by_feature = {one.feature: one for one in found if NAMES[one.case] == ODD}
    assert by_feature["largest_volume_mm3"].value == 5000
    intensity = by_feature["median intensity_mean of the regions"]
    assert intensity.value == 1000
    medians = [np.median([float(r["intensity_mean"]) for r in table(store.cases / n / "regions.csv")]) for n in NAMES]
    assert intensity.median == pytest.approx(np.median(medians))
    shown = [row[:3] for row in page.rows if row and row[0].startswith("no. ")]
    assert shown == [[f"no. {one.case + 1}", one.label, one.feature] for one in found]

    edge = [summary(str(n), n_regions=value) for n, value in enumerate([8, 9, 10, 11, 12, 10 + 5.1, 10 - 5.1])]
    assert not unusual(edge), "distances 0, 1, 1, 2, 2, 5.1, 5.1: z is 1.7"
    far = [summary(str(n), n_regions=value) for n, value in enumerate([8, 9, 10, 11, 12, 10 + 2 * 5.2, 9])]
    assert [one.case for one in unusual(far)] == [5]
    assert unusual(far)[0].z > UNUSUAL


def test_every_case_is_named_once(page: Page) -> None:
    """With its status, a reason where it failed, and a picture where there is one."""
    cases = {row[1]: row for row in page.rows if len(row) == 8 and row[0].isdigit()}

    assert list(cases) == [*NAMES, "broken", "later"]
    for name in cases:
        assert sum(row.count(name) for row in page.rows) == 1
    assert cases[ODD][2] == "done, unusual"
    assert cases["broken"][2] == "failed"
    assert HOSTILE in cases["broken"][7]
    assert cases["later"][2:] == ["waiting", "", "", "", "", ""]
    assert len(page.pictures) == len(NAMES) + 2
    assert "12 done, 1 failed, 1 waiting" in page.text
    assert "ct-1 is a localiser" in page.text
    assert "b" * 64 in page.text
    assert "Research use only" in page.text


def test_nothing_is_fetched_and_nothing_runs(page: Page) -> None:
    """Whatever a case, class or error is called is text."""
    hostile = summary(HOSTILE, n_regions=1)
    hostile.rows[0]["class"] = HOSTILE
    for one in (page, Page(page_of([hostile], [HOSTILE]))):
        for tag, attributes in one.elements:
            assert tag not in ("script", "iframe", "object", "link", "base", "form")
            assert not [name for name in attributes if name.startswith("on")]
            assert str(attributes.get("src") or "data:").startswith("data:")
            assert str(attributes.get("href") or "#").startswith("#")
        policy = next(a["content"] for tag, a in one.elements if a.get("http-equiv") == "Content-Security-Policy")
        assert "default-src 'none'" in str(policy)
    assert one.text.count(HOSTILE) >= 3


def test_the_same_results_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """Elsewhere, and however long it took."""
    other = write_batch(tmp_path, seconds=99.0)
    write_reports(other, [*NAMES, "broken", "later"], ["ct-1 is a localiser"])

    assert (other.root / "report.html").read_bytes() == (store.root / "report.html").read_bytes()
    assert (other.root / "summary.csv").read_bytes() != (store.root / "summary.csv").read_bytes()


def test_few_cases_and_none() -> None:
    """Less than a distribution is said to be so."""
    waiting = CaseSummary("a", "waiting", ({**dict.fromkeys(SUMMARY_COLUMNS), "case": "a", "status": "waiting"},))
    for summaries in ([], [summary("a", n_regions=1, total_volume_mm3=5.0)], [waiting]):
        found = Page(page_of(summaries))
        assert not found.pictures
        assert "fewer than 10 regions" in found.text


def test_ten_thousand_cases_stay_below_20_mb(tmp_path: Path) -> None:
    """Even if all pictures were noise, which packs worst; the most unusual case has one of the pictures."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    matplotlib.image.imsave(tmp_path / "noise.png", noise)
    matplotlib.image.imsave(tmp_path / "small.png", noise[:20, :30])
    largest = thumbnail(tmp_path / "noise.png")
    assert largest is not None
    assert matplotlib.image.imread(BytesIO(largest)).shape[:2] == (320, 320)
    cases = []
    for number in range(10_000):
        name, value = f"{'x' * 90}-{number:05}", 1e6 if number == 9_000 else float(number % 7)
        row = {**dict.fromkeys(SUMMARY_COLUMNS), "case": name, "class": "lesion", "total_volume_mm3": value}
        cases.append(CaseSummary(name, "done", (row,), error="y" * 400, picture=tmp_path / "small.png"))

    text = page_of(cases)

    assert len(text.encode()) + MOST_THUMBNAILS * len(b64encode(largest)) < 20e6
    found = Page(text)
    assert len(found.pictures) == MOST_THUMBNAILS
    assert "Pictures are shown of 100 cases" in found.text
    rows = [index for index, (tag, _) in enumerate(found.elements) if tag == "img"]
    before = [next(a["id"] for tag, a in reversed(found.elements[:index]) if "id" in a) for index in rows]
    assert before == [*(f"case-{number}" for number in range(1, MOST_THUMBNAILS)), "case-9001"]


def test_of_too_many_cases_those_to_look_at_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No browser shows a million rows; the unusual and the failed keep theirs, with their numbers, and it is said."""
    monkeypatch.setattr(cohort_page_module, "MOST_CASES", 20)
    cases = [summary(f"c{n}", total_volume_mm3=1e6 if n == 44 else 1.0 + n % 7) for n in range(50)]
    for n in (30, 49):
        row = {**dict.fromkeys(SUMMARY_COLUMNS), "case": f"c{n}", "status": "failed"}
        cases[n] = CaseSummary(f"c{n}", "failed", (row,), error="no")

    found = Page(page_of(cases))

    rows = [(int(row[0]), row[1]) for row in found.rows if len(row) == 8 and row[0].isdigit()]
    assert rows == [(n + 1, f"c{n}") for n in (*range(17), 30, 44, 49)]
    assert "in 50 cases: 48 done, 2 failed" in found.text
    assert "20 of 50 cases are listed: the most unusual, those that failed, then the first" in found.text
    targets = {a["href"] for _, a in found.elements if str(a.get("href")).startswith("#")}
    assert targets == {"#case-45"}
    assert targets <= {f"#{a.get('id')}" for _, a in found.elements}


def test_results_that_are_damaged_fail_their_case_alone(tmp_path: Path) -> None:
    """A file that was cut or removed afterwards must not keep the tables of all other cases from being written."""
    found = write_batch(tmp_path)
    (found.cases / NAMES[0] / "record.json").write_text("{")
    (found.cases / NAMES[1] / "record.json").unlink()
    (found.cases / NAMES[2] / "regions.csv").write_bytes(b"class,volume_mm3\n\xff,1\n")
    (found.cases / NAMES[3] / "case.json").write_text("[]")
    (found.cases / NAMES[4] / "overlay_lesion.png").write_bytes(b"no picture")

    states = write_reports(found, NAMES)

    assert states == {"done": [*NAMES[4:]], "failed": [*NAMES[:4]], "waiting": []}
    failures = list(table(found.root / "failures.csv"))
    assert [row["case"] for row in failures] == [*NAMES[:4]]
    assert all(f"cases/{row['case']}" in row["error"] and "remove this folder" in row["error"] for row in failures)
    assert list(json.loads((found.root / "batch.json").read_text())["cases"]) == [*NAMES[4:]]


def test_the_memory_for_a_case_is_small() -> None:
    """A million cases have to be summed up: what grows with each is its name, its hash and a few numbers."""
    regions = np.random.default_rng(0).uniform(1, 2, (10, len(FEATURES)))

    def peak(count: int) -> int:
        tracemalloc.start()
        gathered = Gathered(100, lambda name: pytest.fail(name))
        for n in range(count):
            one = summary(f"case-{n}", n_regions=10)
            gathered.add(replace(one, regions=regions.copy(), classes=("lesion",) * 10))
        outliers(gathered.compared())
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(1000), peak(3000)
    assert (many - few) / 2000 < 600, "numbers of a case with ten regions are 1,100 bytes alone, objects 2,400"
