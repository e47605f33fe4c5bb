"""Labels of series, read once: an export asks for the same series in every piece of its time range."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl

from podpower.errors import InvalidInput
from podpower.sources.protocols import LABEL_COLUMNS, SERIES_SCHEMA

_MOST_KNOWN = 100_000  # about 150 MB; then all are read again
_LABELS = msgspec.json.Decoder(dict[str, str])
_SORTED = msgspec.json.Encoder(order="sorted")


class Named(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Labels of one series: its number, its LABEL_COLUMNS, the names of all labels, and two values beside them."""

    number: int
    row: tuple[str | None, ...]
    names: frozenset[str]
    cluster: str
    metric: str


@dataclass(kw_only=True)
class SeriesNames:
    """Labels of the series of one metric, by their text in an answer. Threads may share it."""

    metric: str
    _known: dict[bytes, Named] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)  # each once, because series share most of theirs
    _names: dict[frozenset[str], frozenset[str]] = field(default_factory=dict)
    _last: tuple[tuple[int, ...], pl.DataFrame] = field(default=((), pl.DataFrame(schema=SERIES_SCHEMA)))

    def read(self, text: bytes) -> Named:
        """Return the labels in `text`, a JSON object of texts. InvalidInput when it is anything else."""
        if (known := self._known.get(text)) is not None:
            return known
        try:
            labels = _LABELS.decode(text)
        except ValueError as error:
            raise InvalidInput(f"this does not answer as Prometheus does: labels of a series: {error}") from None
        if len(self._known) >= _MOST_KNOWN:
            for memory in (self._known, self._texts, self._names):
                memory.clear()
        columns, once = described(labels), self._texts.setdefault
        names = frozenset(labels)
        named = self._known[text] = Named(
            number=series_id({**labels, "__name__": self.metric}),
            row=tuple([None if v is None else once(v, v) for v in map(columns.get, LABEL_COLUMNS)]),
            names=self._names.setdefault(names, names),
            cluster=labels.get("cluster", ""),
            metric=labels.get("__name__", ""),
        )
        return named

    def table(self, rows: Mapping[int, tuple[str | None, ...]]) -> pl.DataFrame:
        """Return SERIES_SCHEMA of series by number: most often the same as the last time, and then the same table."""
        (last, table), ids = self._last, tuple(rows)
        if not ids:
            return table.clear()
        if ids != last:
            columns: dict[str, Any] = {"series_id": ids, "metric": [self.metric] * len(ids)}
            columns |= zip(LABEL_COLUMNS, zip(*rows.values(), strict=True), strict=True)
            table = pl.DataFrame(columns, schema=SERIES_SCHEMA)
            self._last = ids, table
        return table


def described(labels: dict[str, str]) -> dict[str, str]:
    """Return labels as LABEL_COLUMNS mean them. An owner series that was scraped without `honor_labels` has the labels
    of what it describes under `exported_`.
    """
    exported = {f"{name}": labels[f"exported_{name}"] for name in ("namespace", "pod") if f"exported_{name}" in labels}
    return labels | exported if exported and "owner_kind" in labels else labels


def series_id(labels: dict[str, str]) -> int:
    """Return a number that is the same for the same labels, in whatever order."""
    return int.from_bytes(hashlib.blake2b(_SORTED.encode(labels), digest_size=8).digest(), "little")
