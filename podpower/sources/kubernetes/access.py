"""Access to an API server: its address, its certificate and our credentials, from a kubeconfig or a service account.

The `kubernetes` package reads the configuration, with exec plugins and rotating tokens; requests are made without it.
"""

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podpower.errors import InvalidInput, Unavailable
from podpower.io.http import tls_context
from podpower.settings import ClusterSettings

if TYPE_CHECKING:
    from kubernetes.client import Configuration

_IN_CLUSTER = "in-cluster"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Requested access to a cluster. None means the value of the kubeconfig or service account.

    `kubeconfig` may name several files, separated as in KUBECONFIG.
    """

    kubeconfig: str | None = None
    context: str | None = None
    ca_file: str | None = None
    verify_tls: bool | None = None
    cluster: str | None = None  # what to call it
    inside: bool = False  # this process runs in a pod, whose account is used unless a kubeconfig is named


@dataclass(kw_only=True)
class Access:
    """An API server and the credentials for it, which nothing shows."""

    server: str
    cluster: str
    ssl_context: ssl.SSLContext = field(repr=False)
    verifies_tls: bool = True
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    _wanted: Wanted = field(default_factory=Wanted, repr=False)
    _configuration: Any = field(default=None, repr=False)

    def authorization(self, *, anew: bool = False) -> dict[str, str]:
        """The headers that prove who we are; `anew` after they were refused. Unavailable when a plugin fails."""
        if anew:
            self._configuration = _configured(self._wanted)[0]
        proofs = [s["value"] for s in self._configuration.auth_settings().values() if s["key"] == "authorization"]
        return {"Authorization": str(proofs[0])} if proofs else {}


def open_access(wanted: Wanted) -> Access:
    """The access that is asked for. InvalidInput says what is wrong with the configuration, or that there is none."""
    configuration, cluster, proxy = _configured(wanted)
    verify = configuration.verify_ssl if wanted.verify_tls is None else wanted.verify_tls
    return Access(
        server=configuration.host,
        cluster=wanted.cluster or cluster,
        ssl_context=_ssl_context(configuration, wanted.ca_file, verify=verify),
        verifies_tls=verify or not configuration.host.startswith("https"),
        server_name=configuration.tls_server_name,
        proxy=proxy,
        _wanted=wanted,
        _configuration=configuration,
    )


def wanted_from(settings: ClusterSettings, **given: Any) -> Wanted:
    """Return how to reach the cluster of `settings`; each of `given` that is not None overrides them."""
    found = {
        "kubeconfig": settings.kubeconfig,
        "ca_file": settings.ca_file,
        "verify_tls": settings.verify_tls,
        "cluster": settings.name,
        "inside": settings.is_inside,
    }
    return Wanted(**{**found, **{name: value for name, value in given.items() if value is not None}})


def _configured(wanted: Wanted) -> "tuple[Configuration, str, str | None]":
    """Settings of the client, the cluster's name, and its proxy."""
    from kubernetes import config  # noqa: PLC0415  # an extra, and slow to import
    from kubernetes.client import Configuration  # noqa: PLC0415

    configuration = Configuration()
    inside = wanted.inside and not wanted.kubeconfig and not wanted.context
    try:
        if inside:
            config.load_incluster_config(client_configuration=configuration)
            return configuration, _IN_CLUSTER, None
        return _from_kubeconfig(wanted, configuration)
    except config.ConfigException as error:
        raise InvalidInput(_explained(error, wanted)) from None


def _from_kubeconfig(wanted: Wanted, configuration: "Configuration") -> "tuple[Configuration, str, str | None]":
    import yaml  # noqa: PLC0415
    from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger  # noqa: PLC0415

    paths = wanted.kubeconfig or "~/.kube/config"
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep)):
        raise InvalidInput(
            f"no kubeconfig at {paths}: give --kubeconfig FILE or set KUBECONFIG; inside a pod its service account is "
            "used"
        )
    try:
        whole = KubeConfigMerger(paths).config
        loader = KubeConfigLoader(config_dict=whole, active_context=wanted.context)
        with _what_is_logged() as said:
            loader.load_and_set(configuration)
    except (yaml.YAMLError, OSError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise InvalidInput(f"kubeconfig {paths} cannot be read: {' '.join(str(error).split())}") from None
    context = loader.current_context["context"]
    user = whole["users"].get_with_name(context.get("user"), safe=True)
    if user and "exec" in user["user"] and not configuration.api_key and not configuration.cert_file:
        reason = "; ".join(said) or "no reason given"
        raise Unavailable(f"kubeconfig {paths}: the credential plugin gave nothing: {reason}")
    name = str(context["cluster"])
    proxy = whole["clusters"].get_with_name(name)["cluster"].safe_get("proxy-url")
    return configuration, name, proxy


@contextmanager
def _what_is_logged() -> Iterator[list[str]]:
    """The complaints of the `kubernetes` package, which it logs and goes on."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(" ".join(record.getMessage().split()))  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield said
    finally:
        root.removeHandler(handler)


def _explained(error: Exception, wanted: Wanted) -> str:
    said = " ".join(str(error).split())
    where = wanted.kubeconfig or "~/.kube/config"
    if "current-context" in said or "in contexts list" in said or "contexts" in said:
        named = f"no context {wanted.context!r}" if wanted.context else "no current context"
        return f"kubeconfig {where} has {named}: give --context NAME, see `kubectl config get-contexts`"
    return f"kubeconfig {where}: {said}"


def _ssl_context(configuration: "Configuration", ca_file: str | None, *, verify: bool) -> ssl.SSLContext:
    authorities = ca_file or configuration.ssl_ca_cert or None
    return tls_context(
        ca_file=authorities, cert_file=configuration.cert_file, key_file=configuration.key_file, verify=verify,
        what="the Kubernetes API",
    )  # fmt: skip
