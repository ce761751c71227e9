"""The process in which codestreams are decoded: whatever the decoders' C code does there, the program goes on.

It is started by :mod:`lesionlens.io.dicom.decoders`, reads jobs from its standard input, and ends with it. A message is
its head in JSON, its body, and before them the length of both. What decoders print goes nowhere.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from lesionlens.children import own_streams

__all__ = ["decode_frame", "receive", "send", "serve"]

_LENGTHS = struct.Struct("<IQ")  # of head and body, in bytes

# Heads are a line each way; a longer one comes from a decoder that wrote where it must not.
_LONGEST_HEAD = 1 << 16

# What a decoder may take besides the image: its code, its tables, the codestream.
_ROOM = 1 << 29

# Decoders hold an image as integers of four bytes, and a few copies of it.
_BYTES_FOR_A_VALUE = 24

Decode = Callable[[bytes, str, dict[str, Any]], NDArray[Any]]


def decode_frame(codestream: bytes, syntax: str, options: dict[str, Any]) -> NDArray[Any]:
    """Decode one frame in this process.

    Parameters
    ----------
    codestream
        Its bytes, without the items around them.
    syntax
        Transfer syntax UID.
    options
        Of pydicom's decoders, for one frame.
    """
    encapsulated = encapsulate([codestream], has_bot=False)
    values: NDArray[Any] = get_decoder(UID(syntax)).as_array(encapsulated, index=0, raw=True, **options)[0]
    return values


def serve(decode: Decode = decode_frame) -> None:
    """Decode until the standard input ends.

    Parameters
    ----------
    decode
        From codestream, transfer syntax and options to an array.
    """
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a child at once
    incoming, outgoing = own_streams()
    in_use = _memory_in_use()
    send(outgoing, {})  # ready
    while True:
        try:
            job, codestream = receive(incoming)
        except EOFError:
            return
        _limit_memory(in_use, job, codestream)
        _limit_time(job["seconds"])
        try:
            values = decode(codestream, job["syntax"], job["options"])
            reply, body = {"dtype": values.dtype.str, "shape": values.shape}, values.tobytes()
        except Exception as error:  # whatever it is, the parent says it
            reply, body = {"error": str(error)[:1000] or type(error).__name__}, b""
        _limit_time(0)
        send(outgoing, reply, body)


def send(stream: BinaryIO, head: dict[str, Any], body: bytes = b"") -> None:
    """Write a message."""
    line = json.dumps(head).encode()
    stream.write(_LENGTHS.pack(len(line), len(body)) + line)
    stream.write(body)
    stream.flush()


def receive(stream: BinaryIO, most: int | None = None) -> tuple[dict[str, Any], bytes]:
    """Read a message.

    Parameters
    ----------
    stream
        Where it comes from.
    most
        Bytes that its body may have.

    Raises
    ------
    EOFError
        If the stream ends.
    ValueError
        If it holds something else.
    """
    head, body = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if head > _LONGEST_HEAD or (most is not None and body > most):
        raise ValueError(f"a message of {head} and {body} bytes")
    found: dict[str, Any] = json.loads(_exactly(stream, head))
    return found, _exactly(stream, body)


def _exactly(stream: BinaryIO, length: int) -> bytes:
    """Read so many bytes."""
    found = stream.read(length)
    if len(found) < length:
        raise EOFError
    return found


def _memory_in_use() -> int:
    """Return the address space of this process in bytes; 0 where it cannot be limited."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _limit_time(seconds: float) -> None:
    """End this process after so many seconds, whoever else is left to do it; 0: never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(in_use: int, job: dict[str, Any], codestream: bytes) -> None:
    """Let a codestream that claims to be larger than its header fail instead of taking all memory."""
    if in_use:
        import resource

        options = job["options"]
        n_values = options["rows"] * options["columns"] * options["samples_per_pixel"]
        soft = in_use + _ROOM + 4 * len(codestream) + _BYTES_FOR_A_VALUE * n_values
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
