"""Tasks of a new user, each by one command, and where the page is the place, by one action in a real Chromium."""

import csv
import io
import re
import shutil
import subprocess
import sys

import msgspec
import pytest

from podpower.cli import main
from podpower.fleet.summary import NamespacePower, write_summary
from podpower.registry.store import ModelStore
from podpower_serving.settings import Settings
from tests.live.lineage import CHROMIUM_FLAGS
from tests.serving.fleets import summary_of, workload
from tests.serving.manifests import WEB

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHART = f"""
# Source: shop/templates/web.yaml{WEB}---
# Source: shop/templates/service.yaml
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}
"""
STRANGER = CHART.replace("name: web,", "name: stranger,").replace("acme/app0:1", "unknown.example/strange:9")


@pytest.fixture(scope="module")
def store(pair, tmp_path_factory):
    """A store with a model and a fleet summary of two namespaces."""
    store = ModelStore(tmp_path_factory.mktemp("tasks") / "models")
    store.promote(store.add(*pair))
    made = summary_of(
        [workload("web", measured_w=10.0, predicted_w=9.0), workload("old", measured_w=1.0, predicted_w=2)]
    )
    strange = msgspec.structs.replace(made.workloads[1], workload_name="stranger", basis="prior")
    shop: NamespacePower = msgspec.structs.replace(made.namespaces[0], budget_w=5.0, budget_source="file")
    pay = msgspec.structs.replace(shop, namespace="pay", measured_w=40.0, predicted_w=41.0, budget_w=None)
    made = msgspec.structs.replace(made, namespaces=[shop, pay], workloads=[*made.workloads, strange])
    write_summary(store.root, made)
    return store


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository whose branch `feature` has twice the replicas."""
    root = tmp_path_factory.mktemp("repository")
    (root / "deploy").mkdir()
    author = ["-c", "user.email=a@b", "-c", "user.name=a"]

    def git(*words):
        subprocess.run(["git", *author, *words], cwd=root, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for branch, text in (("main", CHART), ("feature", CHART.replace("replicas: 2", "replicas: 4"))):
        if branch != "main":
            git("checkout", "-q", "-b", branch)
        (root / "deploy" / "web.yaml").write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", branch)
    return root


@pytest.fixture
def podpower(store, repository, tmp_path, monkeypatch, capsys):
    """Runs one command in the repository; returns its exit code and what it printed."""
    monkeypatch.setenv("PODPOWER_MODEL_STORE", str(store.root))
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path))
    monkeypatch.chdir(repository)

    def run(words):
        code = main(words.split())
        return code, capsys.readouterr().out

    return run


def test_what_does_this_chart_cost_me_a_month(store, repository, tmp_path):
    command = f"cat deploy/web.yaml | {sys.executable} -m podpower predict -f - --price 0.30"
    environment = {"PODPOWER_MODEL_STORE": str(store.root), "PODPOWER_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=repository, env=environment, capture_output=True, text=True, check=True
    )
    assert re.search(r"shop/web .* [\d.]+ EUR ", done.stdout)
    assert "skipped 1 object that runs no pods: Service/web" in done.stdout


@pytest.mark.parametrize(
    ("task", "command", "code", "answer"),
    [
        ("fail my build above 5 % more", "diff main deploy/ --fail-increase 5%", 3, r"adds .*, \+100 %"),
        ("compare two branches", "diff main:deploy/ feature:deploy/", 0, r"replicas 2 -> 4"),
        ("what changed in carbon", "diff main deploy/ --carbon 380", 0, r"This change adds .* \(\+[\d.]+ k?g CO2e\)"),
        ("which namespace draws most", "top --by namespace", 0, r"\n─+\npay "),
        ("what would it draw on another node type", "predict deploy/ --node-type m6g.large", 0, r"shop/web .* W "),
        ("budget of a namespace", "top --by namespace -n shop", 0, r"shop .* 5 W over"),
        ("which workloads have no evidence", "top --basis prior", 0, r"shop/stranger .* prior"),
        ("keep it below an amount", "predict deploy/ --price 0.30 --fail-above 0.10EUR", 3, r"total"),
        ("a report for others", "predict deploy/ --price 0.30 --format html", 0, r"<!doctype html>"),
    ],
)
def test_one_command(task, command, code, answer, podpower):
    found, out = podpower(command)
    assert found == code, task
    assert re.search(answer, out, re.IGNORECASE), out


def test_the_report_of_a_month_as_csv(podpower):
    code, out = podpower("top --by namespace --all --price 0.30 --carbon 380 --format csv")
    assert code == 0
    rows = {row["namespace"]: row for row in csv.DictReader(io.StringIO(out))}
    assert float(rows["pay"]["cost_month"]) > float(rows["shop"]["cost_month"]) > 0
    assert float(rows["pay"]["co2e_kg_month"]) > 0
    assert rows["shop"]["budget_w"] == "5.0"


def test_put_it_as_a_default(podpower, repository):
    (repository / "podpower.yaml").write_text("price: 0.30\ndiff: {fail-increase: 5%}\n")
    try:
        code, out = podpower("diff main deploy/")
    finally:
        (repository / "podpower.yaml").unlink()
    assert code == 3
    assert "EUR" in out


@pytest.fixture(scope="module")
def site(running, store):
    with running(Settings(model_store=str(store.root))) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture(scope="module")
def tab(site):
    """One tab of one browser for all tasks."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        page = browser.new_page()
        page.set_default_timeout(60_000)
        yield page
        browser.close()


@pytest.fixture
def predicted(tab, site):
    """The page with a chart in it and a price, as a link brings it."""
    tab.goto(f"{site}/")
    tab.get_by_label("Price of a kWh").fill("0.30")
    tab.get_by_label("Manifest", exact=True).fill(CHART)
    tab.get_by_role("heading", name="Each workload").wait_for()
    return tab


def test_the_page_shows_what_a_pasted_chart_costs(predicted):
    cost = predicted.locator(".figures div", has_text="Cost a month").inner_text()
    assert re.search(r"[\d.]+ EUR", cost)


def test_the_page_compares_and_shows_what_changed_in_carbon(predicted):
    predicted.get_by_label("Carbon, g").fill("380")
    predicted.get_by_text("Compare with another manifest").click()
    predicted.get_by_label("The manifest as it was before").fill(CHART.replace("replicas: 2", "replicas: 1"))
    predicted.locator(".answer", has_text=re.compile(r"This change adds .* CO2e\)")).wait_for()
    predicted.get_by_text("replicas 1 -> 2").wait_for()


def test_the_page_predicts_another_node_type_by_one_field(predicted):
    predicted.locator("summary", has_text="More: where it runs").click()
    with predicted.expect_response("**/estimate") as answer:
        predicted.get_by_label("Node type").fill("m6g.large")
    assert answer.value.status == 200


def test_the_page_reads_carbon_by_hour_and_usage_from_files(predicted, tmp_path):
    (tmp_path / "grid.csv").write_text("".join(f"{hour},{hour * 10 + 100}\n" for hour in range(24)))
    (tmp_path / "usage.yaml").write_text("shop/web: {hours_month: 365}\n")
    predicted.locator("summary", has_text="More: where it runs").click()
    for button, name, shown in (
        ("Open a CSV", "grid.csv", "mean of 24 hours in the given CSV"),
        ("Open a usage file", "usage.yaml", "365 of 730 hours a month"),
    ):
        with predicted.expect_file_chooser() as chooser:
            predicted.get_by_role("button", name=button).click()
        chooser.value.set_files(tmp_path / name)
        predicted.locator("#result", has_text=shown).wait_for()


def test_the_page_marks_a_workload_without_evidence(tab, site):
    tab.goto(f"{site}/")
    tab.get_by_label("Manifest", exact=True).fill(STRANGER)
    tab.get_by_role("heading", name="Each workload").wait_for()
    assert tab.locator(".basis").first.inner_text() in {"prior", "similar"}
    assert tab.locator("tr.evidence p").first.inner_text()


def test_the_fleet_shows_who_draws_most_and_who_is_over_budget(tab, site):
    tab.goto(f"{site}/fleet")
    first = tab.get_by_role("region", name="Namespaces").locator("tbody tr").first
    assert first.inner_text().startswith("east/pay")
    assert tab.get_by_text("over its budget of 5 W").count() == 1


def test_the_fleet_is_downloaded_as_csv_by_one_click(tab, site):
    tab.goto(f"{site}/fleet")
    with tab.expect_download() as download:
        tab.get_by_role("link", name="namespaces", exact=True).click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert {row["namespace"] for row in rows} == {"shop", "pay"}
