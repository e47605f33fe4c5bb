"""An S3 server for tests: moto behind a real socket, which processes reach by its URL alone."""

import contextlib
import itertools
from collections.abc import Iterator

_BUCKETS = itertools.count(1)


@contextlib.contextmanager
def serving_s3() -> Iterator[dict[str, str]]:
    """Serve S3; give the environment in which s3:// URLs reach this server."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  # two seconds that few tests need

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.stop()


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
