"""Answers that no Prometheus should give: each becomes a clear error or a null, never a wrong number."""

import base64
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from podpower.errors import InvalidInput, Unavailable
from podpower.labels import LabelRequest, Labels, label_windows
from podpower.labels.pieces import PIECE_S
from podpower.settings import PrometheusSettings, Settings
from podpower.sources.prometheus.decoding import Matrix
from podpower.sources.prometheus.endpoint import Endpoint, endpoint_from, parse_url
from podpower.sources.prometheus.limits import Budget
from podpower.sources.prometheus.names import SeriesNames
from podpower.sources.prometheus.source import Prometheus
from tests.clusters.tls import https, self_signed
from tests.http_servers import Request, Response, serving

START_S = 1767258000.0
HOUR = LabelRequest(start_s=START_S, end_s=START_S + 3600)
ONE_PIECE = LabelRequest(start_s=START_S, end_s=START_S + PIECE_S)  # and so one query
NAMES = json.dumps({"status": "success", "data": ["kepler_pod_cpu_joules_total"]}).encode()
JSON = "application/json"


@dataclass
class Server:
    """Answers questions for samples by `answers` one after another, the last one again and again."""

    url: str = ""
    names_status: int = 0  # how it refuses to tell which metrics there are
    answers: list[Response] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    names: Response | None = None
    token: str = ""  # without it, requests are refused
    sent_bytes: int = 0

    def respond(self, request: Request) -> Response:
        parts = urlsplit(request.target)
        form = parts.query if request.method == "GET" else request.body.decode()
        parameters = {name: values[0] for name, values in parse_qs(form).items()}
        self.asked.append((parts.path, parameters, dict(request.headers)))
        answer = self.answer(parts.path, parameters.get("query", ""), request.headers.get("Authorization"))
        endless = None if answer.endless is None else self._counted(answer.endless)
        return replace(answer, headers={"Content-Type": JSON, **answer.headers}, endless=endless)

    def answer(self, path: str, query: str, authorization: str | None) -> Response:
        if self.token and authorization != f"Bearer {self.token}":
            return Response(status=401)
        if path.endswith("/values"):
            return self.names or (Response(status=self.names_status) if self.names_status else Response(NAMES))
        if query.startswith("group by (__name__)"):
            return Response(answered([{"metric": {"__name__": "kepler_pod_cpu_joules_total"}, "value": [1.0, "1"]}]))
        if "count_over_time" in query:
            return Response(answered([]))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.sent_bytes += len(piece)
            yield piece


@pytest.fixture
def server() -> Iterator[Server]:
    scripted = Server()
    with serving(scripted.respond) as scripted.url:
        yield scripted


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    with stamina.set_testing(True, attempts=10, cap=True):  # no waits
        yield


def series(pod: str = "web", *, watts: float = 5.0, values: list[list[object]] | None = None) -> dict[str, object]:
    labels = {"__name__": "kepler_pod_cpu_joules_total", "pod_namespace": "shop", "pod_name": pod, "zone": "package"}
    grown = [[START_S - 900 + 30 * k, f"{1000 + watts * 30 * k:.3f}"] for k in range(200)]
    return {"metric": labels, "values": grown if values is None else values}


def answered(result: list[dict[str, object]], **more: object) -> bytes:
    whole = {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}
    return json.dumps(whole, separators=(",", ":")).encode()


def labelled(server: Server, request: LabelRequest = HOUR, **endpoint: object) -> Labels:
    with Prometheus(Endpoint(url=server.url, timeout_s=5.0, **endpoint)) as prometheus:  # type: ignore[arg-type]
        return label_windows(prometheus, None, request)


def questions(server: Server) -> int:
    return sum("[" in asked.get("query", "") and "count_over" not in asked["query"] for _, asked, _ in server.asked)


GOOD = Response(answered([series()]))


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (Response(b'{"status":"error","errorType":"bad_data","error":"parse error"}'), InvalidInput, "bad_data: parse"),
        (Response(b'{"status":"error","errorType":"timeout","error":"too slow"}'), Unavailable, "timeout: too slow"),
        (Response(b"<!DOCTYPE html><title>Log in</title>"), InvalidInput, "web page .* perhaps to log in"),
        (Response(b"pong"), InvalidInput, "no Prometheus: check the URL"),
        (Response(b""), InvalidInput, "no Prometheus"),
        (Response(b"[1,2]"), InvalidInput, "does not answer as Prometheus does"),
        (Response(GOOD.body[:-40]), Unavailable, "cut short"),
        (Response(GOOD.body[:-40], headers={"Content-Length": str(len(GOOD.body))}), Unavailable, "cannot be reached"),
        (Response(b"", 302, {"Location": "https://login.example/?next=x"}), InvalidInput, "https://login.example/"),
        (Response(b"", 401), InvalidInput, "PODPOWER_PROMETHEUS_TOKEN_FILE"),
        (Response(b"", 404), InvalidInput, "no Prometheus API"),
        (Response(b'{"status":"error","errorType":"bad_data","error":"no"}', 400), InvalidInput, "400: bad_data: no"),
        (Response(b"down", 503), Unavailable, "503: down"),
        (Response(b"", 500), Unavailable, "500"),
        (Response(answered([series(values=[[1.0, "x"]])])), InvalidInput, "cannot be read"),
        (Response(answered([series(values=[[START_S]])])), InvalidInput, "cannot be read"),
        (Response(answered([series(values=[[START_S, ""], [START_S + 30, "1"]])])), InvalidInput, "cannot be read"),
        (Response(answered([series(values=[[START_S, "1"], [START_S + 30, ""]])])), InvalidInput, "cannot be read"),
        (Response(answered([series(values=[[START_S, "1,5"]])])), InvalidInput, "cannot be read"),
        (Response(answered([{"metric": {"a": 1}, "values": []}])), InvalidInput, "does not answer as"),  # type: ignore[dict-item]
    ],
)  # fmt: skip
def test_an_invalid_answer_is_an_error(server: Server, answer: Response, error: type[Exception], told: str) -> None:
    server.answers = [answer]
    with pytest.raises(error, match=told):
        labelled(server)


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_what_may_pass_is_tried_again(server: Server, status: int) -> None:
    server.answers = [Response(b"", status, {"Retry-After": "0"}), GOOD]
    assert labelled(server).report.known == 60
    assert questions(server) == len(list(HOUR.pieces())) + 1


def test_an_answer_that_breaks_off_is_requested_again_and_counted_once(server: Server) -> None:
    server.answers = [Response(GOOD.body[: len(GOOD.body) // 2], headers={"Content-Length": str(len(GOOD.body))}), GOOD]
    assert labelled(server).table["avg_power_w"].to_list() == pytest.approx([5.0] * 60)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_permanent_errors_are_not_retried(server: Server, status: int) -> None:
    server.answers = [Response(b'{"status":"error","errorType":"bad_data","error":"no"}', status)]
    with pytest.raises(InvalidInput):
        labelled(server, ONE_PIECE)
    assert questions(server) == 1


def test_a_proxy_that_refuses_post_gets_get_requests(server: Server) -> None:
    server.answers = [Response(b"", 405), GOOD]
    assert labelled(server).report.known == 60


@pytest.mark.parametrize("status", [403, 404])
def test_a_proxy_that_allows_only_queries_gets_a_query_for_the_metric_names(server: Server, status: int) -> None:
    server.names_status = status
    server.answers = [GOOD]
    assert labelled(server).report.known == 60


@pytest.mark.parametrize(
    "more", [{"warnings": ["store 10.0.0.7 did not answer"]}, {"isPartial": True}], ids=["Thanos", "VictoriaMetrics"]
)
def test_a_partial_answer_is_no_answer(server: Server, more: dict[str, object]) -> None:
    server.answers = [Response(answered([series()], **more))]
    labels = labelled(server)
    assert labels.report.known == 0
    assert labels.report.null_reasons == {"partial_answer": 60}
    assert all(w in " ".join(labels.report.warnings) for w in more.get("warnings", ()))  # type: ignore[attr-defined]


def test_remarks_on_the_query_are_passed_on_and_change_nothing(server: Server) -> None:
    server.answers = [Response(answered([series()], warnings=["PromQL warning: odd"], infos=["PromQL info: hm"]))]
    labels = labelled(server)
    assert labels.report.known == 60
    assert {"Prometheus: PromQL warning: odd", "Prometheus: PromQL info: hm"} <= set(labels.report.warnings)


def test_what_is_no_number_is_no_measurement(server: Server) -> None:
    odd = [[START_S + 600.5 + n, word] for n, word in enumerate(("NaN", "+Inf", "-Inf", "-3"))]
    one = series()
    server.answers = [Response(answered([one | {"values": sorted([*one["values"], *odd])}]))]  # type: ignore[misc]
    assert labelled(server).table["avg_power_w"].to_list() == pytest.approx([5.0] * 60)


def test_series_out_of_order_and_twice_count_once(server: Server) -> None:
    one = series()
    backwards = one | {"values": one["values"][::-1]}  # type: ignore[index]
    server.answers = [Response(answered([backwards, one, series("db", watts=2.0)]))]
    watts = labelled(server).table.group_by("pod").agg(pl.col("avg_power_w").mean())
    assert dict(watts.iter_rows()) == {"web": pytest.approx(5.0), "db": pytest.approx(2.0)}


def test_credentials_and_headers_are_sent_and_shown_nowhere(server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    server.answers = [Response(b"", 401)]
    endpoint = Endpoint(url=server.url, token_file=str(tmp_path / "token"), headers={"X-Scope-OrgID": "team-a"})
    with Prometheus(endpoint, refused_s=0.0) as prometheus, pytest.raises(InvalidInput) as refused:
        label_windows(prometheus, None, HOUR)
    sent = server.asked[-1][2]
    assert sent["Authorization"] == "Bearer s3cret"
    assert sent["X-Scope-OrgID"] == "team-a"
    assert "s3cret" not in str(refused.value) + repr(endpoint)


def test_a_rotated_token_is_read_anew(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one")
    server.answers = [GOOD]
    with Prometheus(Endpoint(url=server.url, token_file=str(token))) as prometheus:
        label_windows(prometheus, None, HOUR)
        token.write_text("two")
        label_windows(prometheus, None, HOUR)
    sent = [headers["Authorization"] for _, _, headers in server.asked]
    assert (sent[0], sent[-1]) == ("Bearer one", "Bearer two")


def test_user_and_password_of_a_url_become_basic_authentication() -> None:
    endpoint = endpoint_from(PrometheusSettings(), url="https://user:p%40ss@prom.example:9090/prometheus/")
    assert endpoint is not None
    assert endpoint.url == "https://prom.example:9090/prometheus"
    pair = base64.b64encode(b"user:p@ss").decode()
    assert endpoint.authorization() == {"Authorization": f"Basic {pair}"}
    assert "p@ss" not in repr(endpoint)


@pytest.mark.parametrize("url", ["", "prometheus:9090", "ftp://x", "http://", "http://a:b", "http://[::1"])
def test_an_invalid_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidInput, match="URL of a Prometheus"):
        parse_url(url)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"token": "a", "username": "b"}, "one of a token"),
        ({"match": ("cluster=prod",)}, "not a label matcher"),
        ({"headers": {"X Y": "1"}}, "not a header"),
        ({"headers": {"X": "1\r\nHost: evil"}}, "not a header"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        Endpoint(url="http://x", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "no certificates in the CA file /nowhere/ca.pem"),
        ({"cert_file": "/nowhere/c.pem"}, "certificate /nowhere/c.pem cannot be used"),
        ({"token_file": "/nowhere/token"}, "/nowhere/token cannot be read"),
    ],
)
def test_files_that_are_not_there_are_named(server: Server, settings: dict[str, object], told: str) -> None:
    server.answers = [GOOD]
    with pytest.raises(InvalidInput, match=told):
        labelled(server, **settings)


def test_a_server_is_trusted_by_its_certificate_and_may_ask_for_ours(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    key = str(certificate.with_name("key.pem"))

    def names(**settings: object) -> frozenset[str]:
        with (
            https(certificate, NAMES, asks_for_ours="cert_file" in settings) as url,
            Prometheus(Endpoint(url=url, **settings)) as prometheus,  # type: ignore[arg-type]
        ):
            return prometheus.metric_names(start_s=0, end_s=1)

    with pytest.raises(InvalidInput, match="certificate is not trusted: set PODPOWER_PROMETHEUS_CA_FILE"):
        names()
    assert names(ca_file=str(certificate))
    assert names(verify_tls=False)
    assert names(ca_file=str(certificate), cert_file=str(certificate), key_file=key)


MIB = 1 << 20
MANY_SERIES = b'{"metric":{"pod_name":"p","container_id":"' + b"c" * 1000 + b'"},"value":[1,"2"]},' * 64
HEAD = b'{"status":"success","data":{"resultType":"matrix","result":['


def test_a_range_with_too_many_bytes_is_read_in_halves_until_none_is_left(server: Server) -> None:
    server.answers = [Response(HEAD, endless=itertools.repeat(MANY_SERIES))]
    with pytest.raises(InvalidInput) as refused:
        labelled(server, max_answer_bytes=MIB)
    message = str(refused.value)
    assert message.startswith(f"{server.url}: the answer to kepler_pod_cpu_joules_total{{")
    assert "is larger than 1 MiB" in message
    assert "--match" in message
    assert "PODPOWER_PROMETHEUS_MAX_ANSWER_MIB" in message
    assert server.sent_bytes < 100 * MIB  # most of it is in sockets' buffers


def test_a_range_that_fits_in_halves_is_read_whole(server: Server) -> None:
    server.answers = [Response(HEAD, endless=itertools.repeat(MANY_SERIES)), GOOD]
    assert labelled(server, max_answer_bytes=MIB).report.known == 60


def test_an_answer_of_too_many_series_names_query_and_limit_and_is_asked_once(server: Server) -> None:
    server.answers = [Response(answered([series(f"pod-{n}", values=[[START_S, "1"]]) for n in range(11)]))]
    with pytest.raises(InvalidInput) as refused:
        labelled(server, ONE_PIECE, max_series=10)
    message = str(refused.value)
    assert "the answer to kepler_pod_cpu_joules_total{" in message
    assert "has more than 10 series" in message
    assert "PODPOWER_PROMETHEUS_MAX_SERIES" in message
    assert questions(server) == 1
    assert labelled(server, max_series=11).report.pods == 0  # one sample of each


READ_NAMES = """
import re, sys
from pathlib import Path
from podpower.errors import InvalidInput
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.source import Prometheus
def mib(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
with Prometheus(Endpoint(url=sys.argv[1])) as prometheus:
    before = mib()
    try:
        prometheus.metric_names(start_s=0, end_s=1)
    except InvalidInput as error:
        print(mib() - before, error)
"""


def test_names_without_end_are_an_error_and_take_little_memory(server: Server) -> None:
    server.names = Response(
        b'{"status":"success","data":[', endless=itertools.repeat(b'"kepler_node_joules_total",' * 4096)
    )
    done = subprocess.run(
        [sys.executable, "-c", READ_NAMES, server.url], check=True, capture_output=True, text=True, timeout=60
    )
    grown_mib, _, message = done.stdout.partition(" ")
    assert float(grown_mib) < 64
    assert "/api/v1/label/__name__/values?match[]={" in message
    assert "is larger than 8 MiB: this is not a Prometheus with Kepler" in message


def test_the_limits_come_from_the_settings() -> None:
    given = {"PODPOWER_PROMETHEUS_MAX_ANSWER_MIB": "3", "PODPOWER_PROMETHEUS_MAX_SERIES": "7"}
    endpoint = endpoint_from(Settings(given).prometheus, url="http://prom")
    assert endpoint is not None
    assert (endpoint.max_answer_bytes, endpoint.max_series) == (3 * MIB, 7)


def test_a_wait_beyond_the_bound_is_an_error_that_names_it(server: Server) -> None:
    server.answers = [Response(b"busy", 503, {"Retry-After": "99999"})]
    with pytest.raises(Unavailable, match=r"503: busy and requests a wait of 99999 s .* longer than the 120 s"):
        labelled(server, ONE_PIECE)
    assert questions(server) == 1


def test_waits_are_logged_where_nobody_asks_for_them(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answers = [Response(b"busy", 503, {"Retry-After": "1"}), GOOD]
    labelled(server)
    [record] = caplog.records
    assert re.fullmatch(rf"{server.url}: answers 503: busy; trying again in [\d.]+ s", record.getMessage())


def test_a_token_that_rotates_late_is_read_again_until_it_is_accepted(server: Server, tmp_path: Path) -> None:
    token, notes = tmp_path / "token", list[str]()
    token.write_text("old")
    server.answers, server.token = [GOOD], "new"

    def note(message: str) -> None:
        notes.append(message)
        if len(notes) == 2:
            token.write_text("new")

    with Prometheus(Endpoint(url=server.url, token_file=str(token)), note=note) as prometheus:
        assert label_windows(prometheus, None, HOUR).report.known == 60
    assert re.search(r"answers 401: .*; reading the credentials again in 1 s", notes[1])
    assert len(notes) == 2


def test_a_token_that_stays_wrong_is_an_error_when_patience_ends(server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    server.token = "new"
    endpoint = Endpoint(url=server.url, token_file=str(tmp_path / "token"))
    with Prometheus(endpoint, refused_s=1.0) as prometheus, pytest.raises(InvalidInput, match="answers 401"):
        prometheus.metric_names(start_s=0, end_s=1)
    assert len(server.asked) == 3


def renamed(one: dict[str, object], **names: str) -> dict[str, object]:
    metric = {names.get(label, label): value for label, value in one["metric"].items()}  # type: ignore[attr-defined]
    return one | {"metric": metric}


@pytest.mark.parametrize("label", ["pod_name", "pod_namespace", "zone"])
def test_a_label_that_was_renamed_is_named_with_those_that_are_there(server: Server, label: str) -> None:
    server.answers = [Response(answered([renamed(series(), **{label: "exported_pod"})]))]
    with pytest.raises(InvalidInput) as refused:
        labelled(server)
    message = str(refused.value)
    there = sorted({"pod_name", "pod_namespace", "zone", "exported_pod"} - {label})
    assert f"series of kepler_pod_cpu_joules_total have no label {label} (their labels: {', '.join(there)})" in message
    assert "metric_relabel_configs" in message


def test_series_without_a_pod_beside_others_are_counted_in_a_warning(server: Server) -> None:
    server.answers = [Response(answered([series(), renamed(series("db"), pod_name="exported_pod")]))]
    labels = labelled(server)
    assert labels.report.known == 60
    assert [w for w in labels.report.warnings if "left out" in w] == [
        "1 of 2 series of kepler_pod_cpu_joules_total have no label pod_name and are left out"
    ]


LABELS = st.dictionaries(st.text(max_size=8), st.text(max_size=12), max_size=3)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
SERIES = st.tuples(LABELS, st.lists(st.tuples(st.floats(0, 2e9), NUMBERS), max_size=5))
TRICKS = st.sampled_from(['},{"metric":', '},"values":[[', "]]", ']},{"metric":{', '"result":[', "\\", '"values":[['])


@given(st.lists(SERIES, max_size=6), st.lists(TRICKS, max_size=3), st.integers(1, 40), st.booleans())
def test_an_answer_is_read_alike_in_whatever_pieces_it_comes(
    wanted: list[tuple[dict[str, str], list[tuple[float, float]]]], tricks: list[str], size: int, compact: bool
) -> None:
    result = [
        {"metric": {**labels, **{f"trick{n}": t for n, t in enumerate(tricks)}, "pod_name": str(number)},
         "values": [[ts, str(value)] for ts, value in samples]}
        for number, (labels, samples) in enumerate(wanted)
    ]  # fmt: skip
    whole = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    body = json.dumps(whole, separators=(",", ":") if compact else (", ", ": ")).encode()
    read = taken(lambda matrix: [matrix.feed(body[i : i + size]) for i in range(0, len(body), size)], batch=size)
    expected = sorted((str(n), ts, value) for n, (_, samples) in enumerate(wanted) for ts, value in samples)
    assert read == expected


def test_what_stands_after_the_samples_of_a_series_is_passed_over() -> None:
    result = [
        {"metric": {"pod_name": str(number)}, "values": [[7, "1.5"]], "histograms": [[7, {"count": "2"}]]}
        for number in range(3)
    ]
    whole = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    body = json.dumps(whole, separators=(",", ":")).encode()
    assert taken(lambda matrix: matrix.feed(body), batch=1) == [(str(number), 7.0, 1.5) for number in range(3)]


def taken(feed: Callable[[Matrix], object], *, batch: int) -> list[tuple[str, float, float]]:
    from podpower.sources.prometheus import decoding  # noqa: PLC0415

    before, decoding._BATCH_BYTES = decoding._BATCH_BYTES, batch
    try:
        matrix = Matrix(SeriesNames(metric="m"), Budget(query="m[1h]", max_bytes=1 << 20, max_series=100))
        feed(matrix)
        matrix.finish()
    finally:
        decoding._BATCH_BYTES = before
    joined = matrix.points().join(matrix.series(), on="series_id")
    return sorted(joined.select("pod_name", "ts", "value").rows())
