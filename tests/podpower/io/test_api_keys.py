import pytest

from podpower.cli import main
from podpower.errors import InvalidInput, Unavailable
from podpower.io.api_keys import MOST_KEYS, hashed, line_of, new_key, read_keys


def test_a_key_is_printed_once_with_a_line_that_reads_back(capsys, tmp_path):
    assert main(["keys", "new", "ci"]) == 0
    key, line = capsys.readouterr().out.splitlines()
    assert key not in line
    (tmp_path / "keys").write_text(f"# for the pipeline\n\n{line}\r\n")
    assert read_keys(tmp_path / "keys") == {hashed(key): "ci"}


def test_keys_differ():
    assert len({new_key() for _ in range(100)}) == 100


@pytest.mark.parametrize("name", ["", "a:b", "a b", "-a", "a\n", "x" * 64, "ä"])
def test_a_name_that_the_file_cannot_hold_is_refused(name, capsys):
    with pytest.raises(InvalidInput):
        line_of(name, "k")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no key"),
        ("# a\n", "has no key"),
        ("ci:sha256:" + "0" * 63, "line 1"),
        ("\nci:sha256:" + "G" * 64, "line 2"),
        ("ci:md5:" + "0" * 64, "scheme must be sha256"),
        ("ci:sha256:" + "0" * 64 + "\nci:sha256:" + "1" * 64, "line 2: there are two keys of this name"),
        ("ci:sha256:" + "0" * 64 + ":x", "line 1"),
        ("pp_secret-that-someone-pasted", "line 1"),
        ("\n".join(f"k{n}:sha256:{n:064x}" for n in range(MOST_KEYS + 1)), "more than 1000 keys"),
        ("#" * 2_000_000, "more than 1048576 bytes"),
    ],
)
def test_a_broken_file_is_named_by_its_line_without_its_content(text, said, tmp_path):
    (tmp_path / "keys").write_text(text)
    with pytest.raises(InvalidInput, match=said) as raised:
        read_keys(tmp_path / "keys")
    assert "secret" not in str(raised.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(Unavailable, match="No such file"):
        read_keys(tmp_path / "keys")
