"""`podpower collect`: workloads as NDJSON."""

import argparse
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podpower.cli import inputs, output, streams
from podpower.cli.arguments import Commands, UsageError, add_command, add_group, port
from podpower.cli.connections import add_kubernetes, add_selection, open_cluster, watching
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.specs.selection import Workloads


def add(commands: Commands) -> None:
    """Add the command."""
    group = add_group(commands, "collect", summary="Workload specs as NDJSON, one InferenceRequest a line.")
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
    parser.add_argument("--cluster", metavar="NAME", help="cluster of the workloads that name none")
    parser.add_argument(
        "--lenient", action="store_true", help="read objects with misspelt kinds or fields as if these were absent"
    )

    parser = add_command(
        group,
        "watch",
        watch,
        summary="Follow a cluster and write each change of a workload as NDJSON, until Ctrl-C or SIGTERM.",
        details="""\
One line a change: an InferenceRequest with event, uid and resource_version, once each. What an object owns is told by
its owner; a pod of a kind that is not watched stands under its top owner, with the template that made it. With
--output, a watch that is started again goes on where the last one stopped: FILE.state beside it says where that was.
What cannot be read, or is refused by --post, is kept in FILE.rejected.

  podpower collect watch --emit-initial --output data/in.ndjson
  podpower collect watch --kinds Deployment Job CronJob Pod --namespaces shop --output data/in.ndjson
  podpower collect watch --emit-initial --post http://localhost:8000/predict > in.ndjson
""",
    )
    add_selection(parser, kinds="those that make pods")
    parser.add_argument("--emit-initial", action="store_true", help="also write what is there at the start")
    parser.add_argument("--output", metavar="FILE", default="-", help="where to append (default: standard output)")
    parser.add_argument("--post", metavar="URL", help="also send each line as JSON, in order, until it is taken")
    parser.add_argument("--post-token-file", metavar="FILE", help="bearer token for --post, read anew each time")
    parser.add_argument("--metrics-port", type=port, metavar="PORT", help="serve /metrics of the watch itself")
    parser.add_argument("--metrics-host", default="127.0.0.1", metavar="HOST", help="(default %(default)s)")
    add_kubernetes(parser)


def from_file(arguments: argparse.Namespace) -> int:
    """Print the workloads of all paths; 1 when something could not be read."""
    from podpower.specs.ndjson import encode_request  # noqa: PLC0415
    from podpower.specs.selection import Options  # noqa: PLC0415

    options = Options(running=False, lenient=arguments.lenient, cluster=arguments.cluster)
    recordings = [path for path in arguments.paths if _is_recording(path)]
    others = [path for path in arguments.paths if not _is_recording(path)]
    with output.progress("reading manifests"):
        workloads = inputs.read_workloads(others, options)
        for path in recordings:
            _add_recording(workloads, path)
    out = streams.standard_output()
    for request in workloads.requests:
        out.write(encode_request(request) + b"\n")
    out.flush()
    code = inputs.report(workloads.errors)
    for line in inputs.skipped_lines(workloads.skipped):
        output.note(line)
    if not workloads.requests:
        raise InvalidInput(inputs.none_found(arguments.paths, workloads))
    output.note(f"workloads collected: {len(workloads.requests)}")
    return code


def _is_recording(path: str) -> bool:
    return path != streams.STANDARD and (Path(path) / "recording.json").is_file()


def _add_recording(workloads: "Workloads", path: str) -> None:
    """Every template that was in force in a recording."""
    from podpower.sources.recording import Recording  # noqa: PLC0415
    from podpower.specs.observing import observe  # noqa: PLC0415

    source = Recording(path)
    window = {"start_s": source.start_s, "end_s": source.end_s}
    observations, errors = observe(source.events(**window), **window, cluster=source.cluster)
    workloads.requests += [observation.request for observation in observations]
    workloads.errors += errors


def watch(arguments: argparse.Namespace) -> int:
    """Follow the cluster until told to stop: 0 after SIGTERM, 130 after Ctrl-C."""
    import asyncio  # noqa: PLC0415

    from podpower.collector.checkpoint import Progress  # noqa: PLC0415
    from podpower.collector.metrics import Counting  # noqa: PLC0415
    from podpower.collector.watch import Watch, run  # noqa: PLC0415

    if arguments.post_token_file and not arguments.post:
        raise UsageError("--post-token-file goes with --post URL")
    to_file = arguments.output != streams.STANDARD
    selected = watching(arguments, kinds="WORKLOADS")
    access = open_cluster(arguments)
    counting = Counting()
    if arguments.metrics_port is not None:
        at = counting.serve(arguments.metrics_host, arguments.metrics_port)
        output.note(f"metrics: http://{arguments.metrics_host}:{at}/metrics")
    rejected = Path(f"{arguments.output}.rejected") if to_file else None
    progress = Progress.of_file(Path(arguments.output)) if to_file else Progress(None, streams.standard_output())
    if progress.resumed:
        output.note(f"{arguments.output}: going on after {progress.written} bytes")
    job = Watch(
        progress=progress, counting=counting, note=output.note, rejected=lambda what: _keep(rejected, what),
        emit_initial=arguments.emit_initial, post=arguments.post, post_token_file=arguments.post_token_file,
    )  # fmt: skip
    received: list[int] = []

    async def until_stopped() -> None:
        stop = asyncio.Event()

        def ended(number: int) -> None:
            received.append(number)
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended, number)
        await run(access, selected, job, stop)

    try:
        asyncio.run(until_stopped())
    finally:
        progress.close()
    return 130 if signal.SIGINT in received else 0


def _keep(path: Path | None, what: dict[str, Any]) -> None:
    """Append what was not taken, with the reason, to the file for it."""
    if path is not None:
        with path.open("a") as stream:
            stream.write(json.dumps(what) + "\n")
