"""Packages that commands need: which extras to install where one is missing."""

from importlib.util import find_spec
from typing import Final

from podpower import extras

# The extras that a command needs as a whole, so that no hint is followed by another one.
_NEEDS: Final = {
    **dict.fromkeys(("simulate", "encode", "label", "join", "train", "evaluate", "top"), "pipeline"),
    **dict.fromkeys(("collect", "record", "webhook-certificates"), "k8s"),
    "doctor": "k8s,pipeline",
    "comment": "ci",
    "serve": "serving",
    **dict.fromkeys(("demo", "up"), "assets,serving"),
}
_STARTS_OTHERS: Final = ("demo", "up")


def check_packages(command: str) -> None:
    """Raise ModuleNotFoundError where a command that starts others lacks a package of its extras: each of these would
    name only its own.
    """
    if command not in _STARTS_OTHERS:
        return
    for extra in _NEEDS[command].split(","):
        for package in extras.OF_COMMANDS[extra]:
            if find_spec(package) is None:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def missing_package(error: ModuleNotFoundError, *, command: str) -> str | None:
    """Return what to install where a package of an extra is missing; None where it is another module."""
    package = (error.name or "").partition(".")[0]
    extra = extras.extra_of(package)
    if extra is None:
        return None
    wanted = _NEEDS.get(command, extra) if extra in extras.OF_COMMANDS else extra
    return f"this command needs {package}: {extras.how_to_install(wanted)}"
