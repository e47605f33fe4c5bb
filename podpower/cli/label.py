"""`podpower label`: energy counters into watts and joules."""

import argparse
import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from podpower import settings
from podpower.cli import inputs, output
from podpower.cli.arguments import Commands, UsageError, add_command, seconds
from podpower.cli.connections import add_kubernetes, add_prometheus, open_cluster, open_prometheus
from podpower.cli.garbage import without_collections
from podpower.cli.tables import write_table
from podpower.cli.times import parse_time
from podpower.errors import InvalidInput, PodpowerError
from podpower.hours import HOUR_S
from podpower.impact import units
from podpower.io import heap

if TYPE_CHECKING:
    import polars as pl

    from podpower.labels.report import LabelReport
    from podpower.sources.protocols import MetricSource, ObjectSource
    from podpower.specs.documents import Rejected


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "label",
        run,
        summary="Turn energy counters into labels: watts and joules of each pod, by step (window) or in all (job).",
        details="""\
Energy that is not known is null with a reason, never 0. T is Unix seconds, RFC 3339 (2026-01-31T06:00:00Z), or
relative to now (-6h, now). Without --start, the last hour of a Prometheus is labelled. Credentials for it come from
PODPOWER_PROMETHEUS_TOKEN_FILE and similar variables (docs/reference/settings.md).

  podpower label --prom http://prometheus:9090 --mode window --start -6h --end now --out labels.parquet
  podpower label --prom https://mimir/prometheus --match 'cluster="prod"' --mode job --start -1d --out labels.parquet
  podpower label --recording recording/ --out labels.parquet
""",
    )
    add_prometheus(parser)
    add_kubernetes(parser)
    parser.add_argument("--recording", metavar="DIR", help="read a recording in place of a Prometheus")
    parser.add_argument(
        "--mode",
        choices=("window", "job"),
        default="window",
        help="one row for each pod and step, or for each life of a pod (default %(default)s)",
    )
    parser.add_argument("--start", metavar="T", help="from here (default: an hour before the end; a recording's start)")
    parser.add_argument("--end", metavar="T", help="to here (default: now; a recording's end)")
    parser.add_argument("--step", type=seconds, default=60.0, metavar="SPAN", help="length of a step (default 60s)")
    parser.add_argument(
        "--energy",
        choices=("dynamic", "total"),
        default="dynamic",
        help="energy of the workload's activity, or with its share of idle energy (default %(default)s)",
    )
    parser.add_argument(
        "--owner-source",
        choices=("auto", "k8s", "prom"),
        default="auto",
        help="owners of pods: from the cluster's objects (k8s), from kube_*_owner series (prom), both (default auto)",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write labels.parquet")


def run(arguments: argparse.Namespace) -> int:
    """Write the labels, and print what is unknown and why."""
    if arguments.recording and arguments.prom:
        raise UsageError("give --prom or --recording, not both")
    if arguments.recording:
        _check_outside(arguments.out, arguments.recording)
    now_s = time.time()
    given = {
        option: parse_time(text, now_s=now_s, option=option)
        for option, text in (("--start", arguments.start), ("--end", arguments.end))
        if text is not None
    }
    _load(prometheus=not arguments.recording)
    rejected: list[Rejected] = []
    specs: pl.DataFrame | None
    if arguments.recording:
        from podpower.sources.recording import Recording  # noqa: PLC0415

        recording = Recording(arguments.recording)
        start_s, end_s = given.get("--start", recording.start_s), given.get("--end", recording.end_s)
        _check(start_s, end_s)
        specs, rejected = _specs(recording, start_s=start_s, end_s=end_s)
        report = _export(arguments, recording, specs, start_s=start_s, end_s=end_s)
    else:
        end_s = given.get("--end", now_s)
        start_s = given.get("--start", end_s - HOUR_S)
        _check(start_s, end_s)
        cluster, specs, rejected = _live_specs(arguments, start_s=start_s, end_s=end_s)
        with open_prometheus(arguments, cluster=cluster) as prometheus:
            report = _export(arguments, prometheus, specs, start_s=start_s, end_s=end_s)
    _print_report(report, arguments.out)
    return inputs.report(rejected)


def _check_outside(out: str, recording: str) -> None:
    if inputs.is_recording(recording) and Path(out).resolve().is_relative_to(Path(recording).resolve()):
        raise UsageError(f"the output {out} is in the recording, which it would damage: write elsewhere")


def _load(*, prometheus: bool) -> None:
    """Load what an export needs, and have memory kept that is freed in it."""
    settings.without_threads_for_matrices()
    with without_collections():
        import podpower.labels  # noqa: PLC0415

        if prometheus:
            import podpower.sources.prometheus.source  # noqa: F401, PLC0415

        gc.freeze()  # none of it becomes garbage; before collections begin again
    heap.keep_free()


def _check(start_s: float, end_s: float) -> None:
    if start_s >= end_s:
        raise UsageError("--start must be before --end: the time range is empty")


def _live_specs(
    arguments: argparse.Namespace, *, start_s: float, end_s: float
) -> "tuple[str | None, pl.DataFrame | None, list[Rejected]]":
    """Return the cluster's name and the specs of its objects; nothing where owner series are used instead.

    A cluster is only queried if an option or KUBECONFIG names it, or if we run in it: any other can be another one than
    that of Prometheus.
    """
    cluster = arguments.settings.cluster
    named = bool(arguments.kubeconfig or arguments.context or cluster.kubeconfig)
    called = arguments.cluster or cluster.name
    if arguments.owner_source == "prom" or not (named or cluster.is_inside or arguments.owner_source == "k8s"):
        return called, None, []
    from podpower.collector.present import present_objects  # noqa: PLC0415
    from podpower.specs.observing import observe  # noqa: PLC0415
    from podpower.specs.table import specs_table  # noqa: PLC0415

    try:
        access = open_cluster(arguments)
        events = present_objects(access, note=output.note)
    except PodpowerError as error:
        if arguments.owner_source == "k8s":
            raise
        output.note(f"owners by kube_*_owner series only: {error}")
        return called, None, []
    observations, rejected = observe(events, start_s=start_s, end_s=end_s, cluster=access.cluster)
    return access.cluster, specs_table(observations), rejected


def _specs(source: "ObjectSource", *, start_s: float, end_s: float) -> "tuple[pl.DataFrame, list[Rejected]]":
    from podpower.specs.observing import observe  # noqa: PLC0415
    from podpower.specs.table import specs_table  # noqa: PLC0415

    events = source.events(start_s=start_s, end_s=end_s)
    observations, rejected = observe(events, start_s=start_s, end_s=end_s, cluster=source.cluster)
    return specs_table(observations), rejected


def _export(
    arguments: argparse.Namespace, source: "MetricSource", specs: "pl.DataFrame | None", *, start_s: float, end_s: float
) -> "LabelReport":
    """Write the labels piece by piece. InvalidInput, and no file, where no pod has any."""
    from podpower.labels import LabelRequest, WindowExport, label_jobs  # noqa: PLC0415

    request = LabelRequest(
        start_s=start_s, end_s=end_s, step_seconds=arguments.step, energy=arguments.energy,
        owner_source=arguments.owner_source, exclude_namespaces=arguments.settings.cluster.exclude_namespaces,
    )  # fmt: skip
    with output.progress("labelling") as advance:
        if arguments.mode == "job":
            labels = label_jobs(source, specs, request, progress=advance)
            _check_any(labels.report)
            write_table(labels.table, arguments.out)
            return labels.report
        export = WindowExport(source, specs, request)
        pieces = export.pieces(advance)  # being fetched while what writes them is loaded

        def checked() -> "Iterator[pl.DataFrame]":
            yield from pieces
            _check_any(export.report)  # in here, so that nothing is put in place

        write_table(checked(), arguments.out)
        return export.report


def _check_any(report: "LabelReport") -> None:
    if not report.rows:
        raise InvalidInput("no pod has energy counters between start and end: give another time range")


def _print_report(report: "LabelReport", out: str) -> None:
    """Print counts, why energy is unknown, and warnings on standard error."""
    output.note(
        f"{out}: {report.known} known of {report.rows} labels of {report.pods} pods, "
        f"{units.quantity(report.total_energy_j, 'J')} in all ({report.energy}, {report.generation})"
    )
    for reason, count in report.null_reasons.items():
        output.note(f"unknown: {count} ({reason})")
    for warning in report.warnings:
        output.note(f"warning: {warning}")
