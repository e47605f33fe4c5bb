"""`podpower serve`: the HTTP API."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Final

from podpower.cli.arguments import Commands, UsageError, add_command, port
from podpower.errors import InvalidInput
from podpower.service_settings import API_KEYS_FILE, CORS_ORIGINS, DEFAULT_API_PORT, LOG_FORMAT, LOG_FORMATS
from podpower.setting_values import integer, origins

if TYPE_CHECKING:
    from podpower_serving.settings import Settings

_MOST_WORKERS: Final = 256


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "serve",
        run,
        summary="Serve predictions over HTTP until Ctrl-C.",
        details="""\
The model comes from PODPOWER_MODEL_STORE (its latest promoted version, followed without restart) or from ENCODER_PATH
and MODEL_PATH. Swagger UI is at /docs.

  ENCODER_PATH=artifacts/encoder.joblib MODEL_PATH=artifacts/knn_energy.joblib podpower serve
  PODPOWER_MODEL_STORE=.podpower/models podpower serve --host 0.0.0.0 --port 8000 --workers 4
  podpower serve --tls-cert tls.crt --tls-key tls.key --api-keys-file keys --log-format json
""",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=port, default=DEFAULT_API_PORT, help="port to listen on (default %(default)s)")
    parser.add_argument(
        "--workers", type=_workers, default=1, metavar="N", help="processes that share the port (default %(default)s)"
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate with its chain, PEM; read again when renewed")
    parser.add_argument("--tls-key", metavar="FILE", help="its key, PEM, without a password")
    parser.add_argument(
        "--tls-client-ca",
        metavar="FILE",
        help="CA of clients, PEM: their certificates are as good as API keys, and /admission needs one",
    )
    parser.add_argument(
        "--api-keys-file", metavar="FILE", help=f"API keys that are accepted (default: {API_KEYS_FILE})"
    )
    parser.add_argument(
        "--cors-origin",
        nargs="+",
        metavar="ORIGIN",
        help=f"origins whose pages can read answers (default: {CORS_ORIGINS}, else none)",
    )
    parser.add_argument("--no-docs", action="store_true", help="answer 404 at /docs and /openapi.json")
    parser.add_argument(
        "--log-format",
        choices=LOG_FORMATS,
        help=f"text, or JSON with one line for each request (default: {LOG_FORMAT}, else text)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C, SIGTERM or SIGHUP."""
    from podpower_serving.serve import serve  # noqa: PLC0415
    from podpower_serving.settings import Settings  # noqa: PLC0415

    return serve(_with_options(Settings.of(arguments.settings), arguments), host=arguments.host, port=arguments.port)


def _with_options(settings: "Settings", arguments: argparse.Namespace) -> "Settings":
    """Return the settings with what the command line overrides."""
    try:
        cors_origins = origins(",".join(arguments.cors_origin)) if arguments.cors_origin else settings.cors_origins
    except InvalidInput as error:
        raise UsageError(f"--cors-origin: {error}") from None
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        raise UsageError("--tls-cert and --tls-key need each other")
    if arguments.tls_client_ca and not arguments.tls_cert:
        raise UsageError("--tls-client-ca needs --tls-cert and --tls-key")
    return dataclasses.replace(
        settings,
        workers=arguments.workers,
        tls_certificate=arguments.tls_cert,
        tls_key=arguments.tls_key,
        tls_client_ca=arguments.tls_client_ca,
        api_keys_file=arguments.api_keys_file or settings.api_keys_file,
        cors_origins=cors_origins,
        docs=settings.docs and not arguments.no_docs,
        log_format=arguments.log_format or settings.log_format,
    )


def _workers(text: str) -> int:
    try:
        return integer(least=1, most=_MOST_WORKERS)(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error)) from None
