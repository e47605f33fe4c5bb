"""The runner keeps what Kubernetes promises; what a chart does on it is tested elsewhere."""

import collections
import os
import threading
from pathlib import Path

import httpx
import pytest

from tests.clusters.fake import FakeCluster
from tests.runner import Runner, need_namespaces
from tests.runner.images import Image

RESTRICTED = {
    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
}  # fmt: skip
ANSWER = """
import http.server, os, signal, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["NAME"].encode())
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Timer(0.6, os._exit, [0]).start())
server.serve_forever()
"""


@pytest.fixture(scope="module", autouse=True)
def _namespaces():
    need_namespaces()


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    with Runner(tmp_path_factory.mktemp("runner"), images={"debian": Image()}, endpoint_lag_s=0.3) as runner:
        yield runner


def container(*command, name="main", **fields):
    return {"name": name, "image": "debian:12", "command": list(command), "securityContext": RESTRICTED, **fields}


def template(*containers, labels=(), **spec):
    own = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}
    spec = {"securityContext": own, "terminationGracePeriodSeconds": 5, "containers": list(containers), **spec}
    return {"metadata": {"labels": dict(labels)}, "spec": spec}


def shell(text, **fields):
    return container("/bin/bash", "-c", text, **fields)


def ended(runner, pod):
    phase = runner.until_ended(pod)
    return phase, pod.log("main")


def test_a_container_is_closed_in(runner):
    text = """
    id -u; id -g; id -G; hostname; echo $$$$; grep -c . /proc/net/dev
    grep -E 'CapEff|NoNewPrivs' /proc/self/status
    touch /usr/x /etc/x /x 2>&1 | grep -c 'Read-only'
    touch /tmp/x && ls -l /tmp/x | cut -d' ' -f3,4
    [ ! -e /home ] && [ ! -e /root ] && echo alone
    grep ' /config ' /proc/mounts | grep -c ' ro,'
    """
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "config", "mountPath": "/config", "readOnly": True}]
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "config", "configMap": {"name": "settings"}}]
    runner.put({"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}})
    spec = template(shell(text, volumeMounts=mounts), volumes=volumes, restartPolicy="Never")
    phase, log = ended(runner, runner.run(spec, name="closed"))
    lines = log.replace("\t", " ").splitlines()
    assert phase == "Succeeded", log
    assert lines[:5] == ["10001", "10001", "10001", "closed", "1"]
    assert lines[6:] == ["CapEff: 0000000000000000", "NoNewPrivs: 1", "3", "image image", "alone", "1"]


def test_variables_come_from_configmaps_secrets_and_fields(runner):
    runner.put({"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"A": "1", "b.c": "text"}})
    runner.put({"kind": "Secret", "metadata": {"name": "secret"}, "data": {"key": "cw=="}, "stringData": {"B": "2"}})
    one = shell("echo $A$B$C$D $0; cat /files/b.c; stat -Lc %a-%g /secret/key", args=["$(D)-$$(D)-$(NONE)"])
    one |= {"envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "secret"}}]}
    named = {"secretKeyRef": {"name": "secret", "key": "key"}}
    one["env"] = [{"name": "C", "valueFrom": named}, {"name": "D", "value": "$(C)4"}]
    one["env"] += [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    one["volumeMounts"] = [{"name": "files", "mountPath": "/files"}, {"name": "secret", "mountPath": "/secret"}]
    volumes = [{"name": "files", "configMap": {"name": "settings"}}]
    volumes += [{"name": "secret", "secret": {"secretName": "secret", "defaultMode": 0o400}}]
    pod = runner.run(template(one, volumes=volumes, restartPolicy="Never"), name="variables")
    assert ended(runner, pod) == ("Succeeded", "12ss4 s4-$(D)-$(NONE)\ntext440-10001\n")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "a"}}}]}, "Secret none does not"),
        ({"securityContext": {"runAsUser": 0}}, "must not"),
    ],
)
def test_what_cannot_start_gives_its_reason(runner, change, reason):
    pod = runner.run(template(container("true") | change), name="refused")
    assert runner.until_ended(pod) == "Failed"
    assert reason in pod.events[0]


def test_init_containers_run_first_one_after_another_until_they_succeed(runner):
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    first = shell("echo first >> /shared/log; [ -e /shared/again ] || { touch /shared/again; exit 1; }", name="first")
    second = shell("echo second >> /shared/log", name="second")
    main = shell("cat /shared/log")
    spec = template(main, initContainers=[first, second], volumes=[{"name": "shared", "emptyDir": {}}])
    for one in (first, second, main):
        one["volumeMounts"] = mounts
    spec["spec"]["restartPolicy"] = "OnFailure"
    assert ended(runner, runner.run(spec, name="inits")) == ("Succeeded", "first\nfirst\nsecond\n")


def test_a_container_that_ends_is_started_again_and_one_that_is_not_alive_too(runner):
    liveness = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 0.2, "failureThreshold": 2}
    one = shell("trap 'exit 3' TERM; sleep infinity & wait", livenessProbe=liveness)
    pod = runner.run(template(one, shell("exit 7", name="ends")), name="restarts")
    main, ends = pod.container("main"), pod.container("ends")
    runner.until("restarts", lambda: (main.restarts > 1 and ends.restarts > 1) or None, pods=[pod])
    assert set(main.exit_codes) <= {3, 137}  # killed where it was asked before its trap was set
    assert ends.exit_codes[:2] == [7, 7]
    runner.delete(pod)


def test_a_pod_is_asked_to_end_and_killed_after_its_grace_period(runner):
    polite = shell("trap 'echo hook' USR1; trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    stubborn = container("sleep", "infinity", name="stubborn")  # process 1 ignores what it has no handler for
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "kill -USR1 1; sleep 1"]}}}}
    pod = runner.run(template(polite | hook, stubborn, terminationGracePeriodSeconds=4), name="grace")
    runner.until("traps", lambda: pod.log("main") == "up\n" or None, pods=[pod])
    runner.delete(pod)
    assert pod.log("main") == "up\nhook\nbye\n"
    assert pod.container("stubborn").exit_codes == [137]


@pytest.mark.parametrize("shares", [True, False])
def test_containers_of_a_pod_share_its_address_and_processes_where_it_wants(runner, shares):
    server = container("python3", "-m", "http.server", "--bind", "127.0.0.1", "8000", name="server")
    client = shell(
        "until { echo > /dev/tcp/127.0.0.1/8000; } 2>/dev/null; do sleep 0.1; done; "
        "grep -lsz 'http[.]server' /proc/[0-9]*/cmdline | wc -l"
    )
    pod = runner.run(template(server, client, shareProcessNamespace=shares), name="together")
    expected = str(int(shares))
    runner.until("line", lambda: pod.log("main").split()[:1] == [expected] or None, pods=[pod])
    runner.delete(pod, 0)


def served(runner, service="web"):
    return httpx.get(f"http://{runner.address(service)}", timeout=20).text


def service(name):
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}]}
    return {"kind": "Service", "metadata": {"name": name}, "spec": spec}


def test_a_service_has_no_pod_that_is_not_ready(runner):
    one = container("python3", "-c", ANSWER, env=[{"name": "NAME", "value": "late"}])
    one |= {"ports": [{"name": "http", "containerPort": 8000}]}
    one["readinessProbe"] = {"exec": {"command": ["false"]}, "periodSeconds": 0.1}
    runner.apply([service("late")])
    pod = runner.run(template(one, labels={"app": "late"}), name="late")
    runner.until("start", lambda: pod.container("main").started or None, pods=[pod])
    with pytest.raises(httpx.TransportError):
        served(runner, "late")
    runner.delete(pod, 0)


def deployment(text):
    one = container("python3", "-c", ANSWER, env=[{"name": "NAME", "value": text}])
    one |= {"ports": [{"name": "http", "containerPort": 8000}]}
    one["readinessProbe"] = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 0.1}
    spec = {"replicas": 2, "template": template(one, labels={"app": "web"}), "strategy": {"rollingUpdate": {}}}
    return {"kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def test_the_gateway_of_pods_keeps_its_address_as_they_come_and_go(runner):
    """Their neighbours would send to the old one for up to a minute."""
    [bridge] = {path.name for path in Path("/sys/class/net").glob("podpower*") if owner_of(path) == os.getpid()}
    found = []
    for number in range(3):
        pod = runner.run(template(shell("sleep 30")), name=f"neighbour-{number}")
        runner.until("running", lambda pod=pod: pod.phase == "Running" or None, pods=[pod])
        found.append(Path(f"/sys/class/net/{bridge}/address").read_text())
        runner.delete(pod, grace_s=0)
    assert len({*found, Path(f"/sys/class/net/{bridge}/address").read_text()}) == 1


def owner_of(bridge):
    return int((bridge / "ifalias").read_text() or 0)


def test_a_service_leads_to_ready_pods_while_they_are_replaced(runner):
    runner.apply([service("web"), deployment("old")])
    pods = [pod for pod in runner.pods() if pod.made_by == ("Deployment", "web")]
    runner.until_ready(pods)
    client = shell("exec 3<>/dev/tcp/web.power.svc/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3")
    phase, log = ended(runner, runner.run(template(client, restartPolicy="Never"), name="client"))
    assert (phase, log) == ("Succeeded", "old")
    answers = collections.Counter()
    done = threading.Event()

    def ask():
        while not done.is_set():
            answers[served(runner)] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    runner.roll(deployment("new"))
    done.set()
    thread.join()
    assert answers.keys() == {"old", "new"}
    assert served(runner) == "new"
    assert all(pod.ended.is_set() for pod in pods)


def test_the_api_server_is_reached_with_the_token_and_the_authority_of_the_account(tmp_path):
    with FakeCluster(token="token-of-reader") as cluster, Runner(tmp_path, images={"debian": Image()}) as runner:
        runner.serve_api(("127.0.0.1", int(cluster.url.rpartition(":")[2])))
        code = """
import os, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}/api/v1/pods"
request = urllib.request.Request(url, headers={"Authorization": "Bearer " + open(folder + "/token").read()})
print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=folder + "/ca.crt")).status)
print(open(folder + "/namespace").read())
"""
        sources = [{"serviceAccountToken": {"path": "token"}}]
        sources += [{"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]
        field = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
        sources += [{"downwardAPI": {"items": [field]}}]
        place = {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
        one = container("python3", "-c", code, volumeMounts=[place])
        volumes = [{"name": "token", "projected": {"sources": sources}}]
        spec = template(one, volumes=volumes, serviceAccountName="reader", restartPolicy="Never")
        pod = runner.run(spec, name="account")
        assert ended(runner, pod) == ("Succeeded", "200\npower\n")
    assert pod.ended.is_set()
