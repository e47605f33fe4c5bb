"""Errors of msgspec about a field, in words for people: the field, what it must be, and what it is."""

import re
from typing import Any, Final

from podpower.specs.quoting import quoted

NO_MANIFEST: Final = "a manifest begins with apiVersion: and kind:"  # part of each message about what is none
_TYPES: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping of names to values",
    "null": "null",
}
# Fields, in both spellings, and the words for what they must be.
_FIELDS: Final = {
    **dict.fromkeys(("req_cpu_mcpu", "lim_cpu_mcpu", "pod_req_cpu_mcpu", "pod_lim_cpu_mcpu"),
                    "a number of millicores, for example 250"),
    **dict.fromkeys(("req_mem_mib", "lim_mem_mib", "pod_req_mem_mib", "pod_lim_mem_mib"),
                    "a number of MiB, for example 512"),
    **dict.fromkeys(("replicas", "parallelism", "minReplicas", "maxReplicas", "minReplicaCount", "maxReplicaCount"),
                    "a whole number of pods, for example 3"),
    "completions": "a whole number of runs, for example 1",
    "gpu_count": "a whole number of GPUs, for example 1",
    "gpus": "a number of GPUs, for example 1",
    "state": "suspended or finished",
    "schema_version": "v1",
    **dict.fromkeys(("concurrency_policy", "concurrencyPolicy"), "Allow, Forbid or Replace"),
}  # fmt: skip
_PLACE = re.compile(r"(?P<what>.*) - at `(?:key in )?\$\.?(?P<where>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_TYPE = re.compile(r"Expected `([^`]+)`(?:, got `(\w+)`)?")
_LEAST = re.compile(r"Expected `\w+` >= (\S+)")
_MOST = re.compile(r"Expected `\w+` <= (\S+)")
_LENGTH = re.compile(r"Expected `(\w+)` of length (<=|>=|) ?(\d+)(?:, got (\d+))?")
_STEP = re.compile(r"(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]")


def readable(message: str, value: Any = None) -> str:
    """Return msgspec's message about `value` with the field first, in plain words.

    >>> readable("Expected `int | null`, got `str` - at `$.spec.replicas`", {"spec": {"replicas": "x"}})
    'spec.replicas: must be a whole number of pods, for example 3; got "x"'
    """
    place = _PLACE.fullmatch(message)
    what, where = (place["what"], place["where"]) if place else (message, "")
    if missing := _MISSING.fullmatch(what):
        return f"{where}.{missing[1]}: missing".removeprefix(".")
    name = where.rpartition(".")[2]
    text = _in_words(what, name, _shown(value, where))
    return f"{where}: {text}" if where else text


def _in_words(what: str, name: str, got: str) -> str:
    if length := _LENGTH.match(what):
        return _of_length(length, name)
    if least := _LEAST.match(what):
        return f"must be {_number(least[1])} or more{got}"
    if most := _MOST.match(what):
        return f"must be at most {_number(most[1])}{got}"
    if what.startswith("Invalid enum value"):
        return f"must be {_FIELDS.get(name, 'one of the allowed values')}{got}"
    if found := _TYPE.match(what):
        kinds = [kind for kind in found[1].split(" | ") if kind != "null"] or ["null"]
        must = _FIELDS.get(name) or " or ".join(_TYPES.get(kind, kind) for kind in kinds)
        if not got:
            got = f", not {_TYPES.get(found[2] or '', 'this value')}"
        quotes = "; put it in quotes" if "str" in kinds and found[2] in {"int", "bool", "float"} else ""
        return f"must be {must}{got}{quotes}"
    return f"{what[:1].lower()}{what[1:]}"


def _of_length(length: re.Match[str], name: str) -> str:
    kind, sign, count = length[1], length[2], length[3]
    if sign == ">=":
        return "empty; a pod has at least one container" if name == "containers" else "must not be empty"
    unit = "characters" if kind == "str" else "entries"
    if sign == "<=":
        return f"longer than {count} {unit}"
    return f"must have {count} {unit}, got {length[4]}"


def _number(text: str) -> str:
    return text.removesuffix(".0")


def _shown(value: Any, where: str) -> str:
    """Return the value at a path as the end of a message, empty where the path or the value cannot be shown."""
    position = 0
    while position < len(where):
        step = _STEP.match(where, position + (where[position] == "."))
        if step is None:
            return ""
        key: Any = step["name"] if step["name"] is not None else int(step["index"])
        try:
            value = value[key]
        except (LookupError, TypeError):
            return ""
        position = step.end()
    if isinstance(value, str):
        return f'; got "{quoted(value)}"'
    if isinstance(value, bool | int | float):
        return f"; got {quoted(value)}"
    return ""
