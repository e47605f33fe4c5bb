"""Kinds of objects: what they are called in manifests, and where the API has them."""

import re
from dataclasses import dataclass

from podpower.errors import InvalidInput

_PART = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`group` is "" for the core. `name` (Deployment) is None where only the API knows it."""

    group: str
    version: str
    plural: str
    name: str | None

    def __str__(self) -> str:
        return self.name or f"{self.group}/{self.version}/{self.plural}"

    @property
    def api_version(self) -> str:
        """As in a manifest's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """The same kind always under the same text."""
        return f"{self.group}/{self.version}/{self.plural}"

    def path(self, namespace: str | None = None) -> str:
        """Of the collection, in all namespaces or one."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def rule(self, *verbs: str) -> str:
        """The RBAC rule that allows this."""
        said = ", ".join(f'"{verb}"' for verb in verbs)
        return f'- {{apiGroups: ["{self.group}"], resources: ["{self.plural}"], verbs: [{said}]}}'


def _kind(name: str, api_version: str) -> Kind:
    group, _, version = api_version.rpartition("/")
    return Kind(group=group, version=version, plural=f"{name.lower()}s", name=name)


_APPS, _BATCH = "apps/v1", "batch/v1"
BUILT_IN = {
    kind.name: kind
    for kind in (
        _kind("Deployment", _APPS),
        _kind("StatefulSet", _APPS),
        _kind("DaemonSet", _APPS),
        _kind("ReplicaSet", _APPS),
        _kind("ControllerRevision", _APPS),
        _kind("Job", _BATCH),
        _kind("CronJob", _BATCH),
        _kind("Pod", "v1"),
        _kind("ReplicationController", "v1"),
        _kind("Rollout", "argoproj.io/v1alpha1"),
    )
}
# What tells which template every pod came from. Kinds of other projects are added by those who have them.
OBSERVED = tuple(
    BUILT_IN[name]
    for name in (
        "Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ControllerRevision", "Job", "CronJob",
    )
)  # fmt: skip
# Whose templates people write.
WORKLOADS = tuple(kind for kind in OBSERVED if kind.name != "ControllerRevision")


def parse_kinds(texts: list[str]) -> tuple[Kind, ...]:
    """Kinds of `Deployment`, `deployments` or `group/version/plural`; commas separate too. Each once."""
    words = [word for text in texts for word in re.split(r"[,\s]+", text) if word]
    return tuple(dict.fromkeys(parse_kind(word) for word in words))


def parse_kind(text: str) -> Kind:
    """One kind. InvalidInput says how to write it."""
    parts = text.split("/")
    if len(parts) == 1:
        for kind in BUILT_IN.values():
            if text.lower() in {str(kind.name).lower(), kind.plural}:
                return kind
    if len(parts) == 2:
        parts = ["", *parts]
    if len(parts) == 3 and _PART.fullmatch(parts[1]) and _PART.fullmatch(parts[2]) and (
        not parts[0] or _PART.fullmatch(parts[0])
    ):  # fmt: skip
        group, version, plural = parts
        known = [k for k in BUILT_IN.values() if (k.group, k.version, k.plural) == (group, version, plural)]
        return known[0] if known else Kind(group=group, version=version, plural=plural, name=None)
    raise InvalidInput(
        f"unknown kind {text!r}: use {', '.join(str(k) for k in BUILT_IN.values())}, or group/version/plural such as "
        "ray.io/v1/rayclusters"
    )
