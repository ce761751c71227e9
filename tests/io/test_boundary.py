"""Warnings and logs of parsers: silent while files are read, in any number of threads, and as before afterwards."""

from __future__ import annotations

import warnings
from contextlib import ExitStack

import pytest

from lesionlens.io.boundary import quiet


def test_readings_that_overlap_leave_warnings_as_they_were() -> None:
    """Threads begin and end in any order; whoever puts back its own filters puts back another's silence."""
    before = list(warnings.filters)
    first, second = ExitStack(), ExitStack()

    first.enter_context(quiet())
    second.enter_context(quiet())
    first.close()
    warnings.warn("still reading", UserWarning, stacklevel=1)  # an error outside
    second.close()

    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="no longer reading"):
        warnings.warn("no longer reading", UserWarning, stacklevel=1)


def test_warnings_come_back_after_an_error() -> None:
    """A refused file does not silence the program."""
    before = list(warnings.filters)

    with pytest.raises(ValueError, match="damaged"), quiet(), quiet():
        raise ValueError("damaged")

    assert list(warnings.filters) == before
