"""Bytes into plain Kubernetes objects: YAML as kubectl reads it, or JSON; many documents, lists flattened.

One broken document does not take the others with it, and no input makes it use memory out of proportion to its size.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, cast

import msgspec
import yaml

from podpower.errors import InvalidInput

_SEPARATOR = re.compile(rb"^---(?=[ \t\r\n]|$)[^\n]*\n?|^\.\.\.[ \t\r]*$\n?", re.MULTILINE)
_MAX_DEPTH = 100
# Aliases may repeat parts of a document, but no honest one grows more than tenfold by it.
_MAX_GROWTH, _MIN_BUDGET = 10, 10_000

_QUOTED = frozenset("'\"|>")
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_OTHER_INT = re.compile(r"[-+]?0(?:x[0-9a-fA-F]+|o?[0-7]+|b[01]+)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= {w: True for word in ("true", "yes", "on") for w in (word, word.title(), word.upper())}
_WORDS |= {w: False for word in ("false", "no", "off") for w in (word, word.title(), word.upper())}


class Rejected(msgspec.Struct, kw_only=True, frozen=True):
    """What was not taken and why. `index` is its place in `source`, from 0: the line's, or the object's (of manifests,
    with lists flattened).

    `reason` tells what is broken from what is in order but no workload (a Service, a ConfigMap).
    """

    source: str
    index: int
    detail: str
    reason: Literal["broken", "not_a_workload"] = "broken"


class Loader(yaml.CSafeLoader):
    """libyaml's parser; only its nodes are used, values are made here."""


def read_objects(data: bytes, *, source: str) -> Iterator[dict[str, Any] | Rejected]:
    """Every object in `data`, in order; documents that cannot be read come as Rejected. Nothing for empty input."""
    text = data.removeprefix(b"\xef\xbb\xbf")
    if text.lstrip()[:1] in {b"{", b"["}:
        documents = _json_documents(text)
        if documents is not None:
            for index, document in enumerate(documents):
                if isinstance(document, InvalidInput):
                    yield Rejected(source=source, index=index, detail=str(document))
                else:
                    yield from _flattened(document, source=source, index=index)
            return
    for index, (document, first_line) in enumerate(_yaml_documents(text)):
        try:
            value = _yaml_value(document, first_line=first_line)
        except InvalidInput as error:
            yield Rejected(source=source, index=index, detail=str(error))
        else:
            if value is not None:
                yield from _flattened(value, source=source, index=index)


def _json_documents(text: bytes) -> list[Any] | None:
    """Documents one after another, InvalidInput in place of broken ones; None when it is not JSON but perhaps YAML,
    whose flow style begins alike.
    """
    try:
        return [msgspec.json.decode(text)]
    except RecursionError:
        return [_TOO_DEEP]
    except ValueError:
        pass
    try:
        return None if _SEPARATOR.search(text) else _one_after_another(text.decode())
    except UnicodeDecodeError:
        return None


def _one_after_another(decoded: str) -> list[Any] | None:
    documents: list[Any] = []
    position = _next_document(decoded, 0)
    while position < len(decoded):
        try:
            document, end = _JSON.raw_decode(decoded, position)
        except RecursionError:
            return [*documents, _TOO_DEEP]
        except ValueError as error:
            if not documents:
                return None
            documents.append(InvalidInput(f"not valid JSON: {error}"))
            broken_line = decoded.find("\n", position)
            end = broken_line if broken_line >= 0 else len(decoded)
        else:
            documents.append(document)
        position = _next_document(decoded, end)
    return documents


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
_TOO_DEEP = InvalidInput("nested too deeply to be a manifest")
_SPACE = re.compile(r"\s*")


def _next_document(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _flattened(value: Any, *, source: str, index: int) -> Iterator[dict[str, Any] | Rejected]:
    """A JSON list or a Kubernetes List gives its items; what is not an object is rejected."""
    if isinstance(value, list):
        for item in value:
            yield from _flattened(item, source=source, index=index)
    elif not isinstance(value, dict):
        detail = f"a {type(value).__name__} is not a Kubernetes object; a manifest begins with apiVersion: and kind:"
        yield Rejected(source=source, index=index, detail=detail)
    elif isinstance(value.get("items"), list) and str(value.get("kind", "List")).endswith("List"):
        item_kind = str(value.get("kind", "List")).removesuffix("List")
        for item in value["items"]:
            typed = isinstance(item, dict) and "kind" not in item and item_kind  # typed lists leave it out
            yield from _flattened({**item, "kind": item_kind} if typed else item, source=source, index=index)
    else:
        yield value


def _yaml_documents(text: bytes) -> Iterator[tuple[bytes, int]]:
    """The documents between separator lines, so that each can be broken by itself, and the line each begins at."""
    start, line = 0, 0
    for match in _SEPARATOR.finditer(text):
        if text[start : match.start()].strip():
            yield text[start : match.start()], line
        rest_of_line = match.group().strip().removeprefix(b"---").strip()
        end = match.start() if rest_of_line and not rest_of_line.startswith(b"#") else match.end()
        line += text.count(b"\n", start, end)
        start = end
    if text[start:].strip():
        yield text[start:], line


def _yaml_value(document: bytes, *, first_line: int) -> Any:
    try:
        loader = Loader(document)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        budget = max(_MIN_BUDGET, _MAX_GROWTH * len(document))
        return None if node is None else _Values(budget, first_line=first_line).of(node, depth=0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {first_line + mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidInput(f"not valid YAML: {where}{error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        raise InvalidInput(f"not valid YAML: {reason}") from None


class _Values:
    """Plain values of YAML nodes. An alias shows its node again, so nodes are counted as often as they are shown."""

    def __init__(self, budget: int, *, first_line: int) -> None:
        self._budget = budget
        self._first_line = first_line

    def _at(self, node: yaml.Node) -> str:
        return f"line {self._first_line + node.start_mark.line + 1}: "

    def of(self, node: yaml.Node, *, depth: int) -> Any:
        self._budget -= 1
        if self._budget < 0:
            raise InvalidInput("aliases make this document grow beyond reason; write it without them")
        if depth > _MAX_DEPTH:
            raise InvalidInput(f"{self._at(node)}nested deeper than {_MAX_DEPTH} levels, which no manifest needs")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(item, depth=depth + 1) for item in node.value]
        return self._mapping(cast("yaml.MappingNode", node), depth=depth)

    def _mapping(self, node: yaml.MappingNode, *, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                value = self.of(value_node, depth=depth + 1)
                for part in reversed(value if isinstance(value, list) else [value]):
                    if not isinstance(part, dict):
                        raise InvalidInput(f"{self._at(value_node)}`<<` merges mappings only")
                    merged |= part
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise InvalidInput(f"{self._at(key_node)}a key must be a plain text")
            key = key_node.value
            if key in own:
                raise InvalidInput(f'{self._at(key_node)}the key "{key}" stands twice')
            own[key] = self.of(value_node, depth=depth + 1)
        return merged | own


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    # Only an explicit !!str makes a text of what reads like a word or a number.
    explicit = node.tag == f"{_TAG}str" and (text in _WORDS or _INT.fullmatch(text) is not None)
    if node.style in _QUOTED or explicit:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 64 or text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OTHER_INT.fullmatch(text):
        return int(text, 0 if text.lstrip("+-")[1] in "xob" else 8)
    return float(text) if _FLOAT.fullmatch(text) else text
