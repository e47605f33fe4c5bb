"""A certificate authority of one certificate, and a server that shows it."""

import contextlib
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http_servers import Response, serving


def self_signed(folder: Path, address: str = "127.0.0.1") -> Path:
    """A certificate for an address with its key behind it, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the PATH")
    path = folder / "ca.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={address}"]
    command += ["-addext", f"subjectAltName=IP:{address}", "-keyout", str(folder / "key.pem"), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


@contextlib.contextmanager
def https(certificate: Path, body: bytes, *, asks_for_ours: bool = False) -> Iterator[str]:
    """Answers everything with `body` over TLS; with `asks_for_ours` only to who shows the same certificate."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    if asks_for_ours:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate)
    answer = Response(body, headers={"Content-Type": "application/json"})
    with serving(lambda _: answer, tls=context) as address:
        yield address
