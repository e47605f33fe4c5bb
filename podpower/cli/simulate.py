"""`podpower simulate`: record a simulated cluster."""

import argparse
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podpower.cli import output
from podpower.cli.arguments import Commands, add_command, positive
from podpower.cli.signals import terminate_as_interrupt
from podpower.cli.times import parse_hour
from podpower.hours import HOUR_S, start_of_hour
from podpower.io.locks import lock

_LOCK = "follow.lock"  # in the folder of a recording: two that continue it would mix their samples


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "simulate",
        run,
        summary="Write a recording of a believable cluster: objects, counters, owners, and true energy.",
        details="""\
The same seed and time range give the same cluster: web, databases, batch, cron, GPU and DaemonSets, with rollouts,
restarts that reset counters, gaps and short-lived pods.

  podpower simulate --out data/recording --hours 24
  podpower simulate --out data/recording --follow
""",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the recording")
    parser.add_argument(
        "--hours", type=positive, default=24, help="hours to write, ending at the last full hour (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers (default %(default)s)")
    parser.add_argument(
        "--kepler",
        choices=("0.9", "0.10"),
        default="0.10",
        help="version of Kepler whose metric names and labels are written (default %(default)s)",
    )
    parser.add_argument("--workloads", type=positive, default=40, help="number of workloads (default %(default)s)")
    parser.add_argument(
        "--openmetrics",
        metavar="FILE",
        help="also write the samples as text, for `promtool tsdb create-blocks-from openmetrics FILE DIR`",
    )
    parser.add_argument(
        "--again",
        metavar="HOUR",
        help="write the samples of this hour of a simulated recording again, e.g. 2026-01-31T06, when a file of it is "
        "damaged",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="continue the recording, new or existing, in real time until Ctrl-C",
    )


def run(arguments: argparse.Namespace) -> int:
    """Simulate until the time range is written, with --follow until Ctrl-C."""
    from podpower.io.places import local_folder  # noqa: PLC0415
    from podpower.simulation import follow, simulate, simulate_again  # noqa: PLC0415

    if arguments.again:
        simulate_again(arguments.out, hour_start_s=parse_hour(arguments.again, option="--again"))
        output.note(f"{arguments.out}: wrote the samples of {arguments.again} again")
        return 0
    end_s = start_of_hour(time.time())
    folder = local_folder(arguments.out, what="a recording")
    if not (arguments.follow and (folder / "recording.json").exists()):
        with _removed_unless_whole(folder), output.progress("simulating") as advance:
            simulate(
                arguments.out,
                seed=arguments.seed,
                start_s=end_s - arguments.hours * HOUR_S,
                hours=arguments.hours,
                kepler=arguments.kepler,
                workloads=arguments.workloads,
                progress=advance,
            )
        output.note(f"{arguments.out}: {arguments.hours} hours of {arguments.workloads} workloads")
    if arguments.openmetrics:
        from podpower.simulation.openmetrics import write_openmetrics  # noqa: PLC0415
        from podpower.sources.recording import Recording  # noqa: PLC0415

        written = write_openmetrics(Recording(arguments.out), arguments.openmetrics)
        output.note(f"{arguments.openmetrics}: {written} samples")
    if arguments.follow:
        busy = f"another `podpower simulate --follow` continues {arguments.out}: stop it, or name another folder"
        with terminate_as_interrupt(), lock(folder / _LOCK, busy=busy):
            output.note(f"{arguments.out}: continuing in real time until Ctrl-C")
            follow(arguments.out, stop=lambda: False)
    return 0


@contextmanager
def _removed_unless_whole(folder: Path) -> Iterator[None]:
    """Remove a new recording whose first hours were not all written: other commands would take it for a whole one."""
    new = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    try:
        with terminate_as_interrupt():
            yield
    except BaseException as error:  # a full disk as well as Ctrl-C
        if new and folder.is_dir():
            shutil.rmtree(folder)
            interrupted = isinstance(error, KeyboardInterrupt)
            why = (
                "interrupted before it was whole, and removed"
                if interrupted
                else "was not written whole, and is removed"
            )
            output.note(f"{folder}: {why}")
        raise
