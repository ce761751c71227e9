"""The command line: parse, call the core, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import signal
import threading
from typing import NoReturn

import typer

from lesionlens.cli import (
    batch,
    bundles,
    calibrate,
    compare,
    evaluate,
    export,
    importance,
    info,
    lesion_changes,
    methods,
    pacs,
    registration,
    report,
    review,
    run,
    trust,
    view,
)
from lesionlens.cli.options import NOTICE, Version
from lesionlens.errors import LesionLensError

__all__ = ["app", "main"]

app = typer.Typer(
    name="lesionlens",
    help=f"LesionLens shows what a medical imaging model sees. {NOTICE}",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
methods.register(app)
importance.register(app)
trust.register(app)
compare.register(app)
lesion_changes.register(app)
calibrate.register(app)
registration.register(app)
run.register(app)
export.register(app)
report.register(app)
batch.register(app)
evaluate.register(app)
info.register(app)
view.register(app)
bundles.register(app)
pacs.register(app)
review.register(app)


@app.callback()
def _root(version: Version = False) -> None:
    pass


def _stop(*_: object) -> NoReturn:
    """Turn a polite kill into an exception, so that half-written files are removed on the way out."""
    raise KeyboardInterrupt


# What typer exits with after Ctrl-C; our exit codes are 0, 1 and 2.
_TYPER_INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 when all went well, 1 when the work failed or was stopped, 2 for wrong usage.
    """
    try:
        if threading.current_thread() is threading.main_thread():  # Python allows no other to handle signals
            signal.signal(signal.SIGTERM, _stop)
        app(args=argv, prog_name="lesionlens")
    except SystemExit as stop:  # typer ends this way: usage errors are printed already
        if stop.code == _TYPER_INTERRUPTED:
            return _stopped()
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except LesionLensError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _stopped()
    except MemoryError:
        return _fail("out of memory; use a machine with more memory, or a smaller scan.")
    except Exception as error:  # a bug of ours; a traceback would tell the user nothing
        if os.environ.get("LESIONLENS_DEBUG"):
            raise
        return _fail(f"unexpected {type(error).__name__}: {error}. Set LESIONLENS_DEBUG=1 for details, and report it.")
    return 0


def _stopped() -> int:
    # An interrupt inside eval(), as of a bundle's expression, leaves a mark with which "python -m" dies by the signal
    # in the end, whatever was made of it. Only another eval() takes the mark away.
    eval("None")
    return _fail("stopped; nothing was written.")


def _fail(message: str) -> int:
    typer.echo(f"Error: {' '.join(message.split())}", err=True)
    return 1
