"""Damaged files by the hundred end in a volume or a refusal: soon, in little memory, and in silence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import misbehaviour
import mutants
from lesionlens.io import read
from mutant_sources import sources
from mutants import GOOD, judge, make_mutant, run

# One mutant of each of some 230 sources takes half a minute. benchmarks/mutants.py makes as many as are wanted.
SEEDS = range(2)

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process took at its highest")


@pytest.mark.slow
def test_every_mutant_is_a_volume_or_a_refusal() -> None:
    """No other exception, no crash, no hang, no gigabytes and no word on the screen, whatever the bytes are."""
    outcomes = list(run(list(sources()), SEEDS))

    faults = [f"{o.source}, seed {o.seed}: {o.kind}: {o.detail}" for o in outcomes if o.kind not in GOOD]
    assert faults == []
    assert len(outcomes) == len(sources()) * len(SEEDS)
    assert {"volume", "listed", "refused"} == {outcome.kind for outcome in outcomes}


def test_a_mutant_is_known_by_its_source_and_seed() -> None:
    """What was found yesterday on another machine is found again."""
    source = sources()["explicit"]

    assert make_mutant(source, 5) == make_mutant(source, 5) != make_mutant(source, 6)
    assert sum(make_mutant(source, 5)[name] != content for name, content in source.files.items()) <= 1


@pytest.mark.parametrize(
    ("reader", "kind", "detail"),
    [
        (read, "volume", ""),
        (misbehaviour.fail, "error KeyError", "x"),
        (misbehaviour.leak, "error AssertionError", "the patient's name"),
        (misbehaviour.not_finite, "error AssertionError", "not finite"),
        pytest.param(misbehaviour.greedy, "memory", "MiB", marks=ON_LINUX),
    ],
)
def test_the_judge_can_say_no(tmp_path: Path, reader: mutants.Reader, kind: str, detail: str) -> None:
    """A judge that always says yes would pass every mutant."""
    outcome = judge("explicit", 0, sources()["explicit"].files, tmp_path / "mutant", reader)

    assert outcome.kind == kind
    assert detail in outcome.detail


@pytest.mark.parametrize(
    ("reader", "kind"), [(misbehaviour.die, "crash"), (misbehaviour.hang, "hang"), (misbehaviour.chatter, "text")]
)
def test_crashes_hangs_and_words_of_a_child_are_faults(
    monkeypatch: pytest.MonkeyPatch, reader: mutants.Reader, kind: str
) -> None:
    """The child is lost, but the mutant is known."""
    if kind == "hang":
        monkeypatch.setattr(mutants, "MOST_SECONDS", 0.5)

    outcomes = list(run(["explicit"], range(1), reader=reader))

    assert [outcome.kind for outcome in outcomes] == [kind]
