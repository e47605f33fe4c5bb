"""Milliseconds of CPU for 1 MB of hostile input, by named case; fails where one takes longer than LIMIT_MS.

Each case repeats the fragment that a pattern, a parser or a scanner is worst at. Tests take the cases from here
(tests/podpower/specs/test_hostile_texts.py): a new case is a line in a table.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from podpower.specs.manifests import read_manifests
from podpower.specs.redaction import redact_text

LIMIT_MS = 100.0
MEGABYTE = 1_000_000
GOOD = json.dumps(
    {"kind": "Pod", "metadata": {"name": "good"}, "spec": {"containers": [{"name": "main", "image": "nginx:1.27"}]}}
)
Text = Callable[[int], bytes]
# What is repeated in one text: an argument, a value of the environment, an annotation, an image.
TEXTS = {
    "letters": "a",
    "spaces": " ",
    "line breaks": "\n ",
    "words": "a ",
    "opaque with plus": "+",
    "opaque with dash": "aA1aA1aA1aA1aA1aA1aA1aA1aA1aA1aA1-",
    "assignments": "a=",
    "assignments of secrets": "password=x ",
    "secret without value": "password= ",
    "open quotes": 'a="',
    "open single quotes": "token='",
    "open bracket": "token=[",
    "backslashes": "\\",
    "escaped quotes": '\\"',
    "long name": "a.b-c_",
    "camel case": "aB",
    "colons": "a:",
    "user and host": "a:b@c",
    "URLs": "a://",
    "PEM begins": "-----BEGIN ",
    "PEM ends": "-----BEGIN A-----X-----END ",
    "web tokens": "eyJ-",
    "key prefixes": "sk-sk-",
    "headers": "cookie: ",
    "bearer": "bearer ",
    "options": "-p ",
    "options with values": "-px1 -p a1 ",
    "users": "-u a:b ",
    "commands": "mysql;",
    "command ends": "; ",
    "variables": "$(",
    "node types": "a1-",
    "digits": "1",
}


def hostile(fragment: str, size: int) -> str:
    """`size` characters of a fragment, again and again."""
    return (fragment * (size // len(fragment) + 1))[:size]


def cpu_ms(work: Callable[[], object], *, runs: int = 3) -> float:
    """Return the least CPU time of several runs, without that of collecting what lived before them."""
    taken = []
    gc.collect()
    gc.freeze()  # a full collection takes as long as the process is large, and comes at any moment
    try:
        for _ in range(runs):
            began = time.process_time()
            work()
            taken.append((time.process_time() - began) * 1e3)
    finally:
        gc.unfreeze()
    return min(taken)


def repeated(part: str, *, before: str = "", after: str = "") -> Text:
    """Make texts of about a size: `part` again and again, between `before` and `after`."""
    return lambda size: f"{before}{part * (size // len(part))}{after}".encode()


def numbered(part: str, *, before: str = "", after: str = "") -> Text:
    """Make texts of about a size: `part` with the numbers from 0 filled in."""
    return lambda size: (before + "".join(part.format(i) for i in range(size // len(part))) + after).encode()


def _indented(size: int) -> bytes:
    return "".join(" " * i + "-\n" for i in range(int((2 * size) ** 0.5))).encode()


def _nested_lists(size: int) -> bytes:
    return ('{"kind":"List","items":[' * (size // 26) + "]}" * (size // 26)).encode()


def _restarts(size: int) -> bytes:
    return (GOOD + "\n" + "[\n" * 900 + "1," * (size // 2) + "x").encode()


def _shared_objects(size: int) -> bytes:
    return f"kind: List\nitems:\n- &a {GOOD}\n".encode() + b"- *a\n" * (size // 5)


# Files of manifests by name, made for a size in bytes (tests/podpower/specs/test_hostile_input.py).
MANIFESTS: Mapping[str, Text] = {
    "nested block sequences": repeated("- "),
    "nested block sequences in lines": _indented,
    "nested complex keys": repeated("? "),
    "nested flow mappings": repeated("{"),
    "nested flow sequences": repeated("["),
    "nested flow collections": repeated("[{"),
    "nested flow sequences in lines": repeated("[\n"),
    "nested flow sequences in a value": repeated("[", before="a: "),
    "nested JSON": repeated('{"a":'),
    "nested JSON, closed": lambda size: (b"[" * (size // 2) + b"]" * (size // 2)),
    "nested JSON behind a document": repeated('{"a":', before=GOOD + "\n"),
    "nested JSON in every line": repeated('{"a":' * 1200 + "\n", before=GOOD + "\n"),
    "nested List": _nested_lists,
    "90 levels around many items": repeated("1,", before="[" * 90, after="1" + "]" * 90),
    "broken JSON documents": repeated('{"a":"\n', before=GOOD + "\n"),
    "broken JSON that begins again": _restarts,
    "not a number in every document": repeated('{"a":NaN}\n', before=GOOD + "\n"),
    "surrogates in every document": repeated('{"kind":"\\ud800"}\n', before=GOOD + "\n"),
    "garbage lines behind JSON": repeated("x\n", before=GOOD + "\n"),
    "broken YAML documents": repeated("a: [\n---\n"),
    "documents without objects": repeated("x\n---\n"),
    "objects without kind": repeated("a: 1\n---\n"),
    "separators": repeated("---\n"),
    "separators with text": repeated("--- x\n"),
    "directives": repeated("%YAML 1.1\n---\n"),
    "tag directives": numbered("%TAG !a{0}! tag:x\n", after="--- a\n"),
    "tag directives behind carriage returns": numbered("%TAG !a{0}! tag:x\r", after="\n--- a\n"),
    "aliases of aliases": lambda size: b"a: &a0 [x,x]\n" + b"".join(
        b"a%d: &a%d [*a%d,*a%d]\n" % (i, i, i - 1, i - 1) for i in range(1, size // 25)),
    "merges of merges": lambda size: b"a0: &a0 {k0: 1}\n" + b"".join(
        b"a%d: &a%d {<<: *a%d, k%d: 1}\n" % (i, i, i - 1, i) for i in range(1, size // 30)),
    "long anchor": repeated("a", before="- &", after=" x"),
    "long tag": repeated("a", before="- !", after=" x"),
    "long key": repeated("k", after=": 1"),
    "long key twice": lambda size: b"".join(b'? "' + b"k" * (size // 2) + b'"\n: 1\n' for _ in range(2)),
    "long kind": repeated("k", before="kind: ", after="\nmetadata: {name: a}\n"),
    "long name": repeated("n", before="kind: Pod\nspec: {containers: []}\nmetadata: {name: '", after="'}\n"),
    "long plain text": repeated("a"),
    "long plain text in lines": repeated("  a\n", before="a: b\n"),
    "long quoted text in lines": repeated("a\n", before='a: "', after='"'),
    "unfinished quoted text": repeated("a\n", before='"'),
    "long number": repeated("9", before="a: "),
    "long number in JSON": repeated("9", before='{"a":', after="}"),
    "long numbers behind a document": repeated('{"a":' + "9" * 5000 + "}\n", before=GOOD + "\n"),
    "flow mapping without commas": repeated("a ", before="{"),
    "flow mapping without commas in lines": repeated('"a"\n', before="{"),
    "flow mapping of keys": repeated("a,", before="{", after="}"),
    "duplicate keys": repeated("a: 1\n"),
    "keys without values": repeated("? a\n"),
    "empty objects": repeated("{},", before="[", after="{}]"),
    "comments": repeated("#\n"),
    "spaces": repeated(" ", before="a:", after="b"),
    "carriage returns": repeated("a: 1\r"),
    "bytes that are not UTF-8": lambda size: b"\xff" * size,
    "NUL bytes": lambda size: b"a: " + b"\0" * size,
    "UTF-16": lambda size: ("- " * (size // 4)).encode("utf-16"),
    "UTF-16 without its last byte": lambda size: ("- " * (size // 4)).encode("utf-16")[:-1],
}  # fmt: skip
# Valid YAML of as many values as fit: the time is that of the values. They are tested for growth only.
DENSE_MANIFESTS: Mapping[str, Text] = {
    "aliases of a word": repeated("- *a\n", before="- &a x\n"),
    "aliases of an object": _shared_objects,
    "merges of a large mapping": lambda size: (
        b"a: &a {" + b",".join(b"k%d: 1" % i for i in range(size // 20)) + b"}\nb:\n" + b"- <<: *a\n" * (size // 20)),
    "anchors": numbered("- &a{0} x\n"),
    "anchors of one name": repeated("- &a x\n"),
    "flow sequence without end": repeated("[],", before="["),
    "flow sequence of words": repeated("a,", before="- [", after="]"),
}  # fmt: skip


def manifests(texts: Mapping[str, Text]) -> dict[str, Callable[[], object]]:
    """Cases that read 1 MB of each."""
    return {f"manifests: {n}": partial(read_manifests, text(MEGABYTE), source="-") for n, text in texts.items()}


def main() -> None:
    cases: dict[str, Callable[[], object]] = {
        f"redaction: {name}": partial(redact_text, hostile(fragment, MEGABYTE)) for name, fragment in TEXTS.items()
    }
    taken = {name: round(cpu_ms(case), 1) for name, case in (cases | manifests(MANIFESTS)).items()}
    dense = {name: round(cpu_ms(case), 1) for name, case in manifests(DENSE_MANIFESTS).items()}
    print(json.dumps({"limit_ms": LIMIT_MS, "cpu_ms_of_1_mb": taken, "cpu_ms_of_1_mb_of_valid_yaml": dense}, indent=2))
    slow = [name for name, ms in taken.items() if ms > LIMIT_MS]
    if slow:
        sys.exit(f"error: slower than {LIMIT_MS:g} ms: {', '.join(slow)}")


if __name__ == "__main__":
    main()
