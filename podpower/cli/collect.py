"""`podpower collect`: workloads as NDJSON."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from podpower.cli import inputs, showing, streams
from podpower.cli.arguments import Commands, add_command, add_group
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.specs.documents import Rejected
    from podpower.specs.requests import InferenceRequest

_SUFFIXES = (".yaml", ".yml", ".json")


def add(commands: Commands) -> None:
    """Add the command."""
    group = add_group(commands, "collect", summary="Workload specs as NDJSON, one InferenceRequest a line.")
    parser = add_command(
        group,
        "from-file",
        from_file,
        summary="Read manifests (YAML or JSON, many documents, List) and print InferenceRequests as NDJSON.",
        details="""\
Folders are searched for .yaml, .yml and .json; of a recording, every template that was in force is printed. What is
broken is reported on standard error, the rest is printed, and the exit code is 1. Kinds that make no pods (Service,
ConfigMap ...) are passed over.

  podpower collect from-file examples/deployment.yaml > in.ndjson
  podpower collect from-file k8s/ more.yaml > in.ndjson
  kubectl get deploy,sts,ds,job,cronjob -A -o yaml | podpower collect from-file - > in.ndjson
""",
    )
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="manifest, folder of manifests, recording, or - for standard input"
    )


def from_file(arguments: argparse.Namespace) -> int:
    """Print the workloads of all paths; 1 when anything was rejected."""
    from podpower.specs.ndjson import encode_request  # noqa: PLC0415

    out = streams.standard_output()
    collected, all_rejected = 0, []
    with showing.progress("reading manifests") as advance:
        for path in _places(arguments.paths):
            requests, rejected = _read(path)
            for request in requests:
                out.write(encode_request(request) + b"\n")
            collected += len(requests)
            all_rejected += rejected
            advance(collected)
    out.flush()
    code = inputs.report(all_rejected)
    if not collected:
        raise InvalidInput(
            f"no workload found in {', '.join(map(streams.display_name, arguments.paths))}: expected manifests of pods "
            "or of what makes them (Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob, Rollout)"
        )
    showing.note(f"workloads collected: {collected}")
    return code


def _places(paths: list[str]) -> Iterator[str]:
    """Files, recordings and standard input; folders searched."""
    for path in paths:
        if path == streams.STANDARD or not Path(path).is_dir() or _is_recording(path):
            yield path
        else:
            yield from (str(p) for p in sorted(Path(path).rglob("*")) if p.suffix in _SUFFIXES and p.is_file())


def _is_recording(path: str) -> bool:
    return (Path(path) / "recording.json").is_file()


def _read(path: str) -> "tuple[list[InferenceRequest], list[Rejected]]":
    from podpower.specs.manifests import read_manifests  # noqa: PLC0415

    if path == streams.STANDARD or not _is_recording(path):
        return read_manifests(streams.read_bytes(path), source=streams.display_name(path))
    from podpower.sources.recording import Recording  # noqa: PLC0415
    from podpower.specs.observing import observe  # noqa: PLC0415

    source = Recording(path)
    window = {"start_s": source.start_s, "end_s": source.end_s}
    observations, rejected = observe(source.events(**window), **window, cluster=source.cluster)
    return [observation.request for observation in observations], rejected
