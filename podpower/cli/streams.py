"""Files and standard streams of the commands: `-` stands for standard input or output."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from podpower.cli.arguments import UsageError
from podpower.errors import InvalidInput

STANDARD = "-"


def read_bytes(path: str) -> bytes:
    """All of a file or of standard input; InvalidInput when there is no such file."""
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
    """Standard output for bytes."""
    return sys.stdout.buffer


def check_output(out: str, *, inputs: Sequence[str]) -> None:
    """UsageError when `out` is one of the inputs: a command must not destroy what it reads."""
    if out == STANDARD:
        return
    for path in inputs:
        if path != STANDARD and Path(path).resolve() == Path(out).resolve():
            raise UsageError(f"the output {out} is also the input: write to another file")


def check_inputs(*paths: str | None) -> None:
    """UsageError when more than one is to be read from standard input, which can be read once."""
    if paths.count(STANDARD) > 1:
        raise UsageError("only one input can be standard input (-): give files for the others")


def display_name(path: str) -> str:
    """How a path is named in messages."""
    return "standard input" if path == STANDARD else path
