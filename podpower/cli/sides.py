"""The two sides of `podpower diff`: files, folders, standard input, or a path at a commit of a git repository."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podpower.cli import inputs, output, streams
from podpower.errors import InvalidInput
from podpower.specs.quoting import quoted

if TYPE_CHECKING:
    from podpower.cli.inputs import File

_SECONDS = 60
_MOST_BYTES = 256 << 20


def read_side(text: str, *, other: str | None = None) -> "list[File]":
    """Return the files of one side with their names. A git side is `REF:PATH`, or `REF` for the path of `other`.

    A path that exists in the working tree and not at a commit is an empty side: all of the other is new. InvalidInput
    for what is neither.
    """
    if text in {streams.STANDARD, ""} or Path(text).exists():
        return list(inputs.read_files([text], may_be_empty=True))
    ref, colon, path = text.partition(":")
    if not colon and other is not None:
        path = other if Path(other).is_absolute() else f"./{other}"
    if ref and _is_commit(ref):
        return _at(ref, path)
    raise InvalidInput(f"{quoted(text)}: no such file or folder, and {_why_no_commit(ref)}")


def _is_commit(ref: str) -> bool:
    return not ref.startswith("-") and _succeeds(
        "rev-parse", "--quiet", "--verify", "--end-of-options", f"{ref}^{{commit}}"
    )


def _why_no_commit(ref: str) -> str:
    """Return why a reference is no commit here, and what to do: a checkout of CI often has one commit only."""
    if not _succeeds("rev-parse", "--git-dir"):
        return f"{Path.cwd()} is in no git repository that has a REF:PATH such as main:deploy/"
    if not ref or ref.startswith("-"):
        return "no git REF:PATH such as main:deploy/"
    return (
        f"no commit {quoted(ref)} in the git repository: git fetch it first, with actions/checkout by fetch-depth: 0, "
        "and write REF:PATH such as origin/main:deploy/"
    )


def _succeeds(*arguments: str) -> bool:
    """Return True when git is installed and the command succeeds."""
    try:
        return _git(*arguments).returncode == 0
    except InvalidInput:
        return False


def _at(ref: str, path: str) -> "list[File]":
    """Return the files below a path at a commit: all manifests of a folder, or one file."""
    top_folder = Path(_output("rev-parse", "--show-toplevel").decode().rstrip("\n"))
    wanted = _from_top(path, top_folder)
    arguments = ["ls-tree", "-r", "-z", "--name-only", "--full-tree", "--end-of-options", ref]
    names = _output(*arguments, *(["--", wanted] if wanted else [])).decode("utf-8", "replace").split("\0")
    names = [name for name in names if name and (name == wanted or inputs.is_manifest(name))]
    if not names:
        if not (top_folder / wanted).exists():
            raise InvalidInput(
                f"{quoted(ref)} has no {quoted(wanted)}, and the working tree has none either: correct the path"
            )
        output.note(f"note: {quoted(ref)} has no {quoted(wanted or 'manifest')}: everything is new")
    found: list[File] = []
    for name in names:
        inputs.check_rendered(Path(name))
        data = _output("cat-file", "blob", f"{ref}:{name}")
        if data.strip():
            found.append(inputs.content(data, f"{ref}:{name}"))
    return found


def _from_top(path: str, top: Path) -> str:
    """Return a path as git's trees have it. As in git, `REF:PATH` is from the top, `./` from the current folder."""
    if path.startswith(("./", "../")) or path in {".", ".."} or Path(path).is_absolute():
        try:
            path = Path(path).resolve().relative_to(top.resolve()).as_posix()
        except ValueError:
            raise InvalidInput(f"{quoted(path)} is outside the git repository {top}") from None
    return "" if path == "." else path.rstrip("/")


def _output(*arguments: str) -> bytes:
    done = _git(*arguments)
    if done.returncode != 0:
        message = " ".join(done.stderr.decode("utf-8", "replace").split())[:300]
        raise InvalidInput(f"git {arguments[0]}: {quoted(message, most=300)}")
    if len(done.stdout) > _MOST_BYTES:
        raise InvalidInput(f"git {arguments[0]}: more than {_MOST_BYTES >> 20} MiB")
    return done.stdout


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command: Sequence[str] = ["git", *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)  # noqa: S603  # no shell
    except FileNotFoundError:
        raise InvalidInput("git is not installed: give files or folders") from None
    except subprocess.TimeoutExpired:
        raise InvalidInput(f"git {arguments[0]} takes longer than {_SECONDS} s") from None
