"""Settings of the service, passed in by the program that starts it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from podpower import service_settings, settings
from podpower_serving.bounds import Bounds


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`encoder_path` and `model_path` (both or none) are served if given, else the latest model of `model_store`.

    Admission reviews are of objects of `cluster` (None: the only one of the fleet summary); `admission_deny` are the
    namespaces whose budget denies, `*` all. Budgets and watts of namespaces are read again every `budgets_seconds`.

    Bodies beyond `max_body_bytes` are refused, and batches of more than `max_batch_rows`, or `max_stream_rows` where
    lines are answered by lines. The service looks for another model, other API keys and other
    certificates every `reload_seconds`. `fleet_series` workloads have series of their own in /metrics/fleet.
    """

    encoder_path: str | None = None
    model_path: str | None = None
    model_store: str = f"{settings.DEFAULT_HOME}/models"
    max_body_bytes: int = int(service_settings.MAX_BODY_MIB * (1 << 20))
    max_batch_rows: int = 10_000
    max_stream_rows: int = 100_000
    cluster: str | None = None
    budgets_file: str | None = None
    admission_deny: tuple[str, ...] = ()
    budgets_seconds: float = 15.0
    reload_seconds: float = service_settings.RELOAD_SECONDS
    header_timeout_seconds: float = service_settings.HEADER_TIMEOUT_SECONDS
    body_timeout_seconds: float = service_settings.BODY_TIMEOUT_SECONDS
    max_connections: int = service_settings.MAX_CONNECTIONS
    drain_seconds: float = service_settings.DRAIN_SECONDS
    workers: int = 1
    worker_timeout_seconds: int = service_settings.WORKER_TIMEOUT_SECONDS
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    api_keys_file: str | None = None
    cors_origins: tuple[str, ...] = ()
    docs: bool = True
    log_format: str = "text"
    fleet_series: int = service_settings.FLEET_SERIES

    def bounds(self) -> Bounds:
        """Return the bounds of connections."""
        return Bounds(
            header_timeout_seconds=self.header_timeout_seconds,
            body_timeout_seconds=self.body_timeout_seconds,
            connections=self.max_connections,
        )

    def without_places(self, text: str) -> str:
        """Return a text for clients, who need not know where the models are."""
        names = {self.model_store: "the model store", self.encoder_path: "ENCODER_PATH", self.model_path: "MODEL_PATH"}
        for path, name in names.items():
            if path and ("://" in path or Path(path).is_absolute()):  # another one is part of other words
                text = text.replace(path.rstrip("/"), name).replace(str(Path(path)), name)
        return text

    @classmethod
    def of(cls, given: settings.Settings) -> Self:
        """Return the service's part of the settings of this process. InvalidInput names a variable with a bad value."""
        encoder_path, model_path = given.places.artifacts or (None, None)
        return cls(
            encoder_path=encoder_path,
            model_path=model_path,
            model_store=given.places.model_store,
            max_body_bytes=int(given.service.max_body_mib * (1 << 20)),
            reload_seconds=given.service.reload_seconds,
            header_timeout_seconds=given.service.header_timeout_seconds,
            body_timeout_seconds=given.service.body_timeout_seconds,
            max_connections=given.service.max_connections,
            drain_seconds=given.service.drain_seconds,
            worker_timeout_seconds=given.service.worker_timeout_seconds,
            cluster=given.cluster.name,
            budgets_file=given.places.budgets_file,
            admission_deny=given.service.admission_deny,
            api_keys_file=given.service.api_keys_file,
            cors_origins=given.service.cors_origins,
            docs=given.service.docs,
            log_format=given.service.log_format,
            fleet_series=given.service.fleet_series,
        )
