"""Options that select a cluster and a Prometheus, and the connections that they open.

Secrets come from the environment or from files, never from the command line, where every user of the machine can read
them.
"""

import argparse
from typing import TYPE_CHECKING

from podpower.cli import output
from podpower.cli.arguments import Parser, name, positive
from podpower.errors import InvalidInput
from podpower.settings import CLUSTERS, ClusterSettings

if TYPE_CHECKING:
    from podpower.sources.kubernetes.access import Access, ClusterConfig
    from podpower.sources.kubernetes.list_watch import Selection
    from podpower.sources.prometheus.source import Prometheus


def add_kubernetes(parser: Parser) -> None:
    """Add the options that select a cluster, its name in the output, and its certificates."""
    parser.add_argument(
        "--cluster",
        type=name,
        metavar="NAME",
        help=f"name of the cluster in the output (default: that of the kubeconfig), or of a cluster in {CLUSTERS}",
    )
    add_cluster_access(parser)


def add_cluster_access(parser: Parser) -> None:
    """Add the options that select a cluster and its certificates, without a name for it."""
    parser.add_argument(
        "--kubeconfig", metavar="FILE", help="default: KUBECONFIG, the pod's own account, ~/.kube/config"
    )
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig (default: its current one)")
    parser.add_argument(
        "--ca-file", metavar="FILE", help="certificates to trust (default: K8S_CA_FILE, the kubeconfig's)"
    )
    parser.add_argument(
        "--verify-ssl",
        action=argparse.BooleanOptionalAction,
        help="check the server's certificate (default: VERIFY_SSL, the kubeconfig's, else yes)",
    )
    parser.add_argument("--suppress-tls-warnings", action="store_true", help="do not warn about unchecked certificates")


def add_selection(parser: Parser, *, kinds: str) -> None:
    """Add the options that select objects; `kinds` describes the default."""
    parser.add_argument(
        "--kinds", nargs="+", metavar="K", help=f"Deployment, pods, ray.io/v1/rayclusters ... (default: {kinds})"
    )
    parser.add_argument("--namespaces", nargs="+", default=[], metavar="N", help="only these (default: all)")
    parser.add_argument("--exclude-namespaces", nargs="+", default=[], metavar="N", help="not these")
    parser.add_argument("--selector", metavar="LABELS", help="only objects with these labels, e.g. app=web,tier!=test")


def use_named_cluster(arguments: argparse.Namespace) -> None:
    """Replace the settings by those of the cluster that --cluster names, where there is a file of clusters."""
    from podpower.clusters import cluster_of  # noqa: PLC0415

    if arguments.settings.places.clusters_file and arguments.cluster:
        arguments.settings = cluster_of(arguments.settings, arguments.cluster).settings()


def config(arguments: argparse.Namespace) -> "ClusterConfig":
    """Return the cluster that the options or the environment describe."""
    from podpower.sources.kubernetes.access import cluster_config  # noqa: PLC0415

    return cluster_config(
        arguments.settings.cluster,
        kubeconfig=arguments.kubeconfig,
        context=arguments.context,
        ca_file=arguments.ca_file,
        verify_tls=arguments.verify_ssl,
        cluster=arguments.cluster,
    )


def open_cluster(arguments: argparse.Namespace) -> "Access":
    """Open that cluster; warn where its certificate is not checked."""
    from podpower.sources.kubernetes.access import open_access  # noqa: PLC0415

    access = open_access(config(arguments))
    if not access.verifies_tls and not arguments.suppress_tls_warnings:
        output.note(f"warning: the certificate of {access.server} is not checked")
    return access


def selection(arguments: argparse.Namespace, *, kinds: str, with_settings: bool = False) -> "Selection":
    """Return the objects that the options select; `kinds` names the default in podpower.kubernetes.kinds.
    `with_settings`: options that are not given are those of the environment.
    """
    from podpower.kubernetes import kinds as known  # noqa: PLC0415
    from podpower.sources.kubernetes.list_watch import Selection  # noqa: PLC0415

    given = arguments.settings.cluster if with_settings else ClusterSettings()
    default = (*getattr(known, kinds), *known.parse_kinds([given.kinds]))
    return Selection(
        kinds=known.parse_kinds(arguments.kinds) if arguments.kinds else tuple(dict.fromkeys(default)),
        namespaces=tuple(dict.fromkeys(arguments.namespaces or given.namespaces)),
        exclude=tuple(arguments.exclude_namespaces or given.exclude_namespaces),
        labels=arguments.selector,
    )


def add_prometheus(parser: Parser) -> None:
    """Add --prom and its companions."""
    parser.add_argument(
        "--prom", metavar="URL", help="Prometheus, Thanos, Mimir or VictoriaMetrics (default: PODPOWER_PROMETHEUS_URL)"
    )
    parser.add_argument(
        "--match",
        action="append",
        metavar="MATCHER",
        help="label matcher added to every query, e.g. 'cluster=\"prod\"'; may be given several times",
    )
    parser.add_argument(
        "--prom-concurrency", type=positive, default=2, metavar="N", help="queries at a time (default %(default)s)"
    )


def open_prometheus(arguments: argparse.Namespace, *, cluster: str | None) -> "Prometheus":
    """Return the Prometheus that the options or the environment name. InvalidInput when neither does."""
    from podpower.sources.prometheus.endpoint import endpoint_from  # noqa: PLC0415
    from podpower.sources.prometheus.source import Prometheus  # noqa: PLC0415

    endpoint = endpoint_from(arguments.settings.prometheus, url=arguments.prom, match=arguments.match)
    if endpoint is None:
        raise InvalidInput(
            "no source of labels: give --prom URL or set PODPOWER_PROMETHEUS_URL; of a recording, --recording DIR"
        )
    return Prometheus(endpoint, cluster=cluster, concurrency=arguments.prom_concurrency, note=output.note)
