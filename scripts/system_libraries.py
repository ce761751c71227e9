"""Install, or at least name, the system libraries that Qt and PDF reports need on Linux, and an archive for the tests.

PySide6's wheels bring Qt but not the libraries of the desktop below it. Where this process may install packages
(Debian or Ubuntu, as root or with a sudo that asks for no password) the missing ones are installed. Elsewhere they are
named and the set-up goes on: everything but the viewer and PDF works without them. Always exits with 0.

The archive (Orthanc) is a server, which nobody wants on a desktop for the sake of some tests: it is installed in
containers and in continuous integration alone, and not started. Without it those tests are skipped by name.

Standard library only: it runs before anything can be relied upon.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Debian's package for each shared library that Qt's core, its OpenGL canvas and its xcb platform plugin load, and PDF.
LIBRARIES = {
    "libgl1": "libGL.so.1",
    "libegl1": "libEGL.so.1",
    "libglib2.0-0": "libglib-2.0.so.0",
    "libxkbcommon-x11-0": "libxkbcommon-x11.so.0",
    "libdbus-1-3": "libdbus-1.so.3",
    "libfontconfig1": "libfontconfig.so.1",
    "libxcb-cursor0": "libxcb-cursor.so.0",
    "libxcb-icccm4": "libxcb-icccm.so.4",
    "libxcb-image0": "libxcb-image.so.0",
    "libxcb-keysyms1": "libxcb-keysyms.so.1",
    "libxcb-randr0": "libxcb-randr.so.0",
    "libxcb-render-util0": "libxcb-render-util.so.0",
    "libxcb-shape0": "libxcb-shape.so.0",
    "libxcb-xinerama0": "libxcb-xinerama.so.0",
    "libxcb-xkb1": "libxcb-xkb.so.1",
    # Reports as PDF: WeasyPrint loads these, and more through them.
    "libpango-1.0-0": "libpango-1.0.so.0",
    "libpangoft2-1.0-0": "libpangoft2-1.0.so.0",
    "libharfbuzz-subset0": "libharfbuzz-subset.so.0",
}

# The virtual display of the tests and of the demo's screenshot. xvfb-run needs xauth, which Debian only recommends.
PROGRAMS = {"xvfb": "xvfb-run", "xauth": "xauth"}

# What the tests of archives run, by Debian's package.
ARCHIVE = {
    "orthanc": Path("/usr/sbin/Orthanc"),
    "orthanc-dicomweb": Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"),
}
# Asked by Debian's packages whether they may start what they install; 101 says no.
POLICY = Path("/usr/sbin/policy-rc.d")

# OpenGL drivers are plugins of libGL: no program links them, so only their folder tells whether there are any.
DRIVER_PACKAGE = "libgl1-mesa-dri"
DRIVER_FOLDERS = ("/usr/lib/*/dri", "/usr/lib/dri", "/usr/lib64/dri")


def loads(library: str) -> bool:
    """Say whether the dynamic loader finds a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_driver() -> bool:
    """Say whether there is an OpenGL driver."""
    root = Path("/")
    return any(any(root.glob(f"{folder.lstrip('/')}/*.so")) for folder in DRIVER_FOLDERS)


def missing_packages() -> list[str]:
    """Return Debian's names of the packages whose libraries or programs are not there."""
    libraries = [package for package, library in LIBRARIES.items() if not loads(library)]
    driver = [] if has_driver() else [DRIVER_PACKAGE]
    programs = [package for package, program in PROGRAMS.items() if shutil.which(program) is None]
    return libraries + driver + programs


def apt_command() -> list[str] | None:
    """Return how this process may call apt-get, or None where it may not."""
    if os.environ.get("LESIONLENS_NO_APT") or shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    if shutil.which("sudo") and run(["sudo", "-n", "true"]):
        return ["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    return None


def run(command: Sequence[str]) -> bool:
    """Run a command without input and without output, and say whether it succeeded."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def install(apt: Sequence[str], packages: Sequence[str]) -> None:
    """Install packages; one that this release of the system does not know must not keep the others out."""
    run([*apt, "update", "-qq"])
    options = ["install", "-y", "-qq", "--no-install-recommends"]
    if not run([*apt, *options, *packages]):
        for package in packages:
            run([*apt, *options, package])


def install_archive() -> None:
    """Install what the tests of archives run, where nobody lives and it may be installed."""
    missing = [package for package, file in ARCHIVE.items() if not file.exists()]
    is_container = os.geteuid() == 0 and not Path("/run/systemd/system").exists()
    apt = apt_command() if missing and (is_container or os.environ.get("CI")) else None
    if apt is None:
        return
    say(f"installing an archive for the tests: {' '.join(missing)}")
    with no_new_services():
        install(apt, missing)


@contextmanager
def no_new_services() -> Iterator[None]:
    """Keep packages from starting services inside the block, where this process may say so."""
    if os.geteuid() != 0 or POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def say(message: str) -> None:
    """Print one line in the voice of the set-up."""
    print(f"lesionlens setup: {message}", flush=True)


def main() -> int:
    """Install or name what is missing."""
    if not sys.platform.startswith("linux"):
        return 0
    missing = missing_packages()
    apt = apt_command() if missing else None
    if apt is not None:
        say(f"installing system libraries: {' '.join(missing)}")
        install(apt, missing)
        missing = missing_packages()
    install_archive()
    if missing:
        say("the viewer, PDF and their tests need system packages that are missing and this account may not install.")
        say(f"On Debian or Ubuntu: sudo apt-get install {' '.join(missing)}")
        say("Everything else works without them; going on.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
