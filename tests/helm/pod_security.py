"""Pod Security Standards: the rules of `baseline` and `restricted`, as the Kubernetes documentation lists them.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
_CAPABILITIES = {"NET_BIND_SERVICE"}
_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def violations(template: dict[str, Any]) -> list[str]:
    """Return the rules of `restricted` that a pod breaks."""
    return list(_of_pod(template))


def _of_pod(template: dict[str, Any]) -> Iterator[str]:
    spec = template["spec"]
    context = spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes", []):
        if not set(volume) - {"name"} <= _VOLUMES:
            yield f"volume {volume['name']}: {set(volume) - {'name'}}"
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    for key in template.get("metadata", {}).get("annotations", {}):
        if key.startswith("container.apparmor.security.beta.kubernetes.io/"):
            yield "AppArmor by annotation"
    yield from _of_context("pod", context)
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind, []):
            yield from _of_container(container, context)


def _of_context(name: str, context: dict[str, Any]) -> Iterator[str]:
    """The rules that hold for pods and containers alike, where a field is set."""
    if context.get("runAsUser") == 0:
        yield f"{name}: runAsUser 0"
    if context.get("runAsNonRoot") is False:
        yield f"{name}: runAsNonRoot false"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") not in {"RuntimeDefault", "Localhost"}:
        yield f"{name}: seccompProfile"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in {"RuntimeDefault", "Localhost"}:
        yield f"{name}: appArmorProfile"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type", "") not in _SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield f"{name}: seLinuxOptions"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield f"{name}: hostProcess"


def _of_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    name = container["name"]
    context = container.get("securityContext", {})
    yield from _of_context(name, context)
    if context.get("privileged"):
        yield f"{name}: privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation is not false"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield f"{name}: capabilities are not dropped"
    if set(capabilities.get("add", [])) - _CAPABILITIES:
        yield f"{name}: capabilities are added"
    if context.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"
    if not context.get("runAsNonRoot", pod.get("runAsNonRoot")):
        yield f"{name}: runAsNonRoot is not true"
    if not context.get("seccompProfile", pod.get("seccompProfile")):
        yield f"{name}: no seccompProfile"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"{name}: hostPort"
    for handler in (*container.get("lifecycle", {}).values(), *(container.get(p, {}) for p in _PROBES)):
        for action in ("httpGet", "tcpSocket"):
            if handler.get(action, {}).get("host"):
                yield f"{name}: a probe or hook names a host"


_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
