"""A cohort: every case measured, one at a time, and summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lesionlens.errors import Cancelled, InputError, LesionLensError
from lesionlens.evaluation.cases import EvaluationCase
from lesionlens.evaluation.cohort import Stratum, sum_up
from lesionlens.evaluation.measuring import CaseMeasures, measure_case
from lesionlens.progress import Progress, silent

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found in a cohort.

    Parameters
    ----------
    label
        Class that was evaluated.
    cases
        What was measured of each.
    strata
        All cases first, then those of each value of the column.
    by
        The column, or None.
    values
        By the name of a case, what the column says of it.
    left_out
        By the name of a case, why it was left out.
    notes
        What a reader must know: one sentence each.
    """

    label: str
    cases: tuple[CaseMeasures, ...]
    strata: tuple[Stratum, ...]
    by: str | None
    values: Mapping[str, str]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]


def evaluate(
    cases: Sequence[EvaluationCase],
    *,
    label: str | None = None,
    threshold: float | None = None,
    mask_value: int | None = None,
    by: str | None = None,
    other_frame: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Compare the results of many cases with what readers marked; a case that cannot be read is left out and named.

    Parameters
    ----------
    cases
        Of :func:`~lesionlens.evaluation.cases_to_evaluate`.
    label, threshold, mask_value, other_frame
        See :func:`~lesionlens.evaluation.measure_case`.
    by
        Column whose values are also summed up apart.
    seed
        Of the bootstrap: the same gives the same intervals.
    progress
        Called for each case; raise ``Cancelled`` from it to stop.

    Raises
    ------
    InputError
        If the threshold is none, or no case could be measured.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise InputError(f"A threshold for probabilities lies above 0 and at most at 1; found {threshold}.")
    measured: list[CaseMeasures] = []
    left_out: dict[str, str] = {}
    for done, case in enumerate(cases):
        progress("Cases", done, len(cases))
        try:
            measured.append(
                measure_case(case, label=label, threshold=threshold, mask_value=mask_value, other_frame=other_frame)
            )
        except Cancelled:
            raise
        except LesionLensError as error:
            left_out[case.name] = " ".join(str(error).split())
    progress("Cases", len(cases), len(cases))
    if not measured:
        first = next(iter(left_out.values()), "there is none.")
        raise InputError(f"No case could be evaluated. The first: {first}")
    values = {case.name: case.strata[by] for case in cases} if by is not None else {}
    groups = [("", measured)]
    for value in dict.fromkeys(values[one.name] for one in measured) if by is not None else ():
        groups.append((value, [one for one in measured if values[one.name] == value]))
    strata = tuple(sum_up(name, group, seed=seed) for name, group in groups)
    return Evaluation(measured[0].label, tuple(measured), strata, by, values, left_out, _notes(measured))


def _notes(cases: Sequence[CaseMeasures]) -> tuple[str, ...]:
    found = []
    for words, several in (
        ("bundles", {case.bundle for case in cases}),
        ("classes", {case.label for case in cases}),
        ("thresholds", {f"{case.numbers['threshold']:g}" for case in cases}),
    ):
        if len(several) > 1:
            found.append(f"The results are of several {words}: {', '.join(sorted(several))}.")
    for words, name in (("no lesion, and no Dice", "dice"), ("no surface distance", "hausdorff95_mm")):
        n = sum(case.numbers[name] is None for case in cases)
        if n:
            found.append(f"{n} of {len(cases)} cases have {words}; they are not in its mean.")
    return tuple(found)
