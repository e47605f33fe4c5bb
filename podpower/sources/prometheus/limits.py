"""Limits on the bytes and series of one answer, so that no server fills the memory; each error names the query."""

from dataclasses import dataclass

from podpower.errors import InvalidInput

_SHOWN = 200  # characters of a query in a message
_MAX_BYTES, _MAX_SERIES = "PODPOWER_PROMETHEUS_MAX_ANSWER_MIB", "PODPOWER_PROMETHEUS_MAX_SERIES"


class TooMuch(InvalidInput):
    """The answer is too large to be sent or read at once: split the query."""


@dataclass(kw_only=True)
class Budget:
    """Bytes and series that the answer to `query` may still have; reading stops where either is used up."""

    query: str
    max_bytes: int
    max_series: int
    fix: str = (
        f"ask for a shorter range or fewer series (--match, PODPOWER_PROMETHEUS_MATCH), or raise {_MAX_BYTES} if there "
        "is memory for it"
    )

    def __post_init__(self) -> None:
        self._bytes = self._series = 0

    def take_bytes(self, count: int) -> None:
        """Count bytes received. TooMuch when there are more than `max_bytes`."""
        self._bytes += count
        if self._bytes > self.max_bytes:
            limit = f"{self.max_bytes / (1 << 20):g} MiB"
            raise TooMuch(f"the answer to {self._shown} is larger than {limit}: {self.fix}")

    def take_series(self, count: int) -> None:
        """Count series received. InvalidInput when there are more than `max_series`; a shorter range has as many."""
        self._series += count
        if self._series > self.max_series:
            raise InvalidInput(
                f"the answer to {self._shown} has more than {self.max_series:,} series: select fewer (--match, "
                f"PODPOWER_PROMETHEUS_MATCH), or raise {_MAX_SERIES} if there is memory for it"
            )

    @property
    def _shown(self) -> str:
        return self.query if len(self.query) <= _SHOWN else f"{self.query[:_SHOWN]}..."
