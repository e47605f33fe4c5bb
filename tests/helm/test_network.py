"""Who may connect to a pod, as NetworkPolicies have it; nothing here enforces them."""

import pytest

from tests.helm.charts import MATRIX, SCALED, containers, find, pods, rendered

TEAM, METRICS = ({"namespaceSelector": {"matchLabels": {"team": team}}} for team in ("energy", "monitoring"))
ANYBODY, ANY_POD = "anybody", {"namespaceSelector": {}}


def peers(objects, component, port):
    """Return the components and other peers that may connect to a port of a component."""
    template = next(t for _, t in pods(objects) if t["metadata"]["labels"]["app.kubernetes.io/component"] == component)
    names = {p["name"]: p["containerPort"] for c in containers(template) for p in c.get("ports", [])}
    chosen = [p for p in objects if p["kind"] == "NetworkPolicy" and matches(p["spec"]["podSelector"], template)]
    assert chosen, f"{component}: no policy, everybody connects"
    found = []
    for rule in (rule for policy in chosen for rule in policy["spec"]["ingress"]):
        if not {port, names[port]} & {given["port"] for given in rule["ports"]}:
            continue
        for peer in rule.get("from", [ANYBODY]):
            pod = peer.get("podSelector", {}).get("matchLabels", {}) if peer != ANYBODY else {}
            found.append(pod.get("app.kubernetes.io/component", peer))
    return found


def matches(selector, template):
    return selector["matchLabels"].items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_every_pod_that_listens_has_a_policy(values):
    objects = rendered(values)
    policies = [o for o in objects if o["kind"] == "NetworkPolicy"]
    if values.get("networkPolicies", {}).get("enabled") is False:
        assert policies == []
        return
    for name, template in pods(objects):
        if not name.startswith("Pod/"):  # the one of `helm test` listens to nothing
            assert [p for p in policies if matches(p["spec"]["podSelector"], template)], name


def test_only_those_connect_that_have_to():
    objects = rendered()
    assert peers(objects, "postgres", "postgres") == ["platform"]
    assert peers(objects, "platform", "dagster") == []
    assert peers(objects, "platform", "grpc") == []
    assert peers(objects, "platform", "store") == ["serving", "webhook", ANY_POD]
    assert peers(objects, "serving", "http") == [ANY_POD]
    assert peers(objects, "webhook", "https") == [ANYBODY]


def test_helm_test_and_prometheus_reach_a_service_that_has_peers_of_yours():
    guarded = {"networkPolicies": {"servingFrom": [TEAM]}}
    assert peers(rendered(guarded), "serving", "http") == [TEAM, "test"]
    watched = {"networkPolicies": {"servingFrom": [TEAM], "metricsFrom": [METRICS]}}
    assert peers(rendered(watched), "serving", "http") == [TEAM, "test", METRICS]
    assert peers(rendered(watched), "platform", "store") == ["serving", "webhook", METRICS]


def test_an_ingress_controller_outside_of_the_pods_network_reaches_the_service():
    """Controllers of clouds, and those on the network of their node, have addresses of no pod."""
    assert peers(rendered({"ingress": {"enabled": True}}), "serving", "http") == [ANYBODY]
    guarded = {"ingress": {"enabled": True}, "networkPolicies": {"servingFrom": [TEAM]}}
    assert peers(rendered(guarded), "serving", "http") == [TEAM, "test"]


def test_only_what_calls_the_api_server_holds_a_token_or_sees_other_processes():
    """A process of the same user reads the files of others through /proc, where process ids are shared."""
    spec = find(rendered(SCALED), "Deployment", "-platform")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert not spec.get("shareProcessNamespace")
    holding = {
        c["name"] for c in [*spec["initContainers"], *spec["containers"]]
        if "token" in {mount["name"] for mount in c["volumeMounts"]}
    }  # fmt: skip
    assert holding == {"daemon", "webserver"}
    assert find(rendered(), "Deployment", "-platform")["spec"]["template"]["spec"]["shareProcessNamespace"] is True


@pytest.mark.parametrize("values", [{}, SCALED], ids=["default", "scaled"])
def test_pods_listen_on_ipv6_where_they_have_no_other_address(values):
    for _, template in pods(rendered({**values, "listenAddress": "::"})):
        for container in containers(template):
            words = [word for given in container.get("args", []) for word in given.split("=")]
            hosts = [words[at + 1] for at, word in enumerate(words) if word in {"--host", "--metrics-host"}]
            # gRPC takes both for all addresses.
            assert hosts == (["0.0.0.0"] if container["name"] == "code-location" else ["::"] * len(hosts))
