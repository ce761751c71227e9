"""Bundles that want to execute code: none of it runs, whatever it is hidden in."""

from __future__ import annotations

import copy
import json
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from lesionlens.errors import BundleError, UntrustedBundleError
from lesionlens.model import load_bundle
from lesionlens.model.check import check_bundle
from lesionlens.model.config import judged_config
from tiny_bundles import LOAD, VOXELWISE, write_bundle

# Each hides a call in a part of the config that LesionLens builds. TOUCH makes the canary file when it is executed.
TOUCH = "__import__('pathlib').Path('CANARY').touch()"
SYSTEM = {"_target_": "os.system", "command": "touch CANARY"}
HOSTILE: dict[str, dict[str, Any]] = {
    "expression": {"network_def": f"${TOUCH}"},
    "argument": {"network_def": {**VOXELWISE, "bias": f"$bool({TOUCH})"}},
    "target": {"network_def": SYSTEM},
    "target in an argument": {"network_def": {**VOXELWISE, "bias": SYSTEM}},
    "target by reference": {"network_def": {"_target_": "@name", "command": "touch CANARY"}, "name": "os.system"},
    "target by expression": {"network_def": {"_target_": "$'os.system'", "command": "touch CANARY"}},
    "target by two hops": {"network_def": {"_target_": "$@a", "command": "touch CANARY"}, "a": "@b", "b": "os.system"},
    "target through a module of MONAI": {
        "network_def": {"_target_": "monai.bundle.scripts.subprocess.run", "args": ["touch", "CANARY"]}
    },
    "target that reads a file": {"network_def": {"_target_": "runpy.run_path", "path_name": "CANARY.py"}},
    "attribute chain": {
        "network_def": "$[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen']"
        "[0](['touch', 'CANARY'])"
    },
    "attribute of a harmless object": {"network_def": VOXELWISE, "inferer": "$torch.os.system('touch CANARY')"},
    "text with a reference inside": {"network_def": f"$'@a + {TOUCH.replace(chr(39), chr(34))} + @a'", "a": 1},
    "lambda": {"network_def": f"$(lambda: {TOUCH})()"},
    "default of a lambda": {"network_def": f"$(lambda x={TOUCH}: x)()"},
    "walrus": {"network_def": f"$(x := {TOUCH})"},
    "formatted text": {"network_def": f"$f'{{{TOUCH.replace(chr(39), chr(34))}}}'"},
    "imports": {"imports": [f"${TOUCH}"]},
    "import of a module": {"imports": ["$import canary_module"], "network_def": VOXELWISE},
    "requirement": {"network_def": {**VOXELWISE, "_requires_": f"${TOUCH}"}},
    "switch": {"network_def": {**VOXELWISE, "_disabled_": f"$bool({TOUCH})"}},
    "debugger": {"network_def": {**VOXELWISE, "_mode_": "debug"}},
    "preprocessing": {"preprocessing": {"_target_": "Compose", "transforms": [*LOAD, SYSTEM]}},
    "function of a transform": {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [*LOAD, {"_target_": "Lambdad", "keys": "image", "func": f"$lambda x: {TOUCH}"}],
        }
    },
    "argument of the loader": {
        "preprocessing": {"_target_": "Compose", "transforms": [{**LOAD[0], "reader": f"${TOUCH}"}]}
    },
    "inferer": {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": f"$[{TOUCH}, 8, 8]"}},
    "activation": {
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": f"$bool({TOUCH})"}],
        }
    },
    "writer in the postprocessing": {"postprocessing": {"_target_": "Compose", "transforms": [SYSTEM]}},
    "logging": {"logging": {"_target_": "logging.config.fileConfig", "fname": "CANARY.conf"}, "network_def": SYSTEM},
    "initialize": {"initialize": [f"${TOUCH}"], "network_def": "$@initialize"},
    "another file": {"network_def": "%CANARY.json::network"},
    "macro": {"network_def": "%hidden", "hidden": f"${TOUCH}"},
    "relative macro": {"network_def": {**VOXELWISE, "bias": "%##hidden"}, "hidden": f"${TOUCH}"},
    "key that shadows a place": {
        "network_def::bias": f"${TOUCH}",
        "network_def": {**VOXELWISE, "bias": "@network_def::bias"},
    },
    "empty key": {"": {"network_def": f"${TOUCH}"}, "network_def": VOXELWISE},
    "weights from the net": {
        "network_def": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "pretrained": True}
    },
    "class that an inferer looks up by its name": {
        "inferer": {"_target_": "PatchInferer", "splitter": None, "merger_cls": "canary_module.Merger"}
    },
    "checkpoint elsewhere": {"network_def": "$@x['a']", "x": "$torch.load(open('CANARY', 'w'))"},
    "scripts of its own": {"network_def": {"_target_": "scripts.canary.Net"}},
    "file of a saver": {"inferer": {"_target_": "SaveImage", "output_dir": "CANARY"}},
    "detector": {
        "detector": {
            "_target_": "monai.apps.detection.networks.retinanet_detector.RetinaNetDetector",
            "debug": f"${TOUCH}",
        }
    },
    "setter of a detector": {
        "train": [f"$@network_def.set_target_keys({TOUCH})"],
        "setup": f"$@x.set_box_coder_weights({TOUCH})",
    },
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, trust nothing, and have a module that would betray itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LESIONLENS_DATA", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "canary_module.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path)!r}, 'CANARY').touch()\n"
    )


def _written(folder: Path, hostile: dict[str, Any]) -> Path:
    """Write a bundle whose config has hostile parts; CANARY becomes a path beside it."""
    canary = str(folder.parent / "CANARY")
    parts = json.loads(json.dumps(hostile).replace("CANARY", canary))
    Path(f"{canary}.json").write_text(json.dumps({"network": f"$__import__('pathlib').Path({canary!r}).touch()"}))
    Path(f"{canary}.py").write_text(f"import pathlib\npathlib.Path({canary!r}).touch()\n")
    bundle = write_bundle(folder, extra=parts)
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "__init__.py").write_text(f"import pathlib\npathlib.Path({canary!r}).touch()\n")
    return bundle


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_config_is_refused_and_leaves_no_trace(tmp_path: Path, name: str) -> None:
    """Neither loading nor checking executes it, and what is judged harmless of it cannot be made to."""
    bundle = _written(tmp_path / "b", HOSTILE[name])

    if name == "writer in the postprocessing":  # which is not needed, so that the bundle runs without it
        assert load_bundle(bundle).activation.source == "guess"
    else:
        with pytest.raises(UntrustedBundleError, match="--trust"):
            load_bundle(bundle)
    found = check_bundle(bundle)
    _build_all(judged_config(bundle).config)

    assert not (tmp_path / "CANARY").exists()
    if name != "writer in the postprocessing":
        assert found.concerns
        assert found.bundle is None


def _build_all(config: dict[str, Any]) -> None:
    """Build every part of what is left of a config, as a careless caller would."""
    parser = ConfigParser(copy.deepcopy(config))
    for key in config:
        try:
            parser.get_parsed_content(key)
        except Exception:
            continue


@pytest.mark.parametrize("name", ["expression", "argument", "target in an argument", "imports", "lambda"])
def test_corpus_would_leave_traces_where_it_is_trusted(tmp_path: Path, name: str) -> None:
    """A canary that never sings says nothing: trusted, the same bundles do execute their code."""
    bundle = _written(tmp_path / "b", HOSTILE[name])

    with suppress(BundleError):  # what touches a file is no network
        load_bundle(bundle, trust=True)

    assert (tmp_path / "CANARY").exists()


def test_yaml_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    """Nine lines can stand for a billion parts."""
    bundle = write_bundle(tmp_path / "b")
    (bundle / "configs" / "inference.json").unlink()
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (bundle / "configs" / "inference.yaml").write_text("\n".join(rows))

    with pytest.raises(BundleError, match="more than"):
        check_bundle(bundle)


def test_yaml_tags_that_make_objects_are_refused(tmp_path: Path) -> None:
    """Plain YAML is data; a tag of Python would call what it names."""
    bundle = write_bundle(tmp_path / "b")
    (bundle / "configs" / "inference.json").unlink()
    text = f"network_def: !!python/object/apply:os.mkdir ['{tmp_path / 'CANARY'}']"
    (bundle / "configs" / "inference.yaml").write_text(text)

    with pytest.raises(BundleError, match="cannot be read"):
        check_bundle(bundle)
    assert not (tmp_path / "CANARY").exists()


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    """What is nested without end would exhaust the stack of whoever walks it."""
    bundle = write_bundle(tmp_path / "b")
    (bundle / "configs" / "inference.json").write_text('{"network_def": ' + "[" * 5000 + "]" * 5000 + "}")

    with pytest.raises(BundleError, match="cannot be read"):
        check_bundle(bundle)


def test_pickled_code_in_weights_is_refused_by_the_check(tmp_path: Path) -> None:
    """A harmless config does not make the weights harmless."""

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "CANARY"),)

    bundle = write_bundle(tmp_path / "b")
    torch.save({"weight": Evil()}, bundle / "models" / "model.pt")

    found = check_bundle(bundle)

    assert "holds more than tensors" in found.problem
    assert not (tmp_path / "CANARY").exists()


def test_module_of_the_bundle_does_not_stand_in_for_a_library(tmp_path: Path) -> None:
    """A folder named torch inside a bundle must not be imported as torch."""
    bundle = write_bundle(tmp_path / "b")
    for name in ("torch", "monai", "numpy"):
        (bundle / name).mkdir()
        (bundle / name / "__init__.py").write_text(
            f"import pathlib\npathlib.Path({str(tmp_path / 'CANARY')!r}).touch()\n"
        )

    assert check_bundle(bundle).bundle is not None
    assert not (tmp_path / "CANARY").exists()


def test_archive_of_a_hostile_bundle_is_judged_too(tmp_path: Path) -> None:
    """A zip file is opened to be judged, and nothing of it runs."""
    bundle = _written(tmp_path / "b", HOSTILE["expression"])
    archive = tmp_path / "b.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in bundle.rglob("*"):
            zipped.write(path, path.relative_to(tmp_path))

    assert check_bundle(archive).concerns
    assert not (tmp_path / "CANARY").exists()
