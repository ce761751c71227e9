"""Fixtures and rules of the whole suite: test data, seeds, one thread and one screen for each test process."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

# Before numpy and torch are loaded: each test process has one core, and threads would only fight over it.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np  # noqa: E402 - the settings above count only before numpy is loaded
import pytest  # noqa: E402 - likewise

import screens  # noqa: E402 - likewise

REPOSITORY = Path(__file__).resolve().parent.parent
SEED = 20260801


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each of several test processes a display of its own."""
    if _has_screen() and screens.can_open():
        screen = screens.open_screen()
        node.config.add_cleanup(screen.close)
        node.workerinput |= {"screen": screen.name, "screen_of_all": os.environ.get("DISPLAY", "")}


def pytest_configure(config: pytest.Config) -> None:
    """Take the display that this process was given."""
    given = getattr(config, "workerinput", {})
    if "screen" in given:
        os.environ["DISPLAY"] = given["screen"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, and skip, by name, the tests that look at pixels where nothing can show any.

    Whole modules go to one test process each: a long one that came last would leave the others with nothing to do.
    """
    items.sort(key=_place)
    if _has_screen():
        return
    skip = pytest.mark.skip(reason="needs an X display: install xvfb and xauth, or run on a desktop")
    for item in items:
        if item.get_closest_marker("xvfb"):
            item.add_marker(skip)


def _place(item: pytest.Item) -> int:
    if item.get_closest_marker("slow"):
        return 0
    return 1 if item.path.parent.name == "ui" else 2  # windows take longer than most


def pytest_collection_finish() -> None:
    """Look no more for garbage in what has been imported.

    napari collects garbage whenever a layer is removed, and with all of torch and MONAI that takes half a second.
    """
    gc.collect()
    gc.freeze()


def _has_screen() -> bool:
    if os.environ.get("QT_QPA_PLATFORM", "") in {"offscreen", "minimal"}:
        return False
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real scans, or skip: it is too large, and partly too personal, for the repository."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("LESIONLENS_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; LESIONLENS_TEST_DATA names the folder")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _own_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what the user measured out of the tests, and what tests measure out of the user's folder."""
    os.environ["LESIONLENS_DATA"] = str(tmp_path_factory.mktemp("data"))
    os.environ["LESIONLENS_CONFIG"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that starts the same way in every test."""
    return np.random.default_rng(SEED)


@pytest.fixture(autouse=True)
def _seeded_torch() -> None:
    """Seed torch, which pytest-randomly leaves alone, in tests that have loaded it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(SEED)
