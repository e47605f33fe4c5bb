"""The one table of kinds: names, places in the API, pod templates and owners. A new kind is a row of `KINDS`.

>>> KINDS["CronJob"].path("shop"), KINDS["CronJob"].template
('/apis/batch/v1/namespaces/shop/cronjobs', ('spec', 'jobTemplate', 'spec', 'template'))
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from podpower.errors import InvalidInput

_PART = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_TEMPLATE: Final = ("spec", "template")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of the API. `group` is "" for the core. `name` (Deployment) is None where only the API has it.

    `template`: path of the pod template, () where the object itself is one. `count`: the field that scales the pods.
    `made_by`: kinds whose controllers make it. `revisions`: its templates are kept in ControllerRevisions, those of
    other kinds in the objects that make the pods. `same_as`: the kind whose pods are kept alive alike. `observed`: read
    from every cluster by default.
    """

    group: str
    version: str
    plural: str
    name: str | None
    short: str | None = None
    template: tuple[str, ...] = _TEMPLATE
    count: Literal["replicas", "parallelism"] | None = None
    runs_pods: bool = True
    ends: bool = False
    made_by: tuple[str, ...] = ()
    revisions: bool = False
    same_as: str | None = None
    observed: bool = True

    def __str__(self) -> str:
        return self.name or self.key

    @property
    def api_version(self) -> str:
        """The apiVersion of its manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """Text that no other kind has: group/version/plural."""
        return f"{self.group}/{self.version}/{self.plural}"

    def path(self, namespace: str | None = None) -> str:
        """Return the path of the collection, in all namespaces or one."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def rule(self, *verbs: str) -> str:
        """Return the RBAC rule that allows these verbs."""
        quoted = ", ".join(f'"{verb}"' for verb in verbs)
        return f'- {{apiGroups: ["{self.group}"], resources: ["{self.plural}"], verbs: [{quoted}]}}'


def _kind(name: str, api_version: str, **fields: object) -> Kind:
    group, _, version = api_version.rpartition("/")
    return Kind(group=group, version=version, plural=f"{name.lower()}s", name=name, **fields)  # type: ignore[arg-type]


_APPS, _BATCH = "apps/v1", "batch/v1"
_ROWS = (
    _kind("Deployment", _APPS, short="deploy", count="replicas"),
    _kind("StatefulSet", _APPS, short="sts", count="replicas", revisions=True),
    _kind("DaemonSet", _APPS, short="ds", revisions=True),
    _kind(
        "ReplicaSet", _APPS, short="rs", count="replicas", made_by=("Deployment", "Rollout"), same_as="Deployment"
    ),
    _kind("ReplicationController", "v1", short="rc", count="replicas", same_as="Deployment", observed=False),
    _kind("Job", _BATCH, count="parallelism", ends=True, made_by=("CronJob",)),
    _kind(
        "CronJob", _BATCH, short="cj", template=("spec", "jobTemplate", "spec", "template"), count="parallelism",
        same_as="Job",
    ),
    _kind(
        "Pod", "v1", short="po", template=(), ends=True,
        made_by=("ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job"),
    ),
    _kind("Rollout", "argoproj.io/v1alpha1", count="replicas", same_as="Deployment", observed=False),
    _kind(
        "ControllerRevision", _APPS, template=("data", "spec", "template"), runs_pods=False,
        made_by=("StatefulSet", "DaemonSet"),
    ),
)  # fmt: skip
KINDS: Final = {str(kind.name): kind for kind in _ROWS}

# Kinds that run pods, in the order of messages.
WORKLOAD_KINDS: Final = tuple(name for name, kind in KINDS.items() if kind.runs_pods)
REPLICATED_KINDS: Final = frozenset(name for name, kind in KINDS.items() if kind.count == "replicas")
JOB_KINDS: Final = frozenset(name for name, kind in KINDS.items() if kind.count == "parallelism")
# Kinds whose pods run until the object is deleted.
ENDLESS_KINDS: Final = frozenset(name for name in WORKLOAD_KINDS if not KINDS[name].ends) - JOB_KINDS
# Kinds whose object holds the exact template of the pods that it made.
TEMPLATE_HOLDERS: Final = frozenset(name for name in KINDS["Pod"].made_by if not KINDS[name].revisions)
# Every kind that shows which template made a pod. Kinds of other projects are added by users.
OBSERVED: Final = tuple(kind for kind in KINDS.values() if kind.observed)
# The observed kinds whose templates people write.
WORKLOADS: Final = tuple(kind for kind in OBSERVED if kind.runs_pods)


def ownership_rank(kind: str | None) -> int:
    """Return 0 for a kind that no controller makes, else one more than the highest of the kinds that make it.

    >>> [ownership_rank(kind) for kind in ("Deployment", "ReplicaSet", "Pod", "RayCluster")]
    [0, 1, 2, 0]
    """
    makers = KINDS[kind].made_by if kind in KINDS else ()
    return max((1 + ownership_rank(maker) for maker in makers), default=0)


def parse_kinds(texts: list[str]) -> tuple[Kind, ...]:
    """Return the kinds of texts such as `Deployment`, `deployments,pods` or `group/version/plural`, each once."""
    words = [word for text in texts for word in re.split(r"[,\s]+", text) if word]
    return tuple(dict.fromkeys(parse_kind(word) for word in words))


def parse_kind(text: str) -> Kind:
    """Return one kind. InvalidInput shows how to write it."""
    parts = text.split("/")
    if len(parts) == 1:
        for kind in KINDS.values():
            if text.lower() in {str(kind.name).lower(), kind.plural}:
                return kind
    if len(parts) == 2:
        parts = ["", *parts]
    if len(parts) == 3 and _PART.fullmatch(parts[1]) and _PART.fullmatch(parts[2]) and (
        not parts[0] or _PART.fullmatch(parts[0])
    ):  # fmt: skip
        group, version, plural = parts
        known = [k for k in KINDS.values() if (k.group, k.version, k.plural) == (group, version, plural)]
        return known[0] if known else Kind(group=group, version=version, plural=plural, name=None)
    raise InvalidInput(
        f"unknown kind {text!r}: use {', '.join(KINDS)}, or group/version/plural such as ray.io/v1/rayclusters"
    )
