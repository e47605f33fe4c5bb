"""Observers of a cluster as processes, which can be killed at a given line of the code that writes.

They are forked from a server that has everything imported: a start costs milliseconds instead of a second.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import anyio._backends._asyncio  # here and below: imported once, before the fork
import anyio.streams.tls  # noqa: F401
import h11  # noqa: F401
import httpcore  # noqa: F401
import kubernetes.config  # noqa: F401
import upath.implementations.local  # noqa: F401

import podpower.collector.journal
import podpower.collector.ndjson
import podpower.collector.output
import podpower.collector.post
import podpower.collector.watch  # noqa: F401
from podpower.cli import main

# A kill at one of their lines leaves every state that a kill can leave: nothing, a part, or all of what they write.
WRITING = {
    "collector/checkpoint.py": {"begin", "keep", "write", "_append"},
    "collector/output.py": {"write", "keep_unwritten", "checkpoint", "_resume"},
    "collector/flushing.py": {"store", "finish_hours", "_flush", "_begin", "_end", "_create"},
    "collector/compaction.py": {"compact", "prune"},
    "journal/files.py": {"create", "remove_flushes", "remove_hour", "_remove"},
    "io/files.py": {"write_atomically", "atomic_file", "_beside", "_sync", "create_file", "_link_unless_exists"},
}
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def start(run: Callable[..., None], *arguments: Any, folder: Path, die_at: int | None = None) -> Any:
    """A process that runs one of the functions below, its output in `folder`/stdout and stderr. It kills itself at line
    number `die_at` of those that write.
    """
    # The server of forks has the environment of the time at which it was started.
    process = _CONTEXT.Process(target=_run, args=(run, arguments, str(folder), die_at, dict(os.environ)))
    process.start()
    return process


def watch(*options: str) -> None:
    """`podpower collect watch`."""
    sys.exit(main(["collect", "watch", *options]))


def collect(later_s: float, flush_s: float, *options: str) -> None:
    """`podpower collect watch`, with a clock that is `later_s` ahead and a flush every `flush_s`."""
    real = time.time
    time.time = lambda: real() + later_s
    watch("--flush-every", str(flush_s), *options)


def _run(
    run: Callable[..., None], arguments: tuple[Any, ...], folder: str, die_at: int | None, environment: dict[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    if die_at is not None:
        sys.settrace(countdown := _countdown(die_at))
        threading.settrace(countdown)  # the journal is stored in threads
    run(*arguments)


def _countdown(lines: int) -> Callable[[FrameType, str, Any], Any]:
    left = lines

    def line(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return line

    def call(frame: FrameType, _event: str, _argument: Any) -> Any:
        module = "/".join(frame.f_code.co_filename.rsplit("/", 2)[-2:])
        return line if frame.f_code.co_name in WRITING.get(module, ()) else None

    return call
