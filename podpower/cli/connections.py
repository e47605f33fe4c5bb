"""Options that say where a Prometheus is, and what they open. Secrets come from the environment or from files, never
from the command line, where every user of the machine can read them.
"""

import argparse
import os
from typing import TYPE_CHECKING

from podpower.cli.arguments import Parser, positive
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.sources.prometheus.source import Prometheus


def add_prometheus(parser: Parser) -> None:
    """Add --prom and what goes with it."""
    parser.add_argument(
        "--prom", metavar="URL", help="Prometheus, Thanos, Mimir or VictoriaMetrics (default: PODPOWER_PROMETHEUS_URL)"
    )
    parser.add_argument(
        "--match",
        action="append",
        metavar="MATCHER",
        help="label matcher that every query gets, e.g. 'cluster=\"prod\"'; may be given several times",
    )
    parser.add_argument(
        "--prom-concurrency", type=positive, default=2, metavar="N", help="queries at a time (default %(default)s)"
    )


def open_prometheus(arguments: argparse.Namespace, *, cluster: str | None) -> "Prometheus":
    """The Prometheus that the options, or the environment, name. InvalidInput where neither does."""
    from podpower.sources.prometheus.endpoint import endpoint_from  # noqa: PLC0415
    from podpower.sources.prometheus.source import Prometheus  # noqa: PLC0415

    environment = dict(os.environ)
    if arguments.match:
        environment["PODPOWER_PROMETHEUS_MATCH"] = ",".join(arguments.match)
    endpoint = endpoint_from(environment, url=arguments.prom)
    if endpoint is None:
        raise InvalidInput("no Prometheus: give --prom URL, or set PODPOWER_PROMETHEUS_URL")
    return Prometheus(endpoint, cluster=cluster, concurrency=arguments.prom_concurrency)
