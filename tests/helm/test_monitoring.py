"""Alerts and dashboards: their queries parse, and ask for metrics that podpower exports."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from tests.helm.charts import CHART, MATRIX, find, rendered

ROOT = CHART.parents[1]
BOARDS = sorted((CHART / "dashboards").glob("*.json"))
METRIC = re.compile(r"\bpodpower_[a-z0-9_]+")
# The page is generated from the registries of service, fleet and collector.
EXPORTED = dict(
    re.findall(
        r"^\| `(podpower_\w+)` \| (\w+) \|", (ROOT / "docs/reference/metrics.md").read_text(), flags=re.MULTILINE
    )
)


def rules():
    return find(rendered(MATRIX["watched"]), "PrometheusRule", "-rules")["spec"]


def expressions():
    """Queries with the name of what has them; variables of Grafana have a value."""
    for group in rules()["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for board in BOARDS:
        for panel in json.loads(board.read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "5m").replace("$cluster", ".*")
                yield f"{board.stem}: {panel['title']}", query


@pytest.mark.parametrize(("name", "query"), list(expressions()))
def test_a_query_asks_for_metrics_that_podpower_exports(name, query):
    named = set(METRIC.findall(query))
    assert named, name
    for metric in named:
        base = re.sub(r"_(bucket|count|sum)$", "", metric)
        assert metric in EXPORTED or EXPORTED.get(base) == "histogram", metric


def test_every_query_parses(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool binary on this machine")
    records = [{"record": f"query_{n}", "expr": query} for n, (_, query) in enumerate(expressions())]
    for name, content in (("rules", rules()), ("queries", {"groups": [{"name": "queries", "rules": records}]})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        done = subprocess.run(
            [promtool, "check", "rules", tmp_path / f"{name}.yaml"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_every_alert_has_a_runbook():
    page = (ROOT / "docs/how-to/kubernetes/alerts.md").read_text()
    headings = {line.removeprefix("## ").lower() for line in page.splitlines() if line.startswith("## ")}
    alerts = [rule for group in rules()["groups"] for rule in group["rules"]]
    assert len(alerts) >= 5
    for rule in alerts:
        where, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert where == "docs/how-to/kubernetes/alerts.md"
        assert anchor == rule["alert"].lower()
        assert anchor in headings


STALE = {
    'podpower_labels_age_seconds{cluster="main"}': "7000+60x60",
    'podpower_model_age_seconds{pod="a"}': "172000+60x60",
    'podpower_model_info{pod="a",version="v"}': "1x60",
}
# A pod that started with a refused model: the counter of refusals is 1 from its first scrape on, and never grows.
REFUSED = {
    'podpower_model_info{pod="a",version="v"}': "1x60",
    'podpower_model_refused_total{pod="a"}': "1x60",
    'podpower_newer_model_refused{pod="a"}': "1x60",
}
NO_MODEL = {'podpower_newer_model_refused{pod="a"}': "0x60"}
DYING = {
    'podpower_model_info{pod="a",version="v"}': "1x60",
    'podpower_workers_started_total{pod="a",instance="a:8000"}': "2+1x60",
}


@pytest.mark.parametrize(
    ("series", "alerts"),
    [
        pytest.param(STALE, {"PodpowerLabelGaps", "PodpowerModelStale"}, id="labels and model are stale"),
        pytest.param(REFUSED, {"PodpowerModelRefused"}, id="a model is refused"),
        pytest.param(NO_MODEL, {"PodpowerNoModel"}, id="no model"),
        pytest.param(DYING, {"PodpowerWorkersDie"}, id="workers die"),
    ],
)
def test_alerts_fire_for_what_they_are_for_and_no_others_do(tmp_path, series, alerts):
    """Prometheus' own test of rules, with the series of a platform in an hour of trouble."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool binary on this machine")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [{
                "expr": "count(ALERTS{alertstate='firing'}) by (alertname)",
                "eval_time": "59m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)],
            }],
        }],
    }  # fmt: skip
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
