"""Finding bundles and reading what they say, without executing anything."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path

import pytest

from lesionlens.errors import BundleError
from lesionlens.heatmap import slug
from lesionlens.model import list_bundles
from lesionlens.model.archive import extract_zip
from lesionlens.model.catalogue import describe, hash_files, locate, model_card, opened
from tiny_bundles import write_bundle


def test_embedded_bundles_are_listed_with_their_classes() -> None:
    """The bundles that ship are there, each with a model card and an intended use."""
    found = {info.name: info for info in list_bundles()}

    assert found["flair-lesions"].task == "segmentation"
    assert found["flair-lesions"].foreground == ("lesion",)
    assert found["flair-lesion-load"].task == "classification"
    assert len(found["flair-lesion-load"].foreground) == 3
    assert found["flair-anomaly"].task == "anomaly"
    for info in found.values():
        assert "not a medical device" in model_card(info.root).lower()
        assert info.intended_use


def test_unknown_bundle_lists_those_that_exist() -> None:
    """A mistyped name is answered with the names."""
    with pytest.raises(BundleError, match=r"no bundle 'flair-lesion'.*flair-lesions.*path"):
        locate("flair-lesion")


def test_a_path_wins_nothing_over_an_embedded_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the same name in the working directory is not taken for the embedded bundle, which runs untrusted."""
    write_bundle(tmp_path / "flair-lesions")
    monkeypatch.chdir(tmp_path)

    path, embedded = locate("flair-lesions")

    assert embedded
    assert not path.is_relative_to(tmp_path)
    assert locate("./flair-lesions") == (Path("flair-lesions"), False)


@pytest.mark.parametrize(
    ("definition", "count", "names"),
    [
        ({"0": "background", "1": "lesion"}, 2, ("background", "lesion")),
        ({"1": "lesion"}, 2, ("class 0", "lesion")),
        (None, 3, ("class 0", "class 1", "class 2")),
    ],
)
def test_channels_are_named_by_channel_def(
    tmp_path: Path, definition: dict[str, str] | None, count: int, names: tuple[str, ...]
) -> None:
    """Names come from channel_def; what it leaves out gets a number, never a name of another channel."""
    bundle = write_bundle(tmp_path / "b")
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    output = metadata["network_data_format"]["outputs"]["pred"]
    output["channel_def"], output["num_channels"] = definition, count
    path.write_text(json.dumps(metadata))

    assert describe(bundle).outputs == names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("background", "ET+", "ET-"), ("background", "ET+ 1", "ET- 2")),
        (("lesion", "Lesion"), ("lesion 0", "Lesion 1")),
        (("lesion", "lesion", "lesion 1"), ("lesion 0", "lesion 1 1", "lesion 1 2")),
        (("病变", "病灶"), ("病变", "病灶")),
        (("+", "-", "~"), ("+ 0", "- 1", "~ 2")),
    ],
)
def test_class_names_that_would_share_a_file_get_their_channel(
    tmp_path: Path, names: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """Otherwise the second map would overwrite the first, or end the run when all the work is done."""
    info = describe(write_bundle(tmp_path / "b", outputs={str(i): name for i, name in enumerate(names)}))

    assert info.outputs == expected
    assert len({slug(name) for name in info.outputs}) == len(names)
    assert bool(info.decisions) == (names != expected)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Background", True),
        ("no lesion", True),
        ("No tumour", True),
        ("non-lesion", True),
        ("healthy", True),
        ("Normal_Tissue", True),
        ("unlabelled", True),
        ("non-enhancing tumour", False),
        ("nodule", False),
        ("abnormal", False),
    ],
)
def test_background_is_known_by_its_usual_names(tmp_path: Path, name: str, found: bool) -> None:
    """A map of 'no lesion' would cover the whole scan, and be explained first; the record says what was assumed."""
    info = describe(write_bundle(tmp_path / "b", outputs={"0": name, "1": "lesion"}))

    assert info.background == (0 if found else None)
    assert bool(info.decisions) == (found and name != "Background")


def test_archive_without_a_name_is_called_by_its_file(tmp_path: Path) -> None:
    """The folder that it is unpacked into has a random name, which would change the record with every run."""
    bundle = write_bundle(tmp_path / "b")
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "name"}))
    archive = tmp_path / "stroke.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in bundle.rglob("*"):
            zipped.write(file, file.relative_to(bundle))

    with opened(archive) as folder:
        assert describe(folder, root=archive).name == "stroke"
    assert describe(bundle).name == "b"


def test_metadata_without_outputs_is_refused(tmp_path: Path) -> None:
    """What the channels mean cannot be guessed."""
    bundle = write_bundle(tmp_path / "b")
    (bundle / "configs" / "metadata.json").write_text("{}")

    with pytest.raises(BundleError, match=r"network_data_format\.outputs"):
        describe(bundle)


@pytest.mark.parametrize("content", ["", "[1]", "{", "\x00\xff"])
def test_broken_metadata_is_named(tmp_path: Path, content: str) -> None:
    """A file that is no JSON object ends in one sentence with its path."""
    bundle = write_bundle(tmp_path / "b")
    (bundle / "configs" / "metadata.json").write_text(content, encoding="latin-1")

    with pytest.raises(BundleError, match=r"metadata\.json"):
        describe(bundle)


def test_hash_changes_with_one_byte_and_with_a_name(tmp_path: Path) -> None:
    """Provenance must notice any change of a bundle, and none where nothing changed."""
    bundle = write_bundle(tmp_path / "b")
    before = hash_files(bundle)
    assert hash_files(bundle) == before

    config = bundle / "configs" / "inference.json"
    config.write_text(config.read_text() + " ")
    changed = hash_files(bundle)
    config.rename(config.with_suffix(".jso"))

    assert len({before, changed, hash_files(bundle)}) == 3


def test_zip_with_a_wrapping_folder_opens_like_the_folder(tmp_path: Path) -> None:
    """Archives of bundles usually hold one folder; it is stepped into."""
    bundle = write_bundle(tmp_path / "b")
    archive = tmp_path / "b.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in bundle.rglob("*"):
            zipped.write(path, path.relative_to(tmp_path))

    with opened(archive) as folder:
        assert hash_files(folder) == hash_files(bundle)
        assert describe(folder).outputs == ("background", "lesion")


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:/evil.txt"])
def test_paths_out_of_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    """Nothing of an archive may be written outside its folder."""
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(name, "x")

    with pytest.raises(BundleError, match="unsafe path"):
        extract_zip(archive, tmp_path / "inner")

    assert not list(tmp_path.rglob("evil.txt"))


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    """A link could point anywhere."""
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "/etc/passwd")

    with pytest.raises(BundleError, match="link or special file"):
        extract_zip(archive, tmp_path / "inner")


def test_archives_that_unpack_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are checked before a byte is unpacked; just below the limit passes."""
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("zeros", b"\0" * 1000)
    monkeypatch.setattr("lesionlens.model.archive.MAX_TOTAL_BYTES", 999)
    with pytest.raises(BundleError, match="1,000 bytes"):
        extract_zip(archive, tmp_path / "inner")

    monkeypatch.setattr("lesionlens.model.archive.MAX_TOTAL_BYTES", 1000)
    extract_zip(archive, tmp_path / "inner")

    assert (tmp_path / "inner" / "zeros").stat().st_size == 1000


def test_a_file_that_is_no_zip_is_named(tmp_path: Path) -> None:
    """Any other file is refused in one sentence."""
    path = tmp_path / "weights.bin"
    path.write_bytes(io.BytesIO(b"not a zip").getvalue())

    with pytest.raises(BundleError, match="not a readable zip"), opened(path):
        pass
