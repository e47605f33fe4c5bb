"""TLS of the service: certificates, their renewal, and those of clients."""

import datetime
import os
import socket
import ssl
import subprocess
import sys
import time

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from podpower_serving.openapi import REQUEST_EXAMPLE
from tests.serving.processes import service, wait_until

REFUSED = "the certificate is not replaced"


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder):
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        folder.mkdir()
        self.certificate = self._signed("an authority", self._key, is_authority=True)
        self.file = folder / "ca.crt"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(self, name, key, *, is_authority=False):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        alternatives = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if is_authority else self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(alternatives, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, name):
        """Write certificate and key of a name; return both files."""
        key = ec.generate_private_key(ec.SECP256R1())
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        files[0].write_bytes(self._signed(name, key).public_bytes(serialization.Encoding.PEM))
        private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        files[1].write_bytes(key.private_bytes(*private))
        return files


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def served(authority, filled_store, tmp_path_factory):
    certificate, key = authority.issue("localhost")
    options = ["--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", authority.file]
    environment = {
        "PODPOWER_MODEL_STORE": str(filled_store.root),
        "PODPOWER_RELOAD_SECONDS": "0.1",
        "PODPOWER_HEADER_TIMEOUT_SECONDS": "1",
    }
    with service(tmp_path_factory.mktemp("service"), *options, environment=environment, verify=False) as running:
        running.url = running.url.replace("127.0.0.1", "localhost")
        yield running


def client(served, authority, certificate=None):
    context = ssl.create_default_context(cafile=authority.file)
    if certificate:
        context.load_cert_chain(*certificate)
    return httpx.Client(base_url=served.url, verify=context, timeout=30)


def test_health_is_answered_over_tls_and_nothing_over_plain_http(served, authority):
    with client(served, authority) as one:
        assert one.get("/healthz").status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(served.url.replace("https", "http") + "/healthz", timeout=30)


def test_a_client_certificate_opens_admission_and_everything_else(served, authority):
    with client(served, authority) as none, client(served, authority, authority.issue("api-server")) as one:
        for path in ("/predict", "/admission"):
            refused = none.post(path, json=REQUEST_EXAMPLE)
            assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
            assert "client certificate" in refused.json()["detail"]
            assert one.post(path, json=REQUEST_EXAMPLE).status_code == 200


def test_a_certificate_of_another_authority_is_refused(served, authority, tmp_path):
    other = Authority(tmp_path / "other")
    with client(served, authority, other.issue("api-server")) as one, pytest.raises(httpx.TransportError):
        one.post("/admission", json={})


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(served, authority):
    before = _serial(served, authority)
    certificate, _ = authority.issue("localhost")
    wait_until(lambda: _serial(served, authority) != before, served.log)
    renewed = _serial(served, authority)
    good, refused = certificate.read_bytes(), served.logged().count(REFUSED)  # also between certificate and key
    certificate.write_text("broken")
    wait_until(lambda: served.logged().count(REFUSED) > refused, served.log)
    assert _serial(served, authority) == renewed
    certificate.write_bytes(good)


def test_a_replaced_authority_of_clients_is_not_trusted_any_more(served, authority, tmp_path):
    other, before = Authority(tmp_path / "other"), authority.file.read_bytes()
    old, new = authority.issue("old"), other.issue("new")
    kept = tmp_path / "ca.crt"
    kept.write_bytes(before)  # which the server is verified with

    def status(certificate):
        context = ssl.create_default_context(cafile=kept)
        context.load_cert_chain(*certificate)
        try:
            return httpx.post(f"{served.url}/admission", json={}, verify=context, timeout=30).status_code
        except httpx.TransportError:
            return None

    assert (status(old), status(new)) == (200, None)
    authority.file.write_bytes(other.file.read_bytes())
    try:
        wait_until(lambda: status(new) == 200, served.log)
        assert status(old) is None
    finally:
        authority.file.write_bytes(before)
        wait_until(lambda: status(old) == 200, served.log)


def _serial(served, authority):
    context = ssl.create_default_context(cafile=authority.file)
    host, port = served.url.removeprefix("https://").split(":")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return secure.getpeercert()["serialNumber"]
    except ssl.SSLError:  # certificate and key are replaced one after the other
        return None


def test_a_handshake_that_does_not_go_on_is_closed(served):
    host, port = served.url.removeprefix("https://").split(":")
    began = time.monotonic()  # before the server can begin to wait
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        assert connection.recv(100) == b""
        assert 0.5 < time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--tls-cert", "a"], 2, "--tls-cert and --tls-key need each other"),
        (["--tls-client-ca", "a"], 2, "--tls-client-ca needs --tls-cert"),
        (["--tls-cert", "/none", "--tls-key", "/none"], 1, "/none and /none: cannot be used for TLS"),
        (["--api-keys-file", "/none"], 1, "cannot read the API keys at /none"),
        (["--cors-origin", "ftp://a"], 2, "--cors-origin"),
        (["--cors-origin", "https://a.example/path"], 2, "is no origin"),
        (["--workers", "0"], 2, "is not a whole number from 1 to 256"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_before_anything_starts(options, code, said):
    command = [sys.executable, "-m", "podpower", "serve", "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=60, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
