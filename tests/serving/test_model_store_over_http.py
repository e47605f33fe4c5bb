"""A service hands its model store out, and another one serves from it, over real sockets."""

import contextlib
import hashlib
import itertools
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from podpower import settings
from podpower.cli import main
from podpower.errors import InvalidInput, Refused, Unavailable
from podpower.io.api_keys import line_of, new_key
from podpower.io.http_storage import HttpStorage
from podpower.io.storages import storage_at
from podpower.registry.newest import StoreSource
from podpower.registry.store import ENCODER_FILE, MODEL_FILE, ModelStore
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.settings import Settings
from tests.http_servers import Response, serving
from tests.serving.processes import service
from tests.waiting import until


@pytest.fixture(scope="module")
def pairs(make_pair):
    return [make_pair(watts) for watts in (1.0, 2.0, 3.0)]


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


@pytest.fixture
def handing_out(running, store):
    """A client of a service that hands `store` out."""
    with running(Settings(model_store=str(store.root), reload_seconds=0.05)) as client:
        yield client


def address(client):
    return f"{str(client.base_url).rstrip('/')}/store"


class Proxy:
    """Stands between two services: changes answers, ends, and comes back on the same port."""

    def __init__(self, target, port=0):
        self.target, self.change, self.requests = target, lambda _path, body: body, []
        self._listening = contextlib.ExitStack()
        self.address = self._listening.enter_context(serving(self._forward, port=port))
        self.url = f"{self.address}/store"

    def close(self):
        self._listening.close()

    def _forward(self, request):
        given = {k: v for k, v in request.headers.items() if k.lower() in {"if-none-match", "authorization"}}
        answer = httpx.get(f"{self.target}{request.target}", headers=given)
        self.requests.append((request.target, answer.status_code, given))
        kept = {name: answer.headers[name] for name in ("content-type", "etag") if name in answer.headers}
        return Response(self.change(request.target, answer.content), answer.status_code, kept)


@pytest.fixture
def proxy(handing_out):
    made = Proxy(str(handing_out.base_url).rstrip("/"))
    yield made
    made.close()


def test_a_service_serves_what_another_one_hands_out_and_takes_up_new_promotions(running, store, handing_out, pairs):
    first, second = (store.add(*pair) for pair in pairs[:2])
    with running(Settings(model_store=address(handing_out), reload_seconds=0.05)) as client:
        assert client.get("/readyz").status_code == 503
        store.promote(first)
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.post("/predict", json=REQUEST_EXAMPLE).json()["model_version"] == first
        store.promote(second)
        until(lambda: client.get("/model").json()["version"] == second)
        assert client.post("/predict", json=REQUEST_EXAMPLE).json()["model_version"] == second
        store.rollback()
        until(lambda: client.get("/model").json()["version"] == first)
        # It hands nothing on itself.
        assert client.get("/store/latest.json").status_code == 404


def test_a_flipped_byte_on_the_way_is_refused_and_the_old_model_stays(running, store, proxy, pairs):
    first, second = (store.add(*pair) for pair in pairs[:2])
    store.promote(first)
    with running(Settings(model_store=proxy.url, reload_seconds=0.05)) as client:
        assert client.get("/model").json()["version"] == first
        for name in (MODEL_FILE, ENCODER_FILE, "manifest.json"):
            proxy.change = lambda path, body, name=name: flipped(body) if path.endswith(name) else body
            store.promote(second)
            until(lambda: client.get("/model").json()["refused"])
            model = client.get("/model").json()
            assert (model["version"], model["refused"]["version"]) == (first, second)
            assert client.post("/predict", json=REQUEST_EXAMPLE).json()["model_version"] == first
            store.promote(first)
            until(lambda: client.get("/model").json()["refused"] is None)


def flipped(body):
    return body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]


def test_a_flipped_byte_in_the_store_is_not_handed_out(store, handing_out, pairs):
    version = store.add(*pairs[0])
    store.promote(version)
    path = store.root / "versions" / version / MODEL_FILE
    whole = path.read_bytes()
    answer = handing_out.get(f"/store/versions/{version}/{MODEL_FILE}")
    assert hashlib.sha256(answer.content).hexdigest() == answer.headers["etag"].strip('"')
    path.write_bytes(flipped(whole))
    answer = handing_out.get(f"/store/versions/{version}/{MODEL_FILE}")
    assert answer.status_code == 404
    assert "does not match its digest" in answer.json()["detail"]


def test_while_the_other_service_is_away_the_old_model_serves_and_few_requests_are_sent(running, store, proxy, pairs):
    first, second = (store.add(*pair) for pair in pairs[:2])
    store.promote(first)
    with running(Settings(model_store=proxy.url, reload_seconds=0.02)) as client:
        port, target = urlsplit(proxy.address).port, proxy.target
        proxy.close()
        until(lambda: client.get("/model").json()["refused"])
        assert "cannot be reached" in client.get("/model").json()["refused"]["detail"]
        assert client.post("/predict", json=REQUEST_EXAMPLE).json()["model_version"] == first
        assert client.get("/readyz").status_code == 200
        store.promote(second)
        back = Proxy(target, port)
        try:
            until(lambda: client.get("/model").json()["version"] == second)
            assert client.get("/model").json()["refused"] is None
        finally:
            back.close()


def test_an_unchanged_pointer_is_not_sent_again(store, proxy, pairs):
    store.promote(store.add(*pairs[0]))
    source = StoreSource(ModelStore(proxy.url))
    versions = {source.current() for _ in range(3)}
    assert versions == {store.served()}
    asked = [(path, status) for path, status, _ in proxy.requests if path == "/store/latest.json"]
    assert [status for _, status in asked] == [200, 304, 304]


def test_a_restart_on_a_model_that_is_damaged_elsewhere_serves_the_one_before(running, store, handing_out, pairs):
    first, second = (store.add(*pair) for pair in pairs[:2])
    store.promote(first)
    store.promote(second)
    (store.root / "versions" / second / MODEL_FILE).write_bytes(b"broken")
    with running(Settings(model_store=address(handing_out), reload_seconds=0.05)) as client:
        assert client.get("/readyz").status_code == 200
        model = client.get("/model").json()
        assert (model["version"], model["refused"]["version"]) == (first, second)


def test_only_promoted_versions_and_known_files_are_handed_out(store, handing_out, pairs):
    promoted, candidate = (store.add(*pair) for pair in pairs[:2])
    store.promote(promoted)
    (store.root / "secret.txt").write_text("x")
    assert handing_out.get("/store/versions").json() == [promoted]
    assert handing_out.get(f"/store/versions/{promoted}/manifest.json").status_code == 200
    for path in (
        f"/versions/{candidate}/manifest.json",
        f"/versions/{promoted}/other.bin",
        f"/versions/{promoted}/..%2f..%2fsecret.txt",
        "/versions/..%2f../secret.txt",
        "/secret.txt",
        "/..%2fsecret.txt",
        "/promotions/1.json",
        "/promotions/99999999999999999999.json",
        f"/promotions/{'9' * 5000}.json",
        "/promotions/%C2%B2.json",
        "/quarantine/00000000000000000001.json",
    ):
        answer = handing_out.get(f"/store{path}")
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert "secret" not in answer.text or path.endswith("secret.txt")


def test_looks_for_a_model_are_no_lines_of_the_log(store, proxy, pairs, tmp_path):
    store.promote(store.add(*pairs[0]))
    environment = {"PODPOWER_MODEL_STORE": proxy.url, "PODPOWER_RELOAD_SECONDS": "0.05"}
    with service(tmp_path, "--log-format", "json", environment=environment) as running:
        seen = len(proxy.requests)
        until(lambda: len(proxy.requests) >= seen + 5)
    assert "HTTP Request" not in running.logged()


def test_a_store_over_http_is_read_by_every_reader_and_written_by_none(store, handing_out, pairs):
    version = store.add(*pairs[0], report=b"<html>")
    store.promote(version)
    remote = ModelStore(address(handing_out))
    assert remote.served() == remote.last_served() == remote.last_loadable() == version
    assert remote.report(version) == b"<html>"
    assert [info.version for info in remote.versions()] == [version]
    assert remote.damaged(contents=True) == {}
    assert msgspec.to_builtins(remote.history()) == msgspec.to_builtins(store.history())
    for change in (lambda: remote.promote(version), lambda: remote.add(*pairs[1]), remote.pin):
        with pytest.raises(InvalidInput, match="can only be read"):
            change()


def test_a_key_is_read_from_its_file_for_each_request(store, proxy, pairs, tmp_path):
    store.promote(store.add(*pairs[0]))
    key = tmp_path / "key"
    storage = HttpStorage(proxy.url, key_file=str(key))
    path = storage.root / "latest.json"
    with pytest.raises(Unavailable, match="cannot read the API key"):
        storage.read(path)
    for text in ("pp_one", "pp_two"):
        key.write_text(f"{text}\n")
        assert storage.read(path)
    sent = [given.get("authorization", given.get("Authorization")) for _, _, given in proxy.requests]
    assert sent == ["Bearer pp_one", "Bearer pp_two"]


def test_a_service_reads_a_store_that_needs_a_key(running, store, pairs, tmp_path):
    version = store.add(*pairs[0])
    store.promote(version)
    key = new_key()
    (tmp_path / "keys").write_text(line_of("serving", key))
    (tmp_path / "key").write_text(key)
    with running(Settings(model_store=str(store.root), api_keys_file=str(tmp_path / "keys"))) as handing_out:
        given = {"PODPOWER_MODEL_STORE": address(handing_out), "PODPOWER_MODEL_STORE_KEY_FILE": str(tmp_path / "key")}
        with running(Settings.of(settings.Settings(given))) as client:
            until(lambda: client.get("/model").status_code == 200)
            assert client.get("/model").json()["version"] == version
        assert handing_out.get("/store/latest.json").status_code == 401


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("http://user:secret@host/store", "contains credentials"),
        ("http:///store", "must look like"),
        ("http://host/store?x=1", "must look like"),
        ("http://host:port/store", "no address"),
    ],
)
def test_a_wrong_address_is_one_error_that_shows_no_credentials(root, message):
    with pytest.raises(InvalidInput, match=message) as raised:
        storage_at(root)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [(404, "text/html", "is this the /store"), (302, "text/html", "is this the /store"), (401, "x/y", "API key")],
)
def test_what_is_no_store_is_named(status, kind, message):
    answer = Response(status=status, headers={"Content-Type": kind})
    with serving(lambda _: answer) as address, pytest.raises(Unavailable, match=message):
        ModelStore(f"{address}/store").served()


def test_another_path_of_a_service_is_no_empty_store(store, handing_out, pairs, capsys, monkeypatch):
    """`PODPOWER_MODEL_STORE=https://HOST podpower predict`, without /store, predicted as if nothing had been measured:
    every file was missing there, as in a store without a model, and a build passed or failed on such estimates.
    """
    monkeypatch.setenv("PODPOWER_MODEL_STORE", str(handing_out.base_url))
    manifest = str(Path(__file__).parents[2] / "examples" / "deployment.yaml")
    assert main(["predict", "-f", manifest]) == 1
    found = capsys.readouterr()
    assert "answers 404: is this the /store of a podpower service" in found.err
    assert not found.out
    monkeypatch.setenv("PODPOWER_MODEL_STORE", address(handing_out))
    assert main(["predict", "-f", manifest]) == 0  # a store without a model, as it is at first
    assert "nothing was measured" in capsys.readouterr().err
    store.promote(store.add(*pairs[0]))
    assert main(["predict", "-f", manifest]) == 0
    assert "predicted by" in capsys.readouterr().err


def test_commands_predict_by_the_store_that_an_option_names(store, handing_out, pairs, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PODPOWER_MODEL_STORE", str(tmp_path / "another"))
    manifest = str(Path(__file__).parents[2] / "examples" / "deployment.yaml")
    commands = (["predict", "-f", manifest], ["diff", manifest, manifest])
    for command in commands:  # no build passes on estimates where a model was named
        assert main([*command, "--store", address(handing_out)]) == 1
        assert "serves no model yet" in capsys.readouterr().err
    version = store.add(*pairs[0])
    store.promote(version)
    for command in commands:
        assert main([*command, "--store", address(handing_out)]) == 0
        assert f"predicted by {version}" in capsys.readouterr().err
    assert main([*commands[0], "--url", str(handing_out.base_url)]) == 1
    assert "as http://HOST:8000/store" in capsys.readouterr().err
    assert main([*commands[0], "--store", "x", "--encoder", "e", "--model", "m"]) == 2


def test_a_file_that_is_too_large_is_refused(store, handing_out, pairs):
    version = store.add(*pairs[0])
    store.promote(version)
    storage = HttpStorage(address(handing_out))
    with pytest.raises(Refused, match="larger than"):
        storage.read(storage.root / "versions" / version / MODEL_FILE, limit_bytes=100)


def test_after_a_failure_no_request_is_sent_for_a_growing_wait():
    now = [0.0]
    storage = HttpStorage("http://127.0.0.1:9/store", clock=lambda: now[0])
    sent = []
    fetched = storage._fetched
    storage._fetched = lambda *given: sent.append(now[0]) or fetched(*given)
    for second in range(200):
        now[0] = float(second)
        with pytest.raises(Unavailable, match="cannot be reached"):
            storage.read(storage.root / "latest.json")
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert 7 <= len(sent) <= 30
    assert max(gaps) <= 31
    assert gaps[0] <= 2
