"""Say whether the model sees the class at all: otherwise a map shows what comes closest, not what is there.

On chest X-rays, leaving out the maps of classes with a low probability doubled how well the others fitted the reader's
contours (Saporta et al., Nature Machine Intelligence 2022).
"""

from __future__ import annotations

from lesionlens.checks import Check

__all__ = ["SEEN_FROM", "seen"]

# Where a class is more likely than not; the probability from which `run` takes voxels for regions, too.
SEEN_FROM = 0.5


def seen(label: str, probability: float, *, strongest: bool = False, limit: float = SEEN_FROM) -> Check:
    """Judge whether a class is seen by its largest probability.

    Parameters
    ----------
    label
        Name of the class.
    probability
        Of the class: of a scan for a classifier, the largest of all voxels for a segmentation; in [0, 1].
    strongest
        Whether the class is more probable than every other, which of three or more may be below the limit.
    limit
        Seen from here.
    """
    numbers = {"probability": probability, "limit": limit}
    if probability >= limit or strongest:
        return Check("seen", "passes", f"The model sees {label!r}: probability {probability:.2f}.", numbers)
    sentence = (
        f"The model does not see {label!r}: its probability is {probability:.2g} (below {limit:g}). The map shows what"
        " comes closest, not a finding."
    )
    return Check("seen", "fails", sentence, numbers)
