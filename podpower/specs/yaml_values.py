"""YAML documents into plain values, from libyaml's events.

Values are built here, event by event: libyaml's composer recurses in C, and overflows the stack of the process before
anybody can measure the depth. Building stops at the first event that is nested too deeply, so the scanner, whose time
is quadratic in the depth of flow collections, never reads further.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from podpower.errors import InvalidInput
from podpower.specs.quoting import quoted

_MAX_DEPTH: Final = 100
# An alias repeats its anchor's nodes. Beyond the allowance a document repeats at most one node a byte: nodes of honest
# manifests take about twelve bytes each, so none grows more than tenfold.
_ALIAS_ALLOWANCE: Final = 10_000
_CHARACTER_BYTES: Final = 4  # at most, in UTF-8
_MAX_TAG_DIRECTIVES: Final = 100  # libyaml compares each with all before it
# Characters searched at a time, and the rest of their last line: other threads have their turn between.
_SEARCHED: Final = 1 << 20

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|$)[ \t\r]*([^\n]*)\n?|^\.\.\.[ \t\r]*$\n?", re.MULTILINE)
_DIRECTIVES = re.compile(r"(?:[ \t\r]*+(?:[#%][^\n]*+)?\n)*+[ \t\r]*+(?:[#%][^\n]*+)?")
_TAG_DIRECTIVE = re.compile("(?:^|[\r\n\x85\u2028\u2029])%TAG")

_QUOTED = frozenset("'\"|>")
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_MERGE = "tag:yaml.org,2002:merge"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_OTHER_INT = re.compile(r"[-+]?0(?:x[0-9a-fA-F]+|o?[0-7]+|b[01]+)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= {w: True for word in ("true", "yes", "on") for w in (word, word.title(), word.upper())}
_WORDS |= {w: False for word in ("false", "no", "off") for w in (word, word.title(), word.upper())}


def is_separated(text: str) -> bool:
    """Return True if the text has a separator line."""
    return next(_separators(text), None) is not None


def split(text: str) -> Iterator[tuple[int, str]]:
    """Yield the documents between separator lines, each with its offset, so that one can be broken without the others.

    Directives (`%YAML 1.1`) stay with the document after them.
    """
    start = 0
    for match in _separators(text):
        document = text[start : match.start()]
        if "%" in document and _DIRECTIVES.fullmatch(document):
            continue
        if document.strip():
            yield start, document
        begins_here = match[1] and not match[1].startswith("#")
        start = match.start() if begins_here else match.end()
    if text[start:].strip():
        yield start, text[start:]


def _separators(text: str) -> Iterator[re.Match[str]]:
    start = 0
    while start < len(text):
        end = text.find("\n", start + _SEARCHED) + 1 or len(text)
        yield from _SEPARATOR.finditer(text, start, end)
        start = end


def value_of(document: str, *, first_line: int) -> Any:
    """Return the value of one document, None for an empty one. InvalidInput, with the line counted from `first_line`,
    if broken.

    Scalars are resolved as kubectl resolves them; an alias gives the same object as its anchor.
    """
    if document.count("%TAG") > _MAX_TAG_DIRECTIVES and len(_TAG_DIRECTIVE.findall(document)) > _MAX_TAG_DIRECTIVES:
        raise InvalidInput(f"not valid YAML: more than {_MAX_TAG_DIRECTIVES} %TAG directives")
    try:
        return _Builder(document, first_line=first_line).build()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {first_line + mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidInput(f"not valid YAML: {where}{error.problem or error.context}") from None
    except UnicodeEncodeError as error:
        line = first_line + document.count("\n", 0, error.start) + 1
        raise InvalidInput(f"not valid YAML: line {line}: not UTF-8") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"not valid YAML: {' '.join(str(error).split())[:200]}") from None


class _Anchored(NamedTuple):
    """Value of an anchor, its number of nodes, the depth below it, and its text if it is a scalar."""

    value: Any
    nodes: int
    height: int
    text: str | None = None
    merges: bool = False


class _Pieces:
    """A document as a stream. libyaml scans a comment or a text of megabytes in one call, which holds Python's lock;
    other threads have their turn at each piece that it reads.
    """

    name: Final = "<unicode string>"  # in messages of libyaml, as without a stream

    def __init__(self, document: str) -> None:
        self._document, self._at = document, 0

    def read(self, size: int = 0, /) -> str:
        """Return the next piece."""
        start = self._at
        self._at += size // _CHARACTER_BYTES
        return self._document[start : self._at]


class _Builder:
    """Values of one document's events. Recursion is as deep as the document, which is checked first."""

    def __init__(self, document: str, *, first_line: int) -> None:
        self._next: Callable[[], Any] = yaml.CSafeLoader(_Pieces(document)).get_event
        self._first_line = first_line
        self._anchors: dict[str, _Anchored | None] = {}  # None while the node itself is being built
        self._nodes = 0  # as many as have been built or repeated so far
        self._deepest = 0
        self._repeatable = _ALIAS_ALLOWANCE + len(document)

    def build(self) -> Any:
        self._next()
        if type(self._next()) is StreamEndEvent:
            return None
        value = self._node(self._next(), depth=0)
        self._next()
        after = self._next()
        if type(after) is not StreamEndEvent:
            raise InvalidInput(f"not valid YAML: {self._at(after)}a second document begins without `---` before it")
        return value

    def _at(self, event: Event) -> str:
        mark = event.start_mark
        return f"line {self._first_line + mark.line + 1}: " if mark else ""

    def _node(self, event: Any, *, depth: int) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            value = _scalar(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchored(value, 1, 0, event.value, _merges(event))
            return value
        if kind is AliasEvent:
            return self._repeated(event, depth=depth).value
        if depth >= _MAX_DEPTH:
            raise InvalidInput(f"{self._at(event)}nested deeper than {_MAX_DEPTH} levels, which no manifest needs")
        build = self._mapping if kind is MappingStartEvent else self._sequence
        if event.anchor is None:
            self._deepest = max(self._deepest, depth + 1)
            return build(depth=depth)
        self._anchors[event.anchor] = None
        deepest_before, nodes_before = self._deepest, self._nodes
        self._deepest = depth + 1
        value = build(depth=depth)
        anchored = _Anchored(value, self._nodes - nodes_before + 1, self._deepest - depth)
        self._deepest = max(deepest_before, self._deepest)
        if self._anchors[event.anchor] is None:  # else a part of it has taken the name
            self._anchors[event.anchor] = anchored
        return value

    def _repeated(self, event: AliasEvent, *, depth: int) -> _Anchored:
        name = f"*{quoted(event.anchor or '')}"
        if event.anchor not in self._anchors:
            raise InvalidInput(
                f"not valid YAML: {self._at(event)}{name} repeats an anchor that is not defined before it"
            )
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise InvalidInput(f"{self._at(event)}{name} is inside the part that it repeats, which never ends")
        if depth + anchored.height > _MAX_DEPTH:
            raise InvalidInput(f"{self._at(event)}{name} makes this nested deeper than {_MAX_DEPTH} levels")
        self._deepest = max(self._deepest, depth + anchored.height)
        self._nodes += anchored.nodes - 1  # the collection around it counts one
        self._repeatable -= anchored.nodes
        if self._repeatable < 0:
            raise InvalidInput("aliases make this document grow beyond reason; write it without them")
        return anchored

    def _sequence(self, *, depth: int) -> list[Any]:
        items: list[Any] = []
        take, node = self._next, self._node
        while type(event := take()) is not SequenceEndEvent:
            items.append(node(event, depth=depth + 1))
        self._nodes += len(items)
        return items

    def _mapping(self, *, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        take, node = self._next, self._node
        while type(key_event := take()) is not MappingEndEvent:
            key, merges = self._key(key_event, depth=depth)
            event = take()
            if merges:
                merged |= self._merged(node(event, depth=depth + 1), event)
            elif key in own:
                raise InvalidInput(f'{self._at(key_event)}the key "{quoted(key)}" is given twice')
            else:
                own[key] = node(event, depth=depth + 1)
        self._nodes += len(own)
        return merged | own if merged else own

    def _key(self, event: Any, *, depth: int) -> tuple[str, bool]:
        """Return the text of a key, and True if it is `<<`."""
        if type(event) is ScalarEvent:
            if event.anchor is not None:
                self._node(event, depth=depth)
            return event.value, _merges(event)
        if type(event) is AliasEvent:
            anchored = self._repeated(event, depth=depth)
            if anchored.text is not None:
                return anchored.text, anchored.merges
        raise InvalidInput(f"{self._at(event)}a key must be a plain text")

    def _merged(self, value: Any, event: Event) -> dict[str, Any]:
        """Return the fields that `<<` adds; of a list, the first mapping wins."""
        merged: dict[str, Any] = {}
        for part in reversed(value if isinstance(value, list) else [value]):
            if not isinstance(part, dict):
                raise InvalidInput(f"{self._at(event)}`<<` merges mappings only")
            merged |= part
        return merged


def _merges(event: ScalarEvent) -> bool:
    return event.value == "<<" and (event.implicit[0] or event.tag == _MERGE)


def _scalar(event: ScalarEvent) -> Any:
    text = event.value
    # Only an explicit !!str, or ! before nothing, makes a text of what reads like a word or a number.
    explicit = event.tag in _TEXT_TAGS and not event.implicit[0] and (text in _WORDS or _INT.fullmatch(text))
    if event.style in _QUOTED or explicit:
        return text
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if len(text) <= 64 and text[0] in "+-.0123456789" else text


def _number(text: str) -> Any:
    if _INT.fullmatch(text):
        return int(text)
    if _OTHER_INT.fullmatch(text):
        return int(text, 0 if text.lstrip("+-")[1] in "xob" else 8)
    return float(text) if _FLOAT.fullmatch(text) else text
