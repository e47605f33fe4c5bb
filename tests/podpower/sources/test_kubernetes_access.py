"""Who we are to a cluster: kubeconfigs, plugins, certificates, the account of a pod."""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from podpower.errors import InvalidInput, Unavailable
from podpower.kubernetes.kinds import KINDS, Kind, parse_kinds
from podpower.settings import Settings
from podpower.sources.kubernetes import service_account
from podpower.sources.kubernetes.access import ClusterConfig, cluster_config, open_access
from podpower.sources.kubernetes.api import Api, Forbidden, Missing
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import write_kubeconfig, write_plugin
from tests.clusters.tls import https, self_signed


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    with stamina.set_testing(True, attempts=10, cap=True):  # no waits
        yield


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


def asked(wanted: ClusterConfig, path: str = "/version", **given: object) -> bytes:
    async def ask() -> bytes:
        async with Api(open_access(wanted), tries=3) as api:
            return await api.get(path, **given)  # type: ignore[arg-type]

    return asyncio.run(ask())


def test_a_token_of_the_kubeconfig_is_sent_and_shown_nowhere(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.token = "t0ken"
    config = write_kubeconfig(tmp_path / "config", cluster.url)
    access = open_access(ClusterConfig(kubeconfig=str(config)))
    assert b"gitVersion" in asked(ClusterConfig(kubeconfig=str(config)))
    assert access.cluster == "test-cluster"
    assert "t0ken" not in repr(access)


def test_credentials_that_expired_are_got_anew_once(cluster: FakeCluster, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    cluster.token = "new"
    config = write_kubeconfig(tmp_path / "config", cluster.url, user=write_plugin(tmp_path / "plugin", token))

    async def ask() -> bytes:
        async with Api(open_access(ClusterConfig(kubeconfig=str(config)))) as api:
            token.write_text("new")
            return await api.get("/version")

    assert b"gitVersion" in asyncio.run(ask())
    assert (tmp_path / "token.calls").read_text().count("call") == 2


def test_credentials_that_stay_wrong_are_an_error_after_one_more_try(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.token = "other"
    config = write_kubeconfig(tmp_path / "config", cluster.url)
    with pytest.raises(InvalidInput, match="refuses the credentials"):
        asked(ClusterConfig(kubeconfig=str(config)))
    assert len(cluster.requests) == 2


def test_a_token_file_that_rotates_late_is_read_again_until_it_is_accepted(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    token, notes = tmp_path / "token", list[str]()
    token.write_text("old")
    cluster.token = "old"
    config = write_kubeconfig(tmp_path / "config", cluster.url, user={"tokenFile": str(token)})

    def note(message: str) -> None:
        notes.append(message)
        token.write_text("new")

    async def ask() -> bytes:
        async with Api(open_access(ClusterConfig(kubeconfig=str(config))), note=note) as api:
            await api.get("/version")
            cluster.token = "new"  # the server rotates before the file does
            return await api.get("/version")

    assert b"gitVersion" in asyncio.run(ask())
    assert notes == [f"{cluster.url}/version: refuses the credentials (401); reading them again in 1 s"]


def test_credentials_that_were_accepted_once_are_an_error_only_when_patience_ends(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.token = "t0ken"
    config = write_kubeconfig(tmp_path / "config", cluster.url)

    async def ask() -> None:
        async with Api(open_access(ClusterConfig(kubeconfig=str(config))), refused_s=0.2) as api:
            await api.get("/version")
            cluster.token = "other"
            with pytest.raises(InvalidInput, match="refuses the credentials"):
                await api.get("/version")

    asyncio.run(ask())
    assert len(cluster.requests) == 4


def test_a_plugin_that_fails_is_reported(cluster: FakeCluster, tmp_path: Path) -> None:
    broken = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/plugin"}}
    config = write_kubeconfig(tmp_path / "config", cluster.url, user=broken)
    with pytest.raises(Unavailable, match=r"credential plugin returned no credentials: .*No such file"):
        asked(ClusterConfig(kubeconfig=str(config)))


def test_what_is_forbidden_names_the_rule_that_is_missing(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.forbid("deployments")
    config = write_kubeconfig(tmp_path / "config", cluster.url)
    rule = r'apiGroups: \["apps"\], resources: \["deployments"\], verbs: \["get", "list", "watch"\]'
    with pytest.raises(Forbidden, match=rule):
        asked(ClusterConfig(kubeconfig=str(config)), "/apis/apps/v1/deployments", kind=KINDS["Deployment"])
    assert len(cluster.requests) == 1


def test_a_kind_that_is_not_there_is_named(cluster: FakeCluster, tmp_path: Path) -> None:
    config = write_kubeconfig(tmp_path / "config", cluster.url)
    kind = Kind(group="ray.io", version="v1", plural="rayclusters", name=None)
    with pytest.raises(Missing, match=r"no rayclusters of ray\.io/v1"):
        asked(ClusterConfig(kubeconfig=str(config)), kind.path(), kind=kind)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_errors_are_retried_after_retry_after(cluster: FakeCluster, tmp_path: Path, status: int) -> None:
    cluster.fail_next(status, count=2, headers={"Retry-After": 7})
    config = write_kubeconfig(tmp_path / "config", cluster.url)
    assert b"gitVersion" in asked(ClusterConfig(kubeconfig=str(config)))
    assert len(cluster.requests) == 3


def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    config = write_kubeconfig(tmp_path / "config", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9/version: cannot be reached"):
        asked(ClusterConfig(kubeconfig=str(config)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no kubeconfig at"),
        ("", "cannot be read|Invalid|no current context"),
        ("{{{", "cannot be read"),
        ("- 1", "cannot be read|Invalid"),
        ("apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\n", "no current context"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_refused_with_the_cause(
    tmp_path: Path, text: str | None, told: str
) -> None:
    if text is not None:
        (tmp_path / "config").write_text(text)
    with pytest.raises(InvalidInput, match=told):
        open_access(ClusterConfig(kubeconfig=str(tmp_path / "config")))


def test_a_missing_context_is_refused_with_the_command_that_lists_them(tmp_path: Path) -> None:
    config = write_kubeconfig(tmp_path / "config", "http://x")
    with pytest.raises(InvalidInput, match=r"no context 'other'.*get-contexts"):
        open_access(ClusterConfig(kubeconfig=str(config), context="other"))
    without = write_kubeconfig(tmp_path / "without", "http://x", current=None)
    with pytest.raises(InvalidInput, match="no current context"):
        open_access(ClusterConfig(kubeconfig=str(without)))
    assert open_access(ClusterConfig(kubeconfig=str(without), context="test")).server == "http://x"


@pytest.mark.parametrize("server", ["127.0.0.1:6443", "htps://127.0.0.1:6443"])
def test_a_server_without_a_protocol_is_refused_and_not_tried_for_ever(tmp_path: Path, server: str) -> None:
    config = write_kubeconfig(tmp_path / "config", server)
    with pytest.raises(InvalidInput, match=r"the server of cluster .* begins with neither https:// nor http://"):
        open_access(ClusterConfig(kubeconfig=str(config)))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_a_server_is_trusted_by_its_certificate(tmp_path: Path, authority: Path) -> None:
    with https(authority, b'{"gitVersion": "v1"}') as url:
        config = str(write_kubeconfig(tmp_path / "config", url))
        with pytest.raises(InvalidInput, match="certificate is not trusted: give --ca-file or K8S_CA_FILE"):
            asked(ClusterConfig(kubeconfig=config))
        assert b"v1" in asked(ClusterConfig(kubeconfig=config, ca_file=str(authority)))
        assert b"v1" in asked(ClusterConfig(kubeconfig=config, verify_tls=False))
        named = write_kubeconfig(tmp_path / "named", url, cluster={"certificate-authority": str(authority)})
        assert b"v1" in asked(ClusterConfig(kubeconfig=str(named)))


def test_a_client_certificate_of_the_kubeconfig_is_shown(tmp_path: Path, authority: Path) -> None:
    with https(authority, b'{"gitVersion": "v1"}', asks_for_ours=True) as url:
        user = {"client-certificate": str(authority), "client-key": str(authority.with_name("key.pem"))}
        config = write_kubeconfig(tmp_path / "config", url, user=user)
        assert b"v1" in asked(ClusterConfig(kubeconfig=str(config), ca_file=str(authority)))
        without = write_kubeconfig(tmp_path / "without", url)
        with pytest.raises(Unavailable):
            asked(ClusterConfig(kubeconfig=str(without), ca_file=str(authority)))


def test_certificates_are_checked_by_default(tmp_path: Path, authority: Path) -> None:
    skipping = write_kubeconfig(tmp_path / "skip", "https://x", cluster={"insecure-skip-tls-verify": True})
    checking = write_kubeconfig(tmp_path / "check", "https://x")
    assert not open_access(ClusterConfig(kubeconfig=str(skipping))).verifies_tls
    assert open_access(ClusterConfig(kubeconfig=str(skipping), verify_tls=True)).verifies_tls
    ours = open_access(ClusterConfig(kubeconfig=str(checking), ca_file=str(authority)))
    assert ours.ssl_context.verify_mode == ssl.CERT_REQUIRED
    assert len(ours.ssl_context.get_ca_certs()) == 1
    with pytest.raises(InvalidInput, match="no certificates in the CA file"):
        open_access(ClusterConfig(kubeconfig=str(checking), ca_file=str(tmp_path / "check")))


def test_the_environment_configures_the_access() -> None:
    environment = {"KUBECONFIG": "a", "K8S_CA_FILE": "b", "VERIFY_SSL": "no", "PODPOWER_CLUSTER": "c"}
    found = cluster_config(Settings(environment).cluster, context="d")
    assert found == ClusterConfig(kubeconfig="a", ca_file="b", verify_tls=False, cluster="c", context="d")
    assert cluster_config(Settings({"KUBECONFIG": "a"}).cluster, kubeconfig="e", verify_tls=None).kubeconfig == "e"
    assert cluster_config(Settings({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).cluster).around == "https://10.0.0.1:443"
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert cluster_config(Settings(environment).cluster).around == "https://[fd00::1]:6443"


@pytest.fixture
def account(tmp_path: Path, authority: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a service account."""
    (tmp_path / "ca.crt").write_bytes(authority.read_bytes())
    (tmp_path / "token").write_text("first\n")
    monkeypatch.setattr(service_account, "FOLDER", tmp_path)
    return tmp_path


def test_inside_a_pod_its_account_is_used(account: Path) -> None:
    access = open_access(ClusterConfig(around="https://10.0.0.1:443"))
    assert (access.server, access.cluster, access.rotates) == ("https://10.0.0.1:443", "in-cluster", True)
    assert len(access.ssl_context.get_ca_certs()) == 1
    assert access.authorization() == {"Authorization": "Bearer first"}
    (account / "token").write_text("second")
    assert access.authorization() == access.authorization(refresh=True) == {"Authorization": "Bearer second"}


def test_a_pod_without_a_token_is_told_so(account: Path) -> None:
    access = open_access(ClusterConfig(around="https://10.0.0.1:443"))
    (account / "token").write_text("")
    with pytest.raises(InvalidInput, match=r"no token: .*token is empty"):
        access.authorization()
    (account / "token").unlink()
    with pytest.raises(InvalidInput, match=r"no token: .*No such file"):
        access.authorization()


def test_inside_a_pod_the_large_package_is_not_loaded(account: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from podpower.sources.kubernetes import access, service_account as one;"
        f"one.FOLDER = Path({str(account)!r});"
        "access.open_access(access.ClusterConfig(around='https://10.0.0.1:443')).authorization();"
        "assert 'kubernetes' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_proxy_of_the_kubeconfig_is_used(tmp_path: Path) -> None:
    config = write_kubeconfig(
        tmp_path / "config", "http://cluster.example", cluster={"proxy-url": "http://127.0.0.1:9"}
    )
    assert open_access(ClusterConfig(kubeconfig=str(config))).proxy == "http://127.0.0.1:9"


def test_kinds_are_written_as_people_write_them() -> None:
    kinds = parse_kinds(["Deployment,pods", "statefulset", "ray.io/v1/rayclusters", "apps/v1/deployments", "v1/nodes"])
    assert [str(kind) for kind in kinds] == [
        "Deployment", "Pod", "StatefulSet", "ray.io/v1/rayclusters", "/v1/nodes",
    ]  # fmt: skip
    assert kinds[3].path("shop") == "/apis/ray.io/v1/namespaces/shop/rayclusters"
    assert kinds[4].path() == "/api/v1/nodes"
    for wrong in ("Deploy", "a/b/c/d", "x//y", "ray.io/../nodes"):
        with pytest.raises(InvalidInput, match="unknown kind"):
            parse_kinds([wrong])
