"""/metrics and /metrics/fleet, over a real socket, as Prometheus reads them."""

import shutil
import subprocess
from os import environ

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from podpower.fleet.summary import write_summary
from podpower_serving.fleet_metrics import fleet_metrics
from podpower_serving.metrics import AT_SCRAPE, DURATION, FAMILIES, OTHER, Metrics, exposition
from podpower_serving.openapi import MANIFEST_EXAMPLE, REQUEST_EXAMPLE
from podpower_serving.settings import Settings
from podpower_serving.shared_counts import SharedCounts
from tests.serving.admission.objects import an_object, sent
from tests.serving.fleets import summary_of, workload

YAML = {"Content-Type": "application/yaml"}


@pytest.fixture(scope="module")
def service(running, filled_store):
    with running(Settings(model_store=str(filled_store.root), fleet_series=2)) as client:
        yield client


def samples(text):
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(client, path="/metrics"):
    return samples(client.get(path).raise_for_status().text)


def test_requests_are_counted_by_template_method_and_status_on_both_ways(service):
    before = scraped(service)
    service.post("/predict", json=REQUEST_EXAMPLE)
    service.post("/predict", json=REQUEST_EXAMPLE, headers={"Content-Type": "application/json; charset=utf-8"})
    service.post("/predict", content=b"{", headers={"Content-Type": "application/json"})
    service.head("/healthz")
    for number in range(40):
        service.get(f"/models/v{number}/report")
        service.get(f"/nowhere/{number}")
        service.request("PROPFIND", "/predict")
    after = scraped(service)
    grown = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
    requests = {key[1:]: value for key, value in grown.items() if key[0] == "podpower_http_requests_total"}
    requests.pop(("GET", "/metrics", "200"))
    assert requests == {
        ("POST", "/predict", "200"): 2,
        ("POST", "/predict", "400"): 1,
        (OTHER, "/predict", "405"): 40,
        ("HEAD", "/healthz", "200"): 1,
        ("GET", "/models/{version}/report", "404"): 40,
        ("GET", OTHER, "404"): 40,
    }
    assert grown["podpower_http_request_duration_seconds_count", "/predict"] == 43
    assert 0 < grown["podpower_http_request_duration_seconds_sum", "/predict"] < 10


def test_predictions_are_counted_by_basis_and_batch(service):
    before = scraped(service)
    service.post("/predict", json=REQUEST_EXAMPLE)
    service.post("/predict/from-yaml", content=MANIFEST_EXAMPLE, headers=YAML)
    service.post("/explain", json=REQUEST_EXAMPLE)
    answer = service.post("/predict/batch", json=[REQUEST_EXAMPLE] * 7).json()
    after = scraped(service)
    basis = answer["predictions"][0]["basis"]
    assert after["podpower_predictions_total", basis] - before.get(("podpower_predictions_total", basis), 0) == 10
    assert after["podpower_batch_rows_sum",] - before["podpower_batch_rows_sum",] == 10
    assert after["podpower_batch_rows_count",] - before["podpower_batch_rows_count",] == 4


def test_predictions_of_differences_and_reviews_are_counted_too(service):
    """The dashboard of the accuracy showed the bases of the others alone."""

    def counted():
        return sum(value for (name, *_), value in scraped(service).items() if name == "podpower_predictions_total")

    before = counted()
    assert service.post("/diff", json={"old": [REQUEST_EXAMPLE], "new": [REQUEST_EXAMPLE] * 2}).status_code == 200
    assert counted() - before == 3
    assert "patch" in sent(service, an_object())
    assert counted() - before == 4


def test_the_served_model_is_shown_with_its_age(service):
    found = scraped(service)
    version = service.get("/model").json()["version"]
    assert found["podpower_model_info", version] == 1
    assert found["podpower_model_age_seconds",] > 0
    assert found["podpower_model_reloads_total",] == 1
    assert found["podpower_model_refused_total",] == 0


def test_openmetrics_is_answered_where_it_is_wanted(service):
    answer = service.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert service.get("/metrics").headers["content-type"].startswith("text/plain; version=")


@pytest.mark.parametrize("media_type", ["application/openmetrics-text", "text/plain"])
@pytest.mark.parametrize("path", ["/metrics", "/metrics/fleet"])
def test_a_version_that_is_no_number_gets_plain_text(service, path, media_type):
    answer = service.get(path, headers={"Accept": f"{media_type}; version=abc"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_the_fleet_is_shown_by_watts_with_the_rest_added_up(filled_store, running):
    workloads = [workload(f"w{number}", measured_w=number, predicted_w=2.0 * number) for number in range(1, 6)]
    workloads.append(workload("unknown", measured_w=None, predicted_w=None))
    write_summary(filled_store.root, summary_of(workloads, others_w=100.0))
    with running(Settings(model_store=str(filled_store.root), fleet_series=2)) as client:
        found = scraped(client, "/metrics/fleet")
    watts = {key[1:]: value for key, value in found.items() if key[0] == "podpower_workload_predicted_watts"}
    assert watts == {
        ("east", "shop", "Deployment", "w5"): 10,
        ("east", "shop", "Deployment", "w4"): 8,
        (OTHER,) * 4: 2 + 4 + 6 + 100,
    }
    assert found["podpower_namespace_measured_watts", "east", "shop"] == 15
    assert 0 <= found["podpower_fleet_summary_age_seconds",] < 60
    assert found["podpower_labels_age_seconds", "east"] > 0
    (filled_store.root / "fleet.json").unlink()


def test_labels_of_a_cluster_that_was_removed_have_no_age():
    """PodpowerLabelGaps fired for 30 days."""
    summary = summary_of([])
    gone = [msgspec.structs.replace(one, configured=False) for one in summary.clusters]
    found = fleet_metrics(msgspec.structs.replace(summary, clusters=gone), most=1, now_s=0.0)
    assert [len(one.samples) for one in found if one.name == "podpower_labels_age_seconds"] == [0]


@pytest.mark.parametrize("path", ["/metrics", "/metrics/fleet"])
def test_promtool_finds_nothing_wrong(service, path):
    if shutil.which("promtool") is None:
        assert environ.get("PODPOWER_REQUIRE_SERVICES") != "1", "promtool is not installed"
        pytest.skip("promtool is not installed")
    service.post("/predict", json=REQUEST_EXAMPLE)
    text = service.get(path).text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_workers_are_summed_and_a_new_one_goes_on_with_the_counts_of_the_one_that_died():
    counts = SharedCounts(2)
    for worker in (0, 1, 1):  # the last is started in place of the second
        Metrics(counts, worker=worker).answered("/predict", "POST", 200, 0.003)
    found = samples(text_of(Metrics(counts, worker=0)))
    assert found["podpower_http_requests_total", "POST", "/predict", "200"] == 3
    assert found["podpower_http_request_duration_seconds_bucket", "0.005", "/predict"] == 3
    assert found["podpower_http_request_duration_seconds_bucket", "0.0025", "/predict"] == 0


def test_label_sets_beyond_the_most_are_other():
    metrics = Metrics()
    for number in range(1000):
        metrics.answered(f"/{number}", "GET", 200, 0.1)
    found = samples(text_of(metrics))
    routes = {key[1] for key in found if key[0] == "podpower_http_request_duration_seconds_count"}
    assert len(routes) == DURATION.most
    assert found["podpower_http_request_duration_seconds_count", OTHER] == 1000 - DURATION.most + 1


def text_of(metrics):
    return exposition(metrics.families(), "")[0].decode()


def test_the_names_that_dashboards_use_stay():
    assert {
        "podpower_http_requests_total", "podpower_http_request_duration_seconds", "podpower_batch_rows",
        "podpower_predictions_total", "podpower_model_info", "podpower_model_age_seconds",
        "podpower_model_reloads_total", "podpower_model_refused_total", "podpower_admission_requests_total",
        "podpower_admission_over_budget_total",
    } <= {family.name for family in (*FAMILIES, *AT_SCRAPE)}  # fmt: skip
