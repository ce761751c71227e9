"""Checkpoints, read as data: a pickle is never executed."""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lesionlens.errors import BundleError

__all__ = ["read_checkpoint", "read_inside"]

# How torch names what it refuses to import from a pickle.
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
# torch stores tensors as they are; what unpacks to this many times its size, and more than is worth a look, is a bomb.
MOST_TIMES = 2
_WORTH_A_LOOK = 2**24


def read_checkpoint(path: Path) -> Any:
    """Read tensors, arrays of numbers, and plain containers of them.

    Raises
    ------
    BundleError
        If the file holds more, is damaged, or of another format.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except MemoryError:
            raise
        except Exception as error:  # see below
            raise BundleError(f"{path} cannot be read as safetensors: {error}.") from None
    _refuse_bomb(path)
    try:
        with _numbers_of_numpy():
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # damaged pickles raise almost anything: IndexError, struct.error, AssertionError, ...
        raise BundleError(_sentence(path, error)) from None


def read_inside(path: str, root: str) -> Any:
    """Read a checkpoint that a config names, which must lie in the bundle's folder.

    This is what configs get in place of ``torch.load``.

    Raises
    ------
    BundleError
        If it lies elsewhere, does not exist, or cannot be read.
    """
    inside = Path(root).resolve()
    found = (inside / path).resolve()
    if not found.is_relative_to(inside):
        raise BundleError(f"The bundle's config loads {path}, which is not in the bundle.")
    if not found.is_file():
        raise BundleError(f"The bundle's config loads {found.relative_to(inside)}, which the bundle does not have.")
    return read_checkpoint(found)


@contextlib.contextmanager
def _numbers_of_numpy() -> Iterator[None]:
    """Let arrays and numbers of numpy come along with tensors: they are data, and common in checkpoints."""
    with torch.serialization.safe_globals(list(_numpy_globals())):
        yield


@cache
def _numpy_globals() -> tuple[Any, ...]:
    import _codecs

    rebuild, scalar = np.array([0.0]).__reduce__()[0], np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDSU"}
    named = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    named += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    # Bytes of arrays are texts in old pickles, which this function turns back.
    return (*named, np.ndarray, np.dtype, *sorted(kinds, key=str), _codecs.encode)


def _sentence(path: Path, error: Exception) -> str:
    """Say why weights cannot be loaded; torch's own advice, to load them without protection, is not repeated."""
    code = _GLOBAL.search(str(error))
    if code:
        return (
            f"{path} holds more than tensors and plain containers ({code.group(1)}), which could execute code; save the"
            " network's state_dict() alone, or as safetensors."
        )
    if path.suffix != ".safetensors" and _is_torchscript(path):
        return f"{path} is a TorchScript archive; save the network's state_dict() instead, or call it models/model.ts."
    return (
        f"{path} cannot be read as weights ({type(error).__name__}); it is damaged or of another format. Get it again."
    )


def _refuse_bomb(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile):
        return  # of another format, or damaged, which is said when it is read
    size = path.stat().st_size
    if unpacked > max(MOST_TIMES * size, _WORTH_A_LOOK):
        raise BundleError(
            f"{path} has {size:,} bytes and unpacks to {unpacked:,}, which weights do not; save the network's"
            " state_dict() with torch.save, or as safetensors."
        )


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
