"""`podpower collect`: workloads as NDJSON."""

import argparse
import json
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podpower.cli import inputs, output, streams
from podpower.cli.arguments import Commands, UsageError, add_command, add_group, name, namespaced, port, seconds
from podpower.cli.connections import add_kubernetes, add_selection, open_cluster, selection, use_named_cluster
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.collector.journal import Journal
    from podpower.collector.metrics import Metrics
    from podpower.collector.ndjson import NdjsonSink
    from podpower.collector.watch import Watch
    from podpower.specs.selection import Workloads


def add(commands: Commands) -> None:
    """Add the commands."""
    group = add_group(commands, "collect", summary="Write workload specs as NDJSON, one InferenceRequest a line.")
    _add_from_file(group)
    _add_watch(group)


def _add_from_file(group: Commands) -> None:
    parser = add_command(
        group,
        "from-file",
        from_file,
        summary="Read manifests (YAML or JSON, many documents, List) and print InferenceRequests as NDJSON.",
        details="""\
Folders are searched for .yaml, .yml, .json and .ndjson; of a recording, every template that was in force is printed.
Objects that cannot be read are reported on standard error, the others are printed, and the exit code is 1. Objects
that run no pods, and those that are part of another one in the input, are skipped and named. Finished objects are
kept: their labels are training data.

  podpower collect from-file examples/deployment.yaml > in.ndjson
  podpower collect from-file k8s/ more.yaml > in.ndjson
  kubectl get deploy,sts,ds,job,cronjob -A -o yaml | podpower collect from-file - > in.ndjson
""",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="manifests, folders of them, recordings, NDJSON of InferenceRequests, or - for standard input",
    )
    parser.add_argument("--cluster", type=name, metavar="NAME", help="cluster of the workloads that name none")
    parser.add_argument(
        "--lenient", action="store_true", help="read objects with misspelt kinds or fields as if these were absent"
    )


def _add_watch(group: Commands) -> None:
    parser = add_command(
        group,
        "watch",
        watch,
        summary="Follow a cluster and write each change of a workload as NDJSON, until Ctrl-C or SIGTERM.",
        details="""\
One line a change: an InferenceRequest with event, uid and resource_version, each change once. Objects that a watched
object owns have no line; a pod of a kind that is not watched is listed under its top owner, with the template that made
it. With --output, a watch that starts again continues where the last one stopped, which FILE.state holds. Objects that
cannot be read and lines that --post refuses are kept in FILE.rejected.

With --journal, this is the one process that observes the cluster for `podpower up`, which starts it: sensors and assets
read the journal and never write it. Of two such processes the second is refused. PODPOWER_NAMESPACES,
PODPOWER_EXCLUDE_NAMESPACES and PODPOWER_KINDS are the defaults of its options.

  podpower collect watch --emit-initial --output data/in.ndjson
  podpower collect watch --kinds Deployment Job CronJob Pod --namespaces shop --output data/in.ndjson
  podpower collect watch --emit-initial --post http://localhost:8000/predict > in.ndjson
  podpower collect watch --journal .podpower/journal
  podpower collect watch --journal s3://bucket/podpower/journal --metrics-port 9100

With --lease, several collectors of a cluster can run, in pods: one of them writes, the others wait until it ends.
""",
    )
    add_selection(parser, kinds="kinds that create pods")
    parser.add_argument("--emit-initial", action="store_true", help="also write the workloads that exist at the start")
    parser.add_argument(
        "--output", metavar="FILE", help="where to append lines (default: standard output; with --journal, nowhere)"
    )
    parser.add_argument(
        "--journal",
        metavar="URL",
        help="folder or URL (s3://, gs://, az://) of the journal that sensors and assets read",
    )
    parser.add_argument(
        "--flush-every", type=seconds, default=5.0, metavar="SPAN",
        help="store changes in the journal after so long (default 5s, at most 10s)",
    )  # fmt: skip
    parser.add_argument("--post", metavar="URL", help="also send each line as JSON, in order, until it is accepted")
    parser.add_argument(
        "--post-token-file", metavar="FILE", help="bearer token for --post; the file is read for each request"
    )
    parser.add_argument(
        "--lease",
        metavar="NAMESPACE/NAME",
        type=namespaced,
        help="in a pod: write only while this process holds the Lease, of the cluster around it",
    )
    parser.add_argument("--metrics-port", type=port, metavar="PORT", help="serve the metrics of the watch at /metrics")
    parser.add_argument("--metrics-host", default="127.0.0.1", metavar="HOST", help="(default %(default)s)")
    add_kubernetes(parser)


def from_file(arguments: argparse.Namespace) -> int:
    """Print the workloads of all paths; 1 when something could not be read."""
    from podpower.specs.ndjson import encode_request  # noqa: PLC0415
    from podpower.specs.selection import Options  # noqa: PLC0415

    options = Options(running=False, lenient=arguments.lenient, cluster=arguments.cluster)
    recordings = [path for path in arguments.paths if inputs.is_recording(path)]
    others = [path for path in arguments.paths if not inputs.is_recording(path)]
    with output.progress("reading manifests"):
        workloads = inputs.read_workloads(others, options)
        for path in recordings:
            _add_recording(workloads, path)
    out = streams.standard_output()
    for request in workloads.requests:
        out.write(encode_request(request) + b"\n")
    out.flush()
    code = inputs.report(workloads.errors, nothing_else=not workloads.requests)
    for line in inputs.skipped_lines(workloads.skipped):
        output.note(line)
    if not workloads.requests:
        raise InvalidInput(inputs.none_found(arguments.paths, workloads))
    output.note(f"workloads collected: {len(workloads.requests)}")
    return code


def _add_recording(workloads: "Workloads", path: str) -> None:
    """Add every template that was in force in a recording."""
    from podpower.sources.recording import Recording  # noqa: PLC0415
    from podpower.specs.observing import observe  # noqa: PLC0415

    source = Recording(path)
    time_range = {"start_s": source.start_s, "end_s": source.end_s}
    observations, errors = observe(source.events(**time_range), **time_range, cluster=source.cluster)
    workloads.requests += [observation.request for observation in observations]
    workloads.errors += errors


def watch(arguments: argparse.Namespace) -> int:
    """Follow the cluster until a signal: return 0 after SIGTERM, 130 after Ctrl-C."""
    import asyncio  # noqa: PLC0415
    from contextlib import ExitStack  # noqa: PLC0415

    from podpower.collector.metrics import Metrics  # noqa: PLC0415
    from podpower.collector.watch import CHECKPOINT_S, Sink, Watch  # noqa: PLC0415

    use_named_cluster(arguments)
    if arguments.post_token_file and not arguments.post:
        raise UsageError("--post-token-file goes with --post URL")
    for_journal = arguments.journal is not None
    chosen = selection(arguments, kinds="OBSERVED" if for_journal else "WORKLOADS", with_settings=for_journal)
    access = open_cluster(arguments)
    metrics = Metrics()
    if arguments.metrics_port is not None:
        at = metrics.serve(arguments.metrics_host, arguments.metrics_port)
        output.note(f"metrics: http://{arguments.metrics_host}:{at}/metrics")
    with ExitStack() as stack:
        if arguments.lease:
            stack.enter_context(_leading(arguments))
        sinks: list[Sink] = []
        if arguments.output or arguments.post or not arguments.journal:
            sinks.append(stack.enter_context(_ndjson(arguments, metrics)))
        if arguments.journal:
            sinks.append(stack.enter_context(_journal(arguments, access.cluster, metrics)))
        job = Watch(
            access=access, selection=chosen, sinks=sinks, note=output.note, metrics=metrics,
            pods_later_s=1.0 if arguments.journal else 0.0,
            checkpoint_s=min(CHECKPOINT_S, arguments.flush_every),
        )  # fmt: skip
        received = asyncio.run(_until_stopped(job))
    return 130 if signal.SIGINT in received else 0


async def _until_stopped(job: "Watch") -> list[int]:
    """Run the watch until SIGTERM or SIGINT; return the signals that came."""
    import asyncio  # noqa: PLC0415

    stop = asyncio.Event()
    received: list[int] = []

    def ended(number: int) -> None:
        received.append(number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended, number)
    await job.follow(stop)
    return received


def _leading(arguments: argparse.Namespace) -> "AbstractContextManager[None]":
    """Wait for a Lease, as the pod that this process is in."""
    import socket  # noqa: PLC0415
    import uuid  # noqa: PLC0415

    from podpower.collector.election import leading  # noqa: PLC0415
    from podpower.sources.kubernetes.access import ClusterConfig, open_access  # noqa: PLC0415

    around = arguments.settings.cluster.service
    if around is None:
        raise InvalidInput(
            f"--lease {arguments.lease} needs the pod around this process: KUBERNETES_SERVICE_HOST is not set"
        )
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    return leading(open_access(ClusterConfig(around=around)), arguments.lease, identity, note=output.note)


@contextmanager
def _ndjson(arguments: argparse.Namespace, metrics: "Metrics") -> "Iterator[NdjsonSink]":
    from podpower.collector.ndjson import NdjsonSink  # noqa: PLC0415
    from podpower.collector.output import Output  # noqa: PLC0415
    from podpower.collector.post import Poster  # noqa: PLC0415

    place = arguments.output or streams.STANDARD
    to_file = place != streams.STANDARD
    poster = None
    if arguments.post:
        poster = Poster(arguments.post, token_file=arguments.post_token_file, metrics=metrics, note=output.note)
    lines = Output.of_file(Path(place)) if to_file else Output(None, streams.standard_output())
    if lines.resumed:
        output.note(f"{place}: continuing after {lines.written} bytes")
    rejected = Path(f"{place}.rejected") if to_file else None
    try:
        yield NdjsonSink(
            lines, note=output.note, reject=lambda what: _keep(rejected, what), metrics=metrics,
            emit_initial=arguments.emit_initial, poster=poster,
        )  # fmt: skip
    finally:
        lines.close()


def _journal(arguments: argparse.Namespace, cluster: str, metrics: "Metrics") -> "AbstractContextManager[Journal]":
    from podpower.collector.journal import Journal  # noqa: PLC0415
    from podpower.collector.steady_clock import SteadyClock  # noqa: PLC0415

    if arguments.flush_every > 10.0:
        raise UsageError("--flush-every must be at most 10s: readers call a journal stale after two minutes")
    return Journal.opened(
        arguments.journal, cluster=cluster, kept_days=arguments.settings.cluster.keep_journal_days,
        flush_s=arguments.flush_every, note=output.note, metrics=metrics, clock=SteadyClock(),
    )  # fmt: skip


def _keep(path: Path | None, what: dict[str, Any]) -> None:
    """Append a rejected object or line, with the reason, to its file."""
    if path is not None:
        with path.open("a") as stream:
            stream.write(json.dumps(what) + "\n")
