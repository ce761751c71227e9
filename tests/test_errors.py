"""Messages that help: which name was probably meant."""

from __future__ import annotations

import pytest

from lesionlens.errors import ExplainError, counted, unknown_name
from lesionlens.methods import METHODS, method_info


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("grad-cam", "gradcam"),
        ("Grad_CAM++", "gradcampp"),
        ("integrated-gradients", "integrated_gradients"),
        ("hirecam", "hirescam"),
        ("Smooth Grad", "smoothgrad"),
        ("oclusion", "occlusion"),
    ],
)
def test_a_name_that_is_spelt_otherwise_is_understood(name: str, meant: str) -> None:
    """Of 25 names in a line nobody finds the one that is meant."""
    with pytest.raises(ExplainError, match=rf"\(did you mean '{meant}'\?\); choose one of: gradcam"):
        method_info(name)


@pytest.mark.parametrize("name", ["magic", "", "---", "9", "shap"])
def test_a_name_like_none_is_not_guessed(name: str) -> None:
    """A wrong guess sends people the wrong way."""
    assert "did you mean" not in unknown_name("method", name, METHODS)


def test_of_many_names_the_closest_are_enough_where_something_lists_them() -> None:
    """A network has hundreds of layers: the one that is meant drowns in a list, and 'layers' shows them with sizes."""
    names = [f"encoder.block{n}.conv" for n in range(13)]

    many = unknown_name("layer", "encoder.blok3.conv", names, lister="'lesionlens layers BUNDLE'")
    few = unknown_name("layer", "encoder.blok3.conv", names[:12], lister="'lesionlens layers BUNDLE'")

    assert "the closest are encoder.block3.conv, " in many
    assert many.endswith("'lesionlens layers BUNDLE' lists all 13.")
    assert many.count("encoder.block") == 3
    assert few.endswith(f"choose one of: {', '.join(names[:12])}.")


def test_one_thing_is_singular() -> None:
    """A reader of "1 cases" wonders what else is wrong."""
    assert [counted(n, "case") for n in (0, 1, 2, 1200)] == ["0 cases", "1 case", "2 cases", "1,200 cases"]


def test_digits_are_told_apart() -> None:
    """Layers and classes are often numbered; none of them is the other."""
    assert "did you mean" not in unknown_name("layer", "9", ["0", "1"])
    assert "did you mean" not in unknown_name("layer", "conv9", [])
