"""Milliseconds of CPU for 1 MB of hostile input, by named case; fails where one takes longer than LIMIT_MS.

Each case repeats the fragment that a pattern, a parser or a scanner is worst at. Tests take the cases from here
(tests/podpower/specs/test_hostile_texts.py): a new case is a line in a table.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial

from podpower.specs.redaction import redact_text

LIMIT_MS = 100.0
MEGABYTE = 1_000_000
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
    """The least CPU time of several runs."""
    taken = []
    for _ in range(runs):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1e3)
    return min(taken)


CASES: dict[str, Callable[[], object]] = {
    f"redaction: {name}": partial(redact_text, hostile(fragment, MEGABYTE)) for name, fragment in TEXTS.items()
}


def main() -> None:
    taken = {name: round(cpu_ms(case), 1) for name, case in CASES.items()}
    print(json.dumps({"limit_ms": LIMIT_MS, "cpu_ms_of_1_mb": taken}, indent=2))
    slow = [name for name, ms in taken.items() if ms > LIMIT_MS]
    if slow:
        sys.exit(f"error: slower than {LIMIT_MS:g} ms: {', '.join(slow)}")


if __name__ == "__main__":
    main()
