"""Files and standard streams of the commands; `-` is standard input or output."""

import codecs
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from podpower.cli.arguments import UsageError
from podpower.errors import InvalidInput

STANDARD = "-"
MOST_BYTES = 1 << 30  # of one input: `kubectl get all -A -o yaml` of 50,000 pods has less
_CHUNK_BYTES = 1 << 20


def read_bytes(path: str) -> bytes:
    """Read a file or standard input. InvalidInput when there is no such file, or for more than MOST_BYTES."""
    if path == STANDARD:
        if sys.stdin is None:
            raise InvalidInput("standard input is closed: pipe something into it, or give a file in place of -")
        return _bounded(sys.stdin.buffer, path)
    if not path:
        raise InvalidInput("the name of a file is empty: is a variable not set?")
    if Path(path).is_dir():
        raise InvalidInput(f"{path} is a folder: name a file")
    try:
        with Path(path).open("rb") as stream:
            return _bounded(stream, path)
    except FileNotFoundError:
        hint = f": curl -fsSL {path} | podpower predict -f -" if path.startswith(("http://", "https://")) else ""
        raise InvalidInput(f"{path}: no such file{hint}") from None


def _bounded(stream: BinaryIO, path: str) -> bytes:
    found = io.BytesIO()
    while found.tell() <= MOST_BYTES and (chunk := stream.read(_CHUNK_BYTES)):
        found.write(chunk)
    if found.tell() > MOST_BYTES:
        raise InvalidInput(f"{display_name(path)} has more than {MOST_BYTES >> 20} MiB: give it in parts")
    return found.getvalue()


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
    """Return the name of a path in messages; a byte that is not UTF-8 becomes a question mark."""
    return "standard input" if path == STANDARD else os.fsencode(path).decode("utf-8", "replace")


def accept_every_character() -> None:
    """Escape what the encoding of standard output or error lacks, where Python would raise UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def prints_unicode() -> bool:
    """Return False where the encoding of standard output lacks characters: data formats then have escapes of their
    own.
    """
    encoding = getattr(sys.stdout, "encoding", None)
    return encoding is None or codecs.lookup(encoding).name.startswith("utf")
