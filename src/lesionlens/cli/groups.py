"""Options that go together: a command takes them as one value, and its user sees each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from lesionlens.cli.options import (
    Against,
    AsJson,
    Classes,
    Device,
    Engine,
    FillHoles,
    Gamma,
    Identified,
    Memory,
    MergeWithin,
    MinimumVolume,
    Neighbours,
    OnIrregular,
    OnlyClasses,
    OverWhat,
    Overwrite,
    Quiet,
    Score,
    Series,
    Stack,
    ThroughAffine,
    Trust,
    TrustHash,
)
from lesionlens.rules import DEFAULT_RULES, RegionRules

if TYPE_CHECKING:
    from lesionlens.heatmap import LabelMap
    from lesionlens.model.bundle import Bundle
    from lesionlens.progress import Progress
    from lesionlens.target import Over
    from lesionlens.volume import Volume

__all__ = ["Asking", "Computes", "Loading", "Printing", "Reading", "Regions", "spelt_out"]


def spelt_out(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with one option for each field of its parameters that are groups.

    Examples
    --------
    >>> def show(path: Path, reading: Reading) -> None: ...
    >>> list(inspect.signature(spelt_out(show)).parameters)
    ['path', 'series', 'stack', 'irregular', 'identified']
    """
    given = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {name: each.annotation for name, each in given.items() if is_dataclass(each.annotation)}
    shown: list[inspect.Parameter] = []
    for name, each in given.items():
        shown += _parameters(groups[name]) if name in groups else [each.replace(kind=inspect.Parameter.KEYWORD_ONLY)]

    @wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{each.name: values.pop(each.name) for each in fields(group)})
        command(**values)

    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # what typer reads; functions take any
    run.__annotations__ = {}  # those of the groups would be taken for options
    return run


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)

    def default(each: Any) -> Any:
        return each.default if each.default_factory is MISSING else each.default_factory()

    keyword = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(f.name, keyword, default=default(f), annotation=hints[f.name]) for f in fields(group)]


@dataclass(frozen=True)
class Reading:
    """How a scan is read."""

    series: Series = None
    stack: Stack = None
    irregular: OnIrregular = "refuse"
    identified: Identified = False

    def scan(self, path: Path, progress: Progress) -> Volume:
        """Read the scan."""
        from lesionlens.io import read

        return read(
            path,
            series=self.series,
            stack=self.stack,
            irregular=self.irregular,
            identified=self.identified,
            progress=progress,
        )

    def labels(self, path: Path, scan: Volume, progress: Progress, *, other_frame: bool) -> LabelMap:
        """Read a mask or label image onto the grid of the scan."""
        from lesionlens.io.labels import read_labels

        return read_labels(path, scan, other_frame=other_frame, identified=self.identified, progress=progress)


@dataclass(frozen=True)
class Loading:
    """How a bundle is loaded."""

    trust: Trust = False
    trust_sha256: TrustHash = None
    device: Device = None
    classes: Classes = field(default_factory=list)
    through_affine: ThroughAffine = False

    @property
    def trusting(self) -> bool | str:
        """What is trusted: everything, the bundle with a hash, or only what was trusted before."""
        return self.trust or self.trust_sha256 or False

    def permitted(self, bundle: str) -> None:
        """Refuse a bundle that is not there or not trusted, before minutes of reading.

        One that is trusted by its hash is remembered.
        """
        from lesionlens.model.permission import permitted
        from lesionlens.trusted import remember

        if not permitted(bundle, trust=self.trusting).embedded and self.trust_sha256 and not self.trust:
            remember(self.trust_sha256)

    def bundle(self, name: str) -> Bundle:
        """Load the bundle."""
        from lesionlens.model.bundle import load_bundle

        return load_bundle(
            name,
            trust=self.trusting,
            device=self.device,
            classes=self.classes,
            through_affine=self.through_affine,
        )


@dataclass(frozen=True)
class Computes:
    """How the network is computed."""

    engine: Engine = "torch"
    memory: Memory = None
    only: OnlyClasses = field(default_factory=list)


@dataclass(frozen=True)
class Asking:
    """What is asked about a class."""

    score: Score = None
    over: OverWhat = "predicted"
    against: Against = field(default_factory=list)
    gamma: Gamma = 1.0

    def check(self) -> None:
        """Refuse what cannot be asked, before minutes of reading."""
        from lesionlens.target import TargetSpec

        TargetSpec(self.score, self.over, tuple(self.against), self.gamma)

    def place(self, scan: Volume, reading: Reading, progress: Progress, *, other_frame: bool) -> Over:
        """Return over which voxels it is asked; the mask of a file is read."""
        from lesionlens.target import as_over

        found = as_over(self.over)
        return reading.labels(found, scan, progress, other_frame=other_frame) if isinstance(found, Path) else found


@dataclass(frozen=True)
class Regions:
    """What counts as one region."""

    connectivity: Neighbours = DEFAULT_RULES.connectivity
    fill_holes: FillHoles = DEFAULT_RULES.fill_holes
    merge_mm: MergeWithin = DEFAULT_RULES.merge_mm
    minimum_mm3: MinimumVolume = DEFAULT_RULES.minimum_mm3

    @property
    def rules(self) -> RegionRules:
        """The rules; what is none is refused before the work."""
        return RegionRules(self.connectivity, self.fill_holes, self.merge_mm, self.minimum_mm3)


@dataclass(frozen=True)
class Printing:
    """What happens to a folder that exists, and what is said on the terminal."""

    overwrite: Overwrite = False
    quiet: Quiet = False
    as_json: AsJson = False

    @property
    def silent(self) -> bool:
        """Whether no progress is shown: a program reads along."""
        return self.quiet or self.as_json
