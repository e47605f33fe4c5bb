"""Access to an API server: its address, its certificate and our credentials, from a kubeconfig or a service account.

The `kubernetes` package reads a kubeconfig, with exec plugins and rotating tokens; requests are made without it.
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
from podpower.sources.kubernetes.service_account import ServiceAccount

if TYPE_CHECKING:
    from kubernetes.client import Configuration

_IN_CLUSTER = "in-cluster"
_ROTATING = ("exec", "tokenFile", "auth-provider")  # of a user in a kubeconfig


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Requested access to a cluster. None means the value of the kubeconfig or service account.

    `kubeconfig` can name several files, separated as in KUBECONFIG.
    """

    kubeconfig: str | None = None
    context: str | None = None
    ca_file: str | None = None
    verify_tls: bool | None = None
    cluster: str | None = None  # its name in outputs
    around: str | None = None  # API server of the pod around this process, unless a kubeconfig is named


@dataclass(kw_only=True)
class Access:
    """An API server and the credentials for it, which no representation shows."""

    server: str
    cluster: str
    ssl_context: ssl.SSLContext = field(repr=False)
    verifies_tls: bool = True
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    rotates: bool = False  # the credentials come from a file or plugin that gives new ones
    _config: ClusterConfig = field(default_factory=ClusterConfig, repr=False)
    _configuration: Any = field(default=None, repr=False)

    def authorization(self, *, refresh: bool = False) -> dict[str, str]:
        """Return the authorization headers; `refresh` reads the credentials again after they were refused. Unavailable
        when a plugin fails.
        """
        if refresh:
            self._configuration = _configured(self._config)[0]
        values = [s["value"] for s in self._configuration.auth_settings().values() if s["key"] == "authorization"]
        return {"Authorization": str(values[0])} if values else {}


def open_access(config: ClusterConfig) -> Access:
    """Return access to the configured cluster. InvalidInput names what is wrong with the configuration, or that there
    is none.
    """
    configuration, cluster, proxy, rotates = _configured(config)
    verify = configuration.verify_ssl if config.verify_tls is None else config.verify_tls
    return Access(
        server=configuration.host,
        cluster=config.cluster or cluster,
        ssl_context=_ssl_context(configuration, config.ca_file, verify=verify),
        verifies_tls=verify or not configuration.host.startswith("https"),
        server_name=configuration.tls_server_name,
        proxy=proxy,
        rotates=rotates,
        _config=config,
        _configuration=configuration,
    )


def context_namespace(config: ClusterConfig) -> str | None:
    """Return the namespace that the context of the kubeconfig names; None without one, or inside of a pod."""
    from kubernetes.config import list_kube_config_contexts  # an extra  # noqa: PLC0415
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415

    try:
        contexts, active = list_kube_config_contexts(config.kubeconfig or None)
    except (ConfigException, OSError, ValueError):
        return None
    named = [one for one in contexts if one.get("name") == config.context] if config.context else [active]
    namespace = (named[0] or {}).get("context", {}).get("namespace") if named else None
    return namespace if isinstance(namespace, str) else None


def cluster_config(settings: ClusterSettings, **given: Any) -> ClusterConfig:
    """Return how to reach the cluster of `settings`; each of `given` that is not None overrides them."""
    found = {
        "kubeconfig": settings.kubeconfig,
        "context": settings.context,
        "ca_file": settings.ca_file,
        "verify_tls": settings.verify_tls,
        "cluster": settings.name,
        "around": settings.service,
    }
    return ClusterConfig(**{**found, **{name: value for name, value in given.items() if value is not None}})


def _configured(config: ClusterConfig) -> "tuple[Configuration | ServiceAccount, str, str | None, bool]":
    """Return the client's settings, the cluster's name, its proxy, and True for credentials that rotate."""
    if config.around and not config.kubeconfig and not config.context:
        return ServiceAccount(config.around), _IN_CLUSTER, None, True
    from kubernetes import config as loading  # noqa: PLC0415  # an extra, and slow to import
    from kubernetes.client import Configuration  # noqa: PLC0415

    try:
        return _from_kubeconfig(config, Configuration())
    except loading.ConfigException as error:
        raise InvalidInput(_explained(error, config)) from None


def _from_kubeconfig(
    config: ClusterConfig, configuration: "Configuration"
) -> "tuple[Configuration, str, str | None, bool]":
    import yaml  # noqa: PLC0415
    from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger  # noqa: PLC0415

    paths = config.kubeconfig or "~/.kube/config"
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep)):
        raise InvalidInput(
            f"no kubeconfig at {paths}: give --kubeconfig FILE or set KUBECONFIG; inside a pod its service account is "
            "used"
        )
    try:
        whole = KubeConfigMerger(paths).config
        loader = KubeConfigLoader(config_dict=whole, active_context=config.context)
        with _logged() as messages:
            loader.load_and_set(configuration)
    except (yaml.YAMLError, OSError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise InvalidInput(f"kubeconfig {paths} cannot be read: {' '.join(str(error).split())}") from None
    context = loader.current_context["context"]
    user = whole["users"].get_with_name(context.get("user"), safe=True)
    if user and "exec" in user["user"] and not configuration.api_key and not configuration.cert_file:
        reason = "; ".join(messages) or "no reason given"
        raise Unavailable(f"kubeconfig {paths}: the credential plugin returned no credentials: {reason}")
    name = str(context["cluster"])
    if not str(configuration.host).startswith(("http://", "https://")):
        raise InvalidInput(f"kubeconfig {paths}: the server of cluster {name} begins with neither https:// nor http://")
    proxy = whole["clusters"].get_with_name(name)["cluster"].safe_get("proxy-url")
    rotates = bool(user) and any(way in user["user"] for way in _ROTATING)
    return configuration, name, proxy, rotates


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect the messages that the `kubernetes` package logs instead of raising."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(" ".join(record.getMessage().split()))  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield messages
    finally:
        root.removeHandler(handler)


def _explained(error: Exception, config: ClusterConfig) -> str:
    message = " ".join(str(error).split())
    where = config.kubeconfig or "~/.kube/config"
    if "current-context" in message or "in contexts list" in message or "contexts" in message:
        named = f"no context {config.context!r}" if config.context else "no current context"
        return f"kubeconfig {where} has {named}: give --context NAME, see `kubectl config get-contexts`"
    return f"kubeconfig {where}: {message}"


def _ssl_context(
    configuration: "Configuration | ServiceAccount", ca_file: str | None, *, verify: bool
) -> ssl.SSLContext:
    authorities = ca_file or configuration.ssl_ca_cert or None
    return tls_context(
        ca_file=authorities, cert_file=configuration.cert_file, key_file=configuration.key_file, verify=verify,
        what="the Kubernetes API",
    )  # fmt: skip
