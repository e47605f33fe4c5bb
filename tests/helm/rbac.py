"""What the Roles of a rendered chart grant, and what a request to the API server needs of them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.clusters.fake import Request

Object = dict[str, Any]
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v[^/]+(?:/namespaces/(?P<namespace>[^/]+)(?=/.))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# Every account may ask what there is and what it may do (system:discovery, system:basic-user).
_FREE = re.compile(r"/(api|apis|version|readyz|healthz|openapi)(/[^/]+)?(/v[^/]+)?|.*/selfsubjectaccessreviews")


@dataclass(frozen=True, order=True)
class Access:
    """A verb on a resource (`jobs`, `pods/log`) of a group, in one namespace or, as "", in the whole cluster."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""  # the only object

    def __str__(self) -> str:
        where = f"in {self.namespace}" if self.namespace else "of the cluster"
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''} {self.name} {where}"


def account_of(request: Request) -> str:
    """The service account, whose token names it on the runner."""
    return re.sub("(?i)bearer token-of-", "", request.headers.get("Authorization", ""))


def access_of(request: Request) -> Access | None:
    """What a request needs; None for what needs nothing."""
    if _FREE.fullmatch(request.path):
        return None
    found = _PATH.fullmatch(request.path)
    assert found, request.path
    resource = "/".join(part for part in (found["plural"], found["sub"]) if part)
    verb = _VERBS[request.method]
    if not found["name"] and verb in ("get", "delete"):
        watches = request.params.get("watch") in ("1", "true")
        verb = {"get": "watch" if watches else "list", "delete": "deletecollection"}[verb]
    return Access(verb, found["group"] or "", resource, found["namespace"] or "", found["name"] or "")


class Grants:
    """What each service account of a release may do."""

    def __init__(self, objects: Iterable[Object]) -> None:
        objects = list(objects)
        rules = {(o["kind"], o["metadata"]["name"]): o for o in objects if o["kind"] in ("Role", "ClusterRole")}
        self.of: dict[str, set[Access]] = {}
        self.unbound = set(rules)
        self.refused: list[str] = []
        for binding in objects:
            if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
                continue
            role = binding["roleRef"]["kind"], binding["roleRef"]["name"]
            self.unbound.discard(role)
            namespace = binding["metadata"]["namespace"] if binding["kind"] == "RoleBinding" else ""
            for subject in binding["subjects"]:
                self.of.setdefault(subject["name"], set()).update(_granted(rules[role]["rules"], namespace))

    def refusal(self, request: Request) -> str | None:
        """Return why a request is forbidden, and keep it; None for one that is allowed."""
        needed, account = access_of(request), account_of(request)
        if needed is None or any(_covers(grant, needed) for grant in self.of.get(account, ())):
            return None
        self.refused.append(f"{account or 'nobody'} may not {needed}")
        return self.refused[-1]

    def unused(self, requests: Iterable[Request], *accounts: str) -> dict[str, list[str]]:
        """What accounts are granted and did not need."""
        calls: dict[str, set[Access]] = {}
        for request in requests:
            if needed := access_of(request):
                calls.setdefault(account_of(request), set()).add(needed)
        left = {
            account: [str(g) for g in sorted(grants) if not any(_covers(g, call) for call in calls.get(account, ()))]
            for account, grants in self.of.items()
            if account in accounts
        }
        return {account: grants for account, grants in left.items() if grants}


def _granted(rules: Iterable[Object], namespace: str) -> Iterator[Access]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [""]):
                        yield Access(verb, group, resource, namespace, name)


def _covers(grant: Access, needed: Access) -> bool:
    same = (grant.verb, grant.group, grant.resource) == (needed.verb, needed.group, needed.resource)
    return same and grant.namespace in ("", needed.namespace) and grant.name in ("", needed.name)
