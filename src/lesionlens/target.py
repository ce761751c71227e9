"""What an explanation is about, as a user asks for it: which number, over which voxels, against which classes.

The API, the command line and the widget fill the same :class:`TargetSpec`. Nothing heavy is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Literal, SupportsIndex, TypeAlias, cast, get_args

from lesionlens.errors import ExplainError
from lesionlens.rules import DEFAULT_RULES, RegionRules

if TYPE_CHECKING:
    from lesionlens.heatmap import LabelMap

__all__ = ["Over", "Point", "ScoreName", "TargetSpec", "as_classes", "as_over"]

ScoreName = Literal["margin", "logit", "probability"]

# How many classes "similar" stands for: as many as the paper of Finer-CAM contrasts with.
SIMILAR_CLASSES = 3


@dataclass(frozen=True)
class Point:
    """A place in the world.

    Parameters
    ----------
    ras
        World mm, RAS+.
    region
        Whether the connected region at that place is meant, not the one voxel.
    """

    ras: tuple[float, float, float]
    region: bool = False

    def __str__(self) -> str:
        return f"{'region:' * self.region}{','.join(f'{mm:g}' for mm in self.ras)}"


#: ``"predicted"``, the number of a region, a point, a mask, or a file with a mask.
Over: TypeAlias = "Literal['predicted'] | int | Point | LabelMap | Path"


def as_classes(target: object) -> str | int | tuple[str | int, ...] | None:
    """Return a class as text or number, several as a tuple, and None where the output is to choose.

    Raises
    ------
    ExplainError
        If it is neither.
    """
    if target is None or isinstance(target, str):
        return target
    with suppress(TypeError):  # whole numbers, numpy's too
        return index(cast("SupportsIndex", target))
    if isinstance(target, Iterable) and not isinstance(target, Mapping):
        found = tuple(map(as_classes, target))
        if all(isinstance(one, str | int) for one in found):
            return cast("tuple[str | int, ...]", found)
    raise ExplainError(f"A target is the name or number of a class, or a list of them; found {target!r}.")


@dataclass(frozen=True)
class TargetSpec:
    """What is asked about a class.

    Parameters
    ----------
    score
        ``"margin"`` (the class's logit minus the strongest other one), ``"logit"`` or ``"probability"``. By default the
        margin for segmentation, and the logit for classification and where classes are independent.
    over
        The voxels of a segmentation that are asked about: ``"predicted"``, where the class is predicted; ``"largest"``
        or the number of one of its connected regions, 1 the largest, as a run numbers them; ``"x,y,z"`` or three
        numbers, the voxel at that place in world mm, RAS+; ``"region:x,y,z"``, the connected region there; a mask.
    against
        Competing classes, by name or channel number, or ``"similar"`` for the three whose logits are nearest to the
        class's own (``"similar:2"`` for two). Their mean is taken from the class's score, times ``gamma``.
    gamma
        Strength of the contrast.
    threshold
        Probability from which a voxel belongs to a region, in (0, 1], where ``over`` is a region.
    rules
        What counts as one region there.

    Raises
    ------
    ExplainError
        If a value is none of these.
    """

    score: ScoreName | None = None
    over: Over | str | tuple[float, float, float] = "predicted"
    against: str | int | Sequence[str | int] = ()
    gamma: float = 1.0
    threshold: float = 0.5
    rules: RegionRules = DEFAULT_RULES

    def __post_init__(self) -> None:
        if self.score not in (None, *get_args(ScoreName)):
            raise ExplainError(f"A score is one of {', '.join(get_args(ScoreName))}; found {self.score!r}.")
        if not isfinite(self.gamma) or self.gamma < 0:
            raise ExplainError(f"The strength of a contrast (gamma) is a number from 0; found {self.gamma}.")
        against = (self.against,) if isinstance(self.against, str | int) else tuple(self.against)
        object.__setattr__(self, "against", against)
        object.__setattr__(self, "over", as_over(self.over))
        if self.similar and len(against) > 1:
            raise ExplainError(f"A class is set against similar classes or against named ones; found {against}.")

    @property
    def similar(self) -> int:
        """Number of similar classes that the class is set against; 0 where they are named, or there are none."""
        assert isinstance(self.against, tuple)
        found = [match for name in self.against if (match := re.fullmatch(r"similar(?::(\d+))?", str(name)))]
        return int(found[0][1] or SIMILAR_CLASSES) if found else 0

    @property
    def over_text(self) -> str:
        """What it is asked over, for the record; of files and masks their name alone."""
        if isinstance(self.over, Path):
            return self.over.name
        return str(self.over) if isinstance(self.over, str | int | Point) else f"mask {getattr(self.over, 'label', '')}"


def as_over(value: object) -> Over:
    """Return what ``over`` means.

    Raises
    ------
    ExplainError
        The message lists what can be said.
    """
    if isinstance(value, Path | Point):
        return value
    if isinstance(value, bool):
        raise _unknown(value)
    if isinstance(value, int):
        return _number(value)
    if isinstance(value, str):
        return _in_words(value.strip())
    from lesionlens.heatmap import LabelMap  # numpy, which the command line does without until it runs

    if isinstance(value, LabelMap):
        return value
    try:
        return _point(tuple(value))  # type: ignore[arg-type]  # whatever is no sequence is refused
    except TypeError:
        raise _unknown(value) from None


def _in_words(text: str) -> Over:
    if text == "predicted":
        return "predicted"
    if text == "largest":
        return 1
    if re.fullmatch(r"\d+", text):
        return _number(int(text))
    name, _, place = text.rpartition(":")
    parts = place.split(",")
    if name in ("", "region") and len(parts) == 3 and all(map(_is_number, parts)):
        return _point(tuple(map(float, parts)), region=name == "region")
    if re.search(r"\.(nii|nii\.gz|nrrd|nhdr|mha|mhd|dcm|zip)$", text, re.IGNORECASE) or Path(text).exists():
        return Path(text)
    raise _unknown(text)


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def _number(value: int) -> int:
    if value < 1:
        raise ExplainError(f"Regions are numbered from 1, the largest; found {value}.")
    return value


def _point(values: tuple[float, ...], *, region: bool = False) -> Point:
    if len(values) != 3 or not all(map(_is_number, map(str, values))):
        raise ExplainError(f"A place is three numbers, world mm, RAS+; found {values}.")
    return Point((float(values[0]), float(values[1]), float(values[2])), region)


def _unknown(value: object) -> ExplainError:
    return ExplainError(
        "What is asked over is 'predicted', 'largest', the number of a region (2), a place in world mm (12.5,-30,8),"
        " the region at a place (region:12.5,-30,8), or a mask: a file that exists, a NIfTI file for one;"
        f" found {value!r}."
    )
