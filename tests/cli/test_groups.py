from __future__ import annotations

import inspect
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lesionlens.cli.groups import Asking, Printing, Reading, spelt_out
from lesionlens.cli.options import OneTarget
from lesionlens.errors import ExplainError


def _app(seen: list[Any]) -> typer.Typer:
    def command(target: OneTarget = None, *, reading: Reading, asking: Asking, printing: Printing) -> None:
        """Note what was given."""
        seen.append((target, reading, asking, printing))

    # Inside a function the names of the annotations are the module's, as they are for the commands.
    app = typer.Typer()
    app.command()(spelt_out(command))
    return app


def test_groups_arrive_as_values_and_are_asked_for_as_options() -> None:
    """A user sees one option for each field; the command has one value for each group."""
    seen: list[Any] = []
    words = ["--target", "1", "--series", "4", "--against", "a", "--against", "b", "--score", "logit", "--json"]

    done = CliRunner().invoke(_app(seen), words)

    assert done.exit_code == 0, done.output
    expected = Reading(series="4"), Asking("logit", "predicted", ["a", "b"], 1.0), Printing(as_json=True)
    assert seen == [("1", *expected)]


def test_what_is_not_given_has_its_default_and_lists_are_not_shared() -> None:
    """A default list that one call changed would be the next one's."""
    seen: list[Any] = []
    app = _app(seen)

    for _ in range(2):
        assert CliRunner().invoke(app, []).exit_code == 0
        seen[-1][2].against.append("changed")

    assert seen[1][1:] == (Reading(), Asking(against=["changed"]), Printing())


def test_options_keep_their_order_and_a_command_without_groups_stays() -> None:
    """The help lists options in the order in which the command names them."""

    def command(target: OneTarget = None, *, reading: Reading, last: int = 3) -> None: ...

    names = list(inspect.signature(spelt_out(command)).parameters)
    assert names == ["target", "series", "stack", "irregular", "identified", "last"]


def test_a_question_that_means_nothing_is_refused_before_the_scan_is_read() -> None:
    """Minutes of reading for a typing error."""
    Asking(over="region:1,2,3").check()
    with pytest.raises(ExplainError, match="found 'everywhere'"):
        Asking(over="everywhere").check()
    with pytest.raises(ExplainError, match=r"from 0; found -1"):
        Asking(gamma=-1).check()


@pytest.mark.parametrize(("given", "quiet"), [({}, False), ({"quiet": True}, True), ({"as_json": True}, True)])
def test_no_bars_where_a_program_reads_along(given: dict[str, bool], quiet: bool) -> None:
    """Bars on a terminal that nobody looks at."""
    assert Printing(**given).silent is quiet
