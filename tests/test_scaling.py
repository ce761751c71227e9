"""The simulation of a batch on many machines against closed forms: each part alone decides how long it takes."""

from __future__ import annotations

import math
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def scaling(repository: Path) -> dict[str, Any]:
    """Return the names of the benchmark."""
    return runpy.run_path(str(repository / "benchmarks" / "scaling.py"), run_name="scaling")


@pytest.fixture(scope="module")
def plain(scaling: dict[str, Any]) -> Any:
    """Return costs of computing alone, the same for every case, and nothing that goes wrong."""
    costs = scaling["Costs"]()
    return replace(
        costs, compute_s=8.0, spread=0, straggling=0, read_mb=0, write_mb=0, schedule_s=0, deaths_per_hour=0,
        unreadable=0,
    )  # fmt: skip


@pytest.mark.parametrize(("cases", "workers", "rounds"), [(12, 4, 3), (13, 4, 4), (3, 10, 1)])
def test_computing_alone_takes_whole_rounds(
    scaling: dict[str, Any], plain: Any, cases: int, workers: int, rounds: int
) -> None:
    """Each worker does one case after the other; the last round may be half empty."""
    found = scaling["simulate"](cases, workers, plain)

    assert found.seconds == pytest.approx(8 * rounds)
    assert found.busy == pytest.approx(cases / (rounds * workers))


def test_a_slow_scheduler_serves_one_after_the_other(scaling: dict[str, Any], plain: Any) -> None:
    """With 100 workers of 8 s, 0.1 s for each case is more than it can serve: all wait for it."""
    found = scaling["simulate"](1000, 100, replace(plain, schedule_s=0.1))

    assert found.seconds == pytest.approx(1000 * 0.1 + 8)
    assert found.scheduler_busy == pytest.approx(100 / 108)


def test_storage_gives_what_its_streams_give(scaling: dict[str, Any], plain: Any) -> None:
    """Four streams of 100 MB/s move 1000 cases of 80 MB; computing hides behind it, but for the first and last."""
    costs = replace(plain, compute_s=0.5, read_mb=40, write_mb=40, stream_mb_s=100, storage_mb_s=400)

    found = scaling["simulate"](1000, 200, costs)

    assert 1000 * 80 / 400 <= found.seconds <= 1000 * 80 / 400 + 0.5 + 2 * 0.4
    assert found.storage_busy > 0.99


def test_deaths_cost_what_the_exponential_law_says(scaling: dict[str, Any], plain: Any) -> None:
    """A case of c seconds that starts anew with every death, at a rate r, takes (exp(r c) - 1) / r on average."""
    costs = replace(plain, compute_s=600.0, deaths_per_hour=3.0, restart_s=0.0, tries=10**6)
    rate = 3 / 3600

    found = scaling["simulate"](4000, 10, costs, seed=1)

    expected = math.expm1(rate * 600) / rate * 4000 / 10
    assert found.seconds == pytest.approx(expected, rel=0.04)  # 4000 cases: 1.4 % is one SD of the mean
    assert found.deaths == pytest.approx(math.expm1(rate * 600) * 4000, rel=0.06)  # likewise
    assert found.failed == 0


def test_a_case_that_loses_every_worker_fails_after_its_tries(scaling: dict[str, Any], plain: Any) -> None:
    """Workers that live for seconds finish nothing, and the batch ends all the same."""
    costs = replace(plain, compute_s=10_000.0, deaths_per_hour=3600.0, restart_s=1.0, tries=4)

    found = scaling["simulate"](50, 5, costs)

    assert (found.failed, found.deaths, found.busy) == (50, 200, 0.0)


def test_what_is_unlikely_makes_a_batch_longer_and_never_shorter(scaling: dict[str, Any]) -> None:
    """No scenario is faster than the slowest of its parts by itself."""
    costs = replace(scaling["Costs"](), compute_s=20.0)

    for name, row in scaling["scenarios"](20_000, 200, costs).items():
        assert row["hours"] >= 0.99 * row["bound_hours"], name  # hours are rounded, and what is drawn has a mean


def test_the_page_shows_what_the_simulation_gives(repository: Path, scaling: dict[str, Any]) -> None:
    """Parameters in the page are those of the program."""
    page = (repository / "docs" / "explanation" / "scaling.md").read_text("utf-8")
    costs = scaling["Costs"]()

    for name in ("compute_s", "read_mb", "write_mb", "storage_mb_s", "schedule_s", "deaths_per_hour", "unreadable"):
        assert f"| `{name}` | {getattr(costs, name):g} |" in page, name
