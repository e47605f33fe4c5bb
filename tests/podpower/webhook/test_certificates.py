import socket
import ssl
import tempfile
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from podpower.webhook.certificates import Certificates, dns_names, ends_at, renewed

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = dns_names("podpower-webhook", "power")


def after(days):
    return NOW + timedelta(days=days)


def count(pem):
    return len(x509.load_pem_x509_certificates(pem.encode()))


def test_an_authority_of_a_year_signs_a_certificate_of_150_days():
    made = renewed(None, NAMES, NOW)
    assert ends_at(made.authorities) == after(365)
    assert ends_at(made.leaf) == after(150)
    assert renewed(made, NAMES, after(1)) == made


def test_a_certificate_is_renewed_50_days_before_its_end_by_the_same_authority():
    made = renewed(None, NAMES, NOW)
    assert renewed(made, NAMES, after(99)) == made
    later = renewed(made, NAMES, after(101))
    assert later.leaf != made.leaf
    assert later.authorities == made.authorities
    assert ends_at(later.leaf) == after(251)


def test_checked_every_12_hours_for_five_years_it_is_never_near_its_end_and_always_trusted():
    found, day = renewed(None, NAMES, NOW), 0.0
    trusted_before = found.authorities
    while day < 5 * 365:
        day += 0.5
        found = renewed(found, NAMES, after(day))
        assert ends_at(found.leaf) - after(day) >= timedelta(days=49)
        assert ends_at(found.authorities) - ends_at(found.leaf) > timedelta()
        assert count(found.authorities) <= 3
        # What was served half a day ago is still trusted.
        leaf = x509.load_pem_x509_certificate(found.leaf.encode())
        issuers = {a.subject for a in x509.load_pem_x509_certificates(found.authorities.encode())}
        before = {a.subject for a in x509.load_pem_x509_certificates(trusted_before.encode())}
        assert leaf.issuer in issuers
        assert issuers & before
        trusted_before = found.authorities


@pytest.mark.parametrize("field", ["authorities", "authority_key", "leaf", "leaf_key"])
@pytest.mark.parametrize("text", ["", "broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_cannot_be_used_is_replaced(field, text):
    made = renewed(None, NAMES, NOW)
    fields = {name: getattr(made, name) for name in ("authorities", "authority_key", "leaf", "leaf_key")}
    mended = renewed(Certificates(**{**fields, field: text}), NAMES, NOW)
    assert renewed(mended, NAMES, NOW) == mended
    assert handshake(mended, NAMES[0])


def test_other_names_get_another_certificate_and_a_foreign_key_another_authority():
    one, two = renewed(None, NAMES, NOW), renewed(None, NAMES, NOW)
    other = renewed(one, dns_names("other", "power"), NOW)
    assert other.leaf != one.leaf
    assert other.authorities == one.authorities
    mixed = Certificates(
        authorities=one.authorities, authority_key=two.authority_key, leaf=one.leaf, leaf_key=one.leaf_key
    )
    assert renewed(mixed, NAMES, NOW).authorities not in {one.authorities, two.authorities}


def handshake(found, name):
    """Serve the certificate over TLS to a client that trusts its authorities only, as an API server does."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.create_default_context(cadata=found.authorities)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(found.leaf_key + found.leaf)
            file.flush()
            server.load_cert_chain(file.name, file.name)

        def answer():
            connection, _ = listener.accept()
            with server.wrap_socket(connection, server_side=True) as stream:
                stream.sendall(b"ok")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with (
            socket.create_connection(listener.getsockname()) as raw,
            client.wrap_socket(raw, server_hostname=name) as s,
        ):
            said = s.recv(2)
        thread.join(5)
    return said == b"ok"


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_trusts_the_authority_accepts_the_service_by_each_of_its_names(name):
    assert handshake(renewed(None, NAMES, datetime.now(UTC)), name)
