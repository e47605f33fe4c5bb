"""Files that are created once, on a local folder and on an S3 server."""

import os
import threading
from pathlib import Path

import pytest

from podpower.io.files import create_file
from podpower.io.object_storage import ObjectStorage


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    return ObjectStorage(tmp_path / "store" if request.param == "folder" else request.getfixturevalue("s3_url"))


def test_a_file_is_created_once_and_the_first_one_stays(storage: ObjectStorage) -> None:
    path = storage.root / "a" / "b.json"
    assert storage.create(path, b"first") is True
    assert storage.create(path, b"second") is False
    assert storage.read(path) == b"first"


def test_of_many_writers_at_once_one_creates_the_file(tmp_path: Path) -> None:
    target, created = tmp_path / "a" / "b.json", []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        if create_file(target, b"%d" % number * 100_000):
            created.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = created
    assert target.read_bytes() == b"%d" % winner * 100_000
    assert os.listdir(target.parent) == ["b.json"]
