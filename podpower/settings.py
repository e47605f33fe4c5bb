"""Environment variables: the one module that reads them, each with its type, default and description.

Programs call `read` when they start and pass the result on. A group is parsed when it is first used, so a bad value of
one variable stops only what needs it. docs/reference/settings.md is generated from the fields below.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeVar

from podpower.errors import InvalidInput
from podpower.service_settings import ClientSettings, ServiceSettings
from podpower.setting_fields import PARSE, VARIABLE, setting
from podpower.setting_values import KeyedAddress, headers, integer, is_true, matchers, names

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
ALERT_WEBHOOK: Final = "PODPOWER_ALERT_WEBHOOK"

DEFAULT_HOME: Final = ".podpower"


@dataclass(frozen=True, kw_only=True)
class Places:
    """Paths of data, models and artifacts."""

    home: str | None = setting(
        HOME, "Folder or URL (`s3://`, `gs://`, `az://`) of data and models; `.podpower` by default."
    )
    given_recording: str | None = setting(
        RECORDING, "Recording to read, or the folder where a live cluster's objects are kept."
    )
    given_tables: str | None = setting(TABLES, "Folder or URL of the tables; `tables` in the home.")
    given_model_store: str | None = setting(
        MODEL_STORE,
        "Folder or URL of the model store; `models` in the home. `http://HOST:8000/store`: what a service hands out.",
    )
    model_store_key_file: str | None = setting(
        "PODPOWER_MODEL_STORE_KEY_FILE", "File with the API key for a model store at `http://` or `https://`."
    )
    encoder_path: str | None = setting(ENCODER_PATH, "Encoder to serve in place of the store's; needs `MODEL_PATH`.")
    model_path: str | None = setting(MODEL_PATH, "Model to serve in place of the store's; needs `ENCODER_PATH`.")
    dagster_home: str | None = setting(
        DAGSTER_HOME, "Folder of Dagster's history; `dagster` in the home; where that is a URL, in `.podpower`."
    )
    clusters_file: str | None = setting(
        CLUSTERS, "File of several clusters; the variables of one cluster and its Prometheus do not count then."
    )
    budgets_file: str | None = setting(
        "PODPOWER_BUDGETS", "File of budgets in watts by namespace, which count before annotations."
    )

    postgres_url: str | None = setting(
        POSTGRES_URL,
        "PostgreSQL of Dagster's history, `postgresql://USER:PASSWORD@HOST/DATABASE`; SQLite in `DAGSTER_HOME` by "
        "default.",
        secret=True,
    )

    @property
    def model_store(self) -> str:
        """The model store, in the home unless it is placed elsewhere."""
        place = self.given_model_store or f"{(self.home or DEFAULT_HOME).rstrip('/')}/models"
        return KeyedAddress(place, self.model_store_key_file)

    @property
    def tables(self) -> str:
        """The root of the tables, in the home unless it is placed elsewhere."""
        return self.given_tables or f"{self._absolute_home}/tables"

    def recording(self, *, live: bool) -> str:
        """Return the recording, in the home unless it is placed elsewhere; of a live cluster, its journal."""
        return self.given_recording or f"{self._absolute_home}/{'journal' if live else 'recording'}"

    def cluster_journal(self, name: str) -> str:
        """Return the journal of a cluster that is not the first."""
        return f"{self.further_clusters}/{name}/journal"

    @property
    def further_clusters(self) -> str:
        """Return the place of clusters that are not the first, those that were removed included."""
        return f"{self._absolute_home}/clusters"

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

    url: str | None = setting(  # may hold user and password
        PROMETHEUS_URL, "Prometheus, Thanos, Mimir or VictoriaMetrics; without it, a recording.", secret=True
    )
    token: str | None = setting("PODPOWER_PROMETHEUS_TOKEN", "Bearer token.", secret=True)
    token_file: str | None = setting(
        "PODPOWER_PROMETHEUS_TOKEN_FILE", "File with the bearer token, read for each request."
    )
    username: str | None = setting("PODPOWER_PROMETHEUS_USERNAME", "User of basic authentication.")
    password: str | None = setting("PODPOWER_PROMETHEUS_PASSWORD", "Password of basic authentication.", secret=True)
    password_file: str | None = setting(
        "PODPOWER_PROMETHEUS_PASSWORD_FILE", "File with the password, read for each request."
    )
    headers: Mapping[str, str] = setting(
        "PODPOWER_PROMETHEUS_HEADERS",
        "More headers, `NAME=VALUE` separated by commas, e.g. `X-Scope-OrgID=team-a`.",
        parse=headers,
        default={},
        secret=True,
    )
    ca_file: str | None = setting("PODPOWER_PROMETHEUS_CA_FILE", "Certificates to trust.")
    cert_file: str | None = setting("PODPOWER_PROMETHEUS_CERT_FILE", "Client certificate.")
    key_file: str | None = setting("PODPOWER_PROMETHEUS_KEY_FILE", "Key of the client certificate.")
    verify_tls: bool = setting(
        "PODPOWER_PROMETHEUS_VERIFY_SSL", "Check the server's certificate.", parse=is_true, default=True
    )
    match: tuple[str, ...] = setting(
        "PODPOWER_PROMETHEUS_MATCH",
        'Label matchers for every query, separated by commas, e.g. `cluster="prod"`.',
        parse=matchers,
        default=(),
    )
    max_answer_mib: int = setting(
        "PODPOWER_PROMETHEUS_MAX_ANSWER_MIB",
        "Largest answer to one query in MiB; a range that has more is read in shorter ranges.",
        parse=integer(least=1, most=65_536),
        default=256,
    )
    max_series: int = setting(
        "PODPOWER_PROMETHEUS_MAX_SERIES",
        "Most series of one answer; 300,000 take about 500 MiB of memory.",
        parse=integer(least=1, most=100_000_000),
        default=300_000,
    )


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Kubernetes cluster and the objects that are observed."""

    kubeconfig: str | None = setting("KUBECONFIG", "Kubeconfig files; else the pod's account, `~/.kube/config`.")
    context: str | None = setting("PODPOWER_CONTEXT", "Context of the kubeconfig; its current one by default.")
    ca_file: str | None = setting("K8S_CA_FILE", "Certificates to trust in place of the kubeconfig's.")
    verify_tls: bool | None = setting(
        "VERIFY_SSL", "Check the API server's certificate; by default as the kubeconfig sets it.", parse=is_true
    )
    name: str | None = setting("PODPOWER_CLUSTER", "Name of the cluster in tables; the kubeconfig's by default.")
    node_type: str | None = setting(
        "PODPOWER_NODE_TYPE", "Machine type of its nodes, e.g. `m6g.large`, where all have the same."
    )
    kinds: str = setting("PODPOWER_KINDS", "More kinds to observe, e.g. `ray.io/v1/rayclusters`.", default="")
    namespaces: tuple[str, ...] = setting(
        "PODPOWER_NAMESPACES", "Namespaces to observe; all by default.", parse=names, default=()
    )
    exclude_namespaces: tuple[str, ...] = setting(
        "PODPOWER_EXCLUDE_NAMESPACES", "Namespaces to leave out.", parse=names, default=()
    )
    history_hours: int = setting(
        "PODPOWER_HISTORY_HOURS",
        "Hours of samples to label when a cluster is seen for the first time.",
        parse=integer(least=0, most=100_000),
        default=24,
    )
    keep_journal_days: int = setting(
        "PODPOWER_KEEP_JOURNAL_DAYS",
        "Days that the journal of the cluster is kept.",
        parse=integer(least=1, most=3650),
        default=30,
    )
    service_host: str | None = setting("KUBERNETES_SERVICE_HOST", "Set by Kubernetes inside a pod.")
    service_port: int = setting(
        "KUBERNETES_SERVICE_PORT", "Likewise.", parse=integer(least=1, most=65_535), default=443
    )

    @property
    def service(self) -> str | None:
        """The URL of the API server around this process; None outside of a pod."""
        if self.service_host is None:
            return None
        host = f"[{self.service_host}]" if ":" in self.service_host else self.service_host
        return f"https://{host}:{self.service_port}"

    @property
    def is_inside(self) -> bool:
        """Return True if this process runs in a pod."""
        return self.service_host is not None


@dataclass(frozen=True, kw_only=True)
class AssetSettings:
    """Partitions, sensors and training in Dagster."""

    partitions_start: str | None = setting(
        "PODPOWER_PARTITIONS_START",
        "First hourly partition, `YYYY-MM-DD-HH:MM`, UTC; by default the hour in which the data begin.",
    )
    sensor_seconds: int = setting(
        "PODPOWER_SENSOR_SECONDS",
        "Seconds between two evaluations of the sensors.",
        parse=integer(least=1, most=86_400),
        default=30,
    )
    remake_seconds: int = setting(
        "PODPOWER_REMAKE_SECONDS",
        "Least seconds between two runs of the running hour, and between models on the first day; half for new specs.",
        parse=integer(least=10, most=3600),
        default=600,
    )
    fleet_sensor: bool = setting(
        "PODPOWER_FLEET_SENSOR",
        "Let the sensor `fleet_changes` request the fleet summary; `off` where a CronJob makes it.",
        parse=is_true,
        default=True,
    )
    window_days: int = setting(
        "PODPOWER_WINDOW_DAYS",
        "Days of training rows of a model.",
        parse=integer(least=1, most=3650),
        default=7,
    )
    training_runs: int = setting(
        "PODPOWER_TRAINING_RUNS",
        "Runs at a time that train or evaluate a model: the limit of Dagster's pool `training`.",
        parse=integer(least=1, most=1000),
        default=1,
    )
    export_runs: int = setting(
        "PODPOWER_EXPORT_RUNS",
        "Runs at a time that read samples from a Prometheus: the limit of Dagster's pool `export`.",
        parse=integer(least=1, most=1000),
        default=2,
    )
    keep_models: int = setting(
        "PODPOWER_KEEP_MODELS",
        "Versions that the store keeps beside those that a rollback needs.",
        parse=integer(least=1, most=100_000),
        default=50,
    )
    alert_webhook: str | None = setting(
        ALERT_WEBHOOK,
        "URL that gets a message for each cause of failed runs and checks, in the form of Slack's webhooks.",
        secret=True,
    )
    stale_labels_hours: int = setting(
        "PODPOWER_STALE_LABELS_HOURS",
        "Age of the newest known label, and of the last observation, from which labels, rows and journal are stale.",
        parse=integer(least=1, most=8760),
        default=2,
    )
    stale_model_hours: int = setting(
        "PODPOWER_STALE_MODEL_HOURS",
        "Age of the newest hour that the served model learned from, from which it is stale.",
        parse=integer(least=1, most=8760),
        default=6,
    )
    keep_tables_days: int = setting(
        "PODPOWER_KEEP_TABLES_DAYS",
        "Days of tables, at least `PODPOWER_WINDOW_DAYS`; the fleet summary reads 30.",
        parse=integer(least=1, most=3650),
        default=35,
    )
    keep_reports_days: int = setting(
        "PODPOWER_KEEP_REPORTS_DAYS",
        "Days of the pages of `model_evaluation`.",
        parse=integer(least=1, most=3650),
        default=365,
    )
    keep_runs_days: int = setting(
        "PODPOWER_KEEP_RUNS_DAYS",
        "Days of Dagster's history. Older ended runs are deleted, except the last materialization of each partition "
        "since the day of the oldest table, and of each asset.",
        parse=integer(least=1, most=3650),
        default=7,
    )


GROUPS: Final = (Places, PrometheusSettings, ClusterSettings, AssetSettings, ServiceSettings, ClientSettings)


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

    @property
    def history_s(self) -> float:
        """Seconds before a journal began that are labelled, too: a Prometheus remembers them, nothing else does."""
        return self.cluster.history_hours * 3600.0 if self.prometheus.url else 0.0

    @cached_property
    def assets(self) -> AssetSettings:
        """Partitions, sensors and training in Dagster."""
        return _parsed(AssetSettings, self.environment)

    @cached_property
    def service(self) -> ServiceSettings:
        """The prediction API and `podpower up`."""
        return _parsed(ServiceSettings, self.environment)

    @cached_property
    def client(self) -> ClientSettings:
        """Clients of the prediction API."""
        return _parsed(ClientSettings, self.environment)


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
            values[declared.name] = declared.metadata[PARSE](text)
        except InvalidInput as error:
            shown = f"{declared.metadata[VARIABLE]}: {error}"
            raise InvalidInput(shown) from None
    return group(**values)


_ALLOCATOR = "_RJEM_MALLOC_CONF"
# What polars puts before the value when it is loaded: processes that are started then have it as well.
_OF_POLARS = re.compile(r"^(?:dirty_decay_ms:500,muzzy_decay_ms:(?:1000|-1),?)+")


def give_back_memory() -> None:
    """Have polars' allocator, here and in processes started from here, give freed memory back soon, unless the
    environment configures it: by default the system shows such memory as used until it needs it. Call it before polars
    is imported.
    """
    if not _OF_POLARS.sub("", os.environ.get(_ALLOCATOR, "")):
        os.environ[_ALLOCATOR] = "dirty_decay_ms:100,muzzy_decay_ms:0,narenas:1"


def without_threads_for_matrices() -> None:
    """Have numpy start no threads for products of matrices, unless the environment wants them: starting them takes
    much of the time that it needs to load. Call it before numpy is imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
