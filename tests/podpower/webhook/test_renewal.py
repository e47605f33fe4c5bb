import asyncio
import base64
import signal
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from podpower.errors import InvalidInput
from podpower.sources.kubernetes.access import ClusterConfig, open_access
from podpower.sources.kubernetes.api import Api
from podpower.webhook.renewal import PEM_FILE, Place, renew
from tests.clusters.fake import FakeCluster
from tests.waiting import until

NOW = datetime.now(UTC)
PLACE = Place(namespace="power", secret="podpower-webhook", service="podpower-webhook", webhook="podpower")
ADMISSION = "admissionregistration.k8s.io/v1"


@pytest.fixture
def cluster():
    with FakeCluster() as fake:
        fake.register("", "v1", "secrets", "Secret")
        fake.register(*ADMISSION.split("/"), "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False)
        fake.add({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": PLACE.secret, "namespace": "power"}})
        hook = {"name": "annotate.podpower.dev", "clientConfig": {"service": {"name": PLACE.service}}}
        fake.add({"apiVersion": ADMISSION, "kind": "MutatingWebhookConfiguration", "metadata": {"name": "podpower"},
                  "webhooks": [hook]})  # fmt: skip
        yield fake


@pytest.fixture
def kubeconfig(cluster, tmp_path):
    path = tmp_path / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
        f"clusters: [{{name: c, cluster: {{server: '{cluster.url}'}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n"
    )
    return path


def stored(cluster, kind, name, namespace=""):
    resource = cluster._resource(kind)
    return msgspec.json.decode(resource.entries[f"{namespace}/{name}"].full)


def bundle(cluster):
    [hook] = stored(cluster, "MutatingWebhookConfiguration", "podpower")["webhooks"]
    return base64.b64decode(hook["clientConfig"]["caBundle"]).decode()


async def once(kubeconfig, folder, now=NOW):
    folder.mkdir(exist_ok=True)
    async with Api(open_access(ClusterConfig(kubeconfig=str(kubeconfig)))) as api:
        return await renew(api, PLACE, folder=folder, now=now, note=lambda _message: None)


def trusts(bundle, pem):
    """True where a TLS client with the bundle accepts the file of the server."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=bundle)
    server.load_cert_chain(pem, pem)
    a, b, c, d = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(a, b, server_hostname="podpower-webhook.power.svc")
    right = server.wrap_bio(c, d, server_side=True)
    for _ in range(6):
        for side, out, into in ((left, b, c), (right, d, a)):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False
            into.write(out.read())
    return left.version() is not None


def test_the_secret_the_webhook_and_the_file_get_certificates_that_fit(cluster, kubeconfig, tmp_path):
    ends = asyncio.run(once(kubeconfig, tmp_path / "tls"))
    assert ends - NOW > timedelta(days=149)
    file = tmp_path / "tls" / PEM_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert trusts(bundle(cluster), file)
    before = cluster.version
    asyncio.run(once(kubeconfig, tmp_path / "tls"))
    assert cluster.version == before, "nothing is written without need"


def test_pods_that_start_at_once_agree_on_one_authority(cluster, kubeconfig, tmp_path):
    async def all_at_once():
        return await asyncio.gather(*(once(kubeconfig, tmp_path / f"tls-{n}") for n in range(6)))

    asyncio.run(all_at_once())
    assert len({(tmp_path / f"tls-{n}" / PEM_FILE).read_text() for n in range(6)}) == 1
    assert trusts(bundle(cluster), tmp_path / "tls-0" / PEM_FILE)


def test_a_new_authority_is_trusted_before_anything_is_signed_by_it(cluster, kubeconfig, tmp_path):
    for days in (200, 95):
        asyncio.run(once(kubeconfig, tmp_path / "old", NOW - timedelta(days=days)))
    cluster.requests.clear()
    asyncio.run(once(kubeconfig, tmp_path / "new"))
    changed = [request.path.split("/")[-2] for request in cluster.requests if request.method == "PUT"]
    assert changed == ["mutatingwebhookconfigurations", "secrets"]
    # The pod that has not looked yet serves the old one.
    assert trusts(bundle(cluster), tmp_path / "old" / PEM_FILE)
    assert trusts(bundle(cluster), tmp_path / "new" / PEM_FILE)


def test_an_object_that_does_not_exist_is_named(cluster, kubeconfig, tmp_path):
    cluster.delete("MutatingWebhookConfiguration", "", "podpower")
    with pytest.raises(InvalidInput, match="MutatingWebhookConfiguration podpower does not exist"):
        asyncio.run(once(kubeconfig, tmp_path / "tls"))


def test_the_command_goes_on_after_an_outage_and_ends_at_a_signal(cluster, kubeconfig, tmp_path):
    command = [
        sys.executable, "-m", "podpower", "webhook-certificates", "--namespace", "power", "--secret", PLACE.secret,
        "--service", PLACE.service, "--webhook", "podpower", "--out", str(tmp_path), "--kubeconfig", str(kubeconfig),
    ]  # fmt: skip
    once_only = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert once_only.returncode == 0, once_only.stderr
    assert "issued a certificate until" in once_only.stderr
    assert "PRIVATE" not in once_only.stderr
    (tmp_path / PEM_FILE).unlink()
    cluster.fail_next(403, count=1)
    running = subprocess.Popen([*command, "--every", "1s"], stderr=subprocess.PIPE, text=True)
    try:
        until((tmp_path / PEM_FILE).exists)
    finally:
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 0
    assert "trying again in" in errors
