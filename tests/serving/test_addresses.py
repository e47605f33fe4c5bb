"""Addresses that the service listens on; in a cluster of IPv6 alone, pods have no other."""

import re
import socket

import httpx
import pytest

from tests.serving.processes import service


@pytest.mark.parametrize(
    ("host", "answers", "silent"), [("::", ["127.0.0.1", "[::1]"], []), ("0.0.0.0", ["127.0.0.1"], ["[::1]"])]
)
def test_the_address_of_ipv6_answers_both_families(host, answers, silent, tmp_path):
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    environment = {"PODPOWER_HOME": str(tmp_path / "home")}
    with service(tmp_path, "--host", host, environment=environment, ready=False) as running:
        port = re.findall(r"\d+$", running.url)[0]
        for address in answers:
            assert httpx.get(f"http://{address}:{port}/healthz").status_code == 200
        for address in silent:
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"http://{address}:{port}/healthz")
