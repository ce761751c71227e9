"""Whatever a decoder does in its process, this one goes on and says what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID, HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from dicom_factory import Plan, make_series
from lesionlens.errors import ReadError
from lesionlens.io import read
from lesionlens.io.dicom import decoders as module
from lesionlens.io.dicom.decoders import DecoderError, Decoders
from stored import stored_values

NAME = "MR_small_jp2klossless.dcm"

# Programs of children that do their worst at the first image.
_SERVE = "from lesionlens.io.dicom.decoder_child import decode_frame, serve; import ctypes, os, sys, time; "
WORST = {
    "abort": _SERVE + "serve(lambda *job: os.abort())",
    "bad address": _SERVE + "serve(lambda *job: ctypes.string_at(8))",
    "exit": _SERVE + "serve(lambda *job: os._exit(3))",
    "hang": _SERVE + "serve(lambda *job: time.sleep(3600))",
    "error": _SERVE + "serve(lambda *job: 1 / 0)",
    "no memory": _SERVE + "serve(lambda *job: bytearray(1 << 40))",
    "never ready": "raise SystemExit(4)",
    "nonsense": "import sys; sys.stdout.write('no message at all, but long enough for one'); sys.stdout.flush()",
}
CHATTER = _SERVE + (
    "decode = lambda *job: (os.write(1, b'x' * 9), os.write(2, b'y' * 9), print('z'), decode_frame(*job))[-1]; "
    "serve(decode)"
)


@pytest.fixture
def job() -> tuple[bytes, str, dict[str, Any]]:
    """Return codestream, syntax and options of a picture."""
    dataset = dcmread(str(get_testdata_file(NAME)))
    (codestream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    return codestream, str(JPEG2000Lossless), as_pixel_options(dataset)


@pytest.fixture
def start() -> Iterator[Callable[..., Decoders]]:
    """Return a function that starts decoders, which end with the test."""
    started: list[Decoders] = []

    def start(program: str = "", **options: Any) -> Decoders:
        started.append(Decoders(program=program, **options) if program else Decoders(**options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def expected() -> NDArray[Any]:
    """Return the picture of the job, from the uncompressed file."""
    frames: NDArray[Any] = stored_values(str(get_testdata_file("MR_small.dcm")))
    return frames[0]


@pytest.mark.parametrize(
    ("worst", "message"),
    [
        ("abort", "crashed.*SIGABRT" if os.name == "posix" else "crashed"),
        ("bad address", "crashed.*SIGSEGV" if os.name == "posix" else "crashed"),
        ("exit", "crashed.*exit code 3"),
        ("hang", r"did not come to an end within 0\.\d+ seconds"),
        ("error", "division by zero"),
        ("never ready", "crashed.*exit code 4"),
        ("nonsense", "crashed"),
    ],
)
def test_the_worst_is_an_error_with_its_reason(
    job: tuple[Any, ...], start: Callable[..., Decoders], worst: str, message: str
) -> None:
    """A decoder's death is told like any other damage."""
    decoders = start(WORST[worst], patience=0.2)

    for _ in range(2):  # the second time another child takes over
        with pytest.raises(DecoderError, match=message):
            decoders.decode(*job)


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is limited on Linux alone")
def test_a_decoder_cannot_take_all_memory(job: tuple[Any, ...], start: Callable[..., Decoders]) -> None:
    """What asks for far more than the image needs gets nothing."""
    with pytest.raises(DecoderError, match="MemoryError"):
        start(WORST["no memory"]).decode(*job)


def test_what_a_decoder_prints_goes_nowhere(
    job: tuple[Any, ...], start: Callable[..., Decoders], capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither between the messages nor onto the user's screen."""
    np.testing.assert_array_equal(start(CHATTER).decode(*job), expected())

    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_child_that_is_killed_is_replaced(job: tuple[Any, ...], start: Callable[..., Decoders]) -> None:
    """The system may end a child at any time, for its memory or by Ctrl-C."""
    decoders = start()
    decoders.decode(*job)
    (child,) = decoders._idle
    os.kill(child._process.pid, signal.SIGKILL)
    child._process.wait(timeout=20)

    np.testing.assert_array_equal(decoders.decode(*job), expected())


def test_threads_share_the_children(job: tuple[Any, ...], start: Callable[..., Decoders]) -> None:
    """Never more children than allowed, and every thread gets its own picture."""
    decoders = start(most=2)

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: decoders.decode(*job), range(24)))

    for values in found:
        np.testing.assert_array_equal(values, expected())
    assert 1 <= len(decoders._idle) <= 2


def test_too_large_an_image_is_refused_unseen(job: tuple[Any, ...], start: Callable[..., Decoders]) -> None:
    """No child is started for it."""
    codestream, syntax, options = job
    decoders = start(WORST["abort"])

    with pytest.raises(DecoderError, match="at most 268435456 values in an image, found 65535 x 65535 pixels"):
        decoders.decode(codestream, syntax, {**options, "rows": 65535, "columns": 65535})


@pytest.mark.parametrize("program", ["", "/no/such/python"], ids=["none", "not there"])
def test_without_a_python_to_start_the_reason_is_said(
    job: tuple[Any, ...], start: Callable[..., Decoders], monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """Programs that carry a Python inside may not know where it is; no file is to blame."""
    monkeypatch.setattr(sys, "executable", program)

    with pytest.raises(ReadError, match=r"Cannot start a process that decodes compressed images: .* uncompressed"):
        start().decode(*job)


@pytest.mark.parametrize("worst", ["abort", "hang"])
def test_a_series_is_refused_with_file_syntax_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[..., Decoders], worst: str
) -> None:
    """The reader of the message knows which file to export again, and why."""
    for path in make_series(tmp_path, Plan(shape=(64, 65, 3)), names="slice-{}".format):
        dataset = dcmread(path)
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.save_as(path)
    monkeypatch.setattr(module, "_shared", start(WORST[worst], patience=0.2))

    with pytest.raises(
        ReadError, match=r"pixel data of slice-0 \(JPEG 2000.*\) is damaged, or .*: its decoder .*Export"
    ):
        read(tmp_path)


# A user's script without any guard against being run twice, in a thread, which then dies without a farewell.
SCRIPT = """
import os, sys, threading
print("script", flush=True)
from lesionlens.io.dicom.decoders import decoders
from lesionlens.io.dicom.pixels import pictures_in
content = open(sys.argv[1], "rb").read()
thread = threading.Thread(target=lambda: print(*(p.decode().sum() for p in pictures_in(content, "x")), flush=True))
thread.start()
thread.join()
print(*(child._process.pid for child in decoders()._idle), flush=True)
os._exit(0)
"""


def test_a_script_needs_no_guard_and_its_children_end_with_it(tmp_path: Path) -> None:
    """Children neither run the script again nor outlive it, however it ends."""
    psutil = pytest.importorskip("psutil")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(get_testdata_file(NAME))],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    once, total, pid = done.stdout.split()

    assert (once, int(total)) == ("script", int(expected().sum()))
    if psutil.pid_exists(int(pid)):
        psutil.Process(int(pid)).wait(timeout=20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_has_children_of_its_own() -> None:
    """Two processes that write into one pipe would decode each other's pictures."""
    before = module.decoders()

    pid = os.fork()
    if not pid:
        os._exit(int(module.decoders() is before))

    assert os.waitpid(pid, 0)[1] == 0
    assert module.decoders() is before


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEG2000Lossless, lambda image: imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True)),
        (JPEGLosslessSV1, imagecodecs.ljpeg_encode),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (HTJ2KLossless, lambda image: imagecodecs.htj2k_encode(image, reversible=True)),
    ],
    ids=["JPEG 2000", "JPEG lossless", "JPEG-LS", "HTJ2K"],
)
def test_the_memory_that_is_allowed_is_enough_for_large_images(
    start: Callable[..., Decoders], rng: np.random.Generator, syntax: UID, encode: Callable[[Any], bytes]
) -> None:
    """Radiographs have millions of pixels; noise is what packs worst."""
    image = rng.integers(0, 2**14, (2000, 2000), np.uint16)
    options: dict[str, Any] = {
        "rows": 2000,
        "columns": 2000,
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "bits_stored": 16,
    }
    options |= {"pixel_representation": 0, "photometric_interpretation": "MONOCHROME2", "number_of_frames": 1}

    np.testing.assert_array_equal(start().decode(bytes(encode(image)), str(syntax), options), image)
