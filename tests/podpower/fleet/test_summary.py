import msgspec
import pytest

from podpower.errors import PodpowerError, Refused
from podpower.fleet.folding import fold
from podpower.fleet.hours import ClusterHour, hour_table
from podpower.fleet.summary import FLEET_FILE, FleetSummary, read_summary, write_summary
from podpower.io.sealed_json import Format

HOUR_S = 3600.0
START_S = 1_790_000_000.0 // HOUR_S * HOUR_S


@pytest.fixture
def summary(specs_of, labels_of, predictor):
    one = ClusterHour(
        cluster="a", specs=specs_of({"web": [("web-0", 0.0, None)]}), labels=labels_of("web", [2.0] * 60).lazy()
    )
    return fold([hour_table([one], predictor, start_s=START_S, now_s=START_S + HOUR_S)], now_s=START_S + HOUR_S)


def test_a_summary_is_read_as_it_was_written(summary, tmp_path):
    assert read_summary(tmp_path) is None
    size = write_summary(tmp_path, summary)
    assert read_summary(tmp_path) == summary
    assert (tmp_path / FLEET_FILE).stat().st_size == size


def test_every_flipped_bit_is_an_error_that_names_the_file(summary, tmp_path):
    write_summary(tmp_path, summary)
    path = tmp_path / FLEET_FILE
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 7]) + whole[place + 1 :])
        with pytest.raises(Refused, match=r"fleet\.json"):
            read_summary(tmp_path)


def test_a_cut_off_file_is_refused(summary, tmp_path):
    write_summary(tmp_path, summary)
    path = tmp_path / FLEET_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Refused, match=r"fleet\.json.*damaged.*materialize fleet_summary again"):
        read_summary(tmp_path)


def test_another_version_of_the_format_is_named(summary, tmp_path):
    newer = Format(name="fleet", type=FleetSummary, version=3, compact=True)
    (tmp_path / FLEET_FILE).write_bytes(newer.encode(summary))
    with pytest.raises(Refused, match="version 3 of its format, and this podpower reads up to 2"):
        read_summary(tmp_path)


def test_a_file_without_a_digest_is_refused(summary, tmp_path):
    (tmp_path / FLEET_FILE).write_bytes(msgspec.json.encode(summary))
    with pytest.raises(Refused, match="no digest"):
        read_summary(tmp_path)


def test_a_summary_beyond_its_bound_is_not_written(summary, tmp_path, monkeypatch):
    monkeypatch.setattr("podpower.fleet.summary.MAX_BYTES", 1000)
    with pytest.raises(PodpowerError, match="more than 1000"):
        write_summary(tmp_path, summary)
    assert not (tmp_path / FLEET_FILE).exists()
