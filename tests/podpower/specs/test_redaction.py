import re
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podpower.specs.ndjson import encode_request
from podpower.specs.normalising import request_from_object
from podpower.specs.redaction import (
    KEPT_CHARS,
    MAX_CHARS,
    REDACTED,
    is_secret_name,
    names,
    redact_command,
    redact_request,
    redact_text,
    redact_value,
    redact_words,
    texts,
)
from podpower.specs.requests import Container, InferenceRequest
from tests.podpower.specs.manifests import as_served, deployment

SECRET = "hunter2hunter2"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    "words",
    [
        [f"--password={SECRET}"], ["--token", SECRET], [f"--api-key {SECRET}"], [f"--token\t{SECRET}", "--verbose"],
        ["redis-server", f"--requirepass {SECRET}"], [f"--db.password={SECRET}"], [f"-apiKey={SECRET}"],
        ["sh", "-c", f"export AWS_SECRET_ACCESS_KEY={SECRET}; run"], [f"postgres://app:{SECRET}@db:5432/shop"],
        [f'{{"client_secret": "{SECRET}"}}'], [f"Authorization: Bearer {SECRET}"],
        [f"token: {SECRET}"],
        [f"PGPASSWORD={SECRET}"], [f"DBPASSWORD={SECRET}"], [f"--dbpass={SECRET}"], [f"MYSQL_PWD={SECRET}"],
        [f"--authkey={SECRET}"], ["-storePassword", SECRET], ["--requirepass", SECRET], ["--masterauth", SECRET],
        [f"--pswd={SECRET}"], ["sh", "-c", f"run --pswd {SECRET}"],
        [f"--password=abc,{SECRET};x"], [f"--password=/k3+{SECRET}=="], [f"--password=\"a {SECRET}"],
        [f"JAVA_OPTS=-Xmx1g -Djavax.net.ssl.keyStorePassword={SECRET}"], [f"--set=a=b,auth.password={SECRET},c=d"],
        [f'{{\\"password\\": \\"{SECRET}\\"}}'], [f'{{"passwords": ["a", "{SECRET}"]}}'],
        [f"TOKEN=${{X:-{SECRET}}}"],
        ["mysql", "-uroot", f"-p{SECRET}", "db"], ["-p", SECRET],
        ["sshpass", "-p", SECRET, "ssh", "host"], ["sshpass", f"-p{SECRET}", "ssh"], ["/usr/bin/mongosh", "-p", SECRET],
        ["docker", "login", "-u", "me", "-p", SECRET], ["redis-cli", "-a", SECRET], [f"-p{SECRET}"], [f"-p={SECRET}"],
        ["ldapsearch", "-w", SECRET], ["sqlcmd", "-P", SECRET], ["curl", "-u", f"me:{SECRET}"],
        ["curl", f"-ume:{SECRET}"], ["curl", f"--user=me:{SECRET}"], ["curl", "--user", f"me:{SECRET}"],
        ["curl", "--proxy-user", f"me:{SECRET}"], ["curl", "-u", f"{SECRET}:"], ["smbclient", "-U", f"me%{SECRET}"],
        ["sh", "-c", f"mysql -uroot -p{SECRET} db"], ["sh", "-c", f"sleep 1; mysqldump -h db -p'{SECRET}' shop | gzip"],
        ["sh", "-c", f"mysql -p \"{SECRET} two\""], ["sh", "-c", f"PGPASSWORD={SECRET} psql -p 5432"],
        ["sh", "-c", f"app --token {SECRET} --verbose"],
        ["bash", "-c", f"sh -c 'mkdir -p x && sshpass -p {SECRET} ssh h'"],
        ["sh", "-c", f"curl -u me:{SECRET} https://x"], ["sh", "-c", f"curl -H 'Cookie: a=1; sid={SECRET}' x"],
        ["sh", "-c", f"curl -H 'Authorization: ApiKey {SECRET}' x"], ["sh", "-c", f"mkdir -p /x\nmysql -p{SECRET}"],
        [f"root:{SECRET}@tcp(db:3306)/shop"], [f"https://{'u' * 40}:{SECRET}@host/path"],
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
def test_texts_that_describe_the_workload_stay(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "words",
    [
        ["mkdir", "-p", "data"], ["nginx", "-p", "/etc/nginx", "-c", "nginx.conf"], ["server", "-p", "8080"],
        ["-p", "80"],
        ["docker", "run", "-p", "127.0.0.1:80:8080/tcp", "-u", "1000:1000"], ["-p8080"], ["-p", "$(PORT)"],
        ["find", "/", "-path", "x"], ["server", "-port=8080", "-profile=dev"], ["perl", "-pe", "s/a/b/"],
        ["ssh", "-p", "2222", "host"], ["psql", "-p", "5432", "-U", "postgres"], ["rsync", "-u", "host:/srv"],
        ["sh", "-c", "mkdir -p data && nginx -p /srv"], ["sh", "-c", "/bin/mkdir -p data; server -p 8080"],
        ["--max-num-batched-tokens=8192"], ["--bypass=x"], ["mysql", "-p$(PASSWORD)"],
        ["curl", "-u", "$(USER):$(PASS)"],
        ["python", "-u", "main.py"], ["--user=app"], ["--password", "--verbose"], ["--log-level=info", "--v=2"],
    ],
)  # fmt: skip
def test_a_command_line_without_credentials_stays(words: list[str]) -> None:
    assert redact_words(words) == words


def test_an_option_and_its_value_in_one_word_leave_the_next_word() -> None:
    assert redact_words([f"--token {SECRET}", "serve"]) == ["--token <redacted>", "serve"]


@pytest.mark.parametrize("name", ["DB_PASSWORD", "apiKey", "--token", "PGPASSWORD", "DBPASS", "MYSQL_PWD", "SSHKEY"])
def test_a_name_of_a_secret_ends_in_a_secret_word(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["AUTHOR", "KEYBOARD", "ttl", "TOKEN_TTL", "passenger", "monkey", "ChaosMonkey", "compass", "bypass", "tokenizer",
     "secretary", "basalt", "obsession", "max_tokens", "keyspace"],
)  # fmt: skip
def test_a_name_that_only_resembles_one_is_none(name: str) -> None:
    assert not is_secret_name(name)


def test_command_and_args_are_one_command_line() -> None:
    assert redact_command(["mysql"], ["-psecret"]) == (["mysql"], [f"-p{REDACTED}"])
    assert redact_command(["app", "--token"], ["secret"]) == (["app", "--token"], [REDACTED])
    assert redact_command(None, ["-v"]) == (None, ["-v"])
    assert redact_command(["app"], None) == (["app"], None)


def test_a_text_too_long_to_search_becomes_its_beginning_and_a_digest() -> None:
    long = f"--password={SECRET} " + "word " * MAX_CHARS + SECRET
    kept = redact_text(long)
    assert kept.startswith(f"--password={REDACTED} word")
    assert SECRET not in kept
    assert len(kept) < KEPT_CHARS + 150
    assert redact_text(long) == kept
    assert redact_text(kept) == kept
    assert redact_text("other " + long) != kept
    assert redact_text(long.replace(SECRET, SECRET[::-1])).rpartition("sha256")[2] == kept.rpartition("sha256")[2]
    whole = "word " * (MAX_CHARS // 5)
    assert redact_text(whole) == whole


@pytest.mark.parametrize("ending", ["password=", 'token="', "x -p ", "eyJ", "mysql -p", "A1a" * 20, "postgres://me:"])
def test_a_text_cut_anywhere_stays_as_it_is(ending: str) -> None:
    kept = redact_text("w" * (KEPT_CHARS - len(ending)) + ending + "x" * MAX_CHARS)
    assert redact_text(kept) == kept
    assert "sha256" in kept


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


FRAGMENTS = st.sampled_from(
    ["password", "token=", "-p", " -p ", "-u", " -u ", "--user=", "a:b", "mysql", "mkdir ", "nginx", "x", "1", "/", "@",
     "://", "=", ":", ",", ";", "&", '"', "'", "\\", " ", "\n", "$(", ")", "${A}", "{", "[", "]", "<redacted>",
     REDACTED[:5],
     "eyJhbGciOi", ".", "-", "-----BEGIN A-----", "-----END A-----", "Cookie: ", "bearer abcdefgh", "aA1" * 11, "key",
     "sk-abcdefghijkl", "AKIAIOSFODNN7EXAMPLE", "%", "+"]
)  # fmt: skip
TEXTS = st.text(max_size=80) | st.lists(FRAGMENTS, max_size=14).map("".join)


@given(TEXTS)
@settings(max_examples=500)
def test_redacting_a_text_twice_changes_nothing(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@given(st.lists(TEXTS, max_size=5), st.lists(TEXTS, max_size=5), TEXTS)
@example([], [], "0:00000000000000000000000000000A/a@")  # its key hides that it begins with a user
@settings(max_examples=300)
def test_redacting_a_request_twice_changes_nothing(command: list[str], args: list[str], value: str) -> None:
    request = InferenceRequest(
        workload_kind="Pod",
        workload_name="a",
        annotations={"note": value, "token": value},
        containers=[Container(image=value, command=command, args=args)],
    )
    once = redact_request(request)
    assert redact_request(once) is once
    env = redact_value("DB_PASSWORD", value)
    assert redact_value("DB_PASSWORD", env) == env


@given(TEXTS)
@settings(max_examples=300)
def test_a_long_text_cut_twice_is_cut_once(text: str) -> None:
    once = redact_text(text + " word" * (MAX_CHARS // 5) + text)
    assert redact_text(once) == once


# Words of which each is harmless and some are a credential together.
COMMAND_WORDS = """
    vault login write put set sh -c -p --token KEY value mysql -u root:pw a/b@db sqlplus curl -k openssl passwd
    redis-cli AUTH hunter2 echo secret --value --body A=b requirepass gh -b snmpget -A doctl -t net user mc add
    ssh-keygen -N /usr/bin/vault htpasswd -nb config 7z zip -P ngrok authtoken consul machine password isql -X
    smbclient snyk auth app --level=info /etc/app.yaml
"""
COMMANDS = st.lists(st.sampled_from(COMMAND_WORDS.split()), max_size=6)


@given(COMMANDS)
@settings(max_examples=300)
def test_the_quick_test_of_a_command_finds_all_that_the_patterns_do(words: list[str]) -> None:
    if not texts._may_hold_credential(" ".join(words)):
        assert [word for word, _ in texts._words_pass(words, frozenset())] == words


def test_no_suspect_word_has_a_digit() -> None:
    """Texts that differ in digits only share one answer of the quick test."""
    assert not re.search(r"\d|\\d", texts._SUSPECT.pattern)


@pytest.mark.parametrize(
    "secret", ["npm_abcdefghijkl0123", "sk-0123456789abcdef", "$apr1$abcd$0123456789abcdef", "basic dXNlcjpwdw=="]
)
@pytest.mark.parametrize("place", ["image", "command", "args"])
def test_a_request_to_predict_loses_a_token_in_lower_case(secret: str, place: str) -> None:
    given = secret if place == "image" else ["run", secret]
    request = InferenceRequest(workload_kind="Job", workload_name="w", containers=[Container(**{place: given})])
    assert secret not in str(redact_request(request, metadata=False))
    assert redact_request(request, metadata=False) == redact_request(request)


def spellings(pattern: Any) -> list[str]:
    """Every text that a parsed pattern without unbounded repetition matches, lookarounds and anchors left out."""
    found = [""]
    for operation, argument in pattern:
        match str(operation):
            case "LITERAL":
                parts = [chr(argument)]
            case "IN":
                parts = [chr(value) for kind, value in argument if str(kind) == "LITERAL"]
            case "BRANCH":
                parts = [text for branch in argument[1] for text in spellings(branch)]
            case "SUBPATTERN":
                parts = spellings(argument[3])
            case "MAX_REPEAT":
                least, most, repeated = argument
                assert (least, int(most)) == (0, 1)
                parts = ["", *spellings(repeated)]
            case "ASSERT" | "ASSERT_NOT" | "AT":
                parts = [""]
            case _:
                raise NotImplementedError(operation)
        found = [text + part for text in found for part in parts]
    return found


NAMES = sorted(set(spellings(_parser.parse(names._SECRET.pattern))))


def test_every_secret_name_passes_the_prefilter() -> None:
    assert len(NAMES) > 100
    for name in NAMES:
        own = [spelling for spelling in (name, f"my-{name}") if is_secret_name(spelling)]
        assert own, name
        for spelling in own:
            assert SECRET not in redact_text(f"{spelling}={SECRET}"), spelling
            assert SECRET not in redact_text(f"{spelling.upper()}={SECRET}"), spelling
