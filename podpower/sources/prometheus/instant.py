"""Instant queries whose answers are small: values now, by labels."""

from types import TracebackType
from typing import Any, Self

import msgspec

from podpower.errors import InvalidInput
from podpower.io.http import Response
from podpower.io.retries import Note, log_note
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.http import Http
from podpower.sources.prometheus.names import described

_QUERY = "/api/v1/query"


class Instant:
    """Asks one Prometheus for values now. Answers are bounded by the endpoint's limits."""

    def __init__(self, endpoint: Endpoint, *, note: Note = log_note) -> None:
        self._endpoint, self._http = endpoint, Http(endpoint, connections=1, note=note)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._http.close()

    def selector(self, metric: str, *matchers: str) -> str:
        """Return a selector of a metric, with the label matchers of the endpoint."""
        return metric + "{" + ",".join((*matchers, *self._endpoint.match)) + "}"

    def vector(self, query: str, *, ts: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series, now or at `ts`. InvalidInput for what is no vector."""
        at = {} if ts is None else {"time": f"{ts:.3f}"}
        answer = self._http.request(_QUERY, {"query": query, **at}, self._decoded)
        try:
            rows = answer["data"]["result"]
            return [(described(row["metric"]), float(row["value"][1])) for row in rows][: self._endpoint.max_series]
        except (KeyError, TypeError, ValueError, IndexError):
            raise InvalidInput(f"{self._endpoint.url} does not answer as a Prometheus: check the address") from None

    def _decoded(self, response: Response) -> Any:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._endpoint.max_answer_bytes:
                raise InvalidInput(f"{self._endpoint.url}: an answer is larger than its bound: add --match")
        try:
            return msgspec.json.decode(bytes(body))
        except ValueError:
            raise InvalidInput(f"{self._endpoint.url} does not answer in JSON: check the address") from None
