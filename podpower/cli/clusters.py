"""`podpower clusters`: the configured clusters, how fresh they are, and their gaps."""

import argparse
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from podpower.cli import output, streams
from podpower.cli.arguments import Commands, add_command
from podpower.errors import Refused
from podpower.settings import CLUSTERS

if TYPE_CHECKING:
    from podpower.fleet.status import ClusterStatus
    from podpower.fleet.summary import FleetSummary
    from podpower.settings import Settings

_COLUMNS = ("cluster", "meter", "observed", "labelled", "gaps", "pods", "last error")
_METER = {True: "yes", False: "no", None: "-"}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "clusters",
        run,
        summary="List the configured clusters with their freshness and gaps.",
        details=f"""\
The clusters of the file in {CLUSTERS}; without it, the one of the environment. `observed` and `labelled` are times
before now: how far the journal reaches, and the last step with a known energy. Meter, pods and errors are those of the
last fleet summary, which the platform makes every 15 minutes at most.

Exit code 1: a cluster was not observed for 10 minutes, or a metered one not labelled for 3 hours; the reasons are on
standard error.

  podpower clusters
  {CLUSTERS}=clusters.yaml podpower clusters --format json
""",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="(default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print the clusters; return 1 where something is stale."""
    from podpower.clusters import configured_clusters  # noqa: PLC0415
    from podpower.fleet.status import cluster_statuses  # noqa: PLC0415

    settings = arguments.settings
    now_s = time.time()
    summary = _summary(settings)
    found = cluster_statuses(configured_clusters(settings), summary, now_s=now_s)
    if arguments.format == "json":
        _print_json(found, summary)
    else:
        rows = [_row(status, now_s=now_s) for status in found]
        output.table(_COLUMNS, rows, right=("observed", "labelled", "gaps", "pods"))
    for status in found:
        for reason in status.stale:
            output.note(f"{status.cluster}: {reason}")
    return 1 if any(status.stale for status in found) else 0


def _summary(settings: "Settings") -> "FleetSummary | None":
    """Return the fleet summary; None, with a note, where there is none that can be read."""
    from podpower.fleet.summary import read_summary  # noqa: PLC0415

    try:
        summary = read_summary(settings.places.model_store)
    except Refused as error:
        output.note(str(error))
        return None
    if summary is None:
        output.note("no fleet summary yet: Dagster makes it with the asset fleet_summary")
    return summary


def _print_json(found: "list[ClusterStatus]", summary: "FleetSummary | None") -> None:
    import msgspec  # noqa: PLC0415

    value = {"summary_written_at": summary.written_at if summary else None, "clusters": found}
    streams.standard_output().write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _row(status: "ClusterStatus", *, now_s: float) -> tuple[str, ...]:
    from podpower.fleet.freshness import ago  # noqa: PLC0415

    def since(ts: float | None) -> str:
        return "-" if ts is None else ago(now_s - ts)

    gaps = str(status.gap_count)
    if status.gaps:
        gaps += f", last {datetime.fromtimestamp(status.gaps[-1].start_s, UTC):%m-%d %H:%M}"
    pods = "-" if status.pods is None else f"{status.pods:.0f}"
    return (
        status.cluster,
        _METER[status.metered],
        since(status.journal_reached_s),
        since(status.last_label_s),
        gaps,
        pods,
        status.last_error or "-",
    )
