"""Images: what deploy/Dockerfile says of its targets, with this environment in place of what they install."""

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.dockerfile import PREFIX, STAGES
from tests.postgres import postgres_binaries

ROOT = Path(__file__).parents[2]
_BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_SOURCES = ("podpower", "podpower_assets", "podpower_serving")


@dataclass(frozen=True, kw_only=True)
class Image:
    """A root with the programs of this machine (/usr) and `mounts` (path inside to path here), and how it starts."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": _BASE_PATH})
    workdir: str = "/"
    user: tuple[int, int] = (0, 0)
    mounts: Mapping[str, Path] = field(default_factory=dict)


def known_images() -> dict[str, Image]:
    """Images by the last part of their repository's name."""
    return {
        "podpower-platform": podpower_image("platform"),
        "podpower-serving": podpower_image("serving"),
        "postgres": postgres_image(),
    }


def podpower_image(target: str, prefix: Path = Path(sys.prefix)) -> Image:
    """A target of deploy/Dockerfile, whose packages are those of a Python environment."""
    environment, command, workdir, user = {"PATH": _BASE_PATH}, [], "/", (0, 0)
    for instruction in STAGES[target]:
        verb, _, rest = instruction.partition(" ")
        if verb == "ENV":
            for word in shlex.split(rest):
                name, _, value = word.partition("=")
                environment[name] = re.sub(r"\$(\w+)", lambda found: environment[found[1]], value)
        elif verb == "CMD":
            command = json.loads(rest)
        elif verb == "WORKDIR":
            workdir = rest
        elif verb == "USER":
            user = tuple(int(part) for part in rest.split(":"))
    return Image(
        command=command, environment=environment, workdir=workdir, user=user, mounts=_python(prefix)
    )  # fmt: skip


def _python(prefix: Path) -> dict[str, Path]:
    """An environment at the place of the image's and at its own, which its scripts name; its Python and our sources."""
    base = Path(sys.base_prefix)
    places = [prefix, *([] if base.is_relative_to("/usr") else [base]), *(ROOT / name for name in _SOURCES)]
    return {PREFIX: prefix, **{str(place): place for place in places}}


def postgres_image() -> Image:
    """The official image's entrypoint in short, around the PostgreSQL of this machine."""
    entrypoint = "/opt/postgres.sh"
    return Image(
        entrypoint=[entrypoint],
        command=["postgres"],
        environment={"PATH": f"{postgres_binaries()}:{_BASE_PATH}", "PGDATA": "/var/lib/postgresql/data"},
        user=(999, 999),
        mounts={entrypoint: Path(__file__).with_name("postgres.sh")},
    )
