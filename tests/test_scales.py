"""One scale for all maps that compare, and none for those that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.scales import FARTHEST, limit_of, scale_of
from ui_cases import attribution_of, phantom, probability_of

VOLUME = phantom()


def attribution(low: float, high: float, *, label: str = "lesion", method: str = "gradcam") -> Heatmap:
    """Return an attribution with given extremes."""
    array = np.zeros(VOLUME.grid.shape)
    array[0, 0, 0], array[1, 0, 0] = low, high
    made = attribution_of(VOLUME, array, label)
    return replace(made, provenance=replace(made.provenance, method=method))


def test_maps_of_one_method_are_on_one_scale_whatever_their_class_or_model() -> None:
    """Classes, models and time points are compared by their colours."""
    first, second = attribution(-1, 2), attribution(-5, 3, label="oedema")
    second = replace(second, provenance=replace(second.provenance, bundle="other 2", layer="a"))

    assert scale_of(first).name == scale_of(second).name
    assert limit_of([first, second]) == 3
    assert limit_of([first, second], both_signs=True) == 5


def test_maps_of_two_methods_are_not_on_one_scale() -> None:
    """Attributions of two methods have no common unit: linking them would compare what cannot be."""
    assert scale_of(attribution(0, 1)).name != scale_of(attribution(0, 1, method="occlusion")).name


def test_probabilities_have_one_scale_whatever_made_them() -> None:
    """A probability of 0.9 is one, after softmax as after sigmoid; the largest value of a map says nothing."""
    first = probability_of(VOLUME, np.full(VOLUME.grid.shape, 0.2))
    second = replace(first, provenance=Provenance(method="sigmoid"))

    assert scale_of(first).name == scale_of(second).name
    assert limit_of([first, second]) == 1


@pytest.mark.parametrize(("measure", "largest"), [("entropy", np.log(2)), ("sd", 0.5), ("mean", 1.0)])
def test_uncertainties_end_at_what_their_measure_can_reach(measure: str, largest: float) -> None:
    """Two scans are equally unsure where they have equal colours; measures do not compare."""
    array = np.full(VOLUME.grid.shape, largest / 10, np.float32)
    made = Heatmap(VOLUME.with_array(array), "uncertainty", "lesion", False, Provenance(method=measure))
    other = replace(made, provenance=Provenance(method="mutual information"))

    assert limit_of([made]) == pytest.approx(largest)
    assert scale_of(made).name != scale_of(other).name


def test_the_colours_of_anomaly_never_follow_the_scan() -> None:
    """A healthy scan stretched to its own maximum would look as ill as any."""
    array = np.full(VOLUME.grid.shape, 0.02, np.float32)
    healthy = Heatmap(VOLUME.with_array(array), "anomaly", "odd", False, Provenance(method="reconstruction"))
    ill = replace(healthy, volume=VOLUME.with_array(500 * array))

    assert limit_of([healthy]) == limit_of([ill]) == limit_of([healthy, ill]) == FARTHEST


def test_maps_without_a_value_to_show_have_a_scale_all_the_same() -> None:
    """Nothing speaks for the class: nothing is shown, and nothing is divided by 0."""
    assert limit_of([attribution(-3, 0)]) == 1
    assert limit_of([attribution(-3, 0)], both_signs=True) == 3
