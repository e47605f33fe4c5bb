"""The evaluation of a stored model is a page that a browser opens by a link."""

import pytest

from podpower.registry.store import ModelStore
from podpower_serving.settings import Settings
from tests.serving.test_endpoints import problem

PAGE = "<!doctype html><style>p { color: teal }</style><p>0.2 W \N{EN DASH} 162 W</p>".encode()
NO_VERSION = "20260101T000000Z-000000000000"


@pytest.fixture(scope="module")
def store(tmp_path_factory, pair, make_pair):
    """Two versions, the second of which was not evaluated. Nothing is promoted: reports of candidates are read too."""
    store = ModelStore(tmp_path_factory.mktemp("reported") / "models")
    store.add(*pair, report=PAGE)
    store.add(*make_pair(watts=2.0))
    return store


@pytest.fixture(scope="module")
def client(running, store):
    with running(Settings(model_store=str(store.root))) as client:
        yield client


def with_report(store):
    [version] = [info.version for info in store.versions() if "report.html" in info.files]
    return version


def test_a_report_is_a_page_that_can_load_run_and_send_nothing(client, store):
    answer = client.get(f"/models/{with_report(store)}/report")
    assert answer.status_code == 200
    assert answer.content == PAGE
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy.pop("style-src") == "'unsafe-inline'"
    assert policy.pop("img-src") == "data:"
    assert policy.pop("sandbox") == ""
    assert policy.keys() == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(policy.values()) == {"'none'"}
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_version_without_a_report_is_not_found(client, store):
    [version] = [info.version for info in store.versions() if "report.html" not in info.files]
    assert "has no report" in problem(client.get(f"/models/{version}/report"), 404)


@pytest.mark.parametrize("version", [NO_VERSION, "latest", "..", "%2e%2e%2fsecret", "a" * 5000, "<script>"])
def test_what_is_no_version_is_not_found(client, version):
    detail = problem(client.get(f"/models/{version}/report"), 404)
    assert len(detail) < 6000


def test_a_damaged_report_is_not_found_and_named(client, store):
    path = store.root / "versions" / with_report(store) / "report.html"
    intact = path.read_bytes()
    try:
        path.write_bytes(intact.replace(b"teal", b"blue"))
        assert "does not match its digest" in problem(client.get(f"/models/{with_report(store)}/report"), 404)
        path.unlink()
        assert "is missing" in problem(client.get(f"/models/{with_report(store)}/report"), 404)
    finally:
        path.write_bytes(intact)


def test_a_report_that_grew_is_not_read(client, store, monkeypatch):
    monkeypatch.setattr("podpower.registry.versions.MAX_REPORT_BYTES", len(PAGE) - 1)
    assert "larger than" in problem(client.get(f"/models/{with_report(store)}/report"), 404)
