#!/bin/sh
# Run pytest without a screen, with the arguments given.
#
# Where xvfb-run is installed the whole suite runs on virtual X displays, so that the tests marked xvfb see real pixels;
# of several test processes each has one of its own (tests/screens.py). Elsewhere Qt draws offscreen and those tests are
# skipped by name. Where Qt cannot start at all, its tests are left out, and a line says so.
set -eu

BIN=${VENV:-.venv}/bin

# Every test process has a core of its own; threads of two of them would only fight over it.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 LP_NUM_THREADS=1
export PYTEST_QT_API=pyside6 QT_API=pyside6
unset WAYLAND_DISPLAY

if ! "$BIN/python" -c 'from PySide6 import QtOpenGLWidgets' 2>/dev/null; then
    echo "GUI tests are left out: Qt does not start on this machine (see 'lesionlens setup' above for what is missing)."
    set -- "$@" -p no:pytest-qt -p no:napari --ignore=tests/ui
fi

if command -v xvfb-run >/dev/null 2>&1 && command -v xauth >/dev/null 2>&1; then
    export QT_QPA_PLATFORM=xcb
    exec xvfb-run --auto-servernum --server-args="-screen 0 1600x1000x24" "$BIN/python" -m pytest "$@"
fi
export QT_QPA_PLATFORM=offscreen
exec "$BIN/python" -m pytest "$@"
