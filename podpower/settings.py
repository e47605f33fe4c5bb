"""Environment variables: the one module that reads them, each with its type, default and description.

Programs call `read` when they start and pass the result on. A group is parsed when it is first used, so a bad value of
one variable stops only what needs it. docs/reference/settings.md is generated from the fields below.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

from podpower.errors import InvalidInput
from podpower.setting_values import headers, integer, is_true, matchers, names, number, plain, web_address

T = TypeVar("T")

HOME: Final = "PODPOWER_HOME"
RECORDING: Final = "PODPOWER_RECORDING"
MODEL_STORE: Final = "PODPOWER_MODEL_STORE"
ENCODER_PATH: Final = "ENCODER_PATH"
MODEL_PATH: Final = "MODEL_PATH"
PROMETHEUS_URL: Final = "PODPOWER_PROMETHEUS_URL"
DAGSTER_HOME: Final = "DAGSTER_HOME"
TABLES: Final = "PODPOWER_TABLES"
CLUSTERS: Final = "PODPOWER_CLUSTERS"
POSTGRES_URL: Final = "PODPOWER_POSTGRES_URL"
API_PORT: Final = "PODPOWER_API_PORT"

DEFAULT_HOME: Final = ".podpower"
# Defaults that the service and the command line use too.
DEFAULT_DAGSTER_PORT: Final = 3000
DEFAULT_API_PORT: Final = 8000
MAX_BODY_MIB: Final = 8.0
HEADER_TIMEOUT_SECONDS: Final = 10.0
BODY_TIMEOUT_SECONDS: Final = 30.0
DRAIN_SECONDS: Final = 5.0
MAX_CONNECTIONS: Final = 1000
RELOAD_SECONDS: Final = 2.0
VARIABLE, DESCRIPTION = "variable", "description"  # in the metadata of a field
_PARSE = "parse"


def _setting(
    variable: str, description: str, *, parse: Callable[[str], Any] = plain, default: Any = None, secret: bool = False
) -> Any:
    metadata = {VARIABLE: variable, DESCRIPTION: description, _PARSE: parse}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Paths of data, models and artifacts."""

    home: str | None = _setting(
        HOME, "Folder or URL (`s3://`, `gs://`, `az://`) of data and models; `.podpower` by default."
    )
    given_recording: str | None = _setting(
        RECORDING, "Recording to read, or the folder where a live cluster's objects are kept."
    )
    given_tables: str | None = _setting(TABLES, "Folder or URL of the tables; `tables` in the home.")
    given_model_store: str | None = _setting(MODEL_STORE, "Folder or URL of the model store; `models` in the home.")
    encoder_path: str | None = _setting(ENCODER_PATH, "Encoder to serve in place of the store's; needs `MODEL_PATH`.")
    model_path: str | None = _setting(MODEL_PATH, "Model to serve in place of the store's; needs `ENCODER_PATH`.")
    dagster_home: str | None = _setting(
        DAGSTER_HOME, "Folder of Dagster's history; `dagster` in the home; where that is a URL, in `.podpower`."
    )
    clusters_file: str | None = _setting(
        CLUSTERS, "File of several clusters; the variables of one cluster and its Prometheus do not count then."
    )
    budgets_file: str | None = _setting(
        "PODPOWER_BUDGETS", "File of budgets in watts by namespace, which count before annotations."
    )

    postgres_url: str | None = _setting(
        POSTGRES_URL,
        "PostgreSQL of Dagster's history, `postgresql://USER:PASSWORD@HOST/DATABASE`; SQLite in `DAGSTER_HOME` by "
        "default.",
        secret=True,
    )

    @property
    def model_store(self) -> str:
        """The model store, in the home unless it is placed elsewhere."""
        return self.given_model_store or f"{(self.home or DEFAULT_HOME).rstrip('/')}/models"

    @property
    def tables(self) -> str:
        """The root of the tables, in the home unless it is placed elsewhere."""
        return self.given_tables or f"{self._absolute_home}/tables"

    def recording(self, *, live: bool) -> str:
        """Return the recording, in the home unless it is placed elsewhere; of a live cluster, its journal."""
        return self.given_recording or f"{self._absolute_home}/{'journal' if live else 'recording'}"

    def cluster_journal(self, name: str) -> str:
        """Return the journal of a cluster that is not the first."""
        return f"{self._absolute_home}/clusters/{name}/journal"

    @property
    def artifacts(self) -> tuple[str, str] | None:
        """Encoder and model to serve, None for those of the store. InvalidInput where only one is set."""
        if self.encoder_path and self.model_path:
            return self.encoder_path, self.model_path
        if self.encoder_path or self.model_path:
            given, absent = (ENCODER_PATH, MODEL_PATH) if self.encoder_path else (MODEL_PATH, ENCODER_PATH)
            raise InvalidInput(f"{given} is set and {absent} is not: set both, or neither to serve from {MODEL_STORE}")
        return None

    @property
    def _absolute_home(self) -> str:
        return (self.home or os.path.abspath(DEFAULT_HOME)).rstrip("/")


@dataclass(frozen=True, kw_only=True)
class PrometheusSettings:
    """Address of Prometheus, and credentials for it."""

    url: str | None = _setting(  # may hold user and password
        PROMETHEUS_URL, "Prometheus, Thanos, Mimir or VictoriaMetrics; without it, a recording.", secret=True
    )
    token: str | None = _setting("PODPOWER_PROMETHEUS_TOKEN", "Bearer token.", secret=True)
    token_file: str | None = _setting(
        "PODPOWER_PROMETHEUS_TOKEN_FILE", "File with the bearer token, read for each request."
    )
    username: str | None = _setting("PODPOWER_PROMETHEUS_USERNAME", "User of basic authentication.")
    password: str | None = _setting("PODPOWER_PROMETHEUS_PASSWORD", "Password of basic authentication.", secret=True)
    password_file: str | None = _setting(
        "PODPOWER_PROMETHEUS_PASSWORD_FILE", "File with the password, read for each request."
    )
    headers: Mapping[str, str] = _setting(
        "PODPOWER_PROMETHEUS_HEADERS",
        "More headers, `NAME=VALUE` separated by commas, e.g. `X-Scope-OrgID=team-a`.",
        parse=headers,
        default={},
        secret=True,
    )
    ca_file: str | None = _setting("PODPOWER_PROMETHEUS_CA_FILE", "Certificates to trust.")
    cert_file: str | None = _setting("PODPOWER_PROMETHEUS_CERT_FILE", "Client certificate.")
    key_file: str | None = _setting("PODPOWER_PROMETHEUS_KEY_FILE", "Key of the client certificate.")
    verify_tls: bool = _setting(
        "PODPOWER_PROMETHEUS_VERIFY_SSL", "Check the server's certificate.", parse=is_true, default=True
    )
    match: tuple[str, ...] = _setting(
        "PODPOWER_PROMETHEUS_MATCH",
        'Label matchers for every query, separated by commas, e.g. `cluster="prod"`.',
        parse=matchers,
        default=(),
    )
    max_answer_mib: int = _setting(
        "PODPOWER_PROMETHEUS_MAX_ANSWER_MIB",
        "Largest answer to one query in MiB; a range that has more is read in shorter ranges.",
        parse=integer(least=1, most=65_536),
        default=256,
    )
    max_series: int = _setting(
        "PODPOWER_PROMETHEUS_MAX_SERIES",
        "Most series of one answer; 300,000 take about 500 MiB of memory.",
        parse=integer(least=1, most=100_000_000),
        default=300_000,
    )


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Kubernetes cluster and the objects that are observed."""

    kubeconfig: str | None = _setting("KUBECONFIG", "Kubeconfig files; else the pod's account, `~/.kube/config`.")
    context: str | None = _setting("PODPOWER_CONTEXT", "Context of the kubeconfig; its current one by default.")
    ca_file: str | None = _setting("K8S_CA_FILE", "Certificates to trust in place of the kubeconfig's.")
    verify_tls: bool | None = _setting(
        "VERIFY_SSL", "Check the API server's certificate; by default as the kubeconfig sets it.", parse=is_true
    )
    name: str | None = _setting("PODPOWER_CLUSTER", "Name of the cluster in tables; the kubeconfig's by default.")
    kinds: str = _setting("PODPOWER_KINDS", "More kinds to observe, e.g. `ray.io/v1/rayclusters`.", default="")
    namespaces: tuple[str, ...] = _setting(
        "PODPOWER_NAMESPACES", "Namespaces to observe; all by default.", parse=names, default=()
    )
    exclude_namespaces: tuple[str, ...] = _setting(
        "PODPOWER_EXCLUDE_NAMESPACES", "Namespaces to leave out.", parse=names, default=()
    )
    history_hours: int = _setting(
        "PODPOWER_HISTORY_HOURS",
        "Hours of samples to label when a cluster is seen for the first time.",
        parse=integer(least=0, most=100_000),
        default=24,
    )
    keep_journal_days: int = _setting(
        "PODPOWER_KEEP_JOURNAL_DAYS",
        "Days that the journal of the cluster is kept.",
        parse=integer(least=1, most=3650),
        default=30,
    )
    service_host: str | None = _setting("KUBERNETES_SERVICE_HOST", "Set by Kubernetes inside a pod.")

    @property
    def is_inside(self) -> bool:
        """Return True if this process runs in a pod."""
        return self.service_host is not None


@dataclass(frozen=True, kw_only=True)
class AssetSettings:
    """Partitions, sensors and training in Dagster."""

    partitions_start: str | None = _setting(
        "PODPOWER_PARTITIONS_START",
        "First hourly partition, `YYYY-MM-DD-HH:MM`, UTC; by default the hour in which the data begin.",
    )
    sensor_seconds: int = _setting(
        "PODPOWER_SENSOR_SECONDS",
        "Seconds between two evaluations of the sensors.",
        parse=integer(least=1, most=86_400),
        default=30,
    )
    remake_seconds: int = _setting(
        "PODPOWER_REMAKE_SECONDS",
        "Least seconds between two runs of the running hour, and between models on the first day; half for new specs.",
        parse=integer(least=10, most=3600),
        default=600,
    )
    window_days: int = _setting(
        "PODPOWER_WINDOW_DAYS",
        "Days of training rows of a model.",
        parse=integer(least=1, most=3650),
        default=7,
    )
    keep_models: int = _setting(
        "PODPOWER_KEEP_MODELS",
        "Versions that the store keeps beside those that a rollback needs.",
        parse=integer(least=1, most=100_000),
        default=50,
    )
    alert_webhook: str | None = _setting(
        "PODPOWER_ALERT_WEBHOOK",
        "URL that gets a message for each cause of failed runs and checks, in the form of Slack's webhooks.",
        secret=True,
    )
    stale_labels_hours: int = _setting(
        "PODPOWER_STALE_LABELS_HOURS",
        "Age of the newest known label from which labels and rows are stale.",
        parse=integer(least=1, most=8760),
        default=2,
    )
    stale_model_hours: int = _setting(
        "PODPOWER_STALE_MODEL_HOURS",
        "Age of the newest hour that the served model learned from, from which it is stale.",
        parse=integer(least=1, most=8760),
        default=6,
    )
    keep_tables_days: int = _setting(
        "PODPOWER_KEEP_TABLES_DAYS",
        "Days of tables, at least `PODPOWER_WINDOW_DAYS`; the fleet summary reads 30.",
        parse=integer(least=1, most=3650),
        default=35,
    )
    keep_reports_days: int = _setting(
        "PODPOWER_KEEP_REPORTS_DAYS",
        "Days of the pages of `model_evaluation`.",
        parse=integer(least=1, most=3650),
        default=365,
    )
    keep_runs_days: int = _setting(
        "PODPOWER_KEEP_RUNS_DAYS",
        "Days of Dagster's history. Older ended runs are deleted, except the last materialization of each partition "
        "since the day of the oldest table, and of each asset.",
        parse=integer(least=1, most=3650),
        default=7,
    )


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """The prediction API and `podpower up`."""

    max_body_mib: float = _setting(
        "PODPOWER_MAX_BODY_MIB", "Largest accepted body in MiB.", parse=number(most=1024), default=MAX_BODY_MIB
    )
    reload_seconds: float = _setting(
        "PODPOWER_RELOAD_SECONDS",
        "Seconds between two looks for a newly promoted model.",
        parse=number(most=3600),
        default=RELOAD_SECONDS,
    )
    header_timeout_seconds: float = _setting(
        "PODPOWER_HEADER_TIMEOUT_SECONDS",
        "Seconds that a client of the prediction API has to send the headers of a request.",
        parse=number(most=3600),
        default=HEADER_TIMEOUT_SECONDS,
    )
    body_timeout_seconds: float = _setting(
        "PODPOWER_BODY_TIMEOUT_SECONDS",
        "Seconds that it has to send the body.",
        parse=number(most=3600),
        default=BODY_TIMEOUT_SECONDS,
    )
    max_connections: int = _setting(
        "PODPOWER_MAX_CONNECTIONS",
        "Connections that the prediction API serves at a time; others get 503.",
        parse=integer(least=1, most=100_000),
        default=MAX_CONNECTIONS,
    )
    drain_seconds: float = _setting(
        "PODPOWER_DRAIN_SECONDS",
        "Seconds for which the prediction API answers after SIGTERM while it is not ready, at most.",
        parse=number(most=3600),
        default=DRAIN_SECONDS,
    )
    dagster_port: int = _setting(
        "PODPOWER_DAGSTER_PORT",
        "Port of the Dagster UI of `podpower up`.",
        parse=integer(least=1, most=65_535),
        default=DEFAULT_DAGSTER_PORT,
    )
    api_port: int = _setting(
        API_PORT,
        "Port of the prediction API of `podpower up`.",
        parse=integer(least=1, most=65_535),
        default=DEFAULT_API_PORT,
    )
    given_api_url: str | None = _setting(
        "PODPOWER_API_URL",
        "Address of the prediction API for browsers, in links of the Dagster UI; "
        f"`http://127.0.0.1:{DEFAULT_API_PORT}`, or the port of `podpower up`, by default.",
        parse=web_address,
    )

    @property
    def api_url(self) -> str:
        """The address of the prediction API without a slash at its end."""
        return self.given_api_url or f"http://127.0.0.1:{self.api_port}"


GROUPS: Final = (Places, PrometheusSettings, ClusterSettings, AssetSettings, ServiceSettings)


@dataclass(frozen=True)
class Settings:
    """The settings of one process. InvalidInput, which names the variable, when a group with a bad value is used."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def places(self) -> Places:
        """Return the paths of data, models and artifacts."""
        return _parsed(Places, self.environment)

    @cached_property
    def prometheus(self) -> PrometheusSettings:
        """Return the address of Prometheus and the credentials for it."""
        return _parsed(PrometheusSettings, self.environment)

    @cached_property
    def cluster(self) -> ClusterSettings:
        """Return the Kubernetes cluster and the objects that are observed."""
        return _parsed(ClusterSettings, self.environment)

    @cached_property
    def assets(self) -> AssetSettings:
        """Partitions, sensors and training in Dagster."""
        return _parsed(AssetSettings, self.environment)

    @cached_property
    def service(self) -> ServiceSettings:
        """The prediction API and `podpower up`."""
        return _parsed(ServiceSettings, self.environment)


def read() -> Settings:
    """Return the settings of this process."""
    return Settings(dict(os.environ))


def variables(group: type) -> dict[str, str]:
    """Return the environment variable of each field of a group."""
    return {declared.name: declared.metadata[VARIABLE] for declared in dataclasses.fields(group)}


def _parsed(group: type[T], environment: Mapping[str, str]) -> T:
    values = {}
    for declared in dataclasses.fields(group):  # type: ignore[arg-type]
        text = environment.get(declared.metadata[VARIABLE], "")
        if not text.strip():  # empty is as good as absent
            continue
        try:
            values[declared.name] = declared.metadata[_PARSE](text)
        except InvalidInput as error:
            shown = f"{declared.metadata[VARIABLE]}: {error}"
            raise InvalidInput(shown) from None
    return group(**values)
