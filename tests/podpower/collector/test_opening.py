import pytest

from podpower.collector.opening import opened_sources
from podpower.errors import Unavailable
from podpower.labels import LabelRequest, label_windows
from podpower.labels.kepler import NoMetrics
from podpower.settings import Settings
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import META, JournalMeta, sealed

START_S = 1_790_000_000.0


@pytest.fixture
def journal(tmp_path):
    """The journal of a cluster that was named `kubernetes` when it began."""
    meta = JournalMeta(journal_id="j", cluster="kubernetes", start_s=START_S)
    JournalFiles(tmp_path).create(META, sealed(meta))
    return str(tmp_path)


def test_a_journal_without_a_prometheus_has_no_samples(journal):
    with opened_sources(journal, Settings({})) as sources:
        assert sources.cluster == "kubernetes"
        assert list(sources.objects.events(start_s=START_S, end_s=START_S + 3600)) == []
        request = LabelRequest(start_s=START_S, end_s=START_S + 3600, step_seconds=60.0)
        with pytest.raises(NoMetrics):
            label_windows(sources.metrics, None, request)
        assert sources.metrics.series([], start_s=0.0, end_s=1.0).table.is_empty()


@pytest.mark.parametrize("url", ["", "http://localhost:1"])
def test_objects_and_samples_have_the_name_that_is_set(journal, url):
    settings = Settings({"PODPOWER_CLUSTER": "eu-1", "PODPOWER_PROMETHEUS_URL": url})
    with opened_sources(journal, settings) as sources:
        assert (sources.cluster, sources.metrics.cluster) == ("eu-1", "eu-1")


def test_a_place_without_anything_is_not_there_yet(tmp_path):
    with pytest.raises(Unavailable), opened_sources(str(tmp_path / "none"), Settings({})):
        pass


@pytest.mark.parametrize(("url", "hours"), [("", 0), ("http://localhost:1", 24)])
def test_only_a_prometheus_remembers_hours_before_the_journal(journal, url, hours):
    """Partitions begin with the journal where there is none: hours before could not be made."""
    with opened_sources(journal, Settings({"PODPOWER_PROMETHEUS_URL": url})) as sources:
        assert sources.history_s == hours * 3600
