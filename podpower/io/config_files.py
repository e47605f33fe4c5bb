"""Configuration files that people write: YAML (or JSON) of bounded size, in which no key is given twice."""

from collections.abc import Hashable
from typing import Any, Final, TypeVar

import msgspec
import yaml

from podpower.errors import InvalidInput
from podpower.io.files import read_bounded
from podpower.io.places import AnyPath

_LIMIT_BYTES: Final = 256 << 10
T = TypeVar("T")


class _Loader(yaml.SafeLoader):  # in Python: libyaml's composer overflows the stack on deep nesting
    """Refuses a key that a mapping has twice, of which YAML readers keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping of a node."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in lines and not isinstance(key.value, list):
                raise InvalidInput(f"{key.value!s:.80} is given twice, in lines {lines[key.value]} and {line}")
            if isinstance(key.value, str):
                lines[key.value] = line
        return super().construct_mapping(node, deep=deep)


def read_config(path: AnyPath) -> Any:
    """Return the content of a file as plain values. InvalidInput names the file and what is wrong with it."""
    data = read_bounded(path, limit_bytes=_LIMIT_BYTES)
    try:
        return yaml.load(data, Loader=_Loader)  # noqa: S506  # a SafeLoader
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is no YAML: {_without_content(error)}") from None


def converted(content: Any, kind: type[T], *, path: AnyPath) -> T:
    """Return the content of a file as a value of `kind`. InvalidInput names the file, the field and what is wrong, and
    shows no value: it can be a credential in the wrong place.
    """
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidInput(f"{path}: {error}".replace("at `$.", "at `")) from None


def _without_content(error: Exception) -> str:
    """Return the problem and its line; the message of a YAML error can contain lines of the file."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    return f"{problem}, line {mark.line + 1}" if mark else str(problem)
