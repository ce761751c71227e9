"""Who found what, and how alike: Dice against MONAI, pairing against all pairings, masks against masks."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics.meandice import compute_dice

from lesionlens.errors import ReadError
from lesionlens.review import Act, CaseEntry, Event, Finding, Session
from lesionlens.review.agreement import MODEL
from lesionlens.review.detection import LEAST_DICE, detection_agreement, dice, match_voxels
from lesionlens.review.drawn import changes_of, final_voxels, held, model_voxels, shape_of
from lesionlens.review.masks import apply_mask, pack_change
from lesionlens.review.voxels import pack

SHAPE = (7, 6, 5)


def random_mask(seed: int, share: float = 0.3) -> np.ndarray:
    """Return a random (i, j, k) mask."""
    return np.random.default_rng(seed).random(SHAPE) < share


def numbers(mask: np.ndarray) -> np.ndarray:
    """Return a mask as the numbers of its voxels."""
    return np.flatnonzero(mask.reshape(-1))


@pytest.mark.parametrize("seed", range(4))
def test_dice_is_that_of_monai(seed: int) -> None:
    """Of random masks."""
    a, b = random_mask(seed), random_mask(seed + 100)
    tensors = [torch.from_numpy(mask[np.newaxis, np.newaxis]) for mask in (a, b)]

    expected = float(compute_dice(*tensors))

    assert dice(numbers(a), numbers(b)) == pytest.approx(expected, rel=1e-6)  # MONAI counts in float32
    assert dice(numbers(a), numbers(a)) == 1
    assert dice(numbers(a), numbers(~a)) == 0
    assert dice(numbers(a[:0]), numbers(a[:0])) is None


def test_voxels_after_edits_are_those_of_whole_masks() -> None:
    """Strokes one after the other, one of them undone: as if each had been painted on a mask."""
    labels = {"lesion": np.where(random_mask(0), 1, 0) + np.where(random_mask(1) & ~random_mask(0), 2, 0)}
    findings = [Finding(f"lesion-{n}", "lesion", n, {}) for n in (1, 2, 3)]
    masks = {f"lesion-{n}": labels["lesion"] == n for n in (1, 2, 3)}
    masks["mine"] = random_mask(5)
    acts = [Act("added", "mine", {"statistics": {}}, pack_change(np.zeros(SHAPE), masks["mine"]))]
    for seed, name in enumerate(["lesion-1", "mine", "lesion-1", "lesion-3"]):
        after = random_mask(seed + 10)
        acts.append(Act("edit", name, {}, pack_change(masks[name], after)))
        masks[name] = after
    undone = Act("edit", "lesion-2", {}, pack_change(masks["lesion-2"], random_mask(50)))
    steps = [*acts, undone, Act("undo", value={"step": len(acts) + 1})]
    events = [Event(n, n, "2026-01-01T00:00:00+00:00", "A", "c", act) for n, act in enumerate(steps, start=1)]

    state, found = final_voxels(model_voxels(findings, labels), events, SHAPE)

    assert list(found) == list(state.findings) == ["lesion-1", "lesion-2", "lesion-3", "mine"]
    assert {name: found[name].tolist() for name in masks} == {n: numbers(m).tolist() for n, m in masks.items()}
    assert shape_of(events, "mine") == SHAPE
    assert shape_of(events, "lesion-9") is None
    with pytest.raises(ReadError, match="edit"):
        changes_of(events, "mine", (7, 6, 4))


def test_regions_in_any_memory_order_are_their_voxels() -> None:
    """Files of NIfTI come with the first axis fastest."""
    labels = np.asfortranarray(random_mask(3).astype(np.uint8))

    found = model_voxels([Finding("a", "c", 1, {})], {"c": labels})

    assert np.array_equal(apply_mask(np.zeros(SHAPE, bool), pack(found["a"], SHAPE)), labels == 1)


def test_lesions_are_paired_once_and_by_overlap() -> None:
    """By hand: two halves of one lesion, a neighbour that touches too little, one that nobody else has."""
    first = {"big": np.arange(0, 20), "far": np.arange(80, 90), "edge": np.arange(40, 50)}
    second = {"half": np.arange(0, 12), "other half": np.arange(12, 20), "next": np.arange(49, 70)}

    found = match_voxels(first, second)

    assert set(found) == {
        ("big", "half", 24 / 32),
        ("far", None, None),
        ("edge", None, None),
        (None, "other half", None),
        (None, "next", None),
    }
    assert dice(first["edge"], second["next"]) == pytest.approx(2 / 31)
    assert LEAST_DICE > 2 / 31


@pytest.mark.parametrize("seed", range(5))
def test_clear_pairs_are_the_best_of_all_pairings(seed: int) -> None:
    """Where lesions lie apart, pairing by the highest first finds the pairing with the largest sum."""
    rng = np.random.default_rng(seed)
    places = np.arange(5) * 100
    first = {f"a{n}": np.arange(p, p + 40) for n, p in enumerate(places)}
    second = {
        f"b{n}": np.arange(p + s, p + s + 40)
        for n, (p, s) in enumerate(zip(rng.permutation(places), rng.integers(0, 30, 5), strict=True))
    }

    found = {(a, b) for a, b, _ in match_voxels(first, second)}

    def total(order: tuple[str, ...]) -> float:
        return sum(dice(first[a], second[b]) or 0.0 for a, b in zip(first, order, strict=True))

    assert found == set(zip(first, max(permutations(second), key=total), strict=True))


def test_names_of_readers_are_their_own() -> None:
    """Two readers call what they drew mine-1: only names of the model mean the same to both."""
    first, second = (
        {"mine-1": np.arange(5), "lesion-1": np.arange(9)},
        {"mine-1": np.arange(50, 55), "lesion-1": np.arange(70, 75)},
    )

    found = match_voxels(first, second, same=["lesion-1"])

    assert found == [("lesion-1", "lesion-1", 0.0), ("mine-1", None, None), (None, "mine-1", None)]


def test_what_readers_found_in_a_session(tmp_path: Path) -> None:
    """By hand: a rejected, an edited and a split finding, lesions that one or both drew, and a case half read."""
    labels = {"lesion": np.zeros(SHAPE, np.uint8)}
    for number, first in ((1, 0), (2, 20), (3, 40)):
        labels["lesion"].reshape(-1)[first : first + 10] = number
    findings = tuple(Finding(f"lesion-{n}", "lesion", n, {}) for n in (1, 2, 3))

    def verdict(name: str, word: str = "accept") -> Act:
        return Act("verdict", name, {"verdict": word})

    def drawn(name: str, first: int, last: int) -> list[Act]:
        return [Act("added", name, {"statistics": {}}, pack(np.arange(first, last), SHAPE)), verdict(name)]

    with Session.create(tmp_path / "s", [CaseEntry(c, c, "", "", {}, findings) for c in ("a", "b", "c")]) as session:
        session.record("Ann", "a", [verdict("lesion-1"), verdict("lesion-2", "reject"), verdict("lesion-3")])
        session.record("Ann", "a", [Act("edit", "lesion-1", {}, pack(np.arange(10, 15), SHAPE))])
        session.record("Ann", "a", [*drawn("mine-1", 100, 110), Act("done")])
        parts = [*drawn("p", 40, 44), *drawn("q", 44, 50), Act("split", "lesion-3", {"into": ["p", "q"]})]
        session.record("Bob", "a", [verdict("lesion-1"), verdict("lesion-2", "unsure"), *parts])
        session.record("Bob", "a", [*drawn("mine-1", 105, 115), *drawn("mine-2", 150, 155), Act("done")])
        session.record("Ann", "b", [verdict("lesion-1")])
        session.record("Ann", "c", [*map(verdict, ("lesion-1", "lesion-2", "lesion-3")), Act("done")])

        found, left_out = detection_agreement(session, lambda case: None if case == "c" else labels)

        state, voxels = final_voxels(model_voxels(findings, labels), session.events("a", "Bob"), SHAPE)

    assert sorted(held(state, voxels)) == ["lesion-1", "mine-1", "mine-2", "p", "q"]
    assert left_out == ("c",)
    assert [(d.first, d.second) for d in found] == [("Ann", "Bob"), ("Ann", MODEL), ("Bob", MODEL)]
    pair, ann, _ = found
    assert {(one.first, one.second) for one in pair.lesions} == {
        ("lesion-1", "lesion-1"), ("lesion-3", "q"), ("mine-1", "mine-1"), (None, "p"), (None, "mine-2")
    }  # fmt: skip
    values = {one.first: one.dice for one in pair.lesions if one.dice is not None}
    assert values == {"lesion-1": 20 / 25, "lesion-3": 12 / 16, "mine-1": 10 / 20}
    assert (pair.both, pair.first_only, pair.second_only) == (3, 0, 2)
    assert pair.agreement == pytest.approx(6 / 8)
    assert pair.mean_dice == pytest.approx(np.mean(list(values.values())))
    assert (ann.both, ann.first_only, ann.second_only) == (2, 1, 1)
