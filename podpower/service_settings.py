"""Settings of the prediction API and of `podpower up`."""

from dataclasses import dataclass
from typing import Final

from podpower.setting_fields import setting
from podpower.setting_values import integer, is_true, names, number, one_of, origins, web_address

API_PORT: Final = "PODPOWER_API_PORT"
API_KEYS_FILE: Final = "PODPOWER_API_KEYS_FILE"
CORS_ORIGINS: Final = "PODPOWER_CORS_ORIGINS"
LOG_FORMAT: Final = "PODPOWER_LOG_FORMAT"
# Defaults that the service and the command line use too.
DEFAULT_DAGSTER_PORT: Final = 3000
DEFAULT_API_PORT: Final = 8000
MAX_BODY_MIB: Final = 8.0
HEADER_TIMEOUT_SECONDS: Final = 10.0
BODY_TIMEOUT_SECONDS: Final = 30.0
DRAIN_SECONDS: Final = 5.0
WORKER_TIMEOUT_SECONDS: Final = 30
MAX_CONNECTIONS: Final = 1000
RELOAD_SECONDS: Final = 2.0
FLEET_SERIES: Final = 1000
LOG_FORMATS: Final = ("text", "json")


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """The prediction API and `podpower up`."""

    max_body_mib: float = setting(
        "PODPOWER_MAX_BODY_MIB", "Largest accepted body in MiB.", parse=number(most=1024), default=MAX_BODY_MIB
    )
    reload_seconds: float = setting(
        "PODPOWER_RELOAD_SECONDS",
        "Seconds between two looks for a newly promoted model.",
        parse=number(most=3600),
        default=RELOAD_SECONDS,
    )
    header_timeout_seconds: float = setting(
        "PODPOWER_HEADER_TIMEOUT_SECONDS",
        "Seconds that a client of the prediction API has to send the headers of a request.",
        parse=number(most=3600),
        default=HEADER_TIMEOUT_SECONDS,
    )
    body_timeout_seconds: float = setting(
        "PODPOWER_BODY_TIMEOUT_SECONDS",
        "Seconds that it has to send the body, and to take more of its answer.",
        parse=number(most=3600),
        default=BODY_TIMEOUT_SECONDS,
    )
    max_connections: int = setting(
        "PODPOWER_MAX_CONNECTIONS",
        "Connections that the prediction API serves at a time; others get 503.",
        parse=integer(least=1, most=100_000),
        default=MAX_CONNECTIONS,
    )
    drain_seconds: float = setting(
        "PODPOWER_DRAIN_SECONDS",
        "Seconds for which the prediction API answers after SIGTERM while it is not ready, at most.",
        parse=number(most=3600),
        default=DRAIN_SECONDS,
    )
    worker_timeout_seconds: int = setting(
        "PODPOWER_WORKER_TIMEOUT_SECONDS",
        "Seconds after which a worker of `podpower serve --workers` that does not respond is replaced.",
        parse=integer(least=2, most=3600),
        default=WORKER_TIMEOUT_SECONDS,
    )
    api_keys_file: str | None = setting(
        API_KEYS_FILE,
        "File of API keys, a line `name:sha256:hash` each (`podpower keys new`); the prediction API needs a key then.",
    )
    cors_origins: tuple[str, ...] = setting(
        CORS_ORIGINS,
        "Origins whose pages can read the prediction API, separated by commas; none by default.",
        parse=origins,
        default=(),
    )
    docs: bool = setting(
        "PODPOWER_DOCS", "Serve `/docs` and `/openapi.json`; `off` answers 404.", parse=is_true, default=True
    )
    log_format: str = setting(
        LOG_FORMAT,
        "Lines of the prediction API's log: `text`, or `json` with one line for each request.",
        parse=one_of(*LOG_FORMATS),
        default=LOG_FORMATS[0],
    )
    fleet_series: int = setting(
        "PODPOWER_FLEET_SERIES",
        "Workloads with series of their own in `/metrics/fleet`, by watts; the others are added up.",
        parse=integer(least=1, most=100_000),
        default=FLEET_SERIES,
    )
    admission_deny: tuple[str, ...] = setting(
        "PODPOWER_ADMISSION_DENY",
        "Namespaces in which the admission webhook denies what exceeds their budget, `*` for all; by default it warns.",
        parse=names,
        default=(),
    )
    dagster_port: int = setting(
        "PODPOWER_DAGSTER_PORT",
        "Port of the Dagster UI of `podpower up`.",
        parse=integer(least=1, most=65_535),
        default=DEFAULT_DAGSTER_PORT,
    )
    api_port: int = setting(
        API_PORT,
        "Port of the prediction API of `podpower up`.",
        parse=integer(least=1, most=65_535),
        default=DEFAULT_API_PORT,
    )
    given_api_url: str | None = setting(
        "PODPOWER_API_URL",
        "Address of the prediction API for browsers, in links of the Dagster UI; "
        f"`http://127.0.0.1:{DEFAULT_API_PORT}`, or the port of `podpower up`, by default.",
        parse=web_address,
    )

    @property
    def api_url(self) -> str:
        """The address of the prediction API without a slash at its end."""
        return self.given_api_url or f"http://127.0.0.1:{self.api_port}"


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """`podpower.Client` and `podpower.AsyncClient`."""

    api_key: str | None = setting(
        "PODPOWER_API_KEY", "Key that clients send to the prediction API (PODPOWER_API_URL).", secret=True
    )
    ca_file: str | None = setting("PODPOWER_API_CA_FILE", "Certificates that clients trust for it.")
