"""The default profile of the chart, running: every container a process of its own, with a real PostgreSQL and a real
Prometheus, and a fake API server.
"""

import contextlib
import json
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest

from podpower.webhook.certificates import dns_names, ends_at, renewed
from podpower.webhook.renewal import encoded_fields, present_in
from tests.clusters.objects import deployment
from tests.clusters.prometheus import need_prometheus
from tests.helm.charts import find
from tests.runner import Pod, need_namespaces
from tests.runner.admission import Denied, admitted
from tests.runner.rbac import asked, granted
from tests.runner.releases import Release, release
from tests.serving.admission.objects import review_of
from tests.waiting import until

pytestmark = [pytest.mark.timeout(1500), pytest.mark.xdist_group("live")]
SECONDS = 900  # beside other work; alone it is one minute
WEBHOOK = "podpower-power"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    need_namespaces()
    need_prometheus()
    with release(tmp_path_factory.mktemp("release")) as made:
        yield made


@pytest.fixture(scope="module")
def running(installed: Release) -> Release:
    """All pods are ready, serving pods with a model that the platform has learned: nobody asked for it."""
    installed.runner.until_ready(seconds=SECONDS)
    return installed


def pod(running: Release, component: str) -> Pod:
    return running.runner.pods(component=component)[0]


def stored(running: Release, kind: str, name: str, namespace: str = "") -> dict:
    resource = running.lived.cluster._resource(kind)
    return msgspec.json.decode(resource.entries[f"{namespace}/{name}"].full)


def url(running: Release, service: str) -> str:
    return f"http://{running.runner.address(f'podpower-{service}')}:8000"


MANIFEST = json.dumps(deployment("web"))


def predicted(running: Release) -> dict:
    headers = {"Content-Type": "application/yaml"}
    answer = httpx.post(f"{url(running, 'serving')}/predict/from-yaml", content=MANIFEST, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_pod_becomes_ready_and_nothing_fails_on_the_way(running: Release) -> None:
    assert {p.name.rpartition("-")[0] for p in running.runner.pods()} == {
        f"podpower-{name}" for name in ("platform", "postgres", "serving", "webhook")
    }
    for one in running.runner.pods():
        assert [c.exit_codes for c in one.init_containers] == [[0]] * len(one.init_containers), one.describe()
        # On a machine that does too much, probes end what starts too slowly.
        assert {code for c in one.containers for code in c.exit_codes} <= {0, 137, 143}, one.describe()
    assert "Updating run storage" in pod(running, "platform").log("migrate")


def test_nothing_runs_as_root_or_with_a_capability(running: Release) -> None:
    for one in running.runner.pods():
        expected = 999 if "postgres" in one.name else 10001
        processes = one.processes()
        assert processes
        for process in processes:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
                status = dict(
                    line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
                )
                assert status["Uid"].split() == [str(expected)] * 4
                assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
                assert status["NoNewPrivs"].strip() == "1"


def test_the_collector_writes_the_journal_and_the_assets_their_tables(running: Release) -> None:
    data = running.runner.claim("podpower-data")
    assert list((data / "journal" / "flushes").iterdir())
    assert list((data / "tables" / "training_rows").rglob("*.parquet"))

    def flushed() -> re.Match[str] | None:
        metrics = httpx.get(f"http://{pod(running, 'platform').address}:9100/metrics").text
        return re.search(r"^podpower_journal_flushes_total [1-9]", metrics, re.MULTILINE)

    # Where nothing changes, the first one comes half a minute after the list with which a journal begins.
    running.runner.until("flush", flushed, seconds=90)


def test_the_promoted_model_is_served_by_pods_that_fetched_it(running: Release) -> None:
    def all_serve_it() -> bool | None:
        latest = httpx.get(f"{url(running, 'store')}/store/latest.json").json()
        models = {httpx.get(f"http://{one.address}:8000/model").json()["version"] for one in serving(running)}
        return (len(models) == 1 and models <= set(msgspec.json.encode(latest).decode().split('"'))) or None

    # Seven minutes after an hour its labels make a new model, which pods fetch one after the other.
    running.runner.until("promoted model in every pod", all_serve_it)


def serving(running: Release) -> list[Pod]:
    return running.runner.pods(component="serving")


def test_a_prediction_answers_through_the_service_and_helm_test_passes(running: Release) -> None:
    assert predicted(running)["pred_avg_power_w"] > 0
    test = find(running.objects, "Pod", "-test")
    client = running.runner.run(test, name="podpower-test")
    assert running.runner.until_ended(client, seconds=SECONDS) == "Succeeded", client.describe()
    assert "pred_avg_power_w" in client.log("predict")


def test_a_run_is_a_process_that_the_daemon_sees(running: Release) -> None:
    """The pod shares its process ids: a run is alive for the daemon as long as its process is."""
    platform = pod(running, "platform")
    code, output = running.runner.execute(platform, "daemon", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert code == 0
    assert "dagster api grpc" in output


def test_the_webhook_annotates_over_tls(running: Release) -> None:
    found = annotations(running)
    assert any(name.startswith("podpower.dev/") for name in found)


def annotations(running: Release) -> dict[str, str]:
    configuration = stored(running, "MutatingWebhookConfiguration", WEBHOOK)
    return admitted(running.runner, configuration, review_of(deployment("web")))["metadata"].get("annotations", {})


def shown_leaf(running: Release) -> bytes:
    """The certificate that the webhook shows to a new connection."""
    service = stored(running, "MutatingWebhookConfiguration", WEBHOOK)["webhooks"][0]["clientConfig"]["service"]
    address = running.runner.address(service["name"])
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((address, service["port"])))


def test_the_webhook_survives_a_renewal_without_a_restart(running: Release) -> None:
    runner, webhook = running.runner, pod(running, "webhook")
    secret = stored(running, "Secret", "podpower-webhook", "power")
    present = present_in(secret)
    assert present is not None
    # The same authority, and a certificate that ends in 40 days.
    old = renewed(present, dns_names("podpower-webhook", "power"), datetime.now(UTC) - timedelta(days=110))
    assert old.authorities == present.authorities
    running.lived.cluster.update({**secret, "data": encoded_fields(old)})
    outcomes, done = Counter[bool](), threading.Event()

    def ask() -> None:
        while not done.is_set():
            outcomes[bool(annotations(running))] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        code, output = runner.execute(webhook, "certificates", *renewal_command(webhook))
        assert code == 0, output
        assert "issued a certificate until" in output
        new = present_in(stored(running, "Secret", "podpower-webhook", "power"))
        assert new is not None
        until(lambda: shown_leaf(running) == ssl.PEM_cert_to_DER_cert(new.leaf))
    finally:
        done.set()
        thread.join()
    assert ends_at(new.leaf) > ends_at(old.leaf)
    assert outcomes[True]
    assert not outcomes[False]
    assert webhook.container("webhook").restarts == 0


def renewal_command(webhook: Pod) -> list[str]:
    container = webhook.container("certificates").spec
    return [*container["command"], *(word for word in container["args"] if not word.startswith("--every"))]


@pytest.mark.parametrize("account", ["podpower-platform", "podpower-webhook"])
def test_an_account_may_do_what_it_does_and_nothing_else(running: Release, account: str) -> None:
    assert asked(running.lived.cluster.requests, account) == granted(running.objects, account)


def test_serving_pods_are_replaced_under_load_without_a_lost_request(running: Release) -> None:
    given = find(running.objects, "Deployment", "-serving")
    given["spec"]["template"]["metadata"].setdefault("annotations", {})["replaced"] = "once"
    before = {one.uid for one in serving(running)}
    answers, done = Counter[object](), threading.Event()

    def ask(*, keep: bool) -> None:
        headers = {"Content-Type": "application/yaml", **({} if keep else {"Connection": "close"})}
        with httpx.Client(base_url=url(running, "serving"), headers=headers, timeout=60) as client:
            while not done.is_set():
                try:
                    answers[client.post("/predict/from-yaml", content=MANIFEST).status_code] += 1
                except httpx.TransportError as error:
                    answers[repr(error)] += 1
                time.sleep(0.01)

    threads = [threading.Thread(target=ask, kwargs={"keep": keep}) for keep in (True, False)]
    for thread in threads:
        thread.start()
    try:
        running.runner.roll(given, seconds=SECONDS)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert answers.keys() == {200}, answers
    assert not before & {one.uid for one in serving(running)}


def test_the_platform_is_replaced_while_serving_goes_on(running: Release) -> None:
    version = httpx.get(f"{url(running, 'serving')}/model").json()["version"]
    platform = pod(running, "platform")
    running.runner.roll(find(running.objects, "Deployment", "-platform"), seconds=SECONDS)
    assert platform.ended.is_set()
    assert predicted(running)["pred_avg_power_w"] > 0
    assert httpx.get(f"{url(running, 'store')}/store/latest.json").status_code == 200
    assert (running.runner.claim("podpower-data") / "models" / "versions" / version).exists()


def test_a_dead_webhook_blocks_nothing(running: Release) -> None:
    webhook = pod(running, "webhook")
    running.runner.kill(webhook)
    assert annotations(running) == {}
    configuration = stored(running, "MutatingWebhookConfiguration", WEBHOOK)
    for one in configuration["webhooks"]:
        one["failurePolicy"] = "Fail"
    with pytest.raises(Denied):
        admitted(running.runner, configuration, review_of(deployment("web")))
