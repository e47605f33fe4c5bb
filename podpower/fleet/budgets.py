"""Budgets of namespaces in watts: from a file, else from the annotation of the namespace.

The file has namespaces, or namespaces of one cluster, and watts:

    shop: 500
    eu-2/shop: 250
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from podpower.errors import InvalidInput
from podpower.io.config_files import read_config
from podpower.io.places import AnyPath
from podpower.kubernetes.types import EventType
from podpower.numbers import number_in

ANNOTATION: Final = "podpower.dev/budget-watts"
NAMESPACES: Final = "v1/namespaces"  # the kind to observe for annotations
MOST_W: Final = 1e9


class ObjectChange(Protocol):
    """A change of an object, as in `podpower.sources.protocols`, which the prediction service cannot import."""

    @property
    def type(self) -> EventType:
        """Return the type of the change."""

    @property
    def object(self) -> Mapping[str, Any]:
        """Return the object."""


@dataclass(frozen=True)
class Budgets:
    """Budgets of the file by namespace, or by `cluster/namespace`, which counts first."""

    of_file: Mapping[str, float] = field(default_factory=dict)

    def of(
        self, cluster: str, namespace: str, *, annotated_w: float | None = None
    ) -> tuple[float | None, Literal["annotation", "file"] | None]:
        """Return the budget of a namespace and where it comes from; (None, None) where it has none."""
        for name in (f"{cluster}/{namespace}", namespace):
            if name in self.of_file:
                return self.of_file[name], "file"
        return annotated_w, None if annotated_w is None else "annotation"


def read_budgets(path: AnyPath) -> Budgets:
    """Return the budgets of a file. InvalidInput names what is wrong."""
    found = read_config(path)
    if not isinstance(found or {}, dict):
        raise InvalidInput(f"{path} must have lines such as `shop: 500`: a namespace and its watts")
    budgets = {}
    for name, value in (found or {}).items():
        watts = parse_watts(value)
        if not isinstance(name, str) or watts is None:
            raise InvalidInput(f"{path}: the budget of {name!s:.80} must be watts, a number from 0 to {MOST_W:g}")
        budgets[name] = watts
    return Budgets(budgets)


def annotated_budgets(events: Iterable[ObjectChange]) -> dict[str, float]:
    """Return the budgets that the Namespaces among these events are annotated with at their end."""
    found: dict[str, float] = {}
    for event in events:
        if event.object.get("kind") != "Namespace":
            continue
        name = str(event.object["metadata"].get("name"))
        found.pop(name, None)
        watts = annotated_budget(event.object)
        if watts is not None and event.type != "DELETED":
            found[name] = watts
    return found


def annotated_budget(namespace: Mapping[str, Any]) -> float | None:
    """Return the budget in the annotation of a Namespace object; None where it has none, or none that is a number."""
    metadata = namespace.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    return parse_watts(annotations.get(ANNOTATION)) if isinstance(annotations, Mapping) else None


def parse_watts(value: Any) -> float | None:
    """Return watts from a number or its text; None where it is neither, or out of range.

    >>> parse_watts("250"), parse_watts(1e3), parse_watts("lots"), parse_watts(True)
    (250.0, 1000.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    watts = number_in(value) if isinstance(value, str) else value
    return float(watts) if watts is not None and 0 <= watts <= MOST_W else None
