"""An S3 server for tests: moto behind a real socket, which processes reach by its URL alone."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator

_BUCKETS = itertools.count(1)


@contextlib.contextmanager
def serving_s3() -> Iterator[dict[str, str]]:
    """Serve S3; give the environment in which s3:// URLs reach this server."""
    # Two seconds that few tests need.
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    application = _one_at_a_time(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def forget_servers() -> None:
    """Let this process reach the server of its environment, instead of the one that an earlier test reached."""
    from s3fs import S3FileSystem  # noqa: PLC0415  # a second that few tests need

    S3FileSystem.clear_instance_cache()


def _one_at_a_time(application: Callable) -> Callable:
    """Serve one request after another: moto checks a condition and writes in two steps, which S3 does in one."""
    lock = threading.Lock()

    def serve(environ: dict, start_response: Callable) -> Iterable[bytes]:
        with lock:
            return list(application(environ, start_response))

    return serve


def new_bucket(environment: dict[str, str]) -> str:
    """Make a bucket of its own; return its URL."""
    import botocore.session  # noqa: PLC0415

    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )
    name = f"podpower-{next(_BUCKETS)}"
    client.create_bucket(Bucket=name)
    return f"s3://{name}"
