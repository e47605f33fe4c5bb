"""`podpower` and `python -m podpower`: the command line."""

import atexit
import os
import signal
import sys


def main() -> int:
    """Run one command and return its exit code. Ctrl-C while modules load ends the process without a traceback."""
    ending = _Ending()
    atexit.register(ending.end)  # the first to be registered, the last to be called
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from podpower.cli import main as run  # noqa: PLC0415

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    ending.code = run()
    return ending.code


class _Ending:
    """The end of a process that has done its work: its modules are not taken apart, which takes time."""

    code: int | None = None

    def end(self) -> None:
        """End at once, with all threads joined and all other functions of `atexit` called."""
        if self.code is None:  # an error that Python reports
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):  # which Python reports, too
            return
        os._exit(self.code)


if __name__ == "__main__":
    sys.exit(main())
