"""Is the map of a bundle's output to be believed? The bridge between bundles and ``lesionlens.explain.trust``."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from lesionlens.checks import Check, TrustReport, wanted_checks
from lesionlens.errors import ExplainError, InputError
from lesionlens.explain import Target
from lesionlens.explain.trust import (
    MapMaker,
    Subject,
    agreement,
    focused,
    localisation,
    map_of,
    perturbation,
    randomisation,
    seen,
    stability,
)
from lesionlens.explain.trust.perturbation import FRACTIONS
from lesionlens.explain.trust.seen import SEEN_FROM
from lesionlens.explain.trust.subject import FlatMapError
from lesionlens.heatmap import Heatmap, LabelMap
from lesionlens.methods import Value, method_info
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.explanation import explained_targets, subject_of
from lesionlens.model.inference import infer
from lesionlens.model.placement import moved_by
from lesionlens.model.plan import Plan, planned
from lesionlens.model.preprocess import prepare
from lesionlens.model.targets import channels_of, check_place
from lesionlens.model.wish import Wish, check_layer, check_suits, check_wish, method_of
from lesionlens.progress import Progress, silent
from lesionlens.target import Over, ScoreName, TargetSpec
from lesionlens.volume import Grid, Volume

__all__ = ["trust"]


def trust(
    bundle: Bundle,
    volume: Volume | Sequence[Volume],
    *,
    method: str | None = "gradcam",
    target: str | int | None = None,
    score: ScoreName | None = None,
    over: Over | str | tuple[float, float, float] = "predicted",
    against: str | int | Sequence[str | int] = (),
    gamma: float = 1.0,
    layer: str | None = None,
    options: Mapping[str, Value] | None = None,
    mask: LabelMap | None = None,
    also: Sequence[str] = (),
    checks: Collection[str] | None = None,
    whole: bool = False,
    threshold: float = SEEN_FROM,
    seed: int = 0,
    progress: Progress = silent,
) -> TrustReport:
    """Make a map and check how far it may be believed.

    The checks that run the network dozens of times look at a part of the scan: through a sliding window at the one
    window that holds most of the explained region, of a large scan that is seen whole at the box that the region
    depends on; the others look at the map itself. The network is left exactly as it was.

    Parameters
    ----------
    bundle, volume, method, target, score, over, against, gamma, layer, options
        As of :func:`lesionlens.explain`.
    mask
        What a reader marked, on the scan's grid; see :func:`lesionlens.read_overlay`. Without it there is no
        localisation.
    also
        Other methods to compare with. Without them there is no agreement.
    checks
        Keys of ``lesionlens.checks.CHECKS``; all by default.
    whole
        Look at all windows, or the whole scan, and at all shares of the voxels: as many times slower.
    threshold
        Largest probability from which the model is said to see the class.
    seed
        Of everything random: the same gives the same report.
    progress
        Called as work advances; raise ``Cancelled`` from it to stop.

    Returns
    -------
    TrustReport
        The map on the scan's grid, and a verdict, a sentence and numbers for each check.

    Raises
    ------
    ExplainError
        If the method, class, layer or check does not exist, or the method explains no class.
    InputError
        If the volume does not suit the bundle, or the mask not the volume.
    """
    name, why = method_of(bundle, method)
    wish = Wish(name, target, layer, options or {}, TargetSpec(score, over, against, gamma), why=why)
    bundle.require_classes("the checks of a map")
    wanted = wanted_checks(checks, mask=mask is not None, others=bool(also))
    _check_methods(bundle, wish, also)
    grid = volume.grid if isinstance(volume, Volume) else volume[0].grid
    if mask is not None:
        _check_mask(mask, grid)
    wishes = (wish, *(_other(wish, name) for name in also))
    for one in wishes:
        check_suits(bundle, one)
    prepared = prepare(bundle, volume)
    for one in wishes:
        check_suits(bundle, one, prepared)
    check_layer(bundle, prepared, layer)
    check_place(bundle, prepared, wish.spec)
    plan = planned(bundle, prepared, wish)
    inference = infer(bundle, prepared, progress=progress) if len(plan.windows) > 1 else None
    (heatmap,), inference, (kept,) = explained_targets(bundle, plan, inference, progress=progress)
    assert kept is not None  # methods without a class were refused above
    probability, strongest = inference.seen(bundle.info.outputs.index(heatmap.label))
    first = seen(heatmap.label, probability, strongest=strongest, limit=threshold)
    work = _Work(bundle, plan, kept, heatmap, mask, tuple(also), whole, seed, progress)
    return work.report(first, wanted)


def _check_methods(bundle: Bundle, wish: Wish, also: Sequence[str]) -> None:
    for name in (wish.method, *also):
        if not method_info(name).takes_target:
            raise ExplainError(f"{method_info(name).title} explains no class, so there is nothing to check it against.")
    check_wish(bundle, wish)
    if len(channels_of(bundle, wish.target)) > 1:
        raise ExplainError(f"The map of one class is checked at a time; found {wish.target!r}. Name one class.")


def _other(wish: Wish, method: str) -> Wish:
    """Return what is asked of another method: of the same layer where it takes one."""
    return replace(wish, method=method, layer=wish.layer if method_info(method).takes_layer else None, options={})


def _check_mask(mask: LabelMap, grid: Grid) -> None:
    if not mask.grid.same_as(grid):
        raise InputError(
            f"The mask {mask.label!r} does not lie on the scan's grid {grid.shape}; read it with read_overlay()."
        )


@dataclass(frozen=True, eq=False)
class _Work:
    """Everything that the checks need."""

    bundle: Bundle
    plan: Plan
    target: Target
    heatmap: Heatmap
    mask: LabelMap | None
    also: tuple[str, ...]
    whole: bool
    seed: int
    progress: Progress

    def report(self, first: Check, wanted: Sequence[str]) -> TrustReport:
        """Make the checks."""
        found = [first] if "seen" in wanted else []
        seconds = {}
        for name in wanted:
            if name == "seen":
                continue
            start = time.perf_counter()
            if name == "localisation":
                found.append(self._localisation())
            else:
                with foreign_code(self.bundle, self.plan.prepared):
                    found.append(self._checked(name))
            seconds[name] = round(time.perf_counter() - start, 3)
        return TrustReport(self.heatmap, tuple(found), seconds)

    def _checked(self, name: str) -> Check:
        subject = self._subject
        if subject is None:
            return Check(name, "unclear", "The map has the same value everywhere, so this check cannot tell.")
        return self._noted(_MAKERS[name](self, subject), subject)

    @cached_property
    def _subject(self) -> Subject | None:
        """What is checked; None where the map has the same value everywhere, as where nothing is found in a scan."""
        inference, _ = subject_of(self.bundle, self.plan)
        target = self.target
        if not self.whole:
            inference, target = focused(inference, target) or (inference, target)
        make = self.maker(self.plan.wish.method, self.plan.wish.options)
        stride = self.heatmap.provenance.options["stride_voxels"]
        with suppress(FlatMapError):
            return Subject(inference, target, make, make(inference, target, self.progress), tuple(stride))
        return None

    def maker(self, method: str, options: Mapping[str, Value] | None = None) -> MapMaker:
        """Return what makes the map of a method, of the same layer where it takes one, moved as that was measured."""
        main, takes_layer = method == self.plan.wish.method, method_info(method).takes_layer
        layer = self.plan.wish.layer if takes_layer else None
        make = map_of(method, layer=layer, options=options)
        applied = self.heatmap.provenance.options.get("registration")
        if applied is None or not (main or layer is not None):
            return make
        offset = applied["offset_voxels"]
        # An image that is flipped for a check has cells on the other side of their voxels, as its map has then.
        return lambda inference, target, progress: moved_by(make(inference, target, progress), offset)

    def _noted(self, check: Check, subject: Subject) -> Check:
        windows = len(self.plan.windows)
        if subject.inference.plan.shape == self.plan.windows.shape:
            return check
        size = " x ".join(map(str, subject.inference.plan.shape))
        note = (
            f"Checked in the window of {size} voxels that holds most of the region, not in all {windows}."
            if windows > 1
            else f"Checked in the {size} voxels around the region: what lies outside does not change the target."
        )
        return replace(check, notes=(*check.notes, note))

    def _localisation(self) -> Check:
        assert self.mask is not None
        inside = self.plan.prepared.seen
        return localisation(self.heatmap.array, self.mask.array > 0, inside).check()

    def randomisation(self, subject: Subject) -> Check:
        return randomisation(subject, seed=self.seed, progress=self.progress).check()

    def perturbation(self, subject: Subject) -> Check:
        fractions = FRACTIONS if self.whole else None
        return perturbation(subject, fractions=fractions, seed=self.seed, progress=self.progress).check()

    def stability(self, subject: Subject) -> Check:
        return stability(subject, seed=self.seed, progress=self.progress).check()

    def agreement(self, subject: Subject) -> Check:
        others = {name: self.maker(name)(subject.inference, subject.target, self.progress) for name in self.also}
        return agreement(self.plan.wish.method, subject.values, others, subject.inside)


_MAKERS: Mapping[str, Callable[[_Work, Subject], Check]] = {
    "randomisation": _Work.randomisation,
    "perturbation": _Work.perturbation,
    "stability": _Work.stability,
    "agreement": _Work.agreement,
}
