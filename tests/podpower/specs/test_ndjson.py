import json
from typing import Any

import pytest

from podpower.errors import InvalidInput
from podpower.specs.documents import Rejected
from podpower.specs.hashing import spec_hash
from podpower.specs.ndjson import decode_request, decode_to_predict, encode_request, read_ndjson, request_from_dict
from podpower.specs.normalising import request_from_object
from podpower.specs.requests import InferenceRequest
from tests.podpower.specs.manifests import deployment

MINIMAL: dict[str, Any] = {"workload_kind": "Job", "workload_name": "w", "containers": [{"image": "busybox"}]}


def test_a_request_survives_being_written_and_read() -> None:
    request = request_from_object(deployment(args=["-v"]), cluster="c")
    assert decode_request(encode_request(request)) == request


def test_lines_of_the_reference_system_are_read_with_nulls_and_integers() -> None:
    container = {"name": "a", "image": "b", "command": None, "args": None, "req_cpu_mcpu": 100, "req_mem_mib": None}
    nulls = dict.fromkeys(("labels", "init_container_count", "node_type", "runtime_class", "parallelism"))
    line = {**MINIMAL, "schema_version": "v1", "containers": [container], **nulls, "gpu_count": 0, "something_new": 1}
    request = decode_request(json.dumps(line).encode())
    assert request.containers[0].req_cpu_mcpu == 100
    assert request.init_container_count == 0


def test_the_minimal_example_with_a_raw_pod_spec_is_read() -> None:
    value = {
        "workload_kind": "Deployment",
        "workload_name": "nginx",
        "namespace": "default",
        "pod_spec": {
            "containers": [{"name": "nginx", "image": "nginx:1.25", "resources": {"requests": {"cpu": "100m"}}}]
        },
    }
    request = request_from_dict(value)
    assert (request.workload_kind, request.containers[0].req_cpu_mcpu) == ("Deployment", 100)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected a JSON object"),
        ({}, "workload_kind: missing"),
        ({**MINIMAL, "containers": []}, "containers: empty"),
        ({**MINIMAL, "containers": [{"req_cpu_mcpu": -1}]}, r"containers\[0\]\.req_cpu_mcpu: "),
        (
            {**MINIMAL, "containers": [{"req_cpu_mcpu": "100m"}]},
            r"req_cpu_mcpu: must be a number of millicores, for",
        ),
        ({**MINIMAL, "gpu_count": 1.5}, "gpu_count: "),
        ({**MINIMAL, "schema_version": "v2"}, "schema_version: "),
        ({**MINIMAL, "workload_name": ""}, "workload_name: "),
        ({"kind": "Deployment"}, "this is a Kubernetes manifest"),
        ({"pod_spec": {"containers": [{"image": "a"}]}, "workload_kind": "Job"}, "workload_name: missing"),
        ({"pod_spec": {}, "workload_kind": "Job", "workload_name": "j"}, r"pod_spec\.containers: missing"),
    ],
)
def test_an_error_names_the_field(value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        request_from_dict(value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    line = json.dumps({**MINIMAL, "containers": [{"req_cpu_mcpu": 0.5}]}).replace("0.5", number)
    with pytest.raises(InvalidInput):
        decode_request(line.encode())


def test_bad_lines_are_reported_with_their_number_and_the_good_ones_kept() -> None:
    good = json.dumps(MINIMAL).encode()
    found = list(read_ndjson([good, b"", b"{broken", good, b'{"a": ' * 9999, b"\xff\n"], source="in.ndjson"))
    assert [type(f) for f in found] == [InferenceRequest, Rejected, InferenceRequest, Rejected, Rejected]
    assert [f.index for f in found if isinstance(f, Rejected)] == [2, 4, 5]


def test_secrets_in_lines_of_other_tools_are_not_kept() -> None:
    line = {**MINIMAL, "containers": [{"image": "a", "args": ["--password=hunter2", "-v"]}]}
    assert decode_request(json.dumps(line).encode()).containers[0].args == ["--password=<redacted>", "-v"]


def test_a_line_with_an_invalid_schedule_is_refused() -> None:
    line = b'{"workload_kind":"CronJob","workload_name":"c","containers":[{}],"schedule":"soon"}'
    with pytest.raises(InvalidInput, match='schedule: "soon" is not a schedule'):
        decode_request(line)


def test_a_request_to_predict_is_that_of_the_line_but_for_its_metadata() -> None:
    container = {"image": "mysql", "args": ["--password=hunter3"], "req_cpu_mcpu": 100}
    value = {**MINIMAL, "containers": [container], "annotations": {"token": "hunter2"}, "something_new": 1}
    line = json.dumps(value).encode()
    read, quick = decode_request(line), decode_to_predict(line)
    assert quick is not None
    assert quick.containers == read.containers
    assert "hunter3" not in str(quick.containers)
    assert spec_hash(quick) == spec_hash(read)


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"pod_spec": {}}', b"[" * 100_000])
def test_other_forms_and_errors_are_left_to_the_slower_way(line: bytes) -> None:
    assert decode_to_predict(line) is None
