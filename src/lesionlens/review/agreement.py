"""How far readers agree, with each other and with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlens.confusion import confusion
from lesionlens.errors import InputError
from lesionlens.review.blinding import blinded_state, mode
from lesionlens.review.events import VERDICTS, Verdict
from lesionlens.review.rules import MODEL
from lesionlens.review.state import CaseState
from lesionlens.review.store import Session

__all__ = ["MODEL", "Agreement", "PairAgreement", "cohen_kappa", "fleiss_kappa", "session_agreement"]


def cohen_kappa(counts: ArrayLike) -> float | None:
    """Return Cohen's kappa of two readers: agreement beyond what chance gives (Educ. Psychol. Meas. 1960).

    (po - pe) / (1 - pe), with po the share of the diagonal and pe what two readers with these margins would share by
    chance.

    Parameters
    ----------
    counts
        (n, n) counts: rows are the answers of the first reader, columns those of the second.

    Returns
    -------
    float or None
        In [-1, 1]; None where there is no answer, or both always gave the same one, which leaves nothing to chance.
    """
    table = np.asarray(counts, dtype=np.float64)
    total = table.sum()
    if total == 0:
        return None
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / total**2
    return None if chance == 1 else float((np.trace(table) / total - chance) / (1 - chance))


def fleiss_kappa(counts: ArrayLike) -> float | None:
    """Return Fleiss' kappa of several readers (Psychol. Bull. 1971).

    Parameters
    ----------
    counts
        (findings, answers): how many readers gave which answer. Every finding has the same number of readers, two or
        more.

    Returns
    -------
    float or None
        At most 1; None where there is no finding, or all answers are the same.

    Raises
    ------
    InputError
        If the findings have different numbers of readers, or fewer than two.
    """
    table = np.asarray(counts, dtype=np.float64)
    if not len(table):
        return None
    readers = table.sum(axis=1)
    if readers.min() != readers.max() or readers[0] < 2:
        raise InputError(f"Every finding needs the same readers, two or more; found {sorted(set(readers.tolist()))}.")
    n = readers[0]
    observed = float(((table**2).sum(axis=1) - n).mean()) / (n * (n - 1))
    chance = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return None if chance == 1 else float((observed - chance) / (1 - chance))


@dataclass(frozen=True, eq=False)
class PairAgreement:
    """Two readers, or a reader and the model, on the findings that both judged.

    Parameters
    ----------
    first, second
        Who; :data:`MODEL` has accepted whatever it marked.
    confusion
        (3, 3) counts of accept, reject, unsure: rows are the first.
    kappa
        Cohen's; None where it is not defined, and beside the model: it always says the same, and a kappa would be 0
        whatever the reader says.
    """

    first: str
    second: str
    confusion: NDArray[np.int64]
    kappa: float | None

    @property
    def n(self) -> int:
        """Findings that both judged."""
        return int(self.confusion.sum())

    @property
    def share(self) -> float | None:
        """Share of them on which both say the same; None where there are none."""
        return float(np.trace(self.confusion)) / self.n if self.n else None


@dataclass(frozen=True)
class Agreement:
    """How far the readers of a session agree.

    Parameters
    ----------
    readers
        Who judged anything on their own, before they saw what others said.
    pairs
        Every two of them, then each beside the model, then each consensus beside the readers and the model.
    fleiss
        Kappa of all readers, on the findings that all judged; None with fewer than two, or where it is not defined.
    n_all
        Number of these findings.
    consensus
        What readers decided after they had seen others, as ``"Cleo (consensus)"``.
    """

    readers: tuple[str, ...]
    pairs: tuple[PairAgreement, ...]
    fleiss: float | None
    n_all: int
    consensus: tuple[str, ...] = ()


def session_agreement(session: Session) -> Agreement:
    """Compare the verdicts of every reader of a session on the model's findings.

    What a reader decided after they were shown other readers' verdicts is no reading of their own: it stands as a
    consensus beside the readers.
    """
    verdicts = _all_verdicts(session, blinded=True)
    agreed = {f"{reader} (consensus)": found for reader, found in _all_verdicts(session, blinded=False).items()}
    readers = tuple(verdicts)
    judged = (name for found in (*verdicts.values(), *agreed.values()) for name in found)
    model: dict[tuple[str, str], Verdict] = dict.fromkeys(judged, "accept")
    beside: dict[str, Mapping[tuple[str, str], Verdict]] = {**verdicts, **agreed, MODEL: model}
    names = [*combinations(readers, 2), *((a, MODEL) for a in readers)]
    names += [(a, b) for a in agreed for b in (*readers, MODEL)]
    pairs = tuple(_pair(a, b, beside[a], beside[b]) for a, b in names)
    shared = sorted(set.intersection(*(set(found) for found in verdicts.values()))) if len(readers) > 1 else []
    table = [[sum(verdicts[r][name] == word for r in readers) for word in VERDICTS] for name in shared]
    return Agreement(readers, pairs, fleiss_kappa(table), len(shared), tuple(agreed))


def _all_verdicts(session: Session, *, blinded: bool) -> dict[str, dict[tuple[str, str], Verdict]]:
    """Return the verdicts on the model's findings by reader, case and finding; only of those who gave any.

    Those given blind, or else those of cases in which the reader was shown what others said.
    """
    found: dict[str, dict[tuple[str, str], Verdict]] = {}
    for reader in session.readers:
        for case in session.cases_of(reader):
            if blinded:
                said = _verdicts(case, blinded_state(session, case, reader))
            else:
                together = mode(session, case, reader) == "consensus"
                said = _verdicts(case, session.state(case, reader)) if together else {}
            if said:
                found.setdefault(reader, {}).update(said)
    return found


def _verdicts(case: str, state: CaseState) -> dict[tuple[str, str], Verdict]:
    return {
        (case, finding.id): finding.verdict
        for finding in state.findings.values()
        if finding.verdict is not None and finding.origin == "model"
    }


def _pair(
    a: str, b: str, first: Mapping[tuple[str, str], Verdict], second: Mapping[tuple[str, str], Verdict]
) -> PairAgreement:
    shared = [name for name in first if name in second]
    one, other = (np.array([VERDICTS.index(w[name]) for name in shared], dtype=np.int64) for w in (first, second))
    counts = confusion(one, other, len(VERDICTS))
    return PairAgreement(a, b, counts, None if b == MODEL else cohen_kappa(counts))
