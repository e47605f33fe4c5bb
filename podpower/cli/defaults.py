"""`podpower.yaml` in the current folder: defaults of options, which the command line overrides.

price: 0.30            # of every command that has the option
carbon: grid.csv
diff:                  # of one command
  fail-increase: [5%, 10kWh]
"""

import argparse
import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from podpower.cli.arguments import Parser
from podpower.cli.commands import COMMANDS
from podpower.errors import InvalidInput

FILE: Final = "podpower.yaml"
# Options that describe a project. Others stay on the command line: files that are written, and the address of
# Prometheus, which credentials of the environment are sent to. A pull request can change podpower.yaml.
OPTIONS: Final = (
    "price", "currency", "pue", "carbon", "scope", "idle-w-per-vcpu", "usage", "cluster", "node-type", "nodes",
    "encoder", "model", "fail-above", "fail-increase", "fail-decrease", "format", "by", "sort", "limit",
)  # fmt: skip

FILES: Final = ("carbon", "usage", "encoder", "model")


def are_there(path: str = FILE) -> bool:
    """Return whether there is a file of defaults."""
    return Path(path).is_file()


def apply(parser: Parser, *, path: str = FILE) -> None:
    """Set the defaults of a file, if there is one. InvalidInput names what is wrong in it; sections for commands that
    the parser lacks are left to these.
    """
    if not are_there(path):
        return
    from podpower.io.config_files import read_config  # rarely there  # noqa: PLC0415

    content = read_config(Path(path)) or {}
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} must have lines such as `price: 0.30`")
    commands = _commands(parser)
    others = {*COMMANDS} - {*commands}
    content = {name: value for name, value in content.items() if name not in others}
    _check(content, commands, path)
    for name, value in content.items():
        if name not in commands:
            _set_general(name, value, commands.values(), path)
    for command, found in commands.items():
        if own := content.get(command):
            _set(found, own, path, only_known=False)


def _check(content: Mapping[Any, Any], commands: Collection[str], path: str) -> None:
    """Raise InvalidInput for the first name that is unknown, and for a value of another form than its name has."""
    for name, value in content.items():
        _check_name(name, path, where="", known=[*OPTIONS, *commands])
        if isinstance(value, dict) and name not in commands:
            raise InvalidInput(f"{path}: {name} must be a value, or a list of values")
        if name in commands and value is not None and not isinstance(value, dict):
            raise InvalidInput(f"{path}: {name} is a command: write its options below it")
        for own in value if isinstance(value, dict) else ():
            _check_name(own, path, where=f"{name}.", known=OPTIONS)


def _set_general(name: Any, value: Any, parsers: Iterable[argparse.ArgumentParser], path: str) -> None:
    """Set an option of every command that has it. A value that fits one of them, such as a format, is left out where it
    does not fit.
    """
    fits, wrong = False, None
    for parser in parsers:
        try:
            fits = _set(parser, {name: value}, path, only_known=True) or fits
        except InvalidInput as error:
            wrong = error
    if wrong is not None and not fits:
        raise wrong


def _commands(parser: Parser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:  # argparse has no other way
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _check_name(name: Any, path: str, *, where: str, known: Any) -> None:
    if str(name).replace("_", "-") not in known:
        near = difflib.get_close_matches(str(name)[:60], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(OPTIONS)}"
        raise InvalidInput(f"{path}: no option {where}{str(name)[:60]!r}; {hint}")


def _set(parser: argparse.ArgumentParser, values: dict[str, Any], path: str, *, only_known: bool) -> bool:
    """Set the defaults of one command; return whether it has such an option."""
    known = False
    for given, value in values.items():
        name = str(given).replace("_", "-")
        action = parser._option_string_actions.get(f"--{name}")
        if action is None:
            if not only_known:
                raise InvalidInput(f"{path}: {parser.prog} has no option {name}")
            continue
        known = True
        appends = isinstance(action, argparse._AppendAction)
        texts = _texts(value, name=name, path=path, several=appends)
        if name in FILES:
            for text in texts:
                _check_inside(text, name, path)
        try:
            parsed = [_parsed(action, text) for text in texts]
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise InvalidInput(f"{path}: {name}: {error}") from None
        parser.set_defaults(**{action.dest: parsed if appends else parsed[0]})
    return known


def _texts(value: Any, *, name: str, path: str, several: bool) -> list[str]:
    """Return what would be given on the command line."""
    values = value if isinstance(value, list) and several else [value]
    if any(isinstance(part, list | dict) or part is None for part in values):
        raise InvalidInput(f"{path}: {name} must be a value{', or a list of values' if several else ''}")
    return [str(part) for part in values]


def _check_inside(text: str, name: str, path: str) -> None:
    """Refuse files outside the folder of the defaults, which errors could show a line of."""
    if not Path(text).resolve().is_relative_to(Path(path).resolve().parent):
        raise InvalidInput(f"{path}: {name}: {text[:60]!r} is outside this folder; give it as --{name}")


def _parsed(action: argparse.Action, text: str) -> Any:
    value = action.type(text) if callable(action.type) else text
    if action.choices is not None and value not in action.choices:
        raise ValueError(f"{text[:60]!r} is not one of {', '.join(map(str, action.choices))}")
    return value
