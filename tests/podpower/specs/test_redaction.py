import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.specs.ndjson import encode_request
from podpower.specs.normalising import request_from_object
from podpower.specs.redaction import REDACTED, is_secret_name, redact_text, redact_words
from tests.podpower.specs.manifests import as_served, deployment

SECRET = "hunter2hunter2"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    "words",
    [
        [f"--password={SECRET}"], ["--token", SECRET], [f"--db.password={SECRET}"], [f"-apiKey={SECRET}"],
        ["sh", "-c", f"export AWS_SECRET_ACCESS_KEY={SECRET}; run"], [f"postgres://app:{SECRET}@db:5432/shop"],
        [f'{{"client_secret": "{SECRET}"}}'], [f"Authorization: Bearer {SECRET}"],
        [f"token: {SECRET}"],
    ],
)  # fmt: skip
def test_credentials_in_a_command_line_are_not_kept(words: list[str]) -> None:
    assert SECRET not in " ".join(redact_words(words) or [])


@pytest.mark.parametrize(
    "text",
    [JWT, "AKIAIOSFODNN7EXAMPLE", "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
     "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY0", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"],
)  # fmt: skip
def test_known_forms_of_credentials_go_wherever_they_stand(text: str) -> None:
    assert text not in redact_text(f"start {text} end")


@pytest.mark.parametrize(
    "text",
    ["--threads=4", "--config=/etc/app.yaml", "--secret-name=app-tls", "--token-file=/var/run/token", "--key=$(KEY)",
     "redis:6379", "registry.k8s.io/etcd:3.5.16-0@sha256:5b" + "0" * 62, "/usr/share/keyrings", "author=me"],
)  # fmt: skip
def test_what_tells_about_the_workload_stays(text: str) -> None:
    assert redact_text(text) == text


def test_names_of_secrets_are_whole_words() -> None:
    told = {
        n: is_secret_name(n) for n in ("DB_PASSWORD", "apiKey", "AUTHOR", "KEYBOARD", "ttl", "TOKEN_TTL", "--token")
    }
    assert told == {
        "DB_PASSWORD": True, "apiKey": True, "AUTHOR": False, "KEYBOARD": False, "ttl": False, "TOKEN_TTL": False,
        "--token": True,
    }  # fmt: skip


def test_nothing_secret_of_a_manifest_reaches_the_request() -> None:
    manifest = as_served(
        deployment(
            image=f"user:{SECRET}@registry.example/app:1",
            args=[f"--password={SECRET}"],
            env=[{"name": "TOKEN", "value": SECRET}],
        )
    )
    manifest["spec"]["template"]["metadata"]["annotations"]["vault.example/token"] = SECRET
    line = encode_request(request_from_object(manifest)).decode()
    assert SECRET not in line
    assert "hunter2" not in line
    assert REDACTED in line


@given(st.text(max_size=80))
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once
