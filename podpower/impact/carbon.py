"""Carbon intensity of electricity: one value, or values by hour in a CSV. Grams of CO2 equivalents per kWh.

The intensity is that of the grid (location-based) unless the user gives another. What runs all the time has the mean of
all hours. A CronJob has the mean of the hours in which its runs start, because what runs at night is supplied by the
grid of the night.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from podpower.errors import InvalidInput
from podpower.io.files import read_bounded
from podpower.numbers import number_in
from podpower.specs.quoting import quoted
from podpower.specs.schedules import start_hours

MOST_G_PER_KWH: Final = 5000.0  # a lignite plant emits about 1,200
_LIMIT_BYTES: Final = 16 << 20
_MOST_ROWS: Final = 200_000
_HOURS: Final = 24
# Header of the column of values, by preference; exports of grid data have several.
_VALUE_NAMES: Final = ("g_per_kwh", "carbon intensity", "carbon_intensity", "intensity", "gco2", "carbon", "co2")
_EXAMPLE: Final = "write two columns, e.g. `hour,g_per_kwh` with 0 to 23, or `time,g_per_kwh` with 2026-01-31T06:00Z"


@dataclass(frozen=True, kw_only=True)
class Carbon:
    """Mean intensity, and that of each hour of the day (UTC) where it is known. `source` names where it comes from."""

    g_per_kwh: float
    source: str
    by_hour: tuple[float, ...] | None = None

    def of(self, schedule: str | None, time_zone: str | None) -> float:
        """Return the intensity for a workload that runs by this schedule; without one, all the time."""
        if self.by_hour is None or schedule is None:
            return self.g_per_kwh
        weights = start_hours(schedule, time_zone)
        if weights is None:
            return self.g_per_kwh
        return math.fsum(w * g for w, g in zip(weights, self.by_hour, strict=True))


def parse_carbon(text: str, *, source: str = "given") -> Carbon | None:
    """Return the intensity that a number gives; None where the text is the name of a file. InvalidInput when it is out
    of range.
    """
    value = number_in(text)
    if value is None and not _is_like_a_number(text):
        return None
    if value is None or not 0 <= value <= MOST_G_PER_KWH:
        raise InvalidInput(f"carbon: {quoted(text)} is not from 0 to {MOST_G_PER_KWH:g} g CO2e/kWh")
    return Carbon(g_per_kwh=value, source=source)


def read_carbon(path: str) -> Carbon:
    """Return the intensity by hour in a CSV file. InvalidInput names the file, the line and what it should be."""
    return carbon_by_hour(read_bounded(path, limit_bytes=_LIMIT_BYTES), name=quoted(path))


def carbon_by_hour(data: bytes, *, name: str) -> Carbon:
    """Return the intensity by hour in a CSV. InvalidInput has `name` and the line, and what it should be.

    One column has hours of the day (0 to 23) or times; the other, grams per kWh. Exports of Electricity Maps are read
    as they are (the direct intensity), `;` separates as well as `,`.
    """
    rows = _rows(data, name)
    header = rows[0][1] if not any(_number(cell) is not None for cell in rows[0][1][1:]) else None
    column = _value_column(header, len(rows[0][1]), name)
    sums, counts = [0.0] * _HOURS, [0] * _HOURS
    for line, cells in rows[1:] if header else rows:
        hour = _hour(cells[0])
        value = _number(cells[column]) if column < len(cells) else None
        if hour is None:
            raise InvalidInput(f"{name}, line {line}: {quoted(cells[0])!r} is neither an hour nor a time: {_EXAMPLE}")
        if value is None or not 0 <= value <= MOST_G_PER_KWH:
            shown = quoted(cells[column]) if column < len(cells) else "nothing"
            raise InvalidInput(f"{name}, line {line}: {shown!r} is not a number of g CO2e/kWh: {_EXAMPLE}")
        sums[hour] += value
        counts[hour] += 1
    if not sum(counts):
        raise InvalidInput(f"{name} has no row: {_EXAMPLE}")
    missing = [hour for hour in range(_HOURS) if not counts[hour]]
    mean = sum(sums) / sum(counts)
    by_hour = None if missing else tuple(s / n for s, n in zip(sums, counts, strict=True))
    hours = sum(counts)
    source = f"mean of {hours} hours in {name}" + ("" if by_hour else ", which lack hours of the day")
    return Carbon(g_per_kwh=mean, source=source, by_hour=by_hour)


def _rows(data: bytes, name: str) -> list[tuple[int, list[str]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(f"{name} is not a CSV in UTF-8: {_EXAMPLE}") from None
    first = text.lstrip().split("\n", 1)[0]
    delimiter = next((sign for sign in (";", "\t") if sign in first), ",")
    try:
        lines = enumerate(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True), start=1)
        rows = [(line, [c.strip() for c in cells]) for line, cells in lines if any(c.strip() for c in cells)]
    except csv.Error as error:
        raise InvalidInput(f"{name} is not a CSV ({error}): {_EXAMPLE}") from None
    if not rows or len(rows[0][1]) < 2:
        raise InvalidInput(f"{name} has no two columns: {_EXAMPLE}")
    if len(rows) > _MOST_ROWS:
        raise InvalidInput(f"{name} has more than {_MOST_ROWS} rows: give one year of hours")
    return rows


def _value_column(header: Sequence[str] | None, columns: int, name: str) -> int:
    if columns == 2:
        return 1
    names = [one.lower() for one in header or ()]
    for wanted in _VALUE_NAMES:
        found = [place for place, one in enumerate(names) if place and wanted in one and "source" not in one]
        if found:
            return next((place for place in found if "direct" in names[place]), found[0])
    raise InvalidInput(f"{name} has {columns} columns and none is named carbon intensity or g_per_kwh: {_EXAMPLE}")


def _hour(text: str) -> int | None:
    if text.isascii() and text.isdecimal() and len(text) <= 2:
        return int(text) if int(text) < _HOURS else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).hour


def _number(text: str) -> float | None:
    return number_in(text.replace(",", "."))


def _is_like_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
