"""Files and standard streams of the commands; `-` is standard input or output."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from podpower.cli.arguments import UsageError
from podpower.errors import InvalidInput

STANDARD = "-"


def read_bytes(path: str) -> bytes:
    """Read a file or standard input. InvalidInput when there is no such file."""
    if path == STANDARD:
        if sys.stdin is None:
            raise InvalidInput("standard input is closed: pipe something into it, or give a file in place of -")
        return sys.stdin.buffer.read()
    if Path(path).is_dir():
        raise InvalidInput(f"{path} is a folder: name a file")
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file") from None


def standard_output() -> BinaryIO:
    """Return standard output for bytes."""
    return sys.stdout.buffer


def check_output(out: str, *, inputs: Sequence[str]) -> None:
    """Raise UsageError when `out` is one of the inputs: a command must not overwrite what it reads."""
    if out == STANDARD:
        return
    for path in inputs:
        if path != STANDARD and Path(path).resolve() == Path(out).resolve():
            raise UsageError(f"the output {out} is also the input: write to another file")


def check_inputs(*paths: str | None) -> None:
    """Raise UsageError when standard input, which can be read once, is named twice."""
    if paths.count(STANDARD) > 1:
        raise UsageError("only one input can be standard input (-): give files for the others")


def display_name(path: str) -> str:
    """Return the name of a path in messages."""
    return "standard input" if path == STANDARD else path
