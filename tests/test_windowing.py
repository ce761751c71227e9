"""Windows: limits against the standard and pydicom, presets against their source, percentiles against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from lesionlens.errors import InputError
from lesionlens.windowing import CT_WINDOWS, Window, WindowFunction, dragged, percentile_windows, presets, window_of

# 12 bits, as CT writes them.
VALUES = np.arange(4096, dtype=np.int16)


def by_pydicom(window: Window) -> NDArray[np.float64]:
    """Return what pydicom shows of the values, from 0 for black to 1 for white."""
    dataset = Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsStored, dataset.PixelRepresentation = 12, 0
    dataset.WindowCenter, dataset.WindowWidth = window.centre, window.width
    dataset.VOILUTFunction = window.function
    shown = np.asarray(apply_windowing(VALUES, dataset), dtype=np.float64)
    return shown / 4095


def by_limits(window: Window) -> NDArray[np.float64]:
    """Return what a viewer shows between two limits."""
    low, high = window.limits
    return np.clip((VALUES - low) / (high - low), 0, 1)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
@pytest.mark.parametrize(("centre", "width"), [(1000, 400), (40, 80), (2047.5, 4095), (600, 3), (1024, 1000.5)])
def test_limits_show_what_the_standard_says(function: WindowFunction, centre: float, width: float) -> None:
    """A window of a file must look here as it does on the scanner's console."""
    window = Window("", centre, width, function)

    np.testing.assert_allclose(by_limits(window), by_pydicom(window), atol=1e-12)


def test_linear_and_exact_differ_as_in_the_standard() -> None:
    """The example of PS3.3 C.11.2.1.2.1: c=2048, w=4096 spans all twelve bits from 0 to 4095, not to 4096."""
    assert Window("", 2048, 4096, "LINEAR").limits == (0, 4095)
    assert Window("", 2048, 4096, "LINEAR_EXACT").limits == (0, 4096)
    assert not Window("", 2048, 4096, "LINEAR").shows((0, 4096.5))


def test_a_linear_window_of_width_one_is_a_step() -> None:
    """C.11.2.1.2.1, c=2048, w=1: black up to 2047 and white from 2048 on."""
    shown = by_limits(Window("", 2048, 1, "LINEAR"))

    np.testing.assert_array_equal(shown, VALUES >= 2048)


def test_the_tangent_of_a_sigmoid_meets_it_at_the_centre() -> None:
    """What is shown instead of the curve agrees where the reader looks, and nowhere else exactly."""
    window = Window("", 2000, 400, "SIGMOID")
    curve, line = by_pydicom(window), by_limits(window)

    near = abs(VALUES - 2000) <= 20
    assert np.abs(curve - line)[near].max() < 0.001
    assert np.abs(curve - line).max() > 0.05


@pytest.mark.parametrize(
    ("centre", "width", "function"),
    [(0, 0.5, "LINEAR"), (0, 0, "LINEAR_EXACT"), (0, -3, "SIGMOID"), (np.nan, 80, "LINEAR"), (0, 80, "CUBIC")],
)
def test_a_window_that_shows_nothing_is_refused(centre: float, width: float, function: WindowFunction) -> None:
    """A width of 0 divides by it."""
    with pytest.raises(InputError, match="window"):
        Window("", centre, width, function)


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("brain", (0, 80)),
        ("stroke", (20, 60)),
        ("lung", (-1350, 150)),
        ("mediastinum", (-125, 225)),
        ("liver", (-45, 105)),
        ("bone", (-500, 1300)),
    ],
)
def test_windows_of_ct_are_those_of_their_source(name: str, limits: tuple[float, float]) -> None:
    """Readers know these by heart: W 80 L 40, W 40 L 40, W 1500 L -600, W 350 L 50, W 150 L 30, W 1800 L 400."""
    (found,) = [window for window in CT_WINDOWS if window.name == name]

    assert found.limits == limits
    assert "Radiopaedia" in found.origin


def test_every_window_of_ct_has_its_own_name() -> None:
    """Two of one name could not be told apart in the list."""
    assert len({window.name for window in CT_WINDOWS}) == len(CT_WINDOWS)


def test_percentiles_are_those_of_numpy() -> None:
    """On a scan of less than a million voxels all of them count."""
    values = np.random.default_rng(1).gamma(2, 100, (40, 30, 20)).astype(np.float32)

    found = {window.name: window.limits for window in percentile_windows(values)}

    for low, high in ((1, 99), (5, 95), (0.5, 99.5)):
        assert found[f"{low:g} to {high:g} %"] == pytest.approx(np.percentile(values, (low, high)))
    assert found["full range"] == pytest.approx((values.min(), values.max()))


def test_percentiles_of_a_large_scan_are_near_those_of_all_voxels() -> None:
    """Only some of the voxels are asked then: within a grey level of 256, and quickly."""
    values = np.random.default_rng(1).gamma(2, 100, (256, 256, 40)).astype(np.float32)

    found = {window.name: window.limits for window in percentile_windows(values)}

    low, high = np.percentile(values, (1, 99))
    assert found["1 to 99 %"] == pytest.approx((low, high), abs=(high - low) / 256)


def test_values_that_are_none_do_not_count() -> None:
    """A single NaN would make every percentile one."""
    values = np.arange(100, dtype=np.float32).reshape(10, 10, 1)
    values[0, 0] = np.nan

    assert percentile_windows(values)[0].limits == (1, 99)


def test_a_constant_scan_has_no_percentile_windows() -> None:
    """Black and white at one value would be no window."""
    assert percentile_windows(np.full((3, 3, 3), 7.0)) == ()


def test_windows_of_pet_begin_at_zero() -> None:
    """Half of the voxels of a PET are noise around nothing."""
    values = np.linspace(-5, 100, 1000).reshape(10, 10, 10)

    found = presets(values, modality="PT")

    assert {window.limits[0] for window in found} == {0.0}
    assert found[-1].limits[1] == 100


def test_ct_windows_are_offered_only_where_values_are_hounsfield_units() -> None:
    """A CT whose values were not rescaled would be black all over."""
    values = np.arange(27.0).reshape(3, 3, 3)
    stored = Window("BRAIN", 35, 70, "LINEAR")

    assert presets(values, modality="CT", unit="HU", stored=[stored]) == (stored, *CT_WINDOWS)
    assert not {window.name for window in presets(values, modality="CT")} & {window.name for window in CT_WINDOWS}


def test_a_drag_widens_to_the_right_and_darkens_downwards() -> None:
    """250 pixels double the width, and the way back undoes the way there."""
    start = Window("brain", 40, 80)

    wider, darker = dragged(start, right=250, down=0), dragged(start, right=0, down=125)

    assert (wider.centre, wider.width) == pytest.approx((40, 160))
    assert (darker.centre, darker.width) == pytest.approx((80, 80))
    assert dragged(wider, right=-250, down=0).limits == pytest.approx(start.limits)
    assert dragged(start, right=-5000, down=0).width > 0


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (Window("", 40, 80), "C 40 W 80 (0 to 80 HU)"),
        (Window("", 40, 80, "LINEAR"), "C 40 W 80 (0 to 79 HU)"),
        (window_of((-160, 240)), "C 40 W 400 (-160 to 240 HU)"),
        (window_of((0.125, 0.25)), "C 0.188 W 0.125 (0.125 to 0.25 HU)"),
    ],
)
def test_words_give_centre_width_and_limits(window: Window, words: str) -> None:
    """What a reader compares with the console."""
    assert window.in_words("HU") == words
