"""API keys, browsers, other origins and the switched-off documentation, over a real socket."""

import os

import httpx
import pytest

from podpower.io.api_keys import line_of, new_key
from podpower_serving.openapi import REQUEST_EXAMPLE
from podpower_serving.settings import Settings
from tests.serving.processes import wait_until

ORIGIN = "https://grafana.example.org"
OPEN = ("/healthz", "/readyz")


@pytest.fixture(scope="module")
def keys():
    return {name: new_key() for name in ("ci", "people")}


@pytest.fixture(scope="module")
def guarded(running, filled_store, keys, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("# ours\n" + "".join(f"{line_of(name, key)}\n" for name, key in keys.items()))
    settings = Settings(model_store=str(filled_store.root), api_keys_file=str(path), docs=False, cors_origins=(ORIGIN,))
    with running(settings) as client:
        yield client


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def paths_of(client):
    return sorted(client.get("/openapi.json").json()["paths"].items())


def test_every_described_path_needs_a_key_but_health_and_admission(client, guarded):
    paths = paths_of(client)
    assert len(paths) > 10
    for path, verbs in paths:
        for verb in verbs:
            answer = guarded.request(verb, path.replace("{version}", "v"))
            if path in (*OPEN, "/admission"):
                assert answer.status_code != 401
            else:
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/", "/nowhere", "/metrics", "/metrics/fleet", "/docs", "/openapi.json", "//predict"])
def test_no_other_path_answers_without_a_key(guarded, path):
    assert guarded.get(path).status_code == 401


def test_a_path_that_is_not_there_refers_to_no_docs_that_are_off(guarded, keys):
    detail = guarded.get("/nowhere", headers=bearer(next(iter(keys.values())))).json()["detail"]
    assert detail == "no such path: /nowhere"


def test_each_key_opens_both_ways_to_a_prediction(guarded, keys):
    for key in keys.values():
        for media_type in ("application/json", "application/json; charset=utf-8"):
            headers = bearer(key) | {"Content-Type": media_type}
            assert guarded.post("/predict", json=REQUEST_EXAMPLE, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer x",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer {half}",
        "Bearer " + "x" * 20_000,
        "Bearer \xff",
    ],
)
def test_anything_else_is_refused_and_not_repeated(guarded, keys, header):
    given = header.format(key=keys["ci"], half=keys["ci"][:20])
    answer = guarded.post("/predict", json=REQUEST_EXAMPLE, headers={"Authorization": given.encode("latin-1")})
    assert answer.status_code == 401
    assert keys["ci"][:20] not in answer.text


def test_a_browser_is_asked_once_and_keeps_the_key_in_a_cookie_that_scripts_cannot_read(guarded, keys):
    with httpx.Client(base_url=guarded.base_url) as browser:
        html = {"Accept": "text/html,application/xhtml+xml"}
        asked = browser.get("/model", headers=html)
        assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=/model")
        page = browser.get(asked.headers["location"])
        assert 'name="next" value="/model"' in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        wrong = browser.post("/login", data={"key": "pp_wrong", "next": "/model"})
        assert (wrong.status_code, "pp_wrong" in wrong.text) == (401, False)
        assert not browser.cookies
        right = browser.post("/login", data={"key": keys["people"], "next": "/model"})
        assert (right.status_code, right.headers["location"]) == (303, "/model")
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Secure" not in cookie
        assert browser.get("/model", headers=html).status_code == 200
        assert browser.post("/logout").headers["location"] == "/login"
        assert browser.get("/model").status_code == 401


def test_a_browser_behind_tls_gets_a_secure_cookie(guarded, keys):
    answer = guarded.post(
        "/login",
        data={"key": keys["ci"]},
        headers={"Origin": "https://podpower.example", "Sec-Fetch-Site": "same-origin"},
    )
    assert "Secure" in answer.headers["set-cookie"]
    guarded.cookies.clear()


@pytest.mark.parametrize(
    "after", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/a\r\nb", "/" + "a" * 3000]
)
def test_a_login_leads_nowhere_else(guarded, keys, after):
    answer = guarded.post("/login", data={"key": keys["ci"], "next": after})
    guarded.cookies.clear()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    "page", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_a_page_of_another_origin_cannot_use_the_cookie(guarded, keys, page):
    headers = {"Cookie": f"podpower_key={keys['ci']}"}
    assert guarded.post("/predict", json=REQUEST_EXAMPLE, headers=headers).status_code == 200
    answer = guarded.post("/predict", json=REQUEST_EXAMPLE, headers=headers | page)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


@pytest.mark.parametrize("path", ["/admission", "/admission/", "//admission", "/%61dmission"])
def test_a_key_is_no_client_certificate_however_the_path_is_written(running, filled_store, keys, tmp_path, path):
    """The framework routes all of them alike; two were answered by a key alone."""
    (tmp_path / "keys").write_text(line_of("ci", keys["ci"]))
    settings = Settings(
        model_store=str(filled_store.root), api_keys_file=str(tmp_path / "keys"), tls_client_ca="ca.crt", docs=False
    )
    with running(settings) as client:
        answer = client.post(httpx.URL(client.base_url, raw_path=path.encode()), json={}, headers=bearer(keys["ci"]))
    assert (answer.status_code, "certificate" in answer.json()["detail"]) == (401, True)


def test_a_page_of_another_origin_cannot_log_out(guarded):
    """The cookie is not sent with its form, but the answer removed it."""
    for page in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = guarded.post("/logout", headers=page)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def preflight(client, origin):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    return client.options("/predict", headers=headers)


def test_an_allowed_origin_can_predict_and_others_cannot_read_answers(guarded, keys):
    allowed = preflight(guarded, ORIGIN)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, ORIGIN)
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in allowed.headers
    for origin, shown in ((ORIGIN, ORIGIN), ("https://evil.example", None)):
        answer = guarded.post("/predict", json=REQUEST_EXAMPLE, headers=bearer(keys["ci"]) | {"Origin": origin})
        assert answer.headers.get("access-control-allow-origin") == shown
        assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in preflight(guarded, "https://evil.example").headers


def test_other_origins_are_not_allowed_by_default(client):
    assert "access-control-allow-origin" not in preflight(client, ORIGIN).headers
    answer = client.post("/predict", json=REQUEST_EXAMPLE, headers={"Origin": ORIGIN})
    assert "access-control-allow-origin" not in answer.headers


def test_the_documentation_can_be_switched_off(client, guarded, keys):
    for path in ("/docs", "/openapi.json", "/docs/assets/swagger-ui.css"):
        assert client.get(path).status_code == 200
        assert guarded.get(path, headers=bearer(keys["ci"])).status_code == 404


def replace_secret(folder, name, text):
    """Replace the content as the kubelet does: a new folder, and one renamed symbolic link."""
    (folder / name).mkdir()
    (folder / name / "keys").write_text(text)
    (folder / "..new").symlink_to(name)
    (folder / "..new").rename(folder / "..data")


def test_keys_are_reloaded_behind_a_swapped_link_and_a_broken_file_keeps_those_of_before(
    running, filled_store, tmp_path, caplog
):
    first, second = new_key(), new_key()
    replace_secret(tmp_path, "..1", line_of("first", first))
    (tmp_path / "keys").symlink_to("..data/keys")
    settings = Settings(model_store=str(filled_store.root), api_keys_file=str(tmp_path / "keys"), reload_seconds=0.05)
    with running(settings) as client:

        def status(key):
            return client.get("/model", headers=bearer(key)).status_code

        assert (status(first), status(second)) == (200, 401)
        replace_secret(tmp_path, "..2", line_of("second", second) + "\n")
        wait_until(lambda: status(second) == 200)
        assert status(first) == 401
        for number, broken in enumerate(
            ("", "# none\n", f"x:sha256:{second}", line_of("a", first).replace("256", "1"))
        ):
            replace_secret(tmp_path, f"..{number + 3}", broken)
            wait_until(lambda failures=number + 1.0: failed(client, second) == failures)
            assert (status(first), status(second)) == (401, 200)
    assert "the API keys are not replaced" in caplog.text
    assert first not in caplog.text
    assert second not in caplog.text


def test_a_file_that_could_not_be_read_is_read_until_it_can(running, filled_store, tmp_path):
    """Also without another size and time: rights of a file change neither."""
    first, second = new_key(), new_key()
    path = tmp_path / "keys"
    path.write_text(line_of("key", first))
    settings = Settings(model_store=str(filled_store.root), api_keys_file=str(path), reload_seconds=0.05)
    with running(settings) as client:
        put_into(path, "x" * len(line_of("key", first)))
        wait_until(lambda: failed(client, first) == 1)
        time_ns = path.stat().st_mtime_ns
        put_into(path, line_of("key", second))
        os.utime(path, ns=(time_ns, time_ns))
        wait_until(lambda: client.get("/model", headers=bearer(second)).status_code == 200)
        assert failed(client, second) == 1
        assert client.get("/model", headers=bearer(first)).status_code == 401


def put_into(path, text):
    """Replace the content of a file that stays the same one, and is never empty."""
    with path.open("r+b", buffering=0) as file:
        file.write(text.encode())


def failed(client, key):
    text = client.get("/metrics", headers=bearer(key)).text
    return float(
        next(line.split()[1] for line in text.splitlines() if line.startswith("podpower_api_keys_failures_total "))
    )
