"""A program on a real terminal, as a person sees it."""

import os
import pty
import select
import time


class Terminal:
    """A program on a pseudo-terminal. `seen` is all that it has printed."""

    def __init__(self, command, *, environment, cwd="."):
        self.seen = ""
        self._pid, self._end = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(command[0], command, environment)  # a program of the test
            finally:
                os._exit(127)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._end)  # the program gets a hang-up, if it still runs

    def type(self, text):
        os.write(self._end, text.encode())

    def wait_for(self, text, *, times=1, seconds=60):
        """Read until a text was printed so many times; AssertionError with all that was printed when it was not."""
        deadline = time.monotonic() + seconds
        while self.seen.count(text) < times:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if select.select([self._end], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self._end, 1 << 16).decode(errors="replace")
                except OSError:  # the program has ended
                    break
        assert self.seen.count(text) >= times, f"no {text!r} in {self.seen!r}"

    def exit_code(self):
        """Wait for the end of the program; return its exit code."""
        while True:
            try:
                if not os.read(self._end, 1 << 16):
                    break
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
