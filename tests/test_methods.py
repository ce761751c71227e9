from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest

from lesionlens.errors import ExplainError
from lesionlens.methods import METHODS, Value, default_method, method_info, method_options

WITH_OPTIONS = replace(METHODS["gradcam"], options={"samples": 25, "noise": 0.1, "exact": False, "fill": "mean"})


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_run(name: str) -> None:
    """A method that is offered and has no function would fail only when somebody chooses it."""
    home = import_module(f"lesionlens.explain.{METHODS[name].family}")

    assert name in home.METHODS


@pytest.mark.parametrize("task", ["segmentation", "classification", "detection"])
def test_methods_that_nobody_named_exist_and_have_no_options(task: str) -> None:
    """Options are checked before the bundle is read, when the method may still be either."""
    info = METHODS[default_method(task)[0]]

    assert info.takes_target
    assert not info.options


@pytest.mark.parametrize("family", sorted({info.family for info in METHODS.values()}))
def test_every_function_is_offered(family: str) -> None:
    """A method that nobody can choose is dead code."""
    assert set(import_module(f"lesionlens.explain.{family}").METHODS) <= set(METHODS)


@pytest.mark.parametrize("info", METHODS.values(), ids=str)
def test_every_method_says_what_it_is(info: object) -> None:
    """Whoever chooses must know what it costs and cannot say, and where it comes from."""
    assert all(getattr(info, name).strip() for name in ("title", "summary", "cost", "caveat", "paper"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"samples": 25, "noise": 0.1, "exact": False, "fill": "mean"}),
        ({"samples": "8"}, {"samples": 8, "noise": 0.1, "exact": False, "fill": "mean"}),
        ({"noise": 1, "exact": "yes"}, {"samples": 25, "noise": 1.0, "exact": True, "fill": "mean"}),
        ({"fill": "zero", "exact": "0"}, {"samples": 25, "noise": 0.1, "exact": False, "fill": "zero"}),
    ],
)
def test_options_have_the_type_of_their_default(given: dict[str, Value], expected: dict[str, Value]) -> None:
    """A command line gives texts, a form numbers, and the record must show the same for both."""
    found = method_options(WITH_OPTIONS, given)

    assert found == expected
    assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample": 3}, r"no option of Grad-CAM 'sample'.*samples, noise, exact, fill"),
        ({"samples": "many"}, r"'samples' of Grad-CAM is a int, 25 by default; found 'many'"),
        ({"samples": "2.5"}, r"found '2.5'"),
        ({"samples": 2.5}, r"found 2.5"),
        ({"samples": True}, r"found True"),
        ({"noise": "1e999999x"}, r"'noise'.*float"),
        ({"exact": "perhaps"}, r"'exact'.*bool"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, Value], message: str) -> None:
    """A mistyped option that is passed over would give a map of something else."""
    with pytest.raises(ExplainError, match=message):
        method_options(WITH_OPTIONS, given)


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("gradcam", {"samples": 3}, "Grad-CAM has no options; leave out 'samples'"),
        ("scorecam", {"budget_mib": "-3"}, "'budget_mib' of scorecam must be at least 1; found -3"),
        ("smoothgrad", {"samples": 0}, "must be at least 1"),
        ("smoothgrad", {"noise": float("inf")}, "found inf"),
        ("integrated_gradients", {"baseline": "grey"}, "no baseline for .*'grey'.*minimum, mean, blur, zero"),
        ("occlusion", {"fill": "noise"}, "no fill for occlusion 'noise'"),
        ("occlusion", {"size": "0"}, "length above 0.*found '0'"),
        ("occlusion", {"stride": "abc"}, "'stride' of occlusion is a length.*found 'abc'"),
        ("activation_strongest", {"rank": 0}, "'rank' of activation_strongest must be at least 1"),
        ("activation_channel", {"channel": -1}, "must be at least 0"),
    ],
)
def test_values_without_a_meaning_are_refused(method: str, given: dict[str, Value], message: str) -> None:
    """Before any work: a run that met them later predicted for minutes, and ended without a map."""
    with pytest.raises(ExplainError, match=message):
        method_options(METHODS[method], given)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("attention", {"block": -2}),
        ("occlusion", {"size": "32x32x16", "stride": ""}),
        ("occlusion", {"size": " 20 mm", "stride": "1.5mm"}),
        ("smoothgrad", {"noise": 0}),
        ("scorecam", {"softmax": True}),
    ],
)
def test_values_with_a_meaning_are_taken(method: str, given: dict[str, Value]) -> None:
    """A refusal of everything would pass the other test."""
    assert method_options(METHODS[method], given) == {**METHODS[method].options, **given}


def test_an_unknown_method_lists_those_that_exist() -> None:
    """A typing error is answered with what could have been meant."""
    with pytest.raises(ExplainError, match=r"no method 'magic'.*gradcam"):
        method_info("magic")
