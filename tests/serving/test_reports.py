"""The evaluation of a stored model is a page that a browser opens by a link."""

import pytest

from podpower.evaluation.pages import page_of_day, sealed_page
from podpower.io.files import write_atomically
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


def test_the_evaluation_of_a_day_is_such_a_page_too(client, store):
    path = page_of_day(store.root, "2026-01-31")
    write_atomically(path, sealed_page("<!doctype html><p>0.2 W</p>"))
    answer = client.get("/evaluations/2026-01-31")
    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    assert (
        answer.headers["content-security-policy"]
        == client.get(f"/models/{with_report(store)}/report").headers["content-security-policy"]
    )
    path.write_bytes(path.read_bytes().replace(b"0.2", b"0.3"))
    assert "is damaged" in problem(client.get("/evaluations/2026-01-31"), 404)


@pytest.mark.parametrize("day", ["2026-02-01", "latest", "%2e%2e%2fsecret", "2026-01-31.html", "a" * 5000])
def test_what_is_no_evaluated_day_is_not_found(client, day):
    assert len(problem(client.get(f"/evaluations/{day}"), 404)) < 6000


def test_an_answer_does_not_show_where_the_store_is(client, store):
    path = page_of_day(store.root, "2026-03-01")
    for detail in (
        problem(client.get("/evaluations/2026-03-01"), 404),
        problem(client.get(f"/models/{NO_VERSION}/report"), 404),
        problem(client.get("/store/fleet.json"), 404),
    ):
        assert str(store.root) not in detail
    assert "no such file" in problem(client.get("/evaluations/2026-03-01"), 404)
    write_atomically(path, sealed_page("<!doctype html><p>0.2 W</p>"))
    path.write_bytes(path.read_bytes().replace(b"0.2", b"0.3"))
    detail = problem(client.get("/evaluations/2026-03-01"), 404)
    assert detail.startswith("the model store/evaluations/2026-03-01.html is damaged")


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
