"""Of several collectors one leads: the Lease of a fake API server, with short times."""

import threading
import time
from contextlib import contextmanager

import pytest

from podpower.collector.election import Pace, leading
from podpower.errors import InvalidInput, Unavailable
from podpower.sources.kubernetes.access import ClusterConfig, open_access
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import write_kubeconfig
from tests.waiting import until

PLACE = "power/collector"
PACE = Pace(lasts_s=3.0, gives_up_s=1.5, attempt_s=0.1)


@pytest.fixture
def cluster():
    with FakeCluster() as fake:
        fake.register("coordination.k8s.io", "v1", "leases", "Lease")
        fake.add({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
                  "metadata": {"name": "collector", "namespace": "power"}})  # fmt: skip
        yield fake


class Candidate:
    """Leads in a thread until `stop`."""

    def __init__(self, access, name):
        self.name, self.leads, self.notes = name, False, []
        self.error, self.lost, self._stop = None, threading.Event(), threading.Event()
        self._access = access
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            with leading(self._access, PLACE, self.name, note=self.notes.append, pace=PACE, on_loss=self.lost.set):
                self.leads = True
                while not self._stop.wait(0.01) and not self.lost.is_set():
                    pass
                self.leads = False
        except Unavailable as error:
            self.error = error

    def stop(self):
        self._stop.set()
        self.thread.join()


@pytest.fixture
def candidates(cluster, tmp_path):
    access = open_access(ClusterConfig(kubeconfig=str(write_kubeconfig(tmp_path / "config", cluster.url))))

    @contextmanager
    def running(*names):
        found = [Candidate(access, name) for name in names]
        try:
            yield found
        finally:
            for one in found:
                one.stop()

    return running


def spec(cluster):
    return cluster.objects("Lease")[0].get("spec", {})


def test_one_of_two_leads_and_the_other_follows_at_once_when_it_ends(cluster, candidates):
    with candidates("a", "b") as both:
        until(lambda: any(one.leads for one in both))
        time.sleep(2 * PACE.lasts_s)  # longer than the Lease lasts without renewal
        assert sum(one.leads for one in both) == 1
        first, second = sorted(both, key=lambda one: not one.leads)
        assert spec(cluster)["holderIdentity"] == first.name
        assert second.notes == [f"waiting: {first.name} holds Lease {PLACE}"]
        first.stop()
        until(lambda: second.leads, seconds=0.9 * PACE.lasts_s)
        assert spec(cluster)["holderIdentity"] == second.name
    assert spec(cluster)["holderIdentity"] == ""


def test_a_lease_whose_holder_is_gone_is_taken_over_after_its_duration(cluster, candidates):
    lease = cluster.objects("Lease")[0]
    cluster.update({**lease, "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 1, "leaseTransitions": 4}})
    began_s = time.monotonic()
    with candidates("a") as [one]:
        until(lambda: one.leads)
        assert time.monotonic() - began_s >= 1.0
        assert spec(cluster)["leaseTransitions"] == 5


@pytest.mark.parametrize("outage", [0, 500])
def test_a_leader_that_cannot_renew_gives_up_before_its_lease_can_be_taken(cluster, candidates, outage):
    with candidates("a") as [one]:
        until(lambda: one.leads)
        began_s = time.monotonic()
        cluster.outage = outage
        until(lambda: not one.leads, seconds=PACE.lasts_s)
        assert time.monotonic() - began_s < PACE.lasts_s
        one.thread.join()
        assert "another collector writes now" in str(one.error)
        cluster.outage = None


def test_a_short_outage_changes_nothing(cluster, candidates):
    with candidates("a") as [one]:
        until(lambda: one.leads)
        cluster.outage = 500
        time.sleep(PACE.gives_up_s / 3)
        cluster.outage = None
        time.sleep(PACE.lasts_s)
        assert one.leads


def test_a_leader_whose_lease_another_one_has_gives_up(cluster, candidates):
    with candidates("a") as [one]:
        until(lambda: one.leads)
        lease = cluster.objects("Lease")[0]
        cluster.update({**lease, "spec": {**lease["spec"], "holderIdentity": "b"}})
        until(one.lost.is_set)
        one.thread.join()
    assert spec(cluster)["holderIdentity"] == "b"


def test_a_lease_that_does_not_exist_is_named(cluster, tmp_path):
    access = open_access(ClusterConfig(kubeconfig=str(write_kubeconfig(tmp_path / "config", cluster.url))))
    with (
        pytest.raises(InvalidInput, match="Lease power/none does not exist"),
        leading(access, "power/none", "a", note=print, pace=PACE),
    ):
        pass


@pytest.mark.timeout(20)
def test_a_lease_that_cannot_be_read_ends_the_wait_for_it(cluster, tmp_path):
    lease = cluster.objects("Lease")[0]
    cluster.update({**lease, "spec": {"holderIdentity": "b", "leaseDurationSeconds": "long"}})
    access = open_access(ClusterConfig(kubeconfig=str(write_kubeconfig(tmp_path / "config", cluster.url))))
    with pytest.raises(InvalidInput, match="Lease power/collector"), leading(access, PLACE, "a", note=print, pace=PACE):
        pass


def test_a_leader_whose_lease_cannot_be_read_gives_up(cluster, candidates):
    with candidates("a") as [one]:
        until(lambda: one.leads)
        lease = cluster.objects("Lease")[0]
        cluster.update({**lease, "spec": {**lease["spec"], "leaseDurationSeconds": "long"}})
        until(one.lost.is_set, seconds=PACE.lasts_s)
        one.thread.join()
        assert "another collector writes now" in str(one.error)
