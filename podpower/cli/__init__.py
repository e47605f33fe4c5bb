"""The command line: one file for each command, which parses, calls the library and prints.

Command modules import nothing heavy before they run, so that help is quick and the base install, which has neither
polars nor Dagster, can name the extra that a command needs. Results go to standard output, everything else to standard
error; exit codes are 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 output no longer read.
"""

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from podpower import settings
from podpower.cli import defaults, output, streams
from podpower.cli.arguments import Parser, UsageError
from podpower.cli.commands import build_parser
from podpower.cli.packages import check_packages, missing_package
from podpower.errors import PodpowerError

_SIGPIPE_CODE = 141  # 128 + SIGPIPE, as shells report other programs in a pipe


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, `sys.argv` unless given, and return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    # The defaults of a project can be of any command.
    return run_parser(lambda: build_parser(() if defaults.are_there() else given), given)


def run_parser(build: Callable[[], Parser], argv: Sequence[str] | None = None) -> int:
    """Run the command that a parser finds, `sys.argv` unless given, and return its exit code."""
    _open_closed_streams()
    atexit.register(gc.freeze)  # the last collection, of modules that end anyway, is left out
    streams.accept_every_character()
    settings.give_back_memory()
    debug, command = False, ""
    try:
        try:
            parser = build()
            defaults.apply(parser)
            arguments = parser.parse_args(argv)
            debug = getattr(arguments, "debug", False)
            command = str(getattr(arguments, "command", ""))
            arguments.settings = settings.read()
            check_packages(command)
            code: int = arguments.run(arguments)
        except SystemExit as done:  # raised by argparse after --help, --version and usage errors
            code = done.code if isinstance(done.code, int) else 2
        sys.stdout.flush()  # a closed pipe or a full disk raises here and not at exit
    except BrokenPipeError:
        # The reader has enough, as in `podpower ... | head`. Python would fail again to flush what is left at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE_CODE
    except KeyboardInterrupt:
        return 130
    # The boundary to people: every error becomes one line; --debug shows the traceback.
    except Exception as error:  # a defect is one line, too
        if debug:
            for line in traceback.format_exc().splitlines():
                output.note(line)
        if isinstance(error, UsageError):
            return Parser.complain(arguments.prog, str(error))
        output.note(f"error: {_one_line(error, command=command)}")
        return 1
    return code


def _open_closed_streams() -> None:
    """Replace standard streams that the caller closed (`podpower ... >&-`): Python has None there."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # open until the process ends
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _one_line(error: Exception, *, command: str = "") -> str:
    """Return the message of an error in one line, with what to do about it."""
    if isinstance(error, PodpowerError):
        message = str(error)
    elif isinstance(error, ModuleNotFoundError) and (hint := missing_package(error, command=command)):
        message = hint
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
    else:
        message = (
            f"unexpected {type(error).__name__}: {error} (a defect of podpower: run again with --debug and report what "
            "it prints)"
        )
    return " ".join(message.split())
