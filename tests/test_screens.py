"""The displays that windows are tested on."""

from __future__ import annotations

import os
import socket

import pytest

import screens


def connects(name: str) -> bool:
    """Say whether a display answers."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(f"/tmp/.X11-unix/X{name.removeprefix(':')}") == 0


@pytest.mark.skipif(not screens.can_open(), reason="needs Xvfb")
def test_a_screen_is_another_one_each_time_until_it_is_closed() -> None:
    """Two test processes on one display would take the keyboard from each other."""
    one, other = screens.open_screen(), screens.open_screen()
    try:
        assert one.name != other.name
        assert connects(one.name)
        assert connects(other.name)
    finally:
        one.close()
        other.close()
    assert not connects(one.name)
    assert not connects(other.name)


@pytest.mark.xvfb
def test_this_process_has_a_screen_of_its_own(request: pytest.FixtureRequest) -> None:
    """Keys go to the window that this process has activated, whatever runs beside it."""
    given = getattr(request.config, "workerinput", {})
    if "screen" not in given:
        pytest.skip("no other test process runs, or there is no Xvfb to tell their screens apart")
    assert os.environ["DISPLAY"] == given["screen"]
    assert os.environ["DISPLAY"] != given["screen_of_all"]
