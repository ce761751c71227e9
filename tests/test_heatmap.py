"""Heatmaps hold raw finite values, and probabilities are probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, Provenance, slug
from lesionlens.volume import Grid, Volume


def _volume(value: float) -> Volume:
    array = np.zeros((2, 2, 2), dtype=np.float32)
    array[0, 1, 0] = value
    return Volume(array, Grid((2, 2, 2), np.eye(4)))


@pytest.mark.parametrize(("kind", "value"), [("probability", 1.0), ("attribution", -5.0), ("attribution", 1e9)])
def test_raw_values_are_kept(kind: str, value: float) -> None:
    """Nothing is clipped or normalised."""
    heatmap = Heatmap(_volume(value), kind, "lesion", True, Provenance())  # type: ignore[arg-type]

    assert heatmap.array[0, 1, 0] == np.float32(value)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("probability", 1.01, r"in \[0, 1\]"),
        ("probability", -0.01, r"in \[0, 1\]"),
        ("probability", np.nan, "not finite"),
        ("attribution", np.nan, "not finite"),
        ("attribution", np.inf, "not finite"),
        ("beauty", 0.0, "one of probability, attribution"),
    ],
)
def test_values_that_mean_nothing_are_refused(kind: str, value: float, message: str) -> None:
    """A NaN in a map would vanish on the screen and be trusted."""
    with pytest.raises(InputError, match=message):
        Heatmap(_volume(value), kind, "lesion", True, Provenance())  # type: ignore[arg-type]


def test_names_are_safe_for_files() -> None:
    """Class names come from strangers' bundles."""
    made = Provenance(method="gradcam")
    heatmap = Heatmap(_volume(0.5), "attribution", "../GD-enhancing Tumor (ET)", True, made)

    assert heatmap.name == "attribution_gradcam_gd-enhancing-tumor-et"
    assert slug("///") == "unnamed"


def test_names_keep_the_letters_of_every_script() -> None:
    """Two Chinese class names must not both become 'unnamed'; an accent is one letter however it was typed."""
    assert slug("病变 (左)") == "病变-左"
    assert slug("Läsion") == slug("La\u0308sion") == "läsion"
    assert slug("a_b/../c") == "a-b-c"


def test_provenance_cannot_be_changed_afterwards() -> None:
    """A record that can be edited proves nothing."""
    options = {"device": "cpu"}
    made = Provenance(options=options)
    options["device"] = "cuda"

    assert made.options["device"] == "cpu"
    with pytest.raises(TypeError, match="does not support item assignment"):
        made.options["device"] = "mps"  # type: ignore[index]
