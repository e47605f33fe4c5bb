"""`POST /diff` over a socket."""

import json

import msgspec
import pytest

from podpower.impact.assessment import Inputs
from podpower.model.predictor import Predictor
from podpower.specs.selection import Options
from podpower_serving import differences
from podpower_serving.metrics import Metrics
from tests.serving.test_impact import MANIFEST

MORE = MANIFEST.replace("replicas: 2", "replicas: 5")
ROW = {
    "namespace": "shop", "workload_kind": "Deployment", "workload_name": "web", "replicas": 2,
    "containers": [{"image": "acme/app0:1"}],
}  # fmt: skip


def test_manifests_are_compared(client):
    answer = client.post("/diff", json={"old": MANIFEST, "new": MORE}, params={"price": "0.3"})
    assert answer.status_code == 200
    body = answer.json()
    (change,) = body["changes"]
    assert (change["change"], change["what"]) == ("changed", ["replicas 2 -> 5"])
    assert change["delta_w"] == pytest.approx(1.5 * change["old"]["total_avg_power_w"])
    low, high = change["delta_interval"]["avg_power_w"]
    assert 0 < low <= change["delta_w"] <= high
    total = body["total"]
    assert total["delta"]["kwh_month"] == pytest.approx(total["new"]["kwh_month"] - total["old"]["kwh_month"])
    assert total["delta"]["cost_month"] == pytest.approx(0.3 * total["delta"]["kwh_month"])


def test_lists_of_requests_are_compared_and_a_bad_row_fails_no_other(client):
    body = {"old": [ROW], "new": [{**ROW, "replicas": 4}, {"workload_kind": "Job"}]}
    answer = client.post("/diff", json=body)
    assert answer.status_code == 200
    assert [change["what"] for change in answer.json()["changes"]] == [["replicas 2 -> 4"]]
    (error,) = answer.json()["errors"]
    assert (error["side"], error["index"]) == ("new", 1)


def test_an_empty_side_is_a_side(client):
    for empty in ("", []):
        changes = client.post("/diff", json={"old": empty, "new": MANIFEST}).json()["changes"]
        assert [change["change"] for change in changes] == ["added"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400), ("{", 400), ("[]", 422), ('{"old": ""}', 422), ('{"old": 1, "new": ""}', 422),
        ('{"old": "", "new": null}', 422), ('{"old": "", "new": "", "more": 1}', 422),
        ('{"old": "\\ud800", "new": ""}', 400), ('{"old": {"a": 1}, "new": []}', 422),
    ],
)  # fmt: skip
def test_a_wrong_body_is_a_problem(body, status, client):
    answer = client.post("/diff", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {status, 422}
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_another_media_type_and_too_many_rows_are_refused(client):
    assert client.post("/diff", content=MANIFEST, headers={"Content-Type": "application/yaml"}).status_code == 415
    assert client.post("/diff", json={"old": [], "new": [ROW] * 51}).status_code == 422


def test_thousands_of_rows_are_answered_as_a_few_are(pair):
    """Whatever is read, predicted and freed in parts."""

    def sides(count):
        new = [{**ROW, "workload_name": f"w{number}", "replicas": 2 + number % 3} for number in range(count)]
        return msgspec.json.encode({"old": [row | {"replicas": 2} for row in new], "new": new})

    predictor = Predictor(*pair, version="v")
    few, many = (
        json.loads(differences.answer(predictor, Metrics(), Options(), Inputs(), sides(count))) for count in (3, 3000)
    )
    assert (len(many["changes"]), many["unchanged"]) == (2000, 1000)
    assert many["total"]["new"]["replicas"] == 1000 * few["total"]["new"]["replicas"]
    by_name = {change["workload_name"]: change for change in many["changes"]}
    for change in few["changes"]:
        same = by_name[change["workload_name"]]
        assert (same["old"], same["new"], same["delta_w"]) == (change["old"], change["new"], change["delta_w"])
