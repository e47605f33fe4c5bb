"""What accounts asked of the API server, and what their roles allow, in the same terms."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.clusters.fake import Request

Object = dict[str, Any]
_PATH = re.compile(
    r"(?:/api|/apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]+))?/(?P<resource>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<below>[^/]+))?"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# What every account of a cluster is allowed (system:basic-user).
_EVERYBODY = {"selfsubjectaccessreviews"}


class Right(NamedTuple):
    """A verb on a resource of a group, in all namespaces and of all objects where these are empty."""

    namespace: str
    group: str
    resource: str
    verb: str
    name: str


def asked(requests: Iterable[Request], account: str) -> set[Right]:
    """Rights that the requests of an account needed; the runner gives each a token with its name."""
    found = set()
    for request in requests:
        path = _PATH.fullmatch(request.path)
        if request.headers.get("Authorization", "").lower() == f"bearer token-of-{account}" and path:
            resource = "/".join(filter(None, (path["resource"], path["below"])))
            if resource not in _EVERYBODY:
                found.add(Right(path["namespace"] or "", path["group"] or "", resource, _verb(request, path["name"]),
                                path["name"] or ""))  # fmt: skip
    return found


def _verb(request: Request, name: str | None) -> str:
    if request.method != "GET":
        return _VERBS[request.method]
    watches = request.params.get("watch") in ("1", "true")
    return "get" if name else "watch" if watches else "list"


def granted(objects: Iterable[Object], account: str) -> set[Right]:
    """Rights that the bindings of an account give it."""
    objects, found = list(objects), set()
    roles = {(one["kind"], one["metadata"]["name"]): one for one in objects if one["kind"].endswith("Role")}
    for binding in objects:
        if not binding["kind"].endswith("RoleBinding") or account not in [s["name"] for s in binding["subjects"]]:
            continue
        namespace = "" if binding["kind"] == "ClusterRoleBinding" else binding["metadata"]["namespace"]
        for rule in roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]["rules"]:
            found |= {
                Right(namespace, group, resource, verb, name)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
                for name in rule.get("resourceNames", [""])
            }
    return found
