"""The stages of deploy/Dockerfile and their instructions."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
PREFIX = "/opt/podpower"


def _stages() -> dict[str, list[str]]:
    """Instructions of each stage by its name, those that it is based on first."""
    found: dict[str, list[str]] = {}
    name = None
    for line in TEXT.splitlines():
        if begin := re.match(r"FROM (?:--\S+ )*(\S+)(?: AS (\S+))?$", line):
            name = begin[2]
            found[name] = list(found.get(begin[1], []))
        elif name and re.match(r"[A-Z]+ ", line):
            found[name].append(line)
    return found


STAGES = _stages()
