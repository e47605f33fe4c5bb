"""Paths and URLs: one clear error for each that cannot be used."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from podpower.errors import InvalidInput, PodpowerError, Unavailable
from podpower.io.files import create_file, read_bounded, write_atomically
from podpower.io.object_storage import ObjectStorage
from podpower.io.places import is_local, is_url, local_folder, place
from tests.s3 import forget_servers


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo://bucket/model", "foo:// is not known; give a path, s3://, gs:// or az://"),
        ("https://host/model", "https:// is not known"),
        ("s3:/bucket/model", "one slash after the scheme: write s3://"),
        (Path("s3://bucket/model"), "one slash after the scheme: write s3://"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error_in_one_line(url: str | Path, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_bounded(url, limit_bytes=1)
    with pytest.raises(InvalidInput, match=message):
        is_url(url)


@pytest.mark.parametrize(("scheme", "extra", "package"), [("gs", "gs", "gcsfs"), ("az", "az", "adlfs")])
def test_a_scheme_that_needs_a_package_names_it(scheme: str, extra: str, package: str) -> None:
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(Unavailable, match=rf"pip install '\.\[{extra}\]' in a clone"):
        place(f"{scheme}://bucket/model")


@pytest.mark.parametrize("path", ["/data/a", "data/b", "file:///data/a", "c:old", "hour=2026:01", Path("/data")])
def test_local_paths_are_local(path: str | Path) -> None:
    assert not is_url(path)
    assert is_local(place(path))
    assert "://" not in str(local_folder(path, what="it"))


def test_a_url_where_a_folder_is_needed_is_refused() -> None:
    with pytest.raises(InvalidInput, match="s3://b/x is a URL, and a recording needs a local folder"):
        local_folder("s3://b/x", what="a recording")


def test_a_store_sees_what_other_processes_write(s3_url: str) -> None:
    """Object stores remember listings unless told otherwise."""
    storage = ObjectStorage(f"{s3_url}/store")
    assert storage.children("a") == []
    other = ObjectStorage(f"{s3_url}/store/")
    other.root.fs.clear_instance_cache()
    write_atomically(f"{s3_url}/store/a/b.json", b"x")
    assert [path.name for path in storage.children("a")] == ["b.json"]
    assert storage.read(storage.root / "a" / "b.json") == b"x"


def test_a_bucket_that_does_not_exist_is_named(s3_url: str) -> None:
    for write in (write_atomically, create_file):
        with pytest.raises(PodpowerError, match=r"s3://no-such-bucket/a"):
            write("s3://no-such-bucket/a", b"x")
    assert ObjectStorage("s3://no-such-bucket/store").children("versions") == []


def test_a_server_that_does_not_answer_is_named(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del s3_url
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_servers()
    with pytest.raises(Unavailable, match=r"s3://bucket/a"):
        read_bounded("s3://bucket/a", limit_bytes=1)
    forget_servers()
