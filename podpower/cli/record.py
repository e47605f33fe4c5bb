"""`podpower record`: a live cluster as a recording."""

import argparse
import time

from podpower.cli import output
from podpower.cli.arguments import Commands, UsageError, add_command, seconds
from podpower.cli.connections import (
    add_kubernetes,
    add_prometheus,
    add_selection,
    open_cluster,
    open_prometheus,
    selection,
)
from podpower.cli.signals import stop_requested
from podpower.cli.times import parse_hour, parse_time

_KEPT_DAYS = 36_500.0  # a recording keeps everything


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "record",
        run,
        summary="Record a live cluster: its objects as they change, without credentials, and its energy counters.",
        details="""\
The folder has the layout of `simulate`, without the true energy: labels, specs and the Dagster assets read it without
a cluster. An existing recording is continued. For the time before its beginning (--start) it holds samples, and the
objects that still exist.

  podpower record --out data/recording --prom http://localhost:9090 --start -6h --end now
  podpower record --out data/recording --prom http://localhost:9090 --end +1h
""",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the recording")
    parser.add_argument("--start", metavar="T", default="now", help="begin of the samples (default: now)")
    parser.add_argument("--end", metavar="T", help="end of the recording, e.g. now, +6h (default: until Ctrl-C)")
    parser.add_argument(
        "--every",
        type=seconds,
        default=60.0,
        metavar="SPAN",
        help="interval between reads of the samples (default 60s)",
    )
    parser.add_argument(
        "--again",
        metavar="HOUR",
        help="fetch the samples of this hour of a recording again, e.g. 2026-01-31T06, when a file of it is damaged",
    )
    add_prometheus(parser)
    add_kubernetes(parser)
    add_selection(parser, kinds="pods, their owners and revisions")


def run(arguments: argparse.Namespace) -> int:
    """Record until --end, Ctrl-C or SIGTERM."""
    from podpower.collector.journal import Journal  # noqa: PLC0415
    from podpower.collector.migration import migrate_recording  # noqa: PLC0415
    from podpower.collector.recorder import Recorder, record_again  # noqa: PLC0415
    from podpower.collector.watch import Watch  # noqa: PLC0415
    from podpower.io.places import local_folder  # noqa: PLC0415
    from podpower.sources.recording import JOURNAL, read_meta  # noqa: PLC0415

    root = local_folder(arguments.out, what="a recording")
    if arguments.again:
        hour_start_s = parse_hour(arguments.again, option="--again")
        cluster = read_meta(root).cluster
        with open_prometheus(arguments, cluster=cluster) as prometheus:
            samples = record_again(arguments.out, prometheus, hour_start_s=hour_start_s, note=output.note)
        output.note(f"{arguments.out}: recorded {samples} samples of {arguments.again} again")
        return 0
    now_s = time.time()
    start_s = parse_time(arguments.start, now_s=now_s, option="--start")
    end_s = parse_time(arguments.end, now_s=now_s, option="--end") if arguments.end else float("inf")
    if start_s > min(now_s, end_s):
        raise UsageError("--start must not be in the future, nor after --end")
    if (root / "recording.json").exists():
        start_s = read_meta(root).end_s
        migrate_recording(root, note=output.note)
        output.note(f"{root}: continuing from {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(start_s))}")
    access = open_cluster(arguments)
    chosen = selection(arguments, kinds="OBSERVED")
    with (
        open_prometheus(arguments, cluster=access.cluster) as prometheus,
        Journal.opened(
            root / JOURNAL, cluster=access.cluster, kept_days=_KEPT_DAYS, begins_s=start_s, note=output.note
        ) as journal,
        stop_requested() as stopped,
    ):
        watch = Watch(access=access, selection=chosen, sinks=[journal], note=output.note, pods_later_s=1.0)
        recorder = Recorder(root, watch, journal, prometheus, note=output.note)
        recorder.run(since_s=start_s, until_s=end_s, every_s=arguments.every, stop=stopped)
    output.note(f"{root}: {recorder.events} events and {recorder.samples} samples of {access.cluster}")
    return 130 if stopped() and end_s != float("inf") else 0
