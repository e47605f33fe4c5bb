"""Read workloads from manifests, folders, NDJSON or one InferenceRequest; the content decides."""

import io
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from podpower.cli import defaults, output, streams
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.specs.documents import Rejected
    from podpower.specs.selection import Options, Skipped, Workloads

    File: TypeAlias = tuple[bytes, str] | Rejected

_SHOWN = 20  # errors printed one by one; the rest is counted
_NAMED = 5  # skipped objects named for each reason
_SUFFIXES = (".yaml", ".yml", ".json", ".ndjson")
# Files whose folder has to be rendered, and the command that does it.
_RENDERED_BY = {
    "Chart.yaml": "a Helm chart: render it with `helm template {folder}`",
    **dict.fromkeys(
        ("kustomization.yaml", "kustomization.yml", "Kustomization"),
        "a kustomization: render it with `kubectl kustomize {folder}`",
    ),
}
_DRAW_NOTHING = frozenset({"finished", "no_replicas"})
_KIND = re.compile(rb"^[{ \t]*[\"']?kind[\"']?:", re.MULTILINE)
_NOT_READ = "not read: "
_THEN_READ = "and give the output (- is standard input)"
_COMPRESSED = {b"\x1f\x8b": "gzip -dc", b"\xfd7zXZ": "xz -dc", b"BZh": "bzip2 -dc", b"\x28\xb5\x2f\xfd": "zstd -dc"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_OTHER_UNICODE = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
_SKIPPED = {
    "no_pods": ("object that runs no pods", "objects that run no pods"),
    "part_of": ("object that is part of another one", "objects that are part of another one"),
    "finished": ("object that has finished", "objects that have finished"),
    "no_replicas": ("object with 0 replicas", "objects with 0 replicas"),
    "duplicate": ("object that is given again later", "objects that are given again later"),
    "unknown_kind": (
        "object of an unknown kind, whose pods are in no sum", "objects of unknown kinds, whose pods are in no sum",
    ),
}  # fmt: skip


def read_workloads(paths: Sequence[str], options: "Options", *, to_predict: bool = False) -> "Workloads":
    """Read files, folders and standard input as one input: an owner in one file counts for objects of another.

    Labels and annotations of InferenceRequests `to_predict` are not searched for credentials.
    """
    streams.check_inputs(*paths)
    return workloads_of(read_files(paths), options, to_predict=to_predict)


def read_files(paths: Sequence[str], *, may_be_empty: bool = False) -> "Iterator[File]":
    """Yield the content of files, folders and standard input in UTF-8, with its name. InvalidInput for a named file
    that cannot be read, and for one that is empty, unless that is allowed.

    What cannot be read below a folder comes as Rejected; empty files there are left out.
    """
    for path in paths:
        if path in {streams.STANDARD, ""} or not Path(path).is_dir():
            check_rendered(Path(path))
            data = streams.read_bytes(path)
            if data.strip() or not may_be_empty:
                yield decoded(data, path), streams.display_name(path)
            continue
        if is_recording(path):
            raise InvalidInput(f"{path} is a recording: podpower collect from-file {path} | podpower predict -f -")
        files, closed = _searched(path)
        if not files and not closed and not may_be_empty:
            raise InvalidInput(f"{path} holds no .yaml, .yml, .json or .ndjson file")
        for file in files:
            check_rendered(Path(file))
        yield from closed
        yield from map(_in_folder, files)


def _searched(folder: str) -> "tuple[list[str], list[Rejected]]":
    """Return the files below a folder that are read, in order, and the folders that cannot be opened."""
    closed: list[Rejected] = []

    def note(error: OSError) -> None:
        if error.filename == folder:
            raise error
        closed.append(_unread(str(error.filename), f"{error.strerror}, and nothing in this folder is read"))

    found = [Path(where, name) for where, _, names in os.walk(folder, onerror=note) for name in names]
    # Editors leave hidden links to nowhere, as locks.
    read = (path for path in found if is_manifest(path.name) and not (path.name.startswith(".") and path.is_symlink()))
    return sorted(map(str, read)), closed


def _in_folder(path: str) -> "File":
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            return _unread(path, "it is a pipe, socket or device")
        return content(streams.read_bytes(path), path)
    except (OSError, InvalidInput) as error:
        return _unread(path, str(getattr(error, "strerror", None) or error))


def content(data: bytes, path: str) -> "File":
    """Return the content of one file of several with its name, Rejected where it is not text. The defaults of podpower
    are no manifest, and empty.
    """
    if re.search(rf"(^|[/:]){re.escape(defaults.FILE)}$", path) and not _KIND.search(data):
        data = b""
    try:
        return decoded(data, path) if data.strip() else data, streams.display_name(path)
    except InvalidInput as error:
        return _unread(path, str(error))


def _unread(path: str, why: str) -> "Rejected":
    from podpower.specs.documents import Rejected  # noqa: PLC0415

    source = streams.display_name(path)
    why = why.removeprefix(source).removeprefix(": ").removeprefix(" is ")
    return Rejected(source=source, index=0, detail=f"{_NOT_READ}{why}")


def workloads_of(files: "Iterable[File]", options: "Options", *, to_predict: bool = False) -> "Workloads":
    """Read files as one input: the content decides whether it is manifests or InferenceRequests."""
    from podpower.specs.documents import Rejected  # noqa: PLC0415
    from podpower.specs.manifests import read_all_manifests  # noqa: PLC0415
    from podpower.specs.ndjson import read_ndjson  # noqa: PLC0415

    manifests: list[tuple[bytes, str]] = []
    requests: list[tuple[bytes, str]] = []
    unread: list[Rejected] = []
    for file in files:
        if isinstance(file, Rejected):
            unread.append(file)
        else:
            (requests if file[1].endswith(".ndjson") or _holds_requests(file[0]) else manifests).append(file)
    workloads = read_all_manifests(manifests, options=options)
    workloads.errors[:0] = unread
    for data, source in requests:
        workloads.add(read_ndjson(io.BytesIO(_one_a_line(data)), source=source, to_predict=to_predict), options)
    return workloads


def read_specs(path: str) -> "Workloads":
    """Read the workloads of one file for training, finished ones too. InvalidInput when there is none."""
    from podpower.specs.selection import Options  # noqa: PLC0415

    workloads = read_workloads([path], Options(running=False))
    if not workloads.requests:
        raise InvalidInput(none_found([path], workloads))
    return workloads


def none_found(paths: Sequence[str], workloads: "Workloads") -> str:
    """Return the message for inputs without a workload, with the first reason."""
    names = [streams.display_name(path) for path in paths]
    if workloads.errors:
        first_error = workloads.errors[0]
        file = "" if first_error.source in names else f"{first_error.source}: "
        why = f"{file}{first_error.detail}"
    elif workloads.skipped:
        first = workloads.skipped[0]
        why = f"{_title(first)}: {first.reason}"
    else:
        why = "expected manifests of Deployments, Jobs or other kinds with pods, or InferenceRequests as NDJSON"
    return f"no workload in {', '.join(names[:_NAMED])}: {why}"


def is_nothing(workloads: "Workloads") -> bool:
    """Return True for inputs without a workload, also without one that draws nothing."""
    return not workloads.requests and not any(entry.code in _DRAW_NOTHING for entry in workloads.skipped)


def is_manifest(name: str) -> bool:
    """Return whether a file of a folder is read, by its name."""
    return name.endswith(_SUFFIXES) or name in _RENDERED_BY


def is_recording(path: str) -> bool:
    """Return True for the folder of a recording."""
    # os.path: False where the folder cannot be opened.
    return path != streams.STANDARD and os.path.isfile(Path(path) / "recording.json")


def check_rendered(file: Path) -> None:
    """Raise InvalidInput where a file shows that its folder has to be rendered first."""
    if file.name in _RENDERED_BY:
        folder = str(file.parent)
        raise InvalidInput(f"{folder} is {_RENDERED_BY[file.name].format(folder=folder)} {_THEN_READ}")


def report(errors: "Sequence[Rejected]", *, nothing_else: bool = False) -> int:
    """Print what could not be read on standard error, up to 20 lines; return the exit code.

    With `nothing_else` in the input, a single error is left to the message of `none_found`.
    """
    if nothing_else and len(errors) == 1:
        return 1
    for item in errors[:_SHOWN]:
        where = "" if item.detail.startswith(("line ", _NOT_READ)) else f", document {item.index + 1}"
        output.note(f"rejected: {item.source}{where}: {' '.join(item.detail.split())}")
    if len(errors) > _SHOWN:
        output.note(f"rejected: {len(errors) - _SHOWN} more")
    return 1 if errors else 0


def skipped_lines(skipped: "Sequence[Skipped]") -> list[str]:
    """Return a line for each reason with the first names: `skipped 4 objects that run no pods: Service/web, ...`."""
    lines = []
    for code, (one, many) in _SKIPPED.items():
        entries = [entry for entry in skipped if entry.code == code]
        if entries:
            names = [_title(entry) for entry in entries[:_NAMED]]
            more = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
            what = one if len(entries) == 1 else many
            lines.append(f"skipped {len(entries)} {what}: {', '.join(names)}{more}")
    return lines


def _title(entry: "Skipped") -> str:
    return f"{entry.kind[:80]}/{entry.name[:80]}"


def decoded(data: bytes, path: str) -> bytes:
    """Return the bytes in UTF-8. InvalidInput for an empty or compressed file."""
    source = streams.display_name(path)
    if not data.strip():
        raise InvalidInput(f"{source} is empty: expected manifests, or InferenceRequests as NDJSON")
    for magic, command in _COMPRESSED.items():
        if data.startswith(magic):
            raise InvalidInput(f"{source} is compressed: unpack it first, e.g. {command} FILE | podpower predict -f -")
    if data.startswith(b"PK\x03\x04") or data[257:262] == b"ustar":
        raise InvalidInput(f"{source} is an archive: unpack it into a folder, and name the folder")
    if data.startswith(_OTHER_UNICODE) or (data[:4].count(0) and not data.startswith(_UTF_16)):
        raise InvalidInput(f"{source} is not in UTF-8 (perhaps UTF-16 without its mark, or UTF-32): save it as UTF-8")
    if data.startswith(_UTF_16):  # as PowerShell writes
        try:
            return data.decode("utf-16").encode()
        except UnicodeError:
            raise InvalidInput(f"{source} begins as UTF-16 and is not: save it as UTF-8") from None
    return data


def _holds_requests(data: bytes) -> bool:
    """Return True when the first object has no field of a manifest."""
    if data.lstrip()[:1] not in (b"{", b"["):
        return False
    first = _parsed(data.lstrip().split(b"\n", 1)[0])
    if first is None:
        first = _parsed(data)
    if isinstance(first, list):
        first = first[0] if first else None
    return isinstance(first, dict) and "apiVersion" not in first and "kind" not in first


def _one_a_line(data: bytes) -> bytes:
    """Return one pretty-printed request, or a list of them, as NDJSON; NDJSON stays as it is."""
    whole = _parsed(data)
    if whole is None:
        return data
    values = whole if isinstance(whole, list) else [whole]
    try:
        return b"\n".join(json.dumps(value).encode() for value in values)
    except RecursionError:  # it is written with more recursion than it is read
        return data


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
