"""The values of the chart: their schema, `values.schema.json`, and their page in the reference, both from values.yaml.

A value is described by the comment above its key; a line `# @schema {...}` in it adds to the schema. What is given as a
mapping takes only the keys that it has, unless it is empty.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from podpower.clusters import CLUSTER_NAME, ClusterEntry

CHART: Final = Path(__file__).parent.parent / "helm" / "podpower"
_SCHEMA: Final = "@schema "
_QUANTITY: Final = {
    "description": "A quantity of Kubernetes, such as 500m or 2Gi.",
    "type": ["string", "integer"],
    "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
}
_SIZE: Final = {
    "description": "A quantity of bytes with its unit, such as 20Gi, or all digits of the number of bytes.",
    "type": ["string", "integer"],
    "pattern": r"^([0-9]+(\.[0-9]+)?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)|[0-9]{7,})$",
    "minimum": 10**6,
}
_AMOUNTS: Final = {
    "type": "object",
    "properties": {name: {"$ref": "#/definitions/size"} for name in ("memory", "ephemeral-storage")},
    "additionalProperties": {"$ref": "#/definitions/quantity"},
}


def _clusters() -> dict[str, Any]:
    """Return the shapes of an entry of `moreClusters`: what the file of PODPOWER_CLUSTERS takes, with a way to reach
    the cluster.
    """
    _, found = msgspec.json.schema_components((ClusterEntry,), ref_template="#/definitions/{name}")
    ways = {name: {"type": "string", "minLength": 1} for name in ("kubeconfig", "context", "recording")}
    ways["in_cluster"] = {"const": True}
    found["ClusterEntry"]["anyOf"] = [{"required": [name], "properties": {name: way}} for name, way in ways.items()]
    found["PrometheusEntry"]["properties"]["url"]["pattern"] = "^[^@]*$"  # credentials would be in a ConfigMap
    found["ClusterEntry"]["properties"]["name"]["pattern"] = f"^{CLUSTER_NAME.pattern}$"
    return found


# Shapes that several values have.
DEFINITIONS: Final[dict[str, Any]] = {
    "quantity": _QUANTITY,
    "size": _SIZE,
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "resources": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"requests": _AMOUNTS, "limits": _AMOUNTS},
    },
    "tolerations": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                **{name: {"type": "string"} for name in ("key", "operator", "value", "effect")},
                "tolerationSeconds": {"type": "integer"},
            },
        },
    },
    **_clusters(),
}
_TYPES: Final[dict[type, str]] = {
    bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Value:
    """A key of values.yaml: its path, default, description, and what its comment adds to the schema."""

    path: tuple[str, ...]
    default: Any
    description: str
    added: dict[str, Any]

    @property
    def is_group(self) -> bool:
        """True for a mapping whose keys are values of their own."""
        return isinstance(self.default, dict) and bool(self.default) and "$ref" not in self.added


def values(text: str | None = None) -> list[Value]:
    """Return the values of values.yaml in its order, groups before what is in them. ValueError names one without a
    description.
    """
    text = (CHART / "values.yaml").read_text(encoding="utf-8") if text is None else text
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return list(_values(root, yaml.safe_load(text), text.splitlines(), ()))


def _values(node: yaml.MappingNode, given: dict[str, Any], lines: list[str], path: tuple[str, ...]) -> Iterator[Value]:
    for key, child in node.value:
        own = (*path, key.value)
        description, added = _comment(lines, key.start_mark.line)
        if not description:
            raise ValueError(f"values.yaml: {'.'.join(own)} has no comment")
        value = Value(path=own, default=given[key.value], description=description, added=added)
        yield value
        if value.is_group:
            yield from _values(child, given[key.value], lines, own)


def _comment(lines: list[str], line: int) -> tuple[str, dict[str, Any]]:
    """Return the text above a line, and the schema in it."""
    begin = line
    while begin and lines[begin - 1].lstrip().startswith("#"):
        begin -= 1
    words, added = [], {}
    for comment in lines[begin:line]:
        text = comment.strip().lstrip("#").strip()
        if text.startswith(_SCHEMA):
            added |= json.loads(text.removeprefix(_SCHEMA))
        else:
            words.append(text)
    return " ".join(words), added


def schema() -> str:
    """Return values.schema.json."""
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of podpower",
        "type": "object",
        "additionalProperties": False,
        "properties": {},
        "definitions": DEFINITIONS,
    }
    # Helm itself passes these to a chart.
    root["properties"]["global"] = {"type": "object"}
    for value in values():
        place = root
        for name in value.path[:-1]:
            place = place["properties"][name]
        place["properties"][value.path[-1]] = _schema_of(value)
    return json.dumps(root, indent=2) + "\n"


def _schema_of(value: Value) -> dict[str, Any]:
    if "$ref" in value.added:  # what stands beside it does not count
        return value.added
    found: dict[str, Any] = {"description": value.description, "type": _TYPES[type(value.default)]}
    if value.is_group:
        found |= {"additionalProperties": False, "properties": {}}
    return found | value.added


def page() -> str:
    """Every value of the chart with its default, from values.yaml."""
    lines = ["# Values of the chart", "", "[Install on Kubernetes](../how-to/kubernetes/install.md) uses them.", ""]
    lines += ["`helm lint` and `helm install` refuse a value that is not here."]
    found = values()
    singles = [value for value in found if len(value.path) == 1 and not value.is_group]
    lines += ["", "## Top level", "", *_HEAD, *map(_row, singles)]
    for group in (value for value in found if len(value.path) == 1 and value.is_group):
        inside = [value for value in found if value.path[0] == group.path[0] and not value.is_group]
        lines += ["", f"## {group.path[0]}", "", group.description, "", *_HEAD, *map(_row, inside)]
    return "\n".join(lines) + "\n"


_HEAD: Final = ("| value | default | meaning |", "|---|---|---|")


def _row(value: Value) -> str:
    allowed = value.added.get("enum")
    meaning = value.description + (f" One of {', '.join(f'`{one}`' for one in allowed)}." if allowed else "")
    default = "" if value.default == "" else f"`{json.dumps(value.default)}`"
    return f"| `{'.'.join(value.path)}` | {default} | {meaning} |"
