"""Two collectors of a cluster on the runner, as Helm renders them: one of them writes the journal on S3."""

import time
from collections import Counter
from urllib.parse import urlsplit

import pytest

from podpower.io.files import exists
from podpower.io.places import place
from podpower.sources.journal.reader import JournalReader
from tests.clusters.objects import deployment
from tests.helm.charts import SCALED, find, rendered
from tests.runner import Runner, need_namespaces
from tests.runner.scaled import fake_api, secret
from tests.s3 import forget_servers, new_bucket, serving_s3

pytestmark = pytest.mark.timeout(600)


def written(bucket):
    """How often each Deployment is in the journal, and the journal."""
    journal = JournalReader(f"{bucket}/journal")
    events = list(journal.events(start_s=journal.start_s, end_s=time.time() + 1))
    names = Counter(event.object["metadata"]["name"] for event in events if event.object["kind"] == "Deployment")
    return names, journal


def test_a_second_collector_waits_and_follows_without_a_gap(tmp_path, monkeypatch):
    need_namespaces()
    with serving_s3() as environment, fake_api() as api, Runner(tmp_path) as runner:
        server = urlsplit(environment["AWS_ENDPOINT_URL"])
        runner.expose("s3", 9000, (str(server.hostname), int(server.port or 0)))
        runner.serve_api(("127.0.0.1", int(api.url.rpartition(":")[2])))
        bucket = new_bucket(environment)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        forget_servers()
        runner.put(secret("cloud", {**environment, "AWS_ENDPOINT_URL": f"http://{runner.address('s3')}:9000"}))
        values = {"storage": {"url": bucket}, "settingsSecrets": ["cloud"], "collector": {"replicas": 2}}
        objects = rendered({**SCALED, **values})
        made = find(objects, "Deployment", "-collector")
        api.add(find(objects, "Lease", "-collector"))
        api.add(deployment("at-first"))
        runner.apply([o for o in objects if o["kind"] in {"ConfigMap", "Secret"}] + [made])
        both = runner.pods(component="collector")
        assert len(both) == 2

        def leaders():
            return [pod for pod in both if "leading: " in pod.log("collector")]

        def watching(pods):
            """Both, or the one that is left, are ready, and one of them observes."""
            return (all(pod.ready for pod in pods) and api.watches() >= 7) or None

        runner.until("one that leads", lambda: watching(both), seconds=240, pods=both)
        begun = place(f"{bucket}/journal/journal.json")
        runner.until("journal", lambda: exists(begun) or None, pods=both)
        [first] = leaders()
        [second] = [pod for pod in both if pod is not first]
        runner.until("one that waits", lambda: "waiting: " in second.log("collector") or None, pods=both)
        api.add(deployment("with-the-first"))
        runner.delete(first)
        assert first.container("collector").exit_codes == [0]
        api.add(deployment("with-none"))
        runner.until("the second one leads", lambda: second in leaders() or None, seconds=120, pods=both)
        runner.until("watches", lambda: watching([second]), seconds=120, pods=both)
        api.add(deployment("with-the-second"))
        runner.until("its event", lambda: "with-the-second" in written(bucket)[0] or None, pods=[second])
        runner.delete(second)
        found, journal = written(bucket)
    assert found == dict.fromkeys(("at-first", "with-the-first", "with-none", "with-the-second"), 1)
    assert journal.damaged == []
