"""Migration of journals of earlier versions, which were recordings with a checkpoint."""

import shutil
from pathlib import Path

import msgspec

from podpower.collector.checkpoint import CheckpointFile
from podpower.errors import InvalidInput
from podpower.hours import hour_start_s
from podpower.io.retries import Note
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import (
    META,
    Header,
    JournalMeta,
    encode_part,
    event_line,
    events_name,
    flush_name,
    sealed,
    snapshot_name,
)
from podpower.sources.recording import JOURNAL, OBJECTS, SAMPLES, SNAPSHOTS, Recording
from podpower.sources.recording import META as RECORDING_META
from podpower.sources.replay import Alive, apply

_STATE, _OLDER_STATE = "journal.state", "versions.json"


def migrate(files: JournalFiles, *, note: Note) -> None:
    """Turn a journal of an earlier version in this folder into one of this version. InvalidInput where the folder is a
    simulation or has samples.
    """
    root = files.folder
    if root is None or not (root / RECORDING_META).exists():
        return
    if files.meta() is None:
        recording = Recording(root)
        if recording.meta.seed is not None:
            raise InvalidInput(f"{root} is a simulation: name another folder for the journal of a live cluster")
        if (root / SAMPLES).exists():
            raise InvalidInput(
                f"{root} is a recording: name another folder for the journal; `podpower record` continues it"
            )
        hours = migrate_objects(recording, files)
        note(f"{root}: migrated {hours} hours of an earlier version")
    for name in (RECORDING_META, _STATE, _OLDER_STATE):
        (root / name).unlink(missing_ok=True)
    remove_objects(root)


def migrate_recording(root: Path, *, note: Note) -> None:
    """Turn the objects of a recording that `podpower record` of an earlier version wrote into a journal within it.
    InvalidInput where it is a simulation.
    """
    recording, files = Recording(root), JournalFiles(root / JOURNAL)
    if recording.meta.seed is not None:
        raise InvalidInput(f"{root} is a simulation: name another folder for the recording of a live cluster")
    if files.meta() is None:
        hours = migrate_objects(recording, files)
        note(f"{root}: migrated {hours} hours of an earlier version")
    remove_objects(root)


def migrate_objects(recording: Recording, files: JournalFiles) -> int:
    """Write the objects of a recording as a journal; return the number of hours. journal.json comes last: without it a
    killed migration begins again.
    """
    clear(files)
    root, meta = recording.root, recording.meta
    snapshots = {path.stem for path in (root / SNAPSHOTS).glob("*.ndjson")}
    hours = sorted(snapshots | {path.stem for path in (root / OBJECTS).glob("*.ndjson")})
    alive: Alive = {}
    for number, hour in enumerate(hours, start=1):
        end_s = hour_start_s(hours[number]) if number < len(hours) else meta.end_s
        if hour in snapshots:
            alive = {line.uid: line for line in recording.lines(SNAPSHOTS, hour)}
        lines = [event_line(line.ts, "ADDED", line.object) for line in alive.values()]
        before = Header(kind="snapshot", hour=hour, sequence=number - 1, reached_s=hour_start_s(hour))
        files.create(snapshot_name(hour), encode_part(before, lines))
        events = list(recording.lines(OBJECTS, hour))
        apply(alive, events)
        lines = [event_line(line.ts, line.type, line.object) for line in events]
        if number < len(hours):
            header = Header(
                kind="events", hour=hour, sequence=number, reached_s=end_s, parts=[(number, len(lines))],
                damaged=recording.damaged[:100],
            )  # fmt: skip
            files.create(events_name(hour), encode_part(header, lines))
        else:
            newest = Header(kind="flush", hour=hour, sequence=number, reached_s=end_s, versions=_versions(root))
            files.create(flush_name(number), encode_part(newest, lines))
        recording.damaged.clear()
    journal = JournalMeta(journal_id=meta.recording_id, cluster=meta.cluster, start_s=meta.start_s)
    files.create(META, sealed(journal))
    return len(hours)


def remove_objects(root: Path) -> None:
    """Remove the objects of a recording, which its journal has."""
    for folder in (OBJECTS, SNAPSHOTS):
        shutil.rmtree(root / folder, ignore_errors=True)


def clear(files: JournalFiles) -> None:
    """Remove what a beginning or a migration that was killed left: without journal.json there is no journal."""
    files.remove_flushes(files.flushes())
    for hour in files.hours():
        files.remove_hour(hour)


def _versions(root: Path) -> dict[str, str]:
    """Return where the streams resume, by the checkpoint of an earlier version."""
    state, older = root / _STATE, root / _OLDER_STATE
    if state.exists():
        return dict(CheckpointFile(state).last.versions)
    try:
        versions = msgspec.json.decode(older.read_bytes(), type=dict[str, str]) if older.exists() else {}
    except ValueError:
        return {}  # list again
    versions.pop("hour", None)
    return versions
