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
from importlib.util import find_spec

from podpower import settings
from podpower.cli import defaults, output, streams
from podpower.cli.arguments import Parser, UsageError
from podpower.cli.commands import build_parser
from podpower.errors import PodpowerError

_SIGPIPE_CODE = 141  # 128 + SIGPIPE, as shells report other programs in a pipe

# The extra that installs a missing package.
_EXTRAS = {
    "pipeline": ("polars", "pyarrow", "scipy", "matplotlib", "faiss"),
    "serving": ("litestar", "uvicorn", "swagger_ui"),
    "k8s": ("kubernetes", "prometheus_client", "httpx", "stamina"),
    "assets": ("dagster", "dagster_webserver", "psutil"),
    "postgres": ("dagster_postgres", "sqlalchemy", "psycopg2"),
    "pandas": ("pandas",),
    "sbert": ("sentence_transformers",),
    "s3": ("s3fs",),
    "gs": ("gcsfs",),
}


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
            _check_packages(command)
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
    elif isinstance(error, ModuleNotFoundError) and (hint := _missing_package(error.name or "", command)):
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


# The extras that a command needs as a whole, so that no hint is followed by another one.
_NEEDS = {
    **dict.fromkeys(("simulate", "encode", "label", "join", "train", "evaluate"), "pipeline"),
    **dict.fromkeys(("collect", "record"), "k8s"),
    "doctor": "k8s,pipeline",
    "comment": "ci",
    "top": "pipeline",
    "serve": "serving",
    **dict.fromkeys(("demo", "up"), "assets,serving"),
}
_STARTS_OTHERS = ("demo", "up")
_OF_COMMANDS = ("pipeline", "serving", "k8s", "assets")


def _check_packages(command: str) -> None:
    """Raise ModuleNotFoundError where a command that starts others lacks a package of its extras: each of these would
    name only its own.
    """
    if command not in _STARTS_OTHERS:
        return
    for extra in _NEEDS[command].split(","):
        for package in _EXTRAS[extra]:
            if find_spec(package) is None:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def _missing_package(name: str, command: str) -> str | None:
    package = name.partition(".")[0]
    for found, packages in _EXTRAS.items():
        if package in packages:
            extra = _NEEDS.get(command, found) if found in _OF_COMMANDS else found
            return f"this command needs {package}: pip install 'podpower[{extra}]'"
    return None
