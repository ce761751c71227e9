"""How long work will take, from its first steps."""

from __future__ import annotations

import pytest

from lesionlens.progress import Forecast


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.mark.parametrize(
    ("each", "total", "expected"),
    [
        (3.0, 20, "about 60 s"),
        (0.5, 1440, "about 12 min"),
        (10.0, 900, "about 2.5 h"),
    ],
)
def test_what_takes_long_is_told_once(each: float, total: int, expected: str) -> None:
    """From the steps of the first seconds, before most of the work; a line for every step would hide it."""
    clock = Clock()
    forecast = Forecast(clock)
    said = []
    for done in range(total + 1):
        said.append(forecast.told("Occluding", done, total))
        clock.now += each

    assert [text for text in said if text] == [expected]
    assert next(n for n, text in enumerate(said) if text) * each <= 20


def test_short_work_is_not_foretold() -> None:
    """Most stages take seconds."""
    clock = Clock()
    forecast = Forecast(clock)
    for done in range(11):
        assert forecast.told("Predicting", done, 10) is None
        clock.now += 2.5


@pytest.mark.parametrize(("first", "reports"), [(9.0, 2), (31.0, 1)])
def test_the_first_step_does_not_count_unless_it_is_long_itself(first: float, reports: int) -> None:
    """It comes with what is done once; after half a minute without a word a rough answer is better than none."""
    clock = Clock()
    forecast = Forecast(clock)
    forecast.told("Occluding", 0, 20)
    clock.now += first
    said = [forecast.told("Occluding", 1, 20)]
    clock.now += 3.0
    said.append(forecast.told("Occluding", 2, 20))

    assert said.index("about 60 s" if reports == 2 else "about 10 min") == reports - 1
    assert said.count(None) == 1


def test_every_stage_has_a_time_of_its_own() -> None:
    """What was spent on reading does not count for the explanation."""
    clock = Clock()
    forecast = Forecast(clock)
    forecast.told("Reading", 0, 5)
    clock.now += 1000
    assert forecast.told("Explaining", 0, 100) is None
    clock.now += 4
    assert forecast.told("Explaining", 2, 100) is None
    clock.now += 4

    assert forecast.told("Explaining", 4, 100) == "about 3 min"
