"""Run the service: its socket, its log, its certificates and its processes.

Nothing heavy is imported here: `app` is, by the process that serves.
"""

import logging
import resource
import socket
from typing import Final

from podpower.errors import InvalidInput, Unavailable
from podpower.service_settings import DEFAULT_API_PORT
from podpower_serving import logs
from podpower_serving.access import Keys
from podpower_serving.logs import AccessLog
from podpower_serving.metrics import WORKERS_STARTED, Metrics
from podpower_serving.settings import Settings
from podpower_serving.shared_counts import SharedCounts
from podpower_serving.tls import Certificates
from podpower_serving.workers import Workers

_FILES: Final = 256  # beside those of connections, of which twice as many as the limit can be open

_log = logging.getLogger("podpower.serving")


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = DEFAULT_API_PORT) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP, in order (`Server`); return the exit code. Port 0 takes a free one.

    Unavailable when the port is taken, InvalidInput when certificates or API keys cannot be used.
    """
    certificates = _certificates(settings)
    if settings.api_keys_file:
        Keys(settings.api_keys_file)  # refused before anything is started
    logs.configure(settings.log_format)
    _allow_files(2 * settings.max_connections + _FILES)
    counts = SharedCounts(settings.workers)
    with _listening(host, port) as listener:
        at, taken = listener.getsockname()[:2]
        scheme = "http" if certificates is None else "https"
        _log.info("listening on %s://%s:%d", scheme, f"[{at}]" if ":" in at else at, taken)

        def work(number: int, parent: int | None) -> None:
            _work(settings, listener, certificates, Metrics(counts, worker=number), number=number, parent=parent)

        if settings.workers == 1:
            work(0, None)
            return 0
        return Workers(
            work,
            number=settings.workers,
            drain_seconds=settings.drain_seconds,
            release=listener.close,
            beats=counts.beats,
            hung_seconds=settings.worker_timeout_seconds,
        ).run()


def _work(
    settings: Settings,
    listener: socket.socket,
    certificates: Certificates | None,
    metrics: Metrics,
    *,
    number: int,
    parent: int | None,
) -> None:
    from podpower_serving.app import create_app  # noqa: PLC0415  # heavy
    from podpower_serving.server import Server  # noqa: PLC0415

    bounds = settings.bounds()
    metrics.add(WORKERS_STARTED)
    app = create_app(
        settings,
        bounds=bounds,
        metrics=metrics,
        log=AccessLog(worker=number) if settings.log_format == logs.JSON else None,
        certificates=certificates,
        own_process=True,
    )
    server = Server(
        app,
        bounds,
        drain_seconds=settings.drain_seconds,
        certificates=certificates,
        metrics=metrics,
        parent=parent,
    )
    server.run(sockets=[listener])


def _allow_files(number: int) -> None:
    """Raise the limit of open files to what connections, models and keys need: 1,024 is usual, and too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= number:
        return
    most = number if hard == resource.RLIM_INFINITY else min(number, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < number:
        _log.warning("%d open files are allowed: connections beyond are reset or wait, and models not reloaded", most)


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        if settings.tls_certificate or settings.tls_key or settings.tls_client_ca:
            raise InvalidInput("TLS needs --tls-cert and --tls-key")
        return None
    return Certificates(certificate=settings.tls_certificate, key=settings.tls_key, client_ca=settings.tls_client_ca)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # The address of all interfaces in IPv6 is that of IPv4 too, as port-forwarding may ask for either.
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(f"cannot listen on {host}:{port} ({reason}): give another --host or --port") from None
