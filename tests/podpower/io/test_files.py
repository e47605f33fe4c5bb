import os
import resource
from pathlib import Path

import pytest
from upath import UPath

from podpower.errors import InvalidInput, PodpowerError
from podpower.io.files import atomic_file, create_file, read_bounded, write_atomically


def test_a_file_appears_whole_and_its_folder_is_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b.bin", b"content")
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"content"
    assert os.listdir(tmp_path / "a") == ["b.bin"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a"
    write_atomically(target, b"old")

    def fail_half_way() -> None:
        with atomic_file(target) as aside:
            aside.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def _write_beyond_the_limit(path: Path) -> str:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_atomically(path, b"x" * 5000)
    except PodpowerError as error:
        return str(error)
    return "written"


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, _write_beyond_the_limit(tmp_path / "a").encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    assert said.startswith("no room to write")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PodpowerError, match=r"cannot access .*file/below"):
        write_atomically(tmp_path / "file" / "below", b"")


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert pipe.is_fifo()


def test_object_stores_get_one_put() -> None:
    target = UPath("memory://bucket/a/b.bin")
    write_atomically(target, b"content")
    assert target.read_bytes() == b"content"


def test_reading_is_bounded_and_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 100)
    assert read_bounded(tmp_path / "big", limit_bytes=100) == b"x" * 100
    with pytest.raises(InvalidInput, match="larger than"):
        read_bounded(tmp_path / "big", limit_bytes=99)
    with pytest.raises(InvalidInput, match="no such file"):
        read_bounded(tmp_path / "none", limit_bytes=1)
    with pytest.raises(InvalidInput, match="folder"):
        read_bounded(tmp_path, limit_bytes=1)


def test_modes_of_files_and_folders_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a" / "b", b"x")
        create_file(tmp_path / "a" / "c", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()} == {0o640}
