"""Files that carry a hash of themselves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lesionlens.seals import checked, digest_of_value, file_hashes, sealed_lines, sealed_text, wrong_files

CONTENT = {"number": 0.1, "text": "mm³", "list": [1, None, True], "files": {"a": "00"}}


@pytest.mark.parametrize("text", [sealed_text(CONTENT), sealed_lines(json.dumps(CONTENT)[:-1])], ids=["text", "lines"])
def test_a_sealed_file_is_right_and_every_changed_bit_of_it_is_found(tmp_path: Path, text: str) -> None:
    """There is no byte, not even a blank, that may change: the hashes of other files rest on this one."""
    path = tmp_path / "sealed.json"
    path.write_text(text, encoding="utf-8")
    assert checked(path) == (CONTENT, None)

    before = path.read_bytes()
    for place in range(len(before)):
        for bit in range(8):
            changed = bytearray(before)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            assert checked(path)[1] is not None, (place, bit)
    path.write_bytes(before + b"\n")
    assert checked(path)[1] is not None
    path.write_bytes(before[:-1])
    assert checked(path)[1] is not None


def test_the_seal_is_what_other_tools_compute() -> None:
    """SHA-256 of the text that Python's json writes with two blanks, without the seal."""
    text = json.dumps(CONTENT, indent=2) + "\n"

    assert json.loads(sealed_text(CONTENT))["seal"] == hashlib.sha256(text.encode()).hexdigest()


def test_what_is_no_sealed_file_is_named(tmp_path: Path) -> None:
    """A file of an older version, a list, and none at all."""
    path = tmp_path / "old.json"
    assert checked(path) == (None, "is missing")
    path.write_text("{}")
    assert "no seal" in str(checked(path)[1])
    path.write_text("[]")
    assert "no keys" in str(checked(path)[1])


def test_files_are_compared_with_their_hashes(tmp_path: Path) -> None:
    """Changed, missing, and as it was; the oracle is hashlib on the bytes at hand."""
    for name in ("b", "a", "c"):
        (tmp_path / name).write_bytes(name.encode())
    hashes = file_hashes(tmp_path, ("b", "a", "c"))
    assert list(hashes.items()) == [(name, hashlib.sha256(name.encode()).hexdigest()) for name in "abc"]

    (tmp_path / "b").write_bytes(b"B")
    (tmp_path / "c").unlink()

    assert [name for name, _ in wrong_files(tmp_path, hashes)] == ["b", "c"]


def test_the_digest_of_a_value_does_not_hang_on_the_order_of_its_keys() -> None:
    """Options are the same in whatever order they were given, and others are others."""
    assert digest_of_value({"a": 1, "b": [2]}) == digest_of_value({"b": [2], "a": 1})
    assert digest_of_value({"a": 1}) != digest_of_value({"a": 1.5})
