"""Agreement of readers against scikit-learn, statsmodels' published example, and hand-made sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from lesionlens.confusion import confusion
from lesionlens.errors import InputError
from lesionlens.review import Act, CaseEntry, Finding, Session
from lesionlens.review.agreement import MODEL, cohen_kappa, fleiss_kappa, session_agreement

# Fleiss 1971, as given in textbooks: 10 subjects, 14 raters, 5 answers; kappa 0.210.
FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_cohens_kappa_is_that_of_scikit_learn(seed: int) -> None:
    """Random answers that agree in part."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 3, 50)
    b = np.where(rng.random(50) < 0.6, a, rng.integers(0, 3, 50))

    assert cohen_kappa(confusion(a, b, 3)) == pytest.approx(cohen_kappa_score(a, b), rel=1e-12)


def test_kappas_have_their_closed_forms() -> None:
    """Full agreement is 1, agreement by chance 0, and where only one answer is given there is none."""
    assert cohen_kappa([[5, 0], [0, 5]]) == 1
    assert cohen_kappa([[4, 4], [4, 4]]) == 0
    assert cohen_kappa([[9, 0], [0, 0]]) is None
    assert cohen_kappa(np.zeros((3, 3))) is None
    assert fleiss_kappa([[3, 0], [0, 3]]) == pytest.approx(1)
    assert fleiss_kappa([[3, 0], [3, 0]]) is None
    assert fleiss_kappa([]) is None


def test_fleiss_kappa_is_that_of_the_textbook() -> None:
    """The worked example that every text repeats."""
    assert fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize("table", [[[2, 0], [3, 0]], [[1, 0], [0, 1]]])
def test_fleiss_needs_the_same_readers_everywhere(table: list[list[int]]) -> None:
    """A finding that one reader has not seen belongs into no table."""
    with pytest.raises(InputError, match="same readers"):
        fleiss_kappa(table)


def test_a_session_of_two_readers(tmp_path: Path) -> None:
    """Two agree on two of three; verdicts of one alone, taken back, or on their own findings do not count."""
    findings = tuple(Finding(f"lesion-{n}", "lesion", n, {}) for n in (1, 2, 3, 4))
    entry = CaseEntry("a", "a", "a.nii.gz", "a-results", {}, findings)
    answers = {"Ann": ["accept", "reject", "unsure", "accept"], "Bob": ["accept", "reject", "reject"]}
    with Session.create(tmp_path / "s", [entry]) as session:
        for reader, words in answers.items():
            for n, word in enumerate(words, start=1):
                session.record(reader, "a", [Act("verdict", f"lesion-{n}", {"verdict": word})])
        session.record("Bob", "a", [Act("verdict", "lesion-4", {"verdict": "reject"})])
        session.undo("Bob", "a")
        session.record("Bob", "a", [Act("added", "mine-1", {"statistics": {}}, b"x")])
        session.record("Bob", "a", [Act("verdict", "mine-1", {"verdict": "accept"})])
        session.record("Cleo", "a", [Act("opened")])

        found = session_agreement(session)

    assert found.readers == ("Ann", "Bob")
    pair = next(p for p in found.pairs if (p.first, p.second) == ("Ann", "Bob"))
    assert pair.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert pair.share == pytest.approx(2 / 3)
    assert pair.kappa == pytest.approx(cohen_kappa_score([0, 1, 2], [0, 1, 1]))
    assert found.n_all == 3
    assert found.fleiss == pytest.approx(fleiss_kappa([[2, 0, 0], [0, 2, 0], [0, 1, 1]]))
    beside = next(p for p in found.pairs if (p.first, p.second) == ("Ann", MODEL))
    assert beside.confusion[:, 0].tolist() == [2, 1, 1]
    assert beside.share == 0.5
    assert all(p.kappa is None for p in found.pairs if MODEL in (p.first, p.second))  # 0 whatever a reader says
