"""Several worker processes that share one socket: started, watched, replaced and stopped together.

The process that starts them imports nothing heavy, so that forking is cheap and safe: libraries that start threads are
imported by the workers. All accept connections from the same queue, so a worker that dies loses only its own.
"""

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final, NoReturn

from podpower_serving import hang_ups

_WAITS_SECONDS: Final = (0.0, 0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # before a worker that ended early is started again
_EARLY_SECONDS: Final = 10.0
_NO_ROOM_SECONDS: Final = 1.0  # for another process
_GRACE_SECONDS: Final = 20.0  # beyond the drain period, before workers are killed
_TICK_SECONDS: Final = 0.2
_START_SECONDS: Final = 120.0  # until the first beat: imports, and a look for the model
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)

_log = logging.getLogger("podpower.serving")


@dataclass(kw_only=True)
class _Worker:
    number: int
    pid: int | None = None
    started_s: float = 0.0
    early_ends: int = 0
    again_s: float = 0.0
    beats: int = 0
    responds: bool = False  # since it was started
    silent_ticks: int = 0


class Workers:
    """The processes. `run` returns when all of them ended after SIGINT, SIGTERM or SIGHUP."""

    def __init__(
        self,
        work: Callable[[int, int], None],
        *,
        number: int,
        drain_seconds: float,
        release: Callable[[], None],
        beats: Callable[[int], int],
        hung_seconds: float,
    ) -> None:
        """`work` is called in each process with its number and a file that ends when this process does; it serves until
        SIGINT or SIGTERM. `release` closes the socket here when the workers stop. `beats` returns a number that grows
        while the event loop of a worker runs; one whose number stays for `hung_seconds` is killed.
        """
        self._work, self._drain_seconds, self._release = work, drain_seconds, release
        self._beats, self._hung_seconds = beats, hung_seconds
        self._workers = [_Worker(number=place) for place in range(number)]
        self._stopping: int | None = None  # the signal
        self._alive, self._keep_alive = os.pipe()
        self._failed = False

    def run(self) -> int:
        """Start the workers, replace those that end, and stop all in order; return the exit code."""
        before = {sig: signal.signal(sig, self._stop) for sig in _STOPPING}
        wake, woken = os.pipe()
        for end in (wake, woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # ends the wait below
        try:
            with hang_ups.handled(self._hang_up):
                while self._stopping is None:
                    self._start_missing()
                    select.select([wake], [], [], _TICK_SECONDS)
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                    self._bury()
                    self._kill_hung()
                self._end(self._stopping)
        finally:
            signal.set_wakeup_fd(-1)
            for sig, handler in before.items():
                signal.signal(sig, handler)
        return 1 if self._failed else 0

    def _stop(self, sig: int, _frame: FrameType | None) -> None:
        if self._stopping is not None:  # a second signal: at once
            self._signal(signal.SIGINT)
        self._stopping = sig

    def _hang_up(self, _sig: int, _frame: FrameType | None) -> None:
        """Stop as after SIGTERM. It can come twice, from the terminal and from its shell."""
        if self._stopping is None:
            self._stopping = signal.SIGTERM

    def _start_missing(self) -> None:
        for worker in self._workers:
            if worker.pid is None and time.monotonic() >= worker.again_s:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        """Start a worker, later where the system has no room for another process: the other workers serve."""
        try:
            worker.pid = self._fork(worker.number)
        except OSError as error:
            worker.again_s = time.monotonic() + _NO_ROOM_SECONDS
            _log.error("worker %d is not started: %s; again in %g s", worker.number, error.strerror, _NO_ROOM_SECONDS)
            return
        worker.started_s = time.monotonic()
        worker.responds, worker.silent_ticks = False, 0

    def _fork(self, number: int) -> int:
        # A signal between the fork and the handlers of the worker would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            pid = os.fork()
            if pid == 0:
                self._in_worker(number)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        _log.info("worker %d is process %d", number, pid)
        return pid

    def _in_worker(self, number: int) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # terminals send it to all processes; one passes it on
            for sig in _STOPPING:
                signal.signal(sig, _stop_at_once)  # until the server takes over
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
            os.close(self._keep_alive)
            self._work(number, self._alive)
            code = 0
        except (KeyboardInterrupt, SystemExit) as stopped:
            code = stopped.code if isinstance(stopped, SystemExit) and isinstance(stopped.code, int) else 0
        except BaseException:  # os._exit below shows no traceback
            _log.exception("worker %d failed", number)
        finally:
            os._exit(code)

    def _bury(self) -> None:
        """Note which workers ended, and when they are started again."""
        for worker in self._workers:
            code = _ended(worker.pid)
            if code is None:
                continue
            now = time.monotonic()
            early = now - worker.started_s < _EARLY_SECONDS
            worker.early_ends = worker.early_ends + 1 if early else 0
            wait_seconds = _WAITS_SECONDS[min(worker.early_ends, len(_WAITS_SECONDS) - 1)]
            worker.pid, worker.again_s = None, now + wait_seconds
            if self._stopping is None:
                _log.error(
                    "worker %d ended (%s): it is started again in %g s", worker.number, _said(code), wait_seconds
                )
            elif code != 0:
                _log.error("worker %d ended (%s)", worker.number, _said(code))
                self._failed = True

    def _kill_hung(self) -> None:
        """Kill workers whose event loop does not run: stopped ones, and those that never return from a call.

        Counts ticks of this process, not time: where all processes were paused, nobody was silent.
        """
        for worker in self._workers:
            beats = self._beats(worker.number)
            if worker.pid is None or beats != worker.beats:
                worker.responds = worker.pid is not None
                worker.beats, worker.silent_ticks = beats, 0
                continue
            worker.silent_ticks += 1
            most_seconds = self._hung_seconds if worker.responds else max(self._hung_seconds, _START_SECONDS)
            if worker.silent_ticks * _TICK_SECONDS > most_seconds:
                _log.error("worker %d has not responded for %g s: it is killed", worker.number, most_seconds)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                worker.silent_ticks = 0

    def _end(self, sig: int) -> None:
        self._signal(sig)
        self._release()
        deadline = time.monotonic() + self._drain_seconds + _GRACE_SECONDS
        while any(worker.pid is not None for worker in self._workers):
            if time.monotonic() > deadline:
                _log.error("workers that did not stop are killed")
                self._signal(signal.SIGKILL)
            time.sleep(_TICK_SECONDS / 4)
            self._bury()

    def _signal(self, sig: int) -> None:
        for worker in self._workers:
            if worker.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, sig)


def _ended(pid: int | None) -> int | None:
    """Return the exit code of a process, the negative number of the signal that ended it; None while it runs."""
    if pid is None:
        return None
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 1
    return os.waitstatus_to_exitcode(status) if found else None


def _stop_at_once(_sig: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _said(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
