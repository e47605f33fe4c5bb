"""`podpower doctor`: whether everything is there that labels need."""

import argparse
import json
from typing import TYPE_CHECKING

from podpower.cli import output
from podpower.cli.arguments import Commands, add_command
from podpower.cli.connections import add_kubernetes, add_prometheus, open_cluster, open_prometheus, use_named_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from podpower.doctor import Finding


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "doctor",
        run,
        summary="Check the cluster, Prometheus and Kepler; each failure comes with the command that fixes it.",
        details="""\
Looks at: the API server and our rights there, Prometheus, which Kepler, kube_pod_owner, energy that is not zero, how
often it is scraped, running pods without energy, and clocks. Exit code 1 when anything fails. Where no Prometheus is
named and the home has a recording, as of a simulated cluster, it looks at that.

  podpower doctor --prom http://localhost:9090
  podpower doctor --format json
""",
    )
    add_prometheus(parser)
    add_kubernetes(parser)
    parser.add_argument("--format", choices=("table", "json"), default="table", help="(default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Examine and show; 1 when anything fails."""
    from podpower.doctor import Finding, examine_cluster, examine_pods, examine_prometheus  # noqa: PLC0415
    from podpower.errors import PodpowerError  # noqa: PLC0415

    use_named_cluster(arguments)
    if (recording := _recording(arguments)) is not None:
        from podpower.doctor_recordings import examine_recording  # noqa: PLC0415

        return _shown(examine_recording(recording), arguments.format)
    with output.progress("examining"):
        findings = examine_cluster(lambda: open_cluster(arguments))
        reached = findings[0].state == "ok"
        try:
            with open_prometheus(arguments, cluster=None) as prometheus:
                findings += examine_prometheus(prometheus)
                if reached and not any(f.check == "prometheus" and f.state == "fail" for f in findings):
                    findings.append(examine_pods(open_cluster(arguments), prometheus))
        except PodpowerError as error:
            fix = "podpower doctor --prom http://HOST:9090"
            findings.append(Finding(check="prometheus", state="fail", detail=str(error), fix=fix))
    return _shown(findings, arguments.format)


def _recording(arguments: argparse.Namespace) -> "Path | None":
    """Return the recording that the platform of this home reads; None where a cluster or Prometheus is named."""
    from pathlib import Path  # noqa: PLC0415

    from podpower.io.places import is_url  # noqa: PLC0415

    given = arguments.settings
    if arguments.prom or arguments.kubeconfig or arguments.context or given.prometheus.url:
        return None
    place = given.places.recording(live=False)
    return None if is_url(place) or not (Path(place) / "recording.json").exists() else Path(place)


def _shown(findings: "list[Finding]", form: str) -> int:
    """Show findings; return 1 when one failed."""
    _show(findings, form)
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def _show(findings: "list[Finding]", form: str) -> None:
    if form == "json":
        print(json.dumps([finding.as_dict() for finding in findings], indent=2))
        return
    output.table(("check", "", "found"), [(f.check, f.state, f.detail) for f in findings])
    for finding in findings:
        if finding.fix:
            print(f"\n{finding.check}: {finding.fix}")
