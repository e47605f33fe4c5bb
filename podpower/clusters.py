"""The clusters of the platform: the file that `PODPOWER_CLUSTERS` names, and the settings of each cluster in it.

The file contains no credentials: it names environment variables and files that do. A cluster's settings are those that
it would have alone, so that whatever observes one cluster observes each of several.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from podpower.errors import InvalidInput
from podpower.io.config_files import converted, read_config
from podpower.settings import (
    CLUSTERS,
    RECORDING,
    TABLES,
    ClusterSettings,
    PrometheusSettings,
    Settings,
    variables,
)

MOST_CLUSTERS: Final = 100
CLUSTER_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PROMETHEUS, _CLUSTER = variables(PrometheusSettings), variables(ClusterSettings)
# Limits on the memory of this process, whatever cluster it reads.
_LIMITS = {_PROMETHEUS["max_answer_mib"], _PROMETHEUS["max_series"]}
# What holds for every cluster whose entry does not set it.
_COMMON = {_CLUSTER["history_hours"], _CLUSTER["keep_journal_days"]}
_OF_ONE_CLUSTER = {*_PROMETHEUS.values(), *_CLUSTER.values(), RECORDING, TABLES} - _LIMITS - _COMMON
# Keys whose value is a credential, and what to write in their place.
_CREDENTIALS = {
    "token": "token_env or token_file",
    "password": "password_env or password_file",
    "headers": "headers_env",
}


class PrometheusEntry(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Prometheus of a cluster. `token_env`, `password_env` and `headers_env` name environment variables; the last one
    contains `NAME=VALUE` separated by commas.
    """

    url: str
    token_env: str | None = None
    token_file: str | None = None
    username: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    headers_env: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify_ssl: bool = True
    match: list[str] = []


class ClusterEntry(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A cluster: one that a kubeconfig or a context of it describes, the one around this process, or a recording."""

    name: str
    kubeconfig: str | None = None
    context: str | None = None
    in_cluster: bool = False
    recording: str | None = None
    ca_file: str | None = None
    verify_ssl: bool | None = None
    node_type: str | None = None
    prometheus: PrometheusEntry | None = None
    kinds: list[str] = []
    namespaces: list[str] = []
    exclude_namespaces: list[str] = []
    history_hours: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | None = None


class _File(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    clusters: Annotated[list[ClusterEntry], msgspec.Meta(min_length=1, max_length=MOST_CLUSTERS)]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A configured cluster. `prefix` precedes its assets and tables: nothing for the first, so that a platform which
    grows keeps its history, and its name for the others. `entry` is None for the one cluster of the environment.
    """

    prefix: str
    given: Settings
    entry: ClusterEntry | None = None

    @property
    def name(self) -> str:
        """The name in outputs; of the environment's cluster, None unless it is set, is that of its kubeconfig."""
        return self.entry.name if self.entry else self.given.cluster.name or ""

    @property
    def has_meter(self) -> bool:
        """False for an entry of the file without a source of samples."""
        return self.entry is None or bool(self.entry.prometheus or self.entry.recording)

    @property
    def place(self) -> str:
        """The place of its journal, or its recording."""
        places = self.given.places
        if self.entry is None:
            return places.recording(live=self.given.prometheus.url is not None)
        if self.entry.recording:
            return self.entry.recording
        return places.cluster_journal(self.prefix) if self.prefix else places.recording(live=True)

    def settings(self) -> Settings:
        """Return the settings of this cluster. InvalidInput when a variable that its entry names is not set, which
        concerns this cluster only.
        """
        if self.entry is None:
            return self.given
        rest = {name: text for name, text in self.given.environment.items() if name not in _OF_ONE_CLUSTER}
        return Settings({**rest, **dict(self._places()), **dict(self._access()), **dict(self._prometheus())})

    def _places(self) -> Iterator[tuple[str, str]]:
        tables = self.given.places.tables
        yield RECORDING, self.place
        yield TABLES, f"{tables}/{self.prefix}" if self.prefix else tables

    def _access(self) -> Iterator[tuple[str, str]]:
        entry, environment = self._entry, self.given.environment
        inherited = [] if entry.in_cluster or entry.kubeconfig else ["kubeconfig"]
        inherited += ["service_host", "service_port"] if entry.in_cluster else []
        for field in inherited:
            if text := environment.get(_CLUSTER[field]):
                yield _CLUSTER[field], text
        found = {
            "name": entry.name,
            "kubeconfig": entry.kubeconfig,
            "context": entry.context,
            "ca_file": entry.ca_file,
            "verify_tls": None if entry.verify_ssl is None else str(entry.verify_ssl),
            "node_type": entry.node_type,
            "kinds": ",".join(entry.kinds),
            "namespaces": ",".join(entry.namespaces),
            "exclude_namespaces": ",".join(entry.exclude_namespaces),
            "history_hours": None if entry.history_hours is None else str(entry.history_hours),
        }
        yield from ((_CLUSTER[field], text) for field, text in found.items() if text)

    def _prometheus(self) -> Iterator[tuple[str, str]]:
        entry = self._entry.prometheus
        if entry is None:
            return
        found = {
            "url": entry.url,
            "token": self._referred("token_env", entry.token_env),
            "token_file": entry.token_file,
            "username": entry.username,
            "password": self._referred("password_env", entry.password_env),
            "password_file": entry.password_file,
            "headers": self._referred("headers_env", entry.headers_env),
            "ca_file": entry.ca_file,
            "cert_file": entry.cert_file,
            "key_file": entry.key_file,
            "verify_tls": str(entry.verify_ssl),
            "match": ",".join(entry.match),
        }
        yield from ((_PROMETHEUS[field], text) for field, text in found.items() if text)

    def _referred(self, key: str, variable: str | None) -> str | None:
        if variable is None:
            return None
        if not (text := self.given.environment.get(variable)):
            raise InvalidInput(f"cluster {self.name}: prometheus.{key} names {variable}, which is not set")
        return text

    @property
    def _entry(self) -> ClusterEntry:
        if self.entry is None:
            raise ValueError("the cluster of the environment has no entry")
        return self.entry


def configured_clusters(settings: Settings) -> tuple[Cluster, ...]:
    """Return the clusters of the file that PODPOWER_CLUSTERS names, in its order; without it, the one cluster of the
    environment. InvalidInput names what is wrong in the file.
    """
    path = settings.places.clusters_file
    if path is None:
        return (Cluster(prefix="", given=settings),)
    content = read_config(path)
    _check_credentials(content, path)
    entries = converted(content, _File, path=path).clusters
    seen: set[str] = set()
    for entry in entries:
        if problem := _problem(entry, seen):
            raise InvalidInput(f"{path}: cluster {entry.name[:80]!r}: {problem}")
        seen.add(entry.name)
    return tuple(
        Cluster(prefix=entry.name if place else "", given=settings, entry=entry) for place, entry in enumerate(entries)
    )


def node_types(settings: Settings) -> dict[str, str]:
    """Return the machine type of each cluster that has one type of nodes, by its name; that of the one cluster of the
    environment as "", which holds for every cluster.
    """
    if settings.places.clusters_file is None:
        return {"": settings.cluster.node_type} if settings.cluster.node_type else {}
    entries = [cluster.entry for cluster in configured_clusters(settings) if cluster.entry]
    return {entry.name: entry.node_type for entry in entries if entry.node_type}


def cluster_of(settings: Settings, name: str) -> Cluster:
    """Return the cluster of this name or prefix; without a file, the one of the environment. InvalidInput lists the
    names where there is no such cluster.
    """
    clusters = configured_clusters(settings)
    if settings.places.clusters_file is None:
        return clusters[0]
    for cluster in clusters:
        if name in {cluster.name, cluster.prefix}:
            return cluster
    known = ", ".join(cluster.name for cluster in clusters if cluster.name) or "none"
    raise InvalidInput(f"no cluster {name!r} in {CLUSTERS}={settings.places.clusters_file}: it has {known}")


def _problem(entry: ClusterEntry, seen: set[str]) -> str | None:
    """Return what is wrong with an entry; None where it is right."""
    ways = [
        key
        for key, given in (
            ("kubeconfig or context", entry.kubeconfig or entry.context),
            ("in_cluster", entry.in_cluster),
            ("recording", entry.recording),
        )
        if given
    ]
    if not CLUSTER_NAME.fullmatch(entry.name):
        return "a name has a-z, 0-9 and -, at most 63 characters, and begins and ends with a letter or digit"
    if entry.name in seen:
        return "its name is given twice"
    if len(ways) > 1:
        return f"give one of {' and '.join(ways)}, not both"
    if not ways:
        return "give kubeconfig, context, in_cluster: true, or recording"
    if entry.recording and entry.prometheus:
        return "a recording has its own samples: leave prometheus out"
    return _prometheus_problem(entry.prometheus) if entry.prometheus else None


def _prometheus_problem(entry: PrometheusEntry) -> str | None:
    if "@" in entry.url.partition("://")[2].partition("/")[0]:
        return "prometheus.url contains credentials: write username, and password_env or password_file"
    if not entry.url.startswith(("http://", "https://")):
        return "prometheus.url must begin with http:// or https://"
    given = [key for key in ("token_env", "token_file", "username") if getattr(entry, key)]
    if len(given) > 1:
        return f"prometheus: give one of {' and '.join(given)}, not both"
    if entry.password_env and entry.password_file:
        return "prometheus: give one of password_env and password_file, not both"
    if (entry.password_env or entry.password_file) and not entry.username:
        return "prometheus: a password needs a username"
    return None


def _check_credentials(content: Any, path: str) -> None:
    """Refuse values of credentials in the file, by their key."""
    clusters = content.get("clusters") if isinstance(content, Mapping) else None
    for entry in clusters if isinstance(clusters, list) else ():
        prometheus = entry.get("prometheus") if isinstance(entry, Mapping) else None
        for key, instead in _CREDENTIALS.items():
            if isinstance(prometheus, Mapping) and key in prometheus:
                raise InvalidInput(
                    f"{path}: cluster {str(entry.get('name'))[:80]!r}: prometheus.{key} is a credential, which has no "
                    f"place in this file: write {instead}"
                )
