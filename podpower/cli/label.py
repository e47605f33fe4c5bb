"""`podpower label`: energy counters into watts and joules."""

import argparse
import time
from typing import TYPE_CHECKING

from podpower.cli import inputs, showing
from podpower.cli.arguments import Commands, UsageError, add_command, seconds
from podpower.cli.tables import write_table
from podpower.cli.times import parse_time
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.labels.report import LabelReport


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "label",
        run,
        summary="Turn energy counters into labels: watts and joules of each pod, by step (window) or in all (job).",
        details="""\
Energy that is not known is null with a reason, never 0. T is Unix seconds, RFC 3339 (2026-01-31T06:00:00Z), or
relative to now (-6h, now).

  podpower label --recording recording/ --out labels.parquet
  podpower label --recording recording/ --mode job --start -6h --end now --out labels.parquet
""",
    )
    parser.add_argument("--recording", required=True, metavar="DIR", help="recording to read, as `simulate` writes it")
    parser.add_argument(
        "--mode",
        choices=("window", "job"),
        default="window",
        help="a row a pod and step, or a row a pod (default %(default)s)",
    )
    parser.add_argument("--start", metavar="T", help="from here (default: the recording's start)")
    parser.add_argument("--end", metavar="T", help="to here (default: the recording's end)")
    parser.add_argument("--step", type=seconds, default=60.0, metavar="SPAN", help="length of a step (default 60s)")
    parser.add_argument(
        "--energy",
        choices=("dynamic", "total"),
        default="dynamic",
        help="what the workload itself causes, or with its share of idle power (default %(default)s)",
    )
    parser.add_argument(
        "--owner-source",
        choices=("auto", "k8s", "prom"),
        default="auto",
        help="who owns a pod: by the recorded objects, by kube_*_owner series, or objects first (default %(default)s)",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write labels.parquet")


def run(arguments: argparse.Namespace) -> int:
    """Label, write, and tell what is unknown and why."""
    now_s = time.time()
    given = {
        option: parse_time(text, now_s=now_s, option=option)
        for option, text in (("--start", arguments.start), ("--end", arguments.end))
        if text is not None
    }
    from podpower.labels import label_jobs, label_windows  # noqa: PLC0415
    from podpower.sources.recording import Recording  # noqa: PLC0415
    from podpower.specs.observing import observe  # noqa: PLC0415
    from podpower.specs.table import specs_table  # noqa: PLC0415

    source = Recording(arguments.recording)
    start_s = given.get("--start", source.start_s)
    end_s = given.get("--end", source.end_s)
    if start_s >= end_s:
        raise UsageError("--start must be before --end: the window is empty")
    observations, rejected = observe(
        source.events(start_s=start_s, end_s=end_s), start_s=start_s, end_s=end_s, cluster=source.cluster
    )
    make = label_windows if arguments.mode == "window" else label_jobs
    labels = make(
        source,
        specs_table(observations),
        start_s=start_s,
        end_s=end_s,
        step_seconds=arguments.step,
        energy=arguments.energy,
        owner_source=arguments.owner_source,
    )
    if labels.table.is_empty():
        raise InvalidInput("no pod has energy counters between start and end: give another window")
    write_table(labels.table, arguments.out)
    _tell(labels.report, arguments.out)
    return inputs.report(rejected)


def _tell(report: "LabelReport", out: str) -> None:
    """Counts, why energy is unknown, and warnings, on standard error."""
    showing.note(
        f"{out}: {report.known} known of {report.rows} labels of {report.pods} pods, "
        f"{showing.quantity(report.total_energy_j, 'J')} in all ({report.energy}, {report.generation})"
    )
    for reason, count in report.null_reasons.items():
        showing.note(f"unknown: {count} ({reason})")
    for warning in report.warnings:
        showing.note(f"warning: {warning}")
