"""`podpower serve`: the HTTP API."""

import argparse

from podpower.cli.arguments import Commands, add_command, port
from podpower.settings import DEFAULT_API_PORT


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
  PODPOWER_MODEL_STORE=.podpower/models podpower serve --host 0.0.0.0 --port 8000
""",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=port, default=DEFAULT_API_PORT, help="port to listen on (default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    from podpower_serving.app import serve  # noqa: PLC0415
    from podpower_serving.settings import Settings  # noqa: PLC0415

    serve(Settings.of(arguments.settings), host=arguments.host, port=arguments.port)
    return 0
