"""Predictions of one object as annotations, and the JSON patch that writes them into its metadata."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from podpower.model.predictor import Prediction, Predictor

PREFIX: Final = "podpower.dev/"
WATTS: Final = f"{PREFIX}watts"
WATTS_PER_POD: Final = f"{PREFIX}watts-per-pod"
KWH_MONTH: Final = f"{PREFIX}kwh-month"
INTERVAL: Final = f"{PREFIX}interval"
BASIS: Final = f"{PREFIX}basis"
MODEL: Final = f"{PREFIX}model"
NAMES: Final = (WATTS, WATTS_PER_POD, KWH_MONTH, INTERVAL, BASIS, MODEL)

_BASES: Final = ("seen", "similar", "prior")  # from the best known to the least
_DIGITS: Final = 4


def annotations_of(predictions: Sequence[Prediction], predictor: Predictor) -> dict[str, str | None]:
    """Return the value of each annotation; None for what is unknown of these predictions, the parts of one object."""
    watts, kwh, ends = _together(predictions, predictor)
    per_pod = predictions[0].pred_avg_power_w if len(predictions) == 1 else None
    return {
        WATTS: _number(watts),
        WATTS_PER_POD: _number(per_pod),
        KWH_MONTH: _number(kwh),
        INTERVAL: None if ends is None else f"[{number_text(ends[0])}, {number_text(ends[1])}]",
        BASIS: max((prediction.basis for prediction in predictions), key=_BASES.index),
        MODEL: predictor.version,
    }


def watts_of(predictions: Sequence[Prediction]) -> float | None:
    """Return the watts of all pods of an object; None where those of a part are unknown."""
    powers = [prediction.total_avg_power_w for prediction in predictions]
    known = [power for power in powers if power is not None]
    return sum(known) if len(known) == len(powers) else None


def patch_of(annotations: Mapping[str, str | None], given: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the operations that bring the annotations of an object up to date, none where they are.

    `given` are the annotations that the object has, None where it has none at all. A value of None removes.
    """
    wanted = {name: value for name, value in annotations.items() if value is not None}
    if given is None:
        return [{"op": "add", "path": "/metadata/annotations", "value": wanted}]
    operations: list[dict[str, Any]] = []
    for name, value in annotations.items():
        path = f"/metadata/annotations/{_escaped(name)}"
        if value is None:
            if name in given:
                operations.append({"op": "remove", "path": path})
        elif given.get(name) != value:
            operations.append({"op": "replace" if name in given else "add", "path": path, "value": value})
    return operations


def number_text(value: float) -> str:
    """Return a number with four significant digits and no exponent.

    >>> number_text(1234567.0), number_text(0.00001234), number_text(12.0), number_text(0.0)
    ('1235000', '0.00001234', '12', '0')
    """
    return format(Decimal(f"{value:.{_DIGITS}g}"), "f")


def _number(value: float | None) -> str | None:
    return None if value is None else number_text(value)


def _together(
    predictions: Sequence[Prediction], predictor: Predictor
) -> tuple[float | None, float | None, tuple[float, float] | None]:
    """Return watts, kWh a month and interval of all parts together."""
    if len(predictions) == 1:
        one = predictions[0]
        return one.total_avg_power_w, one.kwh_month, one.total_interval.avg_power_w if one.total_interval else None
    total = predictor.total(predictions)
    interval = total.total_interval
    return (
        None if total.unknown_power else total.total_avg_power_w,
        None if total.unknown_kwh_month else total.kwh_month,
        None if total.unknown_power or interval is None else interval.avg_power_w,
    )


def _escaped(name: str) -> str:
    """Return a key as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
