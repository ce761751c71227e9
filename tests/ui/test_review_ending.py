"""A dock *Review* that is closed alone: what was drawn is stored, or its loss is said."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock, call

import pytest

from lesionlens.ui.review.close_guard import end_reading


@pytest.mark.parametrize("unsaved", [False, True])
def test_the_end_of_a_dock_stores_and_gives_back(notifications: list[Any], *, unsaved: bool) -> None:
    """First the keys and the window, then the storing; a session that holds what is not stored stays open."""
    dock = Mock()
    dock.reviewer.unsaved = unsaved

    end_reading(dock.guard, dock.shortcuts, dock.reviewer)

    begun = [call.guard.leave(), call.shortcuts.stop(), call.reviewer.flush()]
    assert dock.mock_calls == begun + [call.reviewer.close_session()] * (not unsaved)
    assert [("could not be saved" in str(one.message)) for one in notifications] == [True] * unsaved
