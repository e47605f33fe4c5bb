"""NDJSON in and out of /predict/batch, and entity tags, over a real socket."""

import json
import socket

import psutil
import pytest

from podpower_serving.batch_bodies import PART_ROWS
from podpower_serving.openapi import MANIFEST_EXAMPLE, REQUEST_EXAMPLE
from podpower_serving.settings import Settings
from tests.serving.processes import service
from tests.serving.test_metrics import scraped
from tests.waiting import until

LINES = {"Accept": "application/x-ndjson"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def roomy(running, filled_store):
    with running(Settings(model_store=str(filled_store.root), max_batch_rows=600, max_stream_rows=2000)) as client:
        yield client


def spec(number):
    return {**REQUEST_EXAMPLE, "workload_name": f"w{number}", "replicas": 1 + number % 5}


def body(rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def streamed(client, content, headers):
    answer = client.post("/predict/batch", content=content, headers=LINES | headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_lines_are_answered_by_lines_with_the_numbers_of_a_batch(roomy):
    rows = [spec(number) for number in range(PART_ROWS + 44)]
    rows[7] = {"workload_kind": "Deployment"}
    rows[9] = rows[300 - 1]  # given again later
    content = body(rows) + "\n\n"
    found = streamed(roomy, content, NDJSON)
    whole = roomy.post("/predict/batch", json=rows).json()
    assert len(found) == len(rows) + 1
    assert [line["prediction"] for line in found if "prediction" in line] == whole["predictions"]
    assert [line["index"] for line in found if "prediction" in line] == [n for n in range(len(rows)) if n != 7]
    assert [line["error"] for line in found if "error" in line] == whole["errors"]
    assert found[7]["error"]["index"] == 7
    assert found[-1]["total"] == whole["total"]
    assert found[-1]["total"]["duplicates"] == 1


def test_http_1_0_which_has_no_chunks_gets_all_lines_at_once(roomy):
    content = body(spec(number) for number in range(300)).encode()
    head = "POST /predict/batch HTTP/1.0\r\nAccept: application/x-ndjson\r\nContent-Type: application/x-ndjson\r\n"
    with socket.create_connection((roomy.base_url.host, roomy.base_url.port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        received = b""
        while piece := connection.recv(1 << 16):
            received += piece
    headers, _, lines = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in headers.lower()
    assert f"content-length: {len(lines)}".encode() in headers.lower()
    assert lines.count(b"\n") == 301
    assert "total" in json.loads(lines.splitlines()[-1])


def test_lists_and_manifests_are_answered_by_lines_too(roomy):
    rows = [spec(number) for number in range(300)]
    found = streamed(roomy, json.dumps(rows), {"Content-Type": "application/json"})
    assert found[-1]["total"] == roomy.post("/predict/batch", json=rows).json()["total"]
    text = f"{MANIFEST_EXAMPLE}---\nkind: ConfigMap\nmetadata: {{name: a}}\n---\nkind: Deploymnt\n"
    kinds = [next(iter(line)) for line in streamed(roomy, text, {"Content-Type": "text/yaml"})]
    assert kinds == ["prediction", "skipped", "error", "total"]


def test_many_lines_have_more_values_than_a_document_may(roomy):
    """100,000 short rows of two containers each, which are 8 MiB, were refused as one document of too many values."""
    row = {**spec(1), "containers": [[]] * 220}
    found = streamed(roomy, body([row] * 1999 + [spec(2)]), NDJSON)
    assert (len(found), found[-1]["total"]["errors"], found[-1]["total"]["workloads"]) == (2001, 1999, 1)


def test_lines_can_be_answered_as_a_batch(roomy):
    rows = [spec(number) for number in range(20)]
    answer = roomy.post("/predict/batch", content=body(rows), headers=NDJSON)
    assert answer.json() == roomy.post("/predict/batch", json=rows).json()


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        ("", NDJSON, 400, "empty"),
        ("\n \n", NDJSON, 400, "empty"),
        (b"{}\n\xff\n", NDJSON, 400, "UTF-8"),
        ("{}\n" * 2001, NDJSON, 422, "at most 2000"),
        (json.dumps([1] * 601), {"Content-Type": "application/json"}, 422, "at most 600"),
        ("{}", {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}, 415, "as it is"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_problem_and_no_stream(roomy, content, headers, status, said):
    answer = roomy.post("/predict/batch", content=content, headers=LINES | headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json()["detail"]


def test_lines_that_are_nothing_are_errors_of_their_row(roomy):
    found = streamed(roomy, "{\n[]\n1\n", NDJSON)
    assert [line["error"]["index"] for line in found[:-1]] == [0, 1, 2]
    assert found[-1]["total"]["total_avg_power_w"] is None


def predicted(client):
    return sum(value for (name, *_), value in scraped(client).items() if name == "podpower_predictions_total")


def test_memory_is_bounded_while_a_client_reads_slowly(filled_store, tmp_path):
    """Answers of 15,000 rows are some 20 MB: they are made as they are read, and not before."""
    content = body(spec(number) for number in range(15_000)).encode()
    environment = {"PODPOWER_MODEL_STORE": str(filled_store.root)}
    with service(tmp_path, environment=environment) as running:
        process = psutil.Process(running.process.pid)
        with running.client() as client:
            streamed(client, content[: content.index(b"\n", 500_000)], NDJSON)  # what the first one takes
            before_mib, predicted_before = process.memory_info().rss / 2**20, predicted(client)
            host, port = running.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=60) as slow:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                head = f"POST /predict/batch HTTP/1.1\r\nHost: a\r\nContent-Type: {NDJSON['Content-Type']}\r\n"
                head += f"Accept: {LINES['Accept']}\r\nContent-Length: {len(content)}\r\n\r\n"
                slow.sendall(head.encode() + content)
                assert slow.recv(20).startswith(b"HTTP/1.1 200")
                until(lambda: process.cpu_percent(interval=0.3) < 20)
                assert predicted(client) - predicted_before < 15_000
                assert process.memory_info().rss / 2**20 - before_mib < 60
        assert "ERROR" not in running.logged()


def test_a_known_model_is_not_sent_again(client):
    first = client.get("/model")
    tag = first.headers["etag"]
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = client.get("/model", headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for lines in ((tag, '"x"'), ('"x"', tag), ('"x", "y"', f'"z", W/{tag}')):
        assert client.get("/model", headers=[("If-None-Match", line) for line in lines]).status_code == 304
    other = client.get("/model", headers={"If-None-Match": '"x"'})
    assert (other.status_code, other.json()) == (200, first.json())
    assert client.head("/model").headers["etag"] == tag
