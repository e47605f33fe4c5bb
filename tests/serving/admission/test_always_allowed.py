"""Whatever the API server sends, the object is allowed."""

import asyncio
import json
import time

import pytest

from podpower.errors import Unavailable
from podpower.model.predictor import Predictor
from podpower_serving.admission.budgets import Ledger
from podpower_serving.admission.webhook import Webhook
from podpower_serving.settings import Settings
from tests.serving.admission.objects import UID, an_object, review_of, sent

REFERENCE = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "1"}


def outcome(response):
    assert response["allowed"] is True
    assert "patch" not in response
    return response["auditAnnotations"]["outcome"]


@pytest.mark.parametrize(
    ("expected", "obj"),
    [
        ("controlled", an_object("v1", "Pod", metadata={"ownerReferences": [{**REFERENCE, "controller": True}]})),
        ("controlled", an_object("apps/v1", "ReplicaSet", metadata={"ownerReferences": [{"controller": True}]})),
        ("no_pods", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}),
        ("no_pods", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        ("unknown_kind", {"apiVersion": "acme.io/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"a": 1}}),
        ("finished", {**an_object("v1", "Pod"), "status": {"phase": "Succeeded"}}),
        ("invalid", an_object(replicas=-1)),
        ("invalid", an_object(replicas=10**30)),
        ("invalid", an_object(template={"spec": {"containers": []}})),
        ("invalid", an_object(metadata={"annotations": ["a"]})),
        ("invalid", an_object(metadata={"annotations": {"a": 1}})),
        ("invalid", an_object(metadata={"name": 5})),
        ("invalid", an_object(metadata={"name": ""})),
    ],
)
def test_objects_without_a_prediction_are_left_alone(client, expected, obj):
    assert outcome(sent(client, obj)) == expected


def test_an_owner_that_is_no_controller_changes_nothing(client):
    obj = an_object("v1", "Pod", metadata={"ownerReferences": [REFERENCE]})
    assert "patch" in sent(client, obj)


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": "DELETE"},
        {"operation": "CONNECT"},
        {"operation": "UPDATE", "subResource": "status"},
        {"operation": "UPDATE", "subResource": "scale"},
        {"operation": "CREATE", "subResource": "eviction"},
    ],
)
def test_other_operations_and_subresources_pass(client, fields):
    assert outcome(sent(client, an_object(), **fields)) == "passed"


def test_a_missing_object_is_allowed(client):
    body = review_of(an_object())
    for obj in (None, [], "x", {}, {"kind": "Deployment"}, {"metadata": {}}):
        body["request"]["object"] = obj
        assert outcome(client.post("/admission", json=body).json()["response"]) == "invalid"


def whole(**changes):
    return json.dumps({**review_of(an_object()), **changes}).encode()


@pytest.mark.parametrize(
    ("expected", "body"),
    [
        ("unreadable", b""),
        ("unreadable", b"{"),
        ("unreadable", b"null"),
        ("unreadable", b"\xff\xfe"),
        ("unreadable", whole().replace(b"acme", b"\xff")),
        ("unreadable", b"[" * 100_000),
        ("unreadable", b'{"a":' * 20_000),
        ("unreadable", whole(request=None)),
        ("unreadable", whole(request={"uid": 5, "operation": "CREATE"})),
        ("unreadable", whole(request={"uid": "x" * 300, "operation": "CREATE"})),
        ("unreadable", whole().replace(b'"replicas": 3', b'"replicas": NaN')),
        ("invalid", whole().replace(b'"cpu": "200m"', b'"cpu": 1e308')),
        ("invalid", whole().replace(b'"cpu": "200m"', b'"cpu": "1e308"')),
        ("invalid", whole().replace(b'"cpu": "200m"', b'"cpu": -1')),
        ("invalid", whole().replace(b'"cpu": "200m"', b'"cpu": 1e999')),
        ("invalid", whole().replace(b'"replicas": 3', b'"replicas": 1e308')),
        ("wrong_version", whole(apiVersion="admission.k8s.io/v1beta1")),
        ("wrong_version", whole(apiVersion="admission.k8s.io/v2")),
        ("wrong_version", whole(apiVersion=None)),
        ("wrong_version", whole(kind="TokenReview")),
        ("wrong_version", b"{}"),
    ],
)
def test_hostile_bodies_are_allowed(client, expected, body):
    answer = client.post("/admission", content=body)
    assert answer.status_code == 200
    assert outcome(answer.json()["response"]) == expected


def test_the_media_type_and_the_query_do_not_matter(client):
    for content_type in ("application/json", "application/json; charset=utf-8", "text/plain", "", "x/y"):
        answer = client.post("/admission?timeout=1s&a=b", content=whole(), headers={"Content-Type": content_type})
        assert "patch" in answer.json()["response"]


def test_a_former_version_is_answered_in_its_own(client):
    answer = client.post("/admission", content=whole(apiVersion="admission.k8s.io/v1beta1")).json()
    assert (answer["apiVersion"], answer["response"]["uid"]) == ("admission.k8s.io/v1beta1", UID)


def test_a_body_that_is_too_large_is_allowed_by_its_uid(client):
    limit = 200_000
    padded = whole() + b" " * 10 * limit
    for content in (padded, (padded[i : i + 65_536] for i in range(0, len(padded), 65_536))):
        response = client.post("/admission", content=content).json()["response"]
        assert outcome(response) == "too_large"
        assert response["uid"] == UID


def test_a_truncated_body_is_allowed_by_its_uid(client):
    response = client.post("/admission", content=whole()[:-10]).json()["response"]
    assert (response["uid"], outcome(response)) == (UID, "unreadable")


def test_without_a_model_everything_is_allowed(running, tmp_path):
    with running(Settings(model_store=str(tmp_path / "none"))) as client:
        assert outcome(sent(client, an_object())) == "no_model"
        assert client.post("/predict", json={}).status_code == 503


class _Served:
    def __init__(self, predictor):
        self.predictor = predictor


class _Broken(Predictor):
    def predict(self, requests):
        raise ZeroDivisionError


class _Slow(Predictor):
    is_quick = False

    def predict(self, requests):
        time.sleep(1.5)
        return super().predict(requests)


def answered(predictor, body):
    webhook = Webhook(served=_Served(predictor), ledger=Ledger(cluster=None, fresh_seconds=1.0))
    return [json.loads(asyncio.run(webhook.answer(body)))["response"] for _ in range(2)]


def test_a_bug_allows_and_logs_once(pair, caplog):
    responses = answered(_Broken(*pair, version="v"), whole())
    assert [outcome(response) for response in responses] == ["failed", "failed"]
    assert [response["uid"] for response in responses] == [UID, UID]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_a_slow_prediction_is_not_waited_for(pair):
    assert outcome(answered(_Slow(*pair, version="v"), whole())[0]) == "late"


def test_an_object_stays_within_the_bound_of_annotations_of_the_api_server(pair):
    for size, expected in (((256 << 10) - 100, "no_room"), ((256 << 10) - 1000, "annotated")):
        obj = an_object(metadata={"annotations": {"big": "x" * size}})
        response = answered(Predictor(*pair, version="v"), json.dumps(review_of(obj)).encode())[0]
        assert response["auditAnnotations"]["outcome"] == expected
        assert ("patch" in response) == (expected == "annotated")


def test_the_source_of_models_may_fail(pair):
    class Failing:
        @property
        def predictor(self):
            raise Unavailable("no model")

    webhook = Webhook(served=Failing(), ledger=Ledger(cluster=None, fresh_seconds=1.0))
    assert outcome(json.loads(asyncio.run(webhook.answer(whole())))["response"]) == "no_model"


def test_names_are_shown_without_what_terminals_obey(client):
    obj = an_object(name="a\x1b[2J\u202e" + "\ud800" * 2)
    answer = client.post("/admission", content=json.dumps(review_of(obj)))
    assert answer.status_code == 200
    assert answer.json()["response"]["allowed"] is True
