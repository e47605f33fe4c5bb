"""Bytes into plain Kubernetes objects: YAML as kubectl reads it, or JSON; many documents, lists flattened.

One broken document does not take the others with it. Time and memory are proportional to the length of the input.
"""

import codecs
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from podpower.errors import InvalidInput
from podpower.specs import json_values, yaml_values
from podpower.specs.messages import NO_MANIFEST
from podpower.specs.quoting import both_ends

MAX_BROKEN: Final = 1000
_TYPES: Final = {str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


class Rejected(msgspec.Struct, kw_only=True, frozen=True):
    """A part of an input that could not be read, and why.

    `index` is its place in `source`, from 0: the line's, or the object's (of manifests, with lists flattened).
    """

    source: str
    index: int
    detail: str


class Objects:
    """Iterate over every object in `data`, in order. Documents that cannot be read come as Rejected; empty input has
    none.

    After `MAX_BROKEN` rejections, those of the reader and those that `reject` counts, the rest is not read: the last
    Rejected gives its place and number of lines.
    """

    def __init__(self, data: bytes, *, source: str) -> None:
        self._data = data
        self._source = source
        self._broken = 0

    def reject(self) -> None:
        """Count an object that its reader found broken."""
        self._broken += 1

    def __iter__(self) -> Iterator[dict[str, Any] | Rejected]:
        try:
            text = _text(self._data)
        except UnicodeDecodeError as error:
            detail = f"not valid YAML: neither UTF-8 nor UTF-16 ({error.reason})"
            yield Rejected(source=self._source, index=0, detail=detail)
            return
        for index, (start, value) in enumerate(_documents(text)):
            for found in _flattened(value):
                if self._broken >= MAX_BROKEN or isinstance(found, json_values.Unread):
                    yield Rejected(source=self._source, index=index, detail=_unread(text, start))
                    return
                if isinstance(found, InvalidInput):
                    self._broken += 1
                    yield Rejected(source=self._source, index=index, detail=both_ends(str(found)))
                else:
                    yield found


def read_objects(data: bytes, *, source: str) -> Iterator[dict[str, Any] | Rejected]:
    """Yield every object in `data`, as `Objects` does."""
    return iter(Objects(data, source=source))


def _text(data: bytes) -> str:
    """Decode UTF-16 with a byte order mark, as PowerShell writes it, and UTF-8.

    Invalid bytes of UTF-8 become surrogates, so that only their document is refused.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _documents(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the offset and value of each document, InvalidInput in place of the value of a broken one."""
    if text.lstrip()[:1] in {"{", "["}:
        values = json_values.values_of(text)
        if values is not None:
            yield from values
            return
    line, counted = 0, 0
    for start, document in yaml_values.split(text):
        line += text.count("\n", counted, start)
        counted = start
        try:
            value = yaml_values.value_of(document, first_line=line)
        except InvalidInput as error:
            value = error
        if value is not None:
            yield start, value


def _unread(text: str, start: int) -> str:
    line = text.count("\n", 0, start) + 1
    count = text.count("\n", start) + (not text.endswith("\n"))
    where = f"the rest of the document at line {line} and all after it, {count} lines in all"
    return f"too much before this is broken: {where}, are not read"


def _flattened(value: Any) -> Iterator[dict[str, Any] | InvalidInput | json_values.Unread]:
    """Yield the items of a JSON list or a Kubernetes List; InvalidInput for a value that is not an object."""
    open_lists = [iter((value,))]
    while open_lists:
        for item in open_lists[-1]:
            if isinstance(item, list):
                open_lists.append(iter(item))
                break
            if isinstance(item, dict):
                if item.get("kind") == "List" and "metadata" not in item and not isinstance(item.get("items"), list):
                    yield InvalidInput("items: must be a list of objects, as the kind is List")
                    continue
                items = _items(item)
                if items is not None:
                    open_lists.append(items)
                    break
                yield item
            elif isinstance(item, InvalidInput | json_values.Unread):
                yield item
            else:
                kind = _TYPES.get(type(item), "this value")
                yield InvalidInput(f"{kind} is not a Kubernetes object; {NO_MANIFEST}")
        else:
            open_lists.pop()


def _items(value: dict[str, Any]) -> Iterator[Any] | None:
    """Return the items of a Kubernetes List, None for other objects."""
    kind = str(value.get("kind", "List"))
    if not isinstance(value.get("items"), list) or not kind.endswith("List"):
        return None
    item_kind = kind.removesuffix("List")  # items of typed lists leave it out
    return (
        {**item, "kind": item_kind} if item_kind and isinstance(item, dict) and "kind" not in item else item
        for item in value["items"]
    )
