"""Pages of sessions: whole in one file, inert whatever was written, and right in a real browser."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np

from lesionlens.display import DisplayView
from lesionlens.report.key_image import draw_key_image, key_image
from lesionlens.report.pages import CasePage, FindingPart, Picture, ReaderPart, SessionPage, case_html, session_html
from lesionlens.volume import Grid, Volume
from web_pages import HOSTILE, Elements, browse, outside


def picture() -> Picture:
    """Return a key image of a block in noise."""
    return Picture(key_image(volume(), block()), "lesion-1, the slice with most of it")


def volume() -> Volume:
    """Return 40 x 36 x 10 voxels of noise."""
    array = np.random.default_rng(0).normal(100, 20, (40, 36, 10)).astype(np.float32)
    return Volume(array, Grid((40, 36, 10), np.diag([2.0, 2.0, 3.0, 1.0])))


def block() -> np.ndarray:
    """Return a finding that is largest in slice 6."""
    mask = np.zeros((40, 36, 10), bool)
    mask[10:13, 20:24, 4:8] = True
    mask[8:15, 18:26, 6] = True
    return mask


def page() -> CasePage:
    """Return a page on which somebody wrote what a browser might run."""
    part = ReaderPart("Ann <i>", "reject", HOSTILE, 4, ["vessel", HOSTILE], "edited once", {"volume": "12.0 mm³"})
    waits = ReaderPart("Bob", None, None, None, [], "as the model drew it", {})
    reads = [{"reader": "Ann <i>", "status": "complete", "flagged": True, "mode": "on their own", "minutes": "1.5"}]
    findings = [FindingPart("lesion-1", "found by the model", [part, waits], [picture()])]
    return CasePage("case-001", reads, findings, {"Scan, SHA-256": "ab" * 32}, ["A note."])


def test_a_page_is_whole_in_itself() -> None:
    """No reference leaves the file, and the picture inside is the picture."""
    text = case_html(page())

    assert outside(text) == []
    (source,) = [attributes["src"] for tag, attributes in Elements(text).found if tag == "img"]
    assert source is not None
    assert b64decode(source.partition(",")[2]).startswith(b"\x89PNG")
    assert outside('<img src="https://example.org/a.png"><a href="//x">') == ["https://example.org/a.png", "//x"]


def test_what_readers_wrote_is_text() -> None:
    """No element comes out of a comment, a category or a name, and every letter of them is there."""
    elements = Elements(case_html(page()))

    assert {tag for tag, _ in elements.found}.isdisjoint({"script", "i", "iframe", "object", "link"})
    assert len([tag for tag, _ in elements.found if tag == "img"]) == 1
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert elements.text.count(HOSTILE) == 2
    assert "default-src 'none'" in str(elements.found)


def test_a_page_says_what_it_is_in_words() -> None:
    """Verdicts are words beside their signs, the notice stands at the top and stays in sight, hashes are there."""
    text = Elements(case_html(page())).text

    assert "✗ reject" in text
    assert "– none yet" in text
    assert text.count("Research use only") >= 2
    assert "ab" * 32 in text
    assert "A note." in text


def test_figures_that_readers_share_stand_there_once() -> None:
    """Three readers of one outline are no three measurements, and a page of many findings stays readable."""
    drawn, other = {"volume": "12.0 mm³"}, {"volume": "13.0 mm³"}
    said = [("as the model drew it", drawn), ("as the model drew it", drawn), ("edited once", other), ("drawn", {})]
    parts = [ReaderPart(f"R{n}", "accept", None, None, [], *words) for n, words in enumerate(said)]
    text = Elements(case_html(CasePage("case-001", [], [FindingPart("lesion-1", "the model", parts)], {}))).text

    assert (text.count("12.0 mm³"), text.count("13.0 mm³"), text.count("with the same figures")) == (1, 1, 1)


def test_the_page_of_a_session_lists_cases_and_readers() -> None:
    """Progress, verdicts, agreement, and a link to the page of each case."""
    cases = [
        {"case": f"case-00{n}", "page": f"case-00{n}.html", "reads": page().reads, "findings": n, "picture": shown}
        for n, shown in ((1, picture()), (2, None))
    ]
    progress = {"reader": "Ann", "complete": 1, "partly": 1, "untouched": 0, "flagged": 1, "minutes": "3.0"}
    counts = {"reader": "Ann", "accept": 2, "reject": 1, "unsure": 0, "none": 4, "drawn": 1}
    pairs = [{"first": "Ann", "second": "Bob", "n": 3, "share": "0.67", "kappa": "not defined"}]

    text = session_html(SessionPage(HOSTILE, [progress], [counts], pairs, cases, {"Session": "cd" * 16}))

    assert outside(text) == []
    elements = Elements(text)
    assert "script" not in {tag for tag, _ in elements.found}
    assert [a["href"] for tag, a in elements.found if tag == "a"] == ["case-001.html", "case-002.html"]
    assert "not defined" in elements.text
    assert "complete, flagged" in " ".join(elements.text.split())


def test_the_key_slice_is_the_one_with_most_of_the_finding() -> None:
    """Slice 6 of the block, named by its place; the box in it lies around the block, with the right on the left."""
    figure = draw_key_image(volume(), block(), model=np.roll(block(), 1, axis=0))

    whole, near = figure.axes[:2]
    words = [text.get_text() for text in whole.texts]
    assert DisplayView(volume().grid).slice_place(0, 6) in words
    assert {"R", "L", "A", "P", "50 mm"} <= set(words)
    assert [text.get_text() for text in near.texts] == ["10 mm"]
    left, right = near.get_xlim()
    bottom, top = near.get_ylim()
    # To the right of the picture is the patient's left: i = 8 to 14 of 40, 2 mm each, seen from the other side.
    assert left <= 2 * (40 - 15) < 2 * (40 - 8) <= right
    assert top <= 2 * (36 - 26) < 2 * (36 - 18) <= bottom
    assert len(near.collections) == 4  # a rim and a line, of the reader and of the model


def test_a_browser_shows_it_without_a_network(tmp_path: Path) -> None:
    """The page as drawn by a browser that reaches nothing: its picture is there, and nothing that was written ran."""
    (tmp_path / "case-001.html").write_text(case_html(page()), encoding="utf-8")
    shot = tmp_path / "shot.png"

    shown = browse(tmp_path / "case-001.html", tmp_path, "--window-size=900,1300", f"--screenshot={shot}")

    drawn = Elements(shown)
    assert "Report of case-001" in shown.partition("</title>")[0]
    assert "script" not in {tag for tag, _ in drawn.found}
    assert drawn.text.count(HOSTILE) == 2
    pixels = matplotlib.image.imread(BytesIO(shot.read_bytes()))[..., :3]
    bright = pixels.mean(axis=-1)
    cyan = (pixels[..., 2] > 0.8) & (pixels[..., 0] < 0.3) & (pixels[..., 1] > 0.6)
    assert cyan.sum() > 100  # the outline
    assert (bright[-60:] < 0.2).mean(axis=1).max() > 0.9  # the notice along the lower edge
