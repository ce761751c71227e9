"""From the files of a DICOM series to one array of values: read in order, decoded side by side, rescaled.

One thread reads and hashes the files one after the other, and copies what has only to be copied: half a megabyte takes
less time than to wake another thread. Codestreams are decoded by other processes meanwhile, several at a time. Only a
few files are read ahead of what is done, so that there is little in memory but the result.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from itertools import zip_longest
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import ReadError
from lesionlens.io.boundary import quiet, reading
from lesionlens.io.dicom.decoders import decoders
from lesionlens.io.dicom.header import PYDICOM_ERRORS, Instance
from lesionlens.io.dicom.mosaic import tiles_of
from lesionlens.io.dicom.pixels import Picture, pictures_in
from lesionlens.io.dicom.slices import Slice
from lesionlens.io.limits import read_whole, require_memory
from lesionlens.progress import Progress, silent

__all__ = ["OnImage", "read_image", "read_values", "refuse_different"]

# Called with the place of an image in its series and its values, (i, j) = (column, row).
OnImage = Callable[[int, NDArray[Any]], None]

# One for each process that decodes.
_WORKERS = decoders().most

# Pictures that may wait at a time.
_AHEAD = 4 * _WORKERS

# After a file of more bytes than this, the next is read when all work on it is done.
_LARGE = 1 << 24

# Single precision holds every integer up to this.
_EXACT = 1 << 24

_AGAIN = "Export the series again."


def read_values(
    slices: Sequence[Slice], *, progress: Progress = silent, on_image: OnImage | None = None
) -> tuple[NDArray[Any], str]:
    """Decode the images of a series in the order given.

    Stored integers stay integers when no image is rescaled; otherwise every image is rescaled by its own slope and
    intercept and the result is float32. Each file is read once.

    Parameters
    ----------
    slices
        Images of equal size, in slice order.
    progress
        Called for each image; raising from it stops all threads.
    on_image
        Called with each image when it has been decoded, in any order, in the thread that calls this function; what it
        gets is part of the result and must not be changed. Raising from it stops all threads.

    Returns
    -------
    values
        (i, j, k) = (column, row, slice).
    sha256
        Over the bytes of the files, in the order in which they first occur.

    Raises
    ------
    ReadError
        If an image cannot be decoded; the message names the first file of which that is so.
    """
    if not slices:
        raise ReadError("A series without images cannot be read.")
    by_file: dict[str, list[int]] = {}
    for k, item in enumerate(slices):
        by_file.setdefault(item.instance.name, []).append(k)
    digest, stack, done = hashlib.sha256(), _Stack(slices), 0
    widest = max(item.instance.bits for item in slices)
    # Silence is for the whole process: it is asked for here, once for all threads.
    with quiet(), _Ahead(partial(_tell, stack, on_image)) as ahead:
        for ks in by_file.values():
            progress("Reading slices", done, len(slices))
            first = slices[ks[0]].instance
            content = read_whole(first.path, first.name)
            for picture, of_picture in _pictures(content, slices, ks, widest):
                if of_picture[0] != ks[0]:
                    progress("Reading slices", done, len(slices))
                if picture.slow:
                    ahead.decode(stack.fill, picture, of_picture)
                else:
                    stack.fill(picture, of_picture)
                    _tell(stack, on_image, of_picture)
                done += len(of_picture)
            digest.update(content)
            if len(content) > _LARGE:
                ahead.wait()
        ahead.wait()
    progress("Reading slices", len(slices), len(slices))
    return stack.array.transpose(2, 1, 0), digest.hexdigest()


def read_image(item: Slice) -> NDArray[Any]:
    """Decode one image of a series ahead of the others: (i, j) = (column, row), rescaled.

    Of a file with several frames only that one is decoded.

    Raises
    ------
    ReadError
        As :func:`read_values`.
    """
    stack = _Stack([item])
    with quiet():
        content = read_whole(item.instance.path, item.instance.name)
        for picture, of_picture in _pictures(content, [item], [0]):
            stack.fill(picture, of_picture)
    image: NDArray[Any] = stack.array[0].T
    return image


def _tell(stack: _Stack, on_image: OnImage | None, ks: Sequence[int]) -> None:
    if on_image is not None:
        for k in ks:
            on_image(k, stack.array[k].T)


def refuse_different(copies: Sequence[tuple[Instance, Instance]], *, progress: Progress = silent) -> None:
    """Refuse files that say that they are the same image and hold other pixels: one of them was damaged or changed.

    Parameters
    ----------
    copies
        A file that is read, and one that was left out for it.
    progress
        Called for each pair.

    Raises
    ------
    ReadError
        With the names of both.
    """
    for done, (kept, copy) in enumerate(copies):
        progress("Comparing copies", done, len(copies))
        contents = read_whole(kept.path, kept.name), read_whole(copy.path, copy.name)
        if contents[0] != contents[1] and not _same_values(kept, copy, contents):
            raise ReadError(
                f"{kept.name} and {copy.name} have the same SOPInstanceUID and place but hold different values. Take "
                "the wrong one out of the folder."
            )


def _same_values(one: Instance, other: Instance, contents: tuple[bytes, bytes]) -> bool:
    scales = [[(frame.slope, frame.intercept) for frame in instance.frames] for instance in (one, other)]
    if scales[0] != scales[1]:
        return False
    with quiet(), _named(one):
        both = [
            pictures_in(content, instance.name, modality_lut=instance.modality_lut)
            for instance, content in zip((one, other), contents, strict=True)
        ]
        return all(a and b and np.array_equal(a.decode(), b.decode()) for a, b in zip_longest(*both))


def _named(instance: Instance) -> AbstractContextManager[None]:
    return reading(f"Cannot read {instance.name}", *PYDICOM_ERRORS, todo=_AGAIN)


def _pictures(
    content: bytes, slices: Sequence[Slice], ks: Sequence[int], widest: int = 0
) -> Iterator[tuple[Picture, list[int]]]:
    """Yield the pictures of a file that are wanted, with the slices that each holds."""
    instance = slices[ks[0]].instance
    wanted = {0: list(ks)} if _is_mosaic(instance) else {slices[k].frame.index: [k] for k in ks}
    n, lut = 0, instance.modality_lut
    with _named(instance):
        for index, picture in enumerate(pictures_in(content, instance.name, modality_lut=lut, widest=widest)):
            n = index + 1
            if index in wanted:
                yield picture, wanted.pop(index)
    if wanted:
        raise ReadError(f"Expected {instance.n_frames} images in {instance.name}; found {n}. {_AGAIN}")


def _is_mosaic(instance: Instance) -> bool:
    return instance.tiles != (1, 1)


class _Ahead:
    """Threads that wait for what is decoded elsewhere, and a bounded line of what waits for them.

    Parameters
    ----------
    done
        Called with the slices of a picture that has been decoded, in the thread that asked for it.
    """

    def __init__(self, done: Callable[[Sequence[int]], None]) -> None:
        self._pool = ThreadPoolExecutor(_WORKERS, "decode")
        self._waiting: deque[tuple[Future[None], Sequence[int]]] = deque()
        self._done = done

    def __enter__(self) -> _Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is not None and issubclass(kind, ReadError):
                self.wait()  # what comes first among the files is said first
        finally:
            self._pool.shutdown(cancel_futures=True)

    def decode(self, fill: Callable[[Picture, Sequence[int]], None], picture: Picture, ks: Sequence[int]) -> None:
        """Decode a picture at some time, beside others; an error comes out of a later call."""
        while len(self._waiting) >= _AHEAD:
            self._first_done()
        self._waiting.append((self._pool.submit(fill, picture, ks), ks))

    def wait(self) -> None:
        """Wait for all work to be done."""
        while self._waiting:
            self._first_done()

    def _first_done(self) -> None:
        try:
            future, ks = self._waiting.popleft()
            future.result()
            self._done(ks)
        except BaseException:
            while self._waiting:
                self._waiting.popleft()[0].cancel()
            raise


class _Stack:
    """The images of a series, filled in from several threads.

    Parameters
    ----------
    slices
        Images of equal size, in slice order.

    Attributes
    ----------
    array
        (slice, row, column), made when the first image shows its type, and made anew when one does not fit in.
    """

    def __init__(self, slices: Sequence[Slice]) -> None:
        self.array: NDArray[Any] = np.empty(0, np.uint8)
        self._slices = slices
        self._rescaled = any((s.frame.slope, s.frame.intercept) != (1.0, 0.0) for s in slices)
        self._lock = threading.Lock()

    def fill(self, picture: Picture, ks: Sequence[int]) -> None:
        """Decode a picture and put the slices that it holds into their places."""
        instance = self._slices[ks[0]].instance
        with _named(instance):
            values = picture.decode()
        across, down = instance.tiles
        expected = (instance.rows * down, instance.columns * across)
        if values.shape != expected:
            raise ReadError(f"Expected images of {expected} pixels in {instance.name}; found {values.shape}. {_AGAIN}")
        tiles = tiles_of(values, instance.tiles, instance.n_frames)
        for k in ks:
            self._put(k, tiles[self._slices[k].frame.index if _is_mosaic(instance) else 0])

    def _put(self, k: int, image: NDArray[Any]) -> None:
        if self._rescaled:
            with self._lock:
                array = self._room_for(np.dtype(np.float32), image.shape)
            _rescale(image, self._slices[k], array[k])  # side by side: the array stays what it is
            return
        with self._lock:
            self._room_for(image.dtype, image.shape)[k] = image

    def _room_for(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        n = len(self._slices)
        what = f"{n} slices of shape {shape}"
        with reading(f"{what} do not fit into memory"):
            if not self.array.size:
                require_memory(n * math.prod(shape) * dtype.itemsize, what)
                self.array = np.empty((n, *shape), dtype)
            elif not np.can_cast(dtype, self.array.dtype):
                self.array = self.array.astype(np.promote_types(dtype, self.array.dtype))
        return self.array


def _rescale(values: NDArray[Any], item: Slice, out: NDArray[np.float32]) -> None:
    """Write rescaled values, rounded once."""
    slope, intercept = item.frame.slope, item.frame.intercept
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise ReadError(
            f"RescaleSlope {slope:g} and RescaleIntercept {intercept:g} of {item.name} give no values. {_AGAIN}"
        )
    most = 1 << 8 * values.dtype.itemsize
    if slope.is_integer() and intercept.is_integer() and abs(slope) * most + abs(intercept) <= _EXACT:
        # Nothing has to be rounded.
        scaled = values if slope == 1 else np.multiply(values, np.float32(slope), out=out, dtype=np.float32)
        np.add(scaled, np.float32(intercept), out=out, dtype=np.float32)
        return
    with np.errstate(over="ignore"):
        out[...] = values * slope + intercept  # double precision
    if not np.isfinite(out).all():
        raise ReadError(f"RescaleSlope {slope:g} of {item.name} gives values beyond single precision. {_AGAIN}")
