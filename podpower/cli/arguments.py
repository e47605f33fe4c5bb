"""Parser of the commands, with usage errors of one line, and argument types that they share."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

from podpower.cli import output
from podpower.kubernetes.limits import MAX_NODES
from podpower.numbers import number_in, whole_number_in

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h|d|w|)")
_CHOICE = re.compile(r"argument (?P<name>.+?): invalid choice: '(?P<given>[^']*)' \(choose from (?P<choices>.*)\)")
_TIME_OPTIONS = ("--start", "--end")
_BACKWARDS = re.compile(r"-\d.*")
# Commands of other programs, and how podpower has them.
_OTHER_WORDS = {"help": ["--help"], "version": ["--version"], "explain": ["predict --explain"]}
_UNIT_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class UsageError(Exception):
    """Arguments that contradict each other; ends the command with exit code 2, like errors of argparse."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose usage errors are one line that names the help of the command."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)  # --out must not come to mean --output when that is added
        super().__init__(**options)
        self._given: list[str] = []

    def error(self, message: str) -> NoReturn:
        """Print the one line and exit with 2. An unknown option is named first: often it is a missing one misspelt."""
        unknown = self._unknown_option()
        if unknown is not None and ("required" in message or "unrecognized" in message):
            near = difflib.get_close_matches(unknown, self._option_string_actions, n=1)
            message = f"no such option: {unknown}" + (f"; did you mean {near[0]}?" if near else "")
        elif wrong := _CHOICE.fullmatch(message):
            choices = re.findall(r"[\w.-]+", wrong["choices"])
            near = _OTHER_WORDS.get(wrong["given"], []) or difflib.get_close_matches(wrong["given"], choices, n=1)
            what = "command" if wrong["name"].endswith("COMMAND") else wrong["name"].rpartition("/")[2]
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}"
            message = f"no such {what}: {wrong['given']}; {hint}"
        raise SystemExit(self.complain(self.prog, message))

    def _unknown_option(self) -> str | None:
        for argument in self._given:
            name = argument.partition("=")[0]
            if name == "--":
                return None
            if name.startswith("--") and name not in self._option_string_actions:
                return name
        return None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, with `--start -6h` as `--start=-6h`: argparse takes -6h for an option."""
        given = sys.argv[1:] if args is None else list(args)
        joined: list[str] = []
        for argument in given:
            if joined and joined[-1] in _TIME_OPTIONS and _BACKWARDS.fullmatch(argument):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        self._given = joined
        arguments, unknown = super().parse_known_args(joined, namespace)
        if unknown:  # here, so that the message names the command and not only podpower
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return arguments, unknown

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help or the version. OSError on a full disk or a closed pipe, which argparse ignores."""
        (file or sys.stderr).write(message)

    @staticmethod
    def complain(prog: str, message: str) -> int:
        """Print `message` as a usage error of `prog`; return the exit code."""
        output.note(f"error: {' '.join(message.split())} (see `{prog} --help`)")
        return 2


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    details: str = "",
    aliases: Sequence[str] = (),
) -> Parser:
    """Add a command that calls `run`; `details` (examples, units) is shown below its options, `aliases` are its old
    names.
    """
    parser = commands.add_parser(name, help=summary, description=summary, epilog=details, aliases=aliases)
    parser.set_defaults(run=run, prog=parser.prog)
    add_debug(parser, default=argparse.SUPPRESS)
    return parser


def add_group(commands: Commands, name: str, *, summary: str) -> Commands:
    """Add a command that groups other commands."""
    parser = commands.add_parser(name, help=summary, description=summary)
    return parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True, title="commands")


def add_debug(parser: Parser, *, default: Any) -> None:
    """Add --debug. `default` keeps the option of a command from undoing the one before its name."""
    parser.add_argument("--debug", action="store_true", default=default, help="show the traceback of an error")


def seconds(text: str) -> float:
    """Return a positive duration in seconds, from `60s`, `5m`, `1h`, `2d` or plain seconds."""
    match = _DURATION.fullmatch(text)
    value = float(match["number"]) * _UNIT_SECONDS[match["unit"]] if match else 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: write 60s, 5m or 1h")
    return value


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    value = whole_number_in(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def bounded(most: float, *, least: float = 0.0) -> Callable[[str], float]:
    """Return a type of numbers from `least` to `most`."""

    def number(text: str) -> float:
        value = number_in(text)
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}")
        return value

    return number


def count(text: str) -> int:
    """Return a number of nodes: a whole number from 0 to MAX_NODES."""
    value = whole_number_in(text)
    if value is None or len(text) > len(str(MAX_NODES)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {MAX_NODES}")
    return value


def name(text: str) -> str:
    """Accept a name that can be printed, and written in UTF-8."""
    if not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: it has characters that cannot be printed")
    return text


def port(text: str) -> int:
    """Return a TCP port; 0 takes a free one."""
    value = whole_number_in(text)
    if value is None or value > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: write a number from 0 to 65535")
    return value


def namespaced(text: str) -> str:
    """Accept NAMESPACE/NAME of an object."""
    if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9.-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no object of a namespace: write NAMESPACE/NAME")
    return text
