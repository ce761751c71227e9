#!/bin/sh
# Build the virtual environment: find a Python, make the environment, install the package with pinned versions.
#
# Usage: [PYTHON=python3.12] scripts/setup.sh [FOLDER]
# Safe to run again: an interrupted or outdated environment is completed, a broken one is built anew.
set -eu

VENV=${1:-.venv}
MINIMUM=3.11

say() { printf '%s\n' "lesionlens setup: $*"; }
fail() { printf '%s\n' "lesionlens setup: $*" >&2; exit 1; }

# A name on the PATH proves nothing (pyenv leaves a stub for every version): the program has to run and be new enough.
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
makes_environments() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Tested versions first, then whatever the system calls python3. One that can make environments beats one that cannot.
CANDIDATES="python3.13 python3.12 python3.11 python3"
find_python() {
    incomplete=
    for candidate in ${PYTHON:-$CANDIDATES}; do
        new_enough "$candidate" || continue
        if makes_environments "$candidate"; then
            command -v "$candidate"
            return
        fi
        [ -n "$incomplete" ] || incomplete=$(command -v "$candidate")
    done
    printf '%s\n' "$incomplete"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_apt() {
    [ -z "${LESIONLENS_NO_APT:-}" ] && command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }
}

# Debian and Ubuntu cut venv out of Python into a package of its own.
add_venv_package() {
    package=python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
    if may_apt; then
        say "installing $package"
        as_root apt-get update -qq </dev/null &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" \
                </dev/null >/dev/null || true
    fi
    makes_environments "$1" ||
        fail "$1 cannot make virtual environments. Install the package $package (sudo apt-get install $package) and run make again."
}

python=$(find_python)
[ -n "$python" ] || fail "Python $MINIMUM or newer is needed; none of these is that: ${PYTHON:-$CANDIDATES}." \
    "Install it (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.13)" \
    "or name one: make PYTHON=/path/to/python3.12 ..."
makes_environments "$python" || add_venv_package "$python"

if [ -d "$VENV" ] && ! { new_enough "$VENV/bin/python" && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }; then
    say "$VENV does not work any more; building it anew"
    rm -rf "$VENV"
fi
if [ ! -d "$VENV" ]; then
    say "making $VENV with $python ($("$python" --version))"
    "$python" -m venv "$VENV" || { rm -rf "$VENV"; fail "could not make $VENV with $python."; }
fi

# Byte code is written when a module is first used; compiling all of it now would cost a minute.
say "installing the package and what it needs, at the versions of constraints.txt (a few minutes the first time)"
# On a terminal pip shows what it downloads; in a log that would be hundreds of lines.
quiet=--quiet
[ ! -t 1 ] || quiet=
# shellcheck disable=SC2086  # nothing, or one word
"$VENV/bin/python" -m pip install $quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[gui,dev,openvino]" ||
    fail "pip could not install the packages; its message is above. Nothing else was changed; run make again when it is solved."

"$VENV/bin/python" scripts/system_libraries.py
say "ready"
