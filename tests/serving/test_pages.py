"""The pages `/` and `/fleet` over a socket: what they show, what they escape, what they bound."""

import csv
import io
import re
import threading

import pytest

from podpower.fleet.summary import Gap, ModelStatus, Series, write_summary
from podpower.impact.assessment import assess
from podpower.registry.store import ModelStore
from podpower_serving.pages import predicting
from podpower_serving.pages.results import FOLDED, SHOWN
from podpower_serving.settings import Settings
from tests.serving.fleets import summary_of, workload
from tests.serving.manifests import WEB as MANIFEST

ATTACK = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
PART = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def site(running, pair, tmp_path_factory):
    """A client of a service with a model and no fleet summary."""
    store = ModelStore(tmp_path_factory.mktemp("pages") / "models")
    store.promote(store.add(*pair))
    with running(Settings(model_store=str(store.root))) as client:
        yield client


def estimate(client, manifest=MANIFEST, status=200, headers=PART, **fields):
    answer = client.post("/estimate", data={"manifest": manifest, **fields}, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def figure(text, label):
    """The number of one of the large figures, in its base unit."""
    number, unit = re.search(rf"<dt>{label}</dt><dd>([\d.]+) (\w+)</dd>", text).groups()
    return float(number) * {"kWh": 1e3, "Wh": 1, "mWh": 1e-3, "kg": 1e3, "g": 1, "mg": 1e-3}[unit]


def test_pages_load_nothing_from_outside_and_run_nothing_inline(site):
    for path in ("/", "/fleet"):
        answer = site.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=|https?://", answer.text)
        for url in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
            file = site.get(url)
            assert (file.status_code, "immutable" in file.headers["cache-control"]) == (200, True)


def test_a_static_file_has_no_other_name(site):
    for path in ("/static/0/page.css", "/static/x/../page.css", "/static/0/..%2f__init__.py"):
        assert site.get(path).status_code == 404


def test_a_manifest_becomes_watts_kwh_cost_and_carbon_with_its_evidence(site):
    answer = site.post("/predict/batch", content=MANIFEST, params={"price": "0.3", "carbon": "400"},
        headers={"Content-Type": "application/yaml"}).json()  # fmt: skip
    text = estimate(site, price="0.3", carbon="400")
    kwh = answer["total"]["kwh_month"]
    assert f"{kwh:.3g} kWh" in text
    assert f"{0.3 * kwh:,.2f} EUR" in text
    assert "CO2e" in text
    assert answer["predictions"][0]["evidence"][:20] in text
    assert "Neighbours" in text
    assert 'aria-label="80 % interval: ' in text


def test_carbon_by_hour_is_taken_in_place_of_one_value(site):
    by_hour = "hour,g_per_kwh\n" + "".join(f"{hour},{100 if hour < 6 else 500}\n" for hour in range(24))
    text = estimate(site, carbon_by_hour=by_hour, carbon="999")
    assert "400 g/kWh (mean of 24 hours in the given CSV)" in text
    assert figure(text, "CO2e a month") == figure(estimate(site, carbon="400"), "CO2e a month")


def test_usage_scales_what_it_names_and_names_what_it_does_not_find(site):
    usage = "shop/web: {hours_month: 365, load: 2, replicas: 4}\nshop/wbe: {load: 1}\n"
    plain, text = estimate(site), estimate(site, usage=usage)
    assert figure(text, "Energy a month") == pytest.approx(2 * figure(plain, "Energy a month"), rel=0.02)
    assert "365 of 730 hours a month" in text
    assert "entries that match no workload: shop/wbe" in text


def test_without_scripts_the_answer_is_the_whole_page_with_the_manifest_in_it(site):
    text = estimate(site, headers={}, price="0.3")
    assert text.startswith("<!doctype html>")
    assert MANIFEST.strip() in text.replace("&#34;", '"')
    assert 'value="0.3"' in text


def test_a_comparison_shows_what_changes(site):
    text = estimate(site, before=MANIFEST.replace("replicas: 2", "replicas: 1"))
    assert "This change adds" in text
    assert "replicas 1 -&gt; 2" in text


def test_sliders_change_one_workload_and_belong_to_its_manifest(site):
    first = estimate(site)
    of = re.search(r'name="of" value="(\w+)"', first)[1]
    moved = estimate(site, of=of, workload="shop/Deployment/web/", replicas="4", cpu="2", memory="-2")
    assert "This change adds" in moved
    for text in ("4 (manifest: 2)", "500m (manifest: 250m)", "128Mi (manifest: 256Mi)"):
        assert text in moved
    assert 'id="sliders"' not in moved  # they are being moved: only their texts are replaced
    of_another = estimate(site, MANIFEST.replace("web", "api"), of=of, workload="shop/Deployment/web/", replicas="4")
    assert 'id="sliders"' in of_another
    assert "This change" not in of_another


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"manifest": ""}, 422, "paste a manifest"),
        ({"manifest": "{"}, 400, "not valid"),
        ({"manifest": "a: b"}, 422, "kind: missing"),
        ({"manifest": MANIFEST + "---\na: b\n"}, 200, "Could not be read"),
        ({"before": "{"}, 422, "to compare with"),
        ({"price": "much"}, 422, "price"),
        ({"carbon": "1e9"}, 422, "carbon"),
        ({"carbon_by_hour": "hour,g\n25,100"}, 422, "is neither an hour nor a time"),
        ({"usage": "shop/web: {load: 1}\nshop/web: {load: 2}"}, 422, "the usage: line 2: the key"),
        ({"usage": "- 1"}, 422, "the usage: "),
        ({"usage": "shop/web: {lod: 1}"}, 422, "did you mean load?"),
        ({"scope": "total"}, 422, "idle_w_per_vcpu"),
        ({"replicas": "-1"}, 422, "replicas"),
        ({"cpu": "99"}, 422, "cpu"),
        ({"nodes": "x"}, 422, "nodes"),
    ],
)
def test_a_wrong_field_is_one_sentence_in_the_page(fields, status, words, site):
    for headers in (PART, {}):
        text = estimate(site, **{"manifest": MANIFEST, **fields}, status=status, headers=headers)
        assert words in text


def test_forms_are_predicted_in_the_few_threads_of_other_bodies(site, monkeypatch):
    """Each in one of up to 32 threads, which took turns with the event loop and delayed all small requests."""
    names = set()

    def noted(*given):
        names.add(threading.current_thread().name.rpartition("_")[0])
        return assess(*given)

    monkeypatch.setattr(predicting, "assess", noted)
    for manifest in (MANIFEST, f"# {'long ' * 20_000}\n{MANIFEST}"):
        estimate(site, manifest, scope="total", idle_w_per_vcpu="1")
    assert names == {"small-bodies", "large-bodies"}


def test_no_form_is_a_problem(site):
    assert site.post("/estimate", content=b"{}", headers={"Content-Type": "application/json"}).status_code == 415
    many = "&".join(f"a{i}=1" for i in range(50))
    form = {"Content-Type": "application/x-www-form-urlencoded", **PART}
    for body in (many.encode(), b"manifest=\xff", b"manifest=%ff%00"):
        assert site.post("/estimate", content=body, headers=form).status_code in {400, 422}


def test_without_a_model_the_page_says_so(running, tmp_path):
    with running(Settings(model_store=str(tmp_path))) as client:
        assert client.get("/").status_code == 200
        assert "no model" in estimate(client, status=503).lower()
        assert "no fleet summary yet" in client.get("/fleet").text
        assert client.get("/fleet/workloads.csv").status_code == 404


def test_texts_of_manifests_are_escaped_everywhere(site):
    hostile = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: '{ATTACK}', namespace: '{ATTACK}', annotations: {{'{ATTACK}': '{ATTACK}'}}}}
spec:
  template:
    metadata: {{labels: {{app: '{ATTACK}'}}}}
    spec:
      containers: [{{name: '{ATTACK}', image: '{ATTACK}', resources: {{requests: {{cpu: '{ATTACK}'}}}}}}]
---
{{kind: '{ATTACK}', metadata: {{name: '{ATTACK}'}}}}
---
{{apiVersion: v1, kind: Pod, metadata: {{name: '{ATTACK}'}}, spec: {{containers: [{{name: a, image: '{ATTACK}'}}]}}}}
"""
    for headers in (PART, {}):
        fields = {"before": hostile.replace("image", "imag"), "cluster": "a<b", "node_type": "<i>"}
        text = estimate(site, hostile, headers=headers, **fields)
        assert "&lt;script&gt;" in text
        assert not re.search(r"<script>|<img|<i>|a<b", text)
        text = estimate(site, ATTACK, headers=headers, price=ATTACK, status=422)
        assert not re.search(r"<script>|<img", text)


def test_thousands_of_workloads_are_bounded_rows_and_a_full_total(site):
    count = SHOWN + FOLDED + 800
    text = estimate(site, "\n---".join(MANIFEST.replace("name: web,", f"name: web-{i},") for i in range(count)))
    assert f"{SHOWN + FOLDED} " not in text
    assert text.count('<th scope="row">') == SHOWN + FOLDED + 1  # the total
    assert "800 more workloads" in text
    assert f"{count} workloads draw" in text
    assert len(text) < 600_000


@pytest.fixture(scope="module")
def fleet(running, pair, tmp_path_factory):
    """A client of a service with a fleet summary, hostile names in it, and its workloads."""
    store = ModelStore(tmp_path_factory.mktemp("fleet") / "models")
    store.promote(store.add(*pair))
    write_summary(store.root, fleet_summary())
    with running(Settings(model_store=str(store.root))) as client:
        yield client


def fleet_summary():
    import msgspec  # noqa: PLC0415

    made = summary_of(
        [
            workload("web", measured_w=10.0, predicted_w=9.0),
            workload("=cmd|' /C calc'!A0", measured_w=1.0, predicted_w=2.0),
        ]
        + [workload(ATTACK, measured_w=0.5, predicted_w=None)]
        + [workload(f"w{i}", measured_w=0.1, predicted_w=0.1) for i in range(60)],
        others_w=5.0,
    )
    series = Series(start_s=0.0, measured_w=[1.0, None, 3.0, 2.0], predicted_w=[2.0, 2.0, None, 1.0])
    cluster = msgspec.structs.replace(
        made.clusters[0], series=series, gaps=[Gap(start_s=3600.0, end_s=7200.0, reason="the watch was down")],
        gap_count=1, last_error=ATTACK, idle_w_per_vcpu=0.5, idle_source="measured: 32 W",
    )  # fmt: skip
    namespace = msgspec.structs.replace(made.namespaces[0], series=series, budget_w=5.0, budget_source="file")
    model = ModelStatus(
        version="v7", trained_at="2026-01-01T00:00:00+00:00", promoted_at=None, labels_end_s=0.0, pinned=False,
        clusters=["east"], evaluation=["Known workloads: half of the errors are below 8 %."], alarms=[ATTACK],
    )  # fmt: skip
    return msgspec.structs.replace(made, clusters=[cluster], namespaces=[namespace], end_s=4 * 3600.0, model=model)


def test_the_fleet_shows_measured_predicted_gaps_freshness_and_the_evaluation(fleet):
    text = fleet.get("/fleet").text
    for words in (
        "Measured 17.5 W",
        "-10 %",
        "the watch was down",
        "half of the errors are below 8 %",
        "v7",
        "not observed yet",
        "idle: 0.5 W of a vCPU, in no workload (measured: 32 W)",
        "over its budget of 5 W",
        "1 other workloads together: measured 5 W",
    ):
        assert words in text, words
    assert re.search(r'class="measured" d="M0,\d', text)
    assert not re.search(r"<script>|<img", text)
    assert text.count('<th scope="row">') == 63 + 1


def test_idle_watts_are_those_of_the_fleet_where_none_are_given(fleet):
    text = estimate(fleet, scope="total")
    assert "0.5 W for each requested vCPU (measured: 32 W; of the fleet summary)" in text
    assert "0.7 W for each requested vCPU (given)" in estimate(fleet, scope="total", idle_w_per_vcpu="0.7")
    assert "idle_w_per_vcpu" in estimate(fleet, scope="total", cluster="west", status=422)


def test_a_namespace_has_a_page_and_an_unknown_one_is_empty(fleet):
    text = fleet.get("/fleet", params={"cluster": "east", "namespace": "shop"}).text
    assert "Namespace shop" in text
    assert "Watts by hour: measured 1 W to 3 W, mean 2 W" in text
    assert "None." in fleet.get("/fleet", params={"namespace": ATTACK}).text
    assert fleet.get("/fleet", params={"x": "y"}).status_code == 422


def test_csv_has_every_row_and_no_formula(fleet):
    answer = fleet.get("/fleet/workloads.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 64
    assert rows[0]["measured_w"] == "10.0"
    assert not any(cell.startswith(("=", "+", "@", "-")) for row in rows for cell in row.values())
    hours = list(csv.DictReader(io.StringIO(fleet.get("/fleet/hours.csv").text)))
    assert [row["measured_w"] for row in hours if not row["namespace"]] == ["1.0", "", "3.0", "2.0"]
    assert hours[0]["hour"] == "1970-01-01T00:00Z"
    assert "budget_w" in fleet.get("/fleet/namespaces.csv").text
    assert fleet.get("/fleet/other.csv").status_code == 404
