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
from lesionlens.model import load_bundle, predict
from lesionlens.model.check import check_bundle
from lesionlens.model.config import judged_config
from lesionlens.model.installed import add_bundle
from tiny_bundles import CENTRE, LOAD, VOXELWISE, blob, straight_grid, write_bundle

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
    "mode by expression": {"network_def": {**VOXELWISE, "_mode_": f"$str({TOUCH})"}},
    "description": {"network_def": {**VOXELWISE, "_desc_": f"${TOUCH}"}},
    "switch that is a text": {
        "preprocessing": {"_target_": "Compose", "transforms": [*LOAD, {**SYSTEM, "_disabled_": "False"}]}
    },
    "target that is handed over and called later": {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [*LOAD, {"_target_": "Lambdad", "keys": "image", "func": {**SYSTEM, "_mode_": "partial"}}],
        }
    },
    "run of MONAI": {
        "network_def": {"_target_": "monai.bundle.run", "config_file": "CANARY.json", "run_id": "network"}
    },
    "data of MONAI": {
        "inferer": {"_target_": "monai.data.PersistentDataset", "data": [], "transform": None, "cache_dir": "CANARY"}
    },
    "transform that only waits": {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [*LOAD, {"_target_": "SimulateDelayd", "keys": "image", "delay_time": 9}],
        }
    },
    "hub": {"network_def": {"_target_": "torch.hub.load", "repo_or_dir": "modules", "model": "x", "source": "local"}},
    "optional import": {"network_def": "$monai.utils.optional_import('canary_module')[0]"},
    "letters that look alike": {"network_def": {"_target_": "m\u043enai.networks.nets.UNet"}},
    "letters that Python takes for others": {"network_def": "$\uff4f\uff53.system('touch CANARY')"},
    "macro into a list": {"network_def": "%hidden::1", "hidden": [1, f"${TOUCH}"]},
    "checkpoint of the working folder": {"network_def": {"_target_": "monai.networks.nets.CellSamWrapper"}},
    "text as long as it likes": {"network_def": "$'%999999999d' % 1"},
    "references that double": {
        "a0": "$list(range(9999))",
        **{f"a{n}": f"$@a{n - 1} + @a{n - 1}" for n in range(1, 60)},
        "network_def": "$@a59",
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


@pytest.mark.parametrize("reader", ["canary_module.Reader", "os.system", {"_target_": "canary_module.Reader"}])
def test_readers_of_a_bundle_are_never_made(tmp_path: Path, reader: object) -> None:
    """A reader's name would be imported by MONAI's loader; LesionLens reads the scan itself."""
    load = [{**LOAD[0], "reader": reader}, LOAD[1]]
    bundle = write_bundle(tmp_path / "b", extra={"preprocessing": {"_target_": "Compose", "transforms": load}})

    with suppress(UntrustedBundleError):
        load_bundle(bundle)
    assert not (tmp_path / "CANARY").exists()
    assert isinstance(reader, str) == (check_bundle(bundle).bundle is not None)


def test_names_of_functions_are_not_called(tmp_path: Path) -> None:
    """A text where MONAI wants a function stays a text."""
    step = {"_target_": "Lambdad", "keys": "image", "func": "canary_module.touch"}
    bundle = write_bundle(tmp_path / "b", steps=[step])

    with suppress(BundleError):
        predict(load_bundle(bundle), blob(straight_grid(), CENTRE))
    assert not (tmp_path / "CANARY").exists()


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


def test_code_behind_an_anchor_of_yaml_is_judged_where_it_is_used(tmp_path: Path) -> None:
    """One text stands for several places, harmless at some and executed at others."""
    bundle = write_bundle(tmp_path / "b")
    (bundle / "configs" / "inference.json").unlink()
    canary = str(tmp_path / "CANARY")
    text = f"""
note: &a "$__import__('pathlib').Path('{canary}').touch()"
network_def: {{_target_: torch.nn.Conv3d, in_channels: 1, out_channels: 2, kernel_size: 1, bias: *a}}
preprocessing: {{_target_: Compose, transforms: [{{_target_: LoadImaged, keys: image}}]}}
"""
    (bundle / "configs" / "inference.yaml").write_text(text)

    with pytest.raises(UntrustedBundleError, match="network_def::bias"):
        load_bundle(bundle)
    assert "network_def::bias" in [concern.place for concern in check_bundle(bundle).concerns]
    assert not (tmp_path / "CANARY").exists()


def test_weights_that_unpack_to_far_more_than_they_are_are_refused(tmp_path: Path) -> None:
    """Torch would unpack a file of kilobytes to as many gigabytes as it says."""
    bundle = write_bundle(tmp_path / "b")
    path = bundle / "models" / "model.pt"
    torch.save({"weight": torch.zeros(6_000_000)}, path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)

    assert path.stat().st_size < 100_000
    with pytest.raises(BundleError, match=r"unpacks to 24,00\d,\d\d\d, which weights do not"):
        load_bundle(bundle)


@pytest.mark.parametrize("header", [b"", b"\xff" * 8, (10**9).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"{"])
def test_safetensors_with_a_wrong_header_are_refused(tmp_path: Path, header: bytes) -> None:
    """Lengths in a header are claims."""
    bundle = write_bundle(tmp_path / "b")
    (bundle / "models" / "model.safetensors").write_bytes(header)

    with pytest.raises(BundleError, match="cannot be read as safetensors"):
        load_bundle(bundle)


def test_weights_behind_a_link_are_data_all_the_same(tmp_path: Path) -> None:
    """A link in a bundle may lead anywhere; what it leads to is not executed, and no archive or copy takes it along."""

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "CANARY"),)

    torch.save({"weight": Evil()}, tmp_path / "elsewhere.pt")
    bundle = write_bundle(tmp_path / "b")
    (bundle / "models" / "model.pt").unlink()
    (bundle / "models" / "model.pt").symlink_to(tmp_path / "elsewhere.pt")

    with pytest.raises(BundleError, match="could execute code"):
        load_bundle(bundle)
    with pytest.raises(BundleError, match="link"):
        add_bundle(bundle, name="linked")
    assert not (tmp_path / "CANARY").exists()


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
