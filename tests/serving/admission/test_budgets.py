"""Budgets of namespaces: warnings by default, denial where it is configured."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import podpower
from podpower.fleet.summary import FLEET_FILE, write_summary
from podpower.io.api_keys import line_of, new_key
from podpower.registry.store import ModelStore
from podpower_serving.settings import Settings
from tests.serving.admission.fleets import summary_of
from tests.serving.admission.objects import an_object, patched, sent
from tests.waiting import until


@pytest.fixture
def store(tmp_path, pair):
    """The root of a store with a model."""
    found = ModelStore(tmp_path / "models")
    found.promote(found.add(*pair))
    return tmp_path / "models"


@pytest.fixture
def serving(running, store, tmp_path):
    """Runs a service: budgets of a summary with `shown`, of a file with `of_file`."""

    def run(*, of_file=None, deny=(), cluster=None, **shown):
        if shown:
            write_summary(store, summary_of(now_s=time.time(), **shown))
        file = None
        if of_file is not None:
            file = tmp_path / "budgets.yaml"
            file.write_text(json.dumps(of_file))
        return running(
            Settings(
                model_store=str(store),
                budgets_file=file and str(file),
                admission_deny=tuple(deny),
                cluster=cluster,
                budgets_seconds=0.05,
            )
        )

    return run


def counted(client, text):
    return [line for line in client.get("/metrics").text.splitlines() if text in line and not line.startswith("#")]


def watts_of(client, obj):
    return float(patched(obj, sent(client, obj, dryRun=True))["metadata"]["annotations"]["podpower.dev/watts"])


@pytest.mark.parametrize("where", ["annotation", "file"])
def test_what_exceeds_a_budget_is_warned_of_and_allowed(serving, where):
    given = {"budgets": {"shop": 50.0}} if where == "annotation" else {"of_file": {"shop": 50}}
    with serving(watts={"shop": 49.0}, **given) as client:
        response = sent(client, an_object())
        assert response["allowed"] is True
        assert "patch" in response
        [warning] = response["warnings"]
        assert warning.startswith("would be denied: namespace shop would draw ")
        assert warning.endswith("more than its budget of 50 W")


def test_what_stays_within_a_budget_gets_no_warning(serving):
    with serving(watts={"shop": 49.0, "other": 1e6}, budgets={"shop": 1e6, "other": 1.0}) as client:
        assert "warnings" not in sent(client, an_object())


@pytest.mark.parametrize("deny", [["shop"], ["*"], ["x", "shop"]])
def test_a_configured_namespace_denies(serving, deny):
    with serving(watts={"shop": 49.0}, budgets={"shop": 50.0}, deny=deny) as client:
        response = sent(client, an_object())
        assert response["allowed"] is False
        assert "patch" not in response
        assert response["status"]["code"] == 403
        assert "more than its budget of 50 W" in response["status"]["message"]


def test_another_namespace_does_not_deny(serving):
    with serving(watts={"shop": 49.0}, budgets={"shop": 50.0}, deny=["other"]) as client:
        response = sent(client, an_object())
        assert (response["allowed"], len(response["warnings"])) == (True, 1)


def test_nothing_is_denied_without_a_fresh_summary(serving, store):
    """The warning was "would be denied" in a namespace that denies, and gave no reason why it did not."""
    reason = "not denied, since no fleet summary of the last day shows what else runs: namespace shop would draw "
    with serving(of_file={"shop": 0.001}, deny=["*"]) as client:
        assert sent(client, an_object())["warnings"][0].startswith(reason)
    write_summary(store, summary_of(now_s=time.time() - 3 * 86_400, watts={"shop": 49.0}))
    with serving(of_file={"shop": 0.001}, deny=["*"]) as client:
        assert sent(client, an_object())["warnings"][0].startswith(reason)


def test_an_update_that_draws_no_more_is_never_denied(serving):
    with serving(watts={"shop": 1e6}, budgets={"shop": 1.0}, deny=["shop"]) as client:
        large, small, labelled = an_object(replicas=9), an_object(replicas=3), an_object(replicas=9)
        labelled["metadata"]["labels"] = {"a": "b"}
        for new in (small, labelled):
            response = sent(client, new, operation="UPDATE", old=large)
            assert response["allowed"] is True
            assert "warnings" not in response
        assert sent(client, large, operation="UPDATE", old=small)["allowed"] is False


def test_a_dry_run_is_judged_and_not_counted(serving):
    with serving(watts={"shop": 0.0}, budgets={"shop": 0.0}) as client:
        one = watts_of(client, an_object())
    with serving(watts={"shop": 0.0}, budgets={"shop": 1.5 * one}, deny=["shop"]) as client:
        for number in range(5):
            assert sent(client, an_object(name=f"w{number}"), dryRun=True)["allowed"] is True
        assert sent(client, an_object(name="a"))["allowed"] is True
        assert sent(client, an_object(name="b"), dryRun=True)["allowed"] is False
        assert sent(client, an_object(name="b"))["allowed"] is False
        assert sent(client, an_object(name="a"))["allowed"] is True, "the same object is admitted again"


def test_concurrent_admissions_share_one_budget(serving):
    with serving(watts={"shop": 0.0}, budgets={"shop": 0.0}) as client:
        one = watts_of(client, an_object(name="w0"))
    with serving(watts={"shop": 0.0}, budgets={"shop": 10.5 * one}, deny=["shop"]) as client:
        objects = [an_object(name=f"w{number}") for number in range(40)]
        with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=client.base_url, timeout=30) as many:
            responses = list(pool.map(lambda obj: sent(many, obj), objects))
        assert sum(response["allowed"] for response in responses) == 10


def test_an_object_with_a_name_to_be_made_counts_each_time(serving):
    with serving(watts={"shop": 0.0}, budgets={"shop": 0.0}) as client:
        job = an_object("batch/v1", "Job", metadata={"generateName": "run-"})
        del job["metadata"]["name"]
        one = watts_of(client, job)
    with serving(watts={"shop": 0.0}, budgets={"shop": 2.5 * one}, deny=["shop"]) as client:
        found = [sent(client, job, uid=f"u{number}")["allowed"] for number in range(4)]
        assert found == [True, True, False, False]


def test_a_newer_summary_is_followed(serving, store):
    with serving(watts={"shop": 0.0}, budgets={"shop": 1e6}) as client:
        assert "warnings" not in sent(client, an_object())
        write_summary(store, summary_of(now_s=time.time(), watts={"shop": 0.0}, budgets={"shop": 0.5}))
        until(lambda: "warnings" in sent(client, an_object()))


def test_a_damaged_summary_changes_nothing_and_is_logged_once(store, caplog):
    from podpower_serving.admission.budgets import Ledger  # noqa: PLC0415
    from podpower_serving.admission.following import Following  # noqa: PLC0415

    ledger = Ledger(cluster=None, fresh_seconds=1e9)
    following = Following(ledger, store=str(store), budgets_file=str(store / "none.yaml"), cluster=None)
    write_summary(store, summary_of(now_s=time.time(), budgets={"shop": 5.0}))
    asyncio.run(following.refresh())
    assert ledger.budget_w("shop") == 5.0
    (store / FLEET_FILE).write_bytes(b"{}")
    for _ in range(3):
        asyncio.run(following.refresh())
    assert ledger.budget_w("shop") == 5.0
    assert len([record for record in caplog.records if "fleet summary" in record.message]) == 1
    assert len([record for record in caplog.records if "budgets for admission" in record.message]) == 1


def test_reviews_and_exceeded_budgets_are_counted(serving):
    with serving(watts={"shop": 49.0}, budgets={"shop": 50.0}) as client:
        sent(client, an_object())
        sent(client, an_object(name="b"), dryRun=True)
        sent(client, an_object(), operation="DELETE")
        client.post("/admission", content=b"{")
        assert counted(client, "podpower_admission_over_budget_total") == [
            'podpower_admission_over_budget_total{namespace="shop"} 1.0'
        ]
        assert {
            'podpower_admission_requests_total{outcome="annotated"} 2.0',
            'podpower_admission_requests_total{outcome="passed"} 1.0',
            'podpower_admission_requests_total{outcome="unreadable"} 1.0',
        } <= set(counted(client, "podpower_admission_requests_total"))


def test_the_webhook_needs_no_api_key(running, store, tmp_path):
    key, keys = new_key(), tmp_path / "keys"
    keys.write_text(line_of("ci", key) + "\n")
    with running(Settings(model_store=str(store), api_keys_file=str(keys))) as client:
        assert client.post("/predict", json={}).status_code == 401
        assert "patch" in sent(client, an_object())
        with podpower.Client(str(client.base_url), api_key=key) as known:
            assert known.model().version
        with (
            podpower.Client(str(client.base_url), api_key=new_key()) as unknown,
            pytest.raises(podpower.RequestRefused, match="not accepted") as caught,
        ):
            unknown.model()
        assert caught.value.status == 401
