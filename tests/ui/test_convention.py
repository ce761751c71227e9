"""Radiological and neurological display: whom a change reaches."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import permutations

import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from lesionlens.display import PLANES
from lesionlens.ui import convention
from lesionlens.ui.canvas import annotate, camera_orientation, edge_letters
from lesionlens.ui.layers import volume_layer
from ui_cases import phantom


@pytest.fixture(autouse=True)
def _back_to_radiological() -> Iterator[None]:
    """Leave every test the convention that all begin with."""
    yield
    convention.set_convention(convention.RADIOLOGICAL)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_only_right_and_left_change_sides(order: tuple[int, int, int]) -> None:
    """Head, feet, front and back stay where they are, in every order of the axes."""
    sides = []
    for shown in (convention.RADIOLOGICAL, convention.NEUROLOGICAL):
        _, vertical, horizontal = convention.turned(order, camera_orientation(order), shown)
        sides.append(edge_letters(order[1:], vertical, horizontal))
    swapped = {"R": "L", "L": "R"}

    assert {side: swapped.get(letter, letter) for side, letter in sides[0].items()} == sides[1]


def test_radiological_is_the_display_rule_itself() -> None:
    """The rule is written once, in lesionlens.display."""
    for plane in PLANES.values():
        assert convention.turned(plane.order, plane.orientation, convention.RADIOLOGICAL) == plane.orientation


def test_swapping_reaches_canvases_that_are_open_and_those_that_come() -> None:
    """One window that keeps its sides beside one that changed them is a trap."""
    viewers = [ViewerModel(), ViewerModel()]
    annotate(viewers[0])
    viewers[0].add_layer(Layer.create(*volume_layer(phantom())))

    convention.swap()
    annotate(viewers[1])
    viewers[1].add_layer(Layer.create(*volume_layer(phantom())))

    for viewer in viewers:
        overlays = viewer.canvas.overlays
        assert (overlays["lesionlens_edge_left"].text, overlays["lesionlens_edge_right"].text) == ("L", "R")
        assert overlays["lesionlens_display"].text == "neurological"
        assert overlays.scale_bar.visible
    convention.swap()
    assert [v.canvas.overlays["lesionlens_edge_left"].text for v in viewers] == ["R", "R"]


def test_data_and_centre_stay_as_they_are() -> None:
    """The camera is turned and nothing else: whatever is measured or written is the same."""
    viewer = ViewerModel()
    annotate(viewer)
    layer = viewer.add_layer(Layer.create(*volume_layer(phantom())))
    before = (layer.data, tuple(layer.scale), tuple(layer.translate), viewer.scene.camera.center, viewer.dims.point)

    convention.swap()

    after = (layer.data, tuple(layer.scale), tuple(layer.translate), viewer.scene.camera.center, viewer.dims.point)
    assert after[0] is before[0]
    assert after[1:] == before[1:]


def test_a_scale_that_the_user_hides_stays_hidden() -> None:
    """Napari's View menu is the user's."""
    viewer = ViewerModel()
    annotate(viewer)
    viewer.add_layer(Layer.create(*volume_layer(phantom())))
    viewer.canvas.overlays.scale_bar.visible = False

    convention.swap()
    viewer.dims.set_current_step(0, 3)

    assert not viewer.canvas.overlays.scale_bar.visible


def test_what_follows_is_not_kept_alive() -> None:
    """Twenty windows a day must not be told of a change, nor stay in memory."""
    told = []

    class Owner:
        pass

    owner, other = Owner(), Owner()
    convention.follow(owner, lambda _: told.append("gone"))
    convention.follow(other, lambda _: told.append("there"))
    del owner
    gc.collect()

    convention.swap()

    assert told == ["there"]
