"""The line between LesionLens and the code of bundles: whatever a network raises becomes one sentence with its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lesionlens.errors import InputError, LesionLensError
from lesionlens.explain.calling import NetworkError

if TYPE_CHECKING:
    from lesionlens.model.bundle import Bundle
    from lesionlens.model.preprocess import Prepared

__all__ = ["foreign_code", "memory_sentence"]


@contextmanager
def foreign_code(bundle: Bundle, prepared: Prepared | None = None) -> Iterator[None]:
    """Run a bundle's network or inferer, one thread at a time.

    Parameters
    ----------
    bundle
        Whose code runs.
    prepared
        What it runs on, for the message.

    Raises
    ------
    InputError
        For any exception of the bundle's code. Errors of LesionLens and a user's stop pass through.
    """
    try:
        with bundle.lock:
            yield
    except NetworkError as error:  # said better here, where the bundle is known
        raise InputError(_sentence(bundle, prepared, error.__cause__ or error)) from error
    except (LesionLensError, MemoryError):
        raise
    except Exception as error:  # a network is arbitrary code
        raise InputError(_sentence(bundle, prepared, error)) from error


def _sentence(bundle: Bundle, prepared: Prepared | None, error: BaseException) -> str:
    given = _given(prepared)
    lines = str(error).strip().splitlines()
    reason = (lines[0] if lines else type(error).__name__).rstrip(".")
    if "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower():
        return memory_sentence(bundle, prepared)
    return (
        f"{bundle.name} cannot process {given}: {reason}. It states {len(bundle.info.inputs)} input channel(s) and"
        f" runs by {type(bundle.inferer).__name__}; check that its network, preprocessing and inferer fit together."
    )


def memory_sentence(bundle: Bundle, prepared: Prepared | None) -> str:
    """Say that memory did not suffice."""
    return f"{bundle.name} ran out of memory on {_given(prepared)}; use a machine with more memory."


def _given(prepared: Prepared | None) -> str:
    return "its input" if prepared is None else f"an input of {tuple(prepared.tensor.shape[1:])} (channels, x, y, z)"
