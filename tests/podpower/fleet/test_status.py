import json
import time

import msgspec
import pytest

from podpower.cli import main
from podpower.clusters import configured_clusters
from podpower.fleet import observed
from podpower.fleet.folding import ClusterState, fold
from podpower.fleet.hours import ClusterHour, hour_table
from podpower.fleet.status import cluster_statuses
from podpower.fleet.summary import Gap, write_summary
from podpower.settings import Settings
from podpower.sources.recording import Meta
from tests.clusters.collecting import Collector
from tests.clusters.fake import FakeCluster

HOUR_S = 3600.0
START_S = 1_790_000_000.0 // HOUR_S * HOUR_S
NOW_S = START_S + HOUR_S + 60.0


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A file with the recordings of clusters, by name and the time up to which each is written; its settings."""

    def make(**reached_s):
        lines = ["clusters:"]
        for name, end_s in reached_s.items():
            place = tmp_path / name
            place.mkdir()
            if end_s is not None:
                meta = Meta(
                    recording_id="r", cluster="x", kepler="0.11", scrape_interval_s=30, start_s=START_S, end_s=end_s
                )
                (place / "recording.json").write_bytes(msgspec.json.encode(meta))
            lines.append(f"- {{name: {name}, recording: '{place}'}}")
        (tmp_path / "clusters.yaml").write_text("\n".join(lines))
        environment = {"PODPOWER_CLUSTERS": str(tmp_path / "clusters.yaml"), "PODPOWER_HOME": str(tmp_path)}
        for name, text in environment.items():
            monkeypatch.setenv(name, text)
        return Settings(environment)

    return make


@pytest.fixture
def summary_of(specs_of, labels_of):
    """A summary of one hour: watts of each cluster, None without a meter."""

    def make(*, errors=None, gaps=(), **watts):
        hours = [
            ClusterHour(
                cluster=name,
                specs=specs_of({"web": [("web-0", 0.0, None)]}, cluster=name),
                labels=labels_of("web", [] if power_w is None else [power_w] * 60).lazy(),
                gaps=gaps,
            )
            for name, power_w in watts.items()
        ]
        table = hour_table(hours, None, start_s=START_S, now_s=NOW_S)
        states = {name: ClusterState(last_error=error) for name, error in (errors or {}).items()}
        return fold([table], now_s=NOW_S, states=states)

    return make


def statuses(settings, summary, *, now_s=NOW_S):
    return cluster_statuses(configured_clusters(settings), summary, now_s=now_s)


def test_fresh_clusters_are_not_stale(home, summary_of):
    a, b = statuses(home(a=NOW_S - 5, b=NOW_S), summary_of(a=2.0, b=3.0))
    assert (a.cluster, a.metered, a.pods, a.stale, b.stale) == ("a", True, 1.0, [], [])
    assert (a.journal_reached_s, a.last_label_s) == (NOW_S - 5, START_S + HOUR_S)


def test_each_cluster_has_its_own_reasons(home, summary_of):
    later_s = NOW_S + 5 * HOUR_S
    a, b = statuses(home(a=later_s, b=NOW_S), summary_of(a=2.0, b=3.0), now_s=later_s)
    assert a.stale == ["last labelled 5 h ago"]
    assert b.stale == ["last observed 5 h ago", "last labelled 5 h ago"]


def test_a_cluster_without_a_meter_waits_for_no_labels(home, summary_of):
    [a] = statuses(home(a=NOW_S), summary_of(a=None))
    assert (a.metered, a.stale) == (False, [])
    assert a.notes[0].startswith("no meter in cluster a")


def test_a_cluster_that_nobody_observed_is_stale_and_hides_no_other(home, summary_of):
    a, b = statuses(home(a=None, b=NOW_S), summary_of(b=3.0))
    assert (a.journal_reached_s, a.stale) == (None, ["not observed yet", "not labelled yet"])
    assert a.last_error.startswith("no journal and no recording at ")
    assert "collect watch --journal" in a.last_error  # a cluster that no collector reached was advised to simulate
    assert (b.last_error, b.stale) == (None, [])


def test_errors_and_gaps_come_from_the_summary(home, summary_of):
    gap = Gap(start_s=START_S, end_s=START_S + 60, reason="410 Gone")
    [a] = statuses(home(a=NOW_S), summary_of(a=2.0, errors={"a": "Prometheus does not answer"}, gaps=[gap]))
    assert (a.last_error, a.gap_count, a.gaps) == ("Prometheus does not answer", 1, [gap])


def test_the_command_lists_one_cluster_and_several_and_fails_where_one_is_stale(home, summary_of, tmp_path, capsys):
    now_s = time.time()
    home(a=now_s, b=START_S)
    write_summary(tmp_path / "models", summary_of(a=None, b=None))
    assert main(["clusters"]) == 1
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [["a", "no"], ["b", "no"]]
    assert shown.err.splitlines()[-1].startswith("b: last observed ")
    (tmp_path / "clusters.yaml").write_text((tmp_path / "clusters.yaml").read_text().rpartition("\n")[0])
    assert main(["clusters", "--format", "json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [(one["cluster"], one["stale"]) for one in value["clusters"]] == [("a", [])]
    assert value["summary_written_at"].startswith("20")


def test_without_a_summary_the_command_says_so(home, capsys):
    home(a=START_S)
    assert main(["clusters"]) == 1
    assert "no fleet summary yet" in capsys.readouterr().err


def test_a_damaged_summary_is_named_and_hides_no_cluster(home, tmp_path, capsys):
    home(a=START_S)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "fleet.json").write_text("{}")
    assert main(["clusters"]) == 1
    shown = capsys.readouterr()
    assert "fleet.json is damaged" in shown.err
    assert "a " in shown.out


def test_the_cluster_of_the_environment_has_the_name_of_its_recording(tmp_path, summary_of):
    meta = Meta(recording_id="r", cluster="sim", kepler="0.11", scrape_interval_s=30, start_s=START_S, end_s=NOW_S)
    (tmp_path / "recording.json").write_bytes(msgspec.json.encode(meta))
    settings = Settings({"PODPOWER_RECORDING": str(tmp_path)})
    assert observed.observed(settings).reached_s == NOW_S
    [only] = statuses(settings, summary_of(sim=2.0))
    assert (only.cluster, only.metered, only.stale) == ("sim", True, [])


@pytest.mark.parametrize("at", ["folder", "url"])
def test_a_machine_that_shares_the_home_finds_its_journal_without_a_prometheus(tmp_path, at):
    """`podpower clusters` with PODPOWER_HOME alone looked for a recording beside the journal, also below an s3:// URL,
    and named a command that would have begun another journal there.
    """
    home = str(tmp_path) if at == "folder" else "memory://podpower-of-several-machines"
    with FakeCluster() as cluster:
        Collector(cluster, f"{home}/journal", tmp_path).collect()
    [only] = statuses(Settings({"PODPOWER_HOME": home}), None)
    assert (only.cluster, only.last_error) == ("test-cluster", None)
