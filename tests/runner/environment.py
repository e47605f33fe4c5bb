"""The environment and the command of a container, from its fields, ConfigMaps and Secrets."""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

Object = dict[str, Any]
Lookup = Callable[[str, str], Object | None]  # the object of a kind and a name, in the namespace of the pod


def contents(found: Lookup, kind: str, reference: Mapping[str, Any], name: str = "name") -> dict[str, bytes]:
    """What a ConfigMap or a Secret holds. LookupError without it, unless it is optional."""
    stored = found(kind, reference[name])
    if stored is None:
        if reference.get("optional"):
            return {}
        raise LookupError(f"{kind} {reference[name]} does not exist")
    plain = {**(stored.get("stringData") or {}), **(stored.get("data") or {} if kind == "ConfigMap" else {})}
    encoded = {**(stored.get("binaryData") or {}), **(stored.get("data") or {} if kind == "Secret" else {})}
    decoded = {key: base64.b64decode(value) for key, value in encoded.items()}
    return decoded | {key: value.encode() for key, value in plain.items()}


def environment(container: Object, pod_fields: Mapping[str, str], found: Lookup) -> dict[str, str]:
    """Variables of `envFrom` and `env`; a later one can refer to an earlier one by $(NAME)."""
    result: dict[str, str] = {}
    for source in container.get("envFrom", []):
        kind = "ConfigMap" if "configMapRef" in source else "Secret"
        values = contents(found, kind, source["configMapRef" if kind == "ConfigMap" else "secretRef"])
        result |= {source.get("prefix", "") + name: value.decode() for name, value in values.items()}
    for variable in container.get("env", []):
        value = _value(variable, pod_fields, found)
        if value is not None:
            result[variable["name"]] = expanded(value, result)
    return result


def _value(variable: Object, pod_fields: Mapping[str, str], found: Lookup) -> str | None:
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    [(way, reference)] = variable["valueFrom"].items()
    if way == "fieldRef":
        return pod_fields[reference["fieldPath"]]
    kind = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}[way]
    value = contents(found, kind, reference).get(reference["key"])
    if value is None and not reference.get("optional"):
        raise LookupError(f"{kind} {reference['name']} has no key {reference['key']}")
    return None if value is None else value.decode()


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) by a variable; what is unknown, or written $$(NAME), stays."""
    return re.sub(
        r"\$\$|\$\((\w+)\)", lambda at: "$" if at[0] == "$$" else variables.get(at[1], at[0]), text
    )  # fmt: skip
