"""Observation of a cluster, as its journal or recording shows it: how far it reaches, and its gaps."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from podpower.errors import Unavailable
from podpower.fleet.summary import Gap
from podpower.io.places import is_url
from podpower.settings import Settings
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.reader import JournalReader
from podpower.sources.recording import META, read_meta


@dataclass(frozen=True, kw_only=True)
class Observed:
    """`cluster` is the name in the journal, `reached_s` the time up to which it was observed."""

    cluster: str = ""
    reached_s: float | None = None
    gaps: tuple[Gap, ...] = ()


def observed(settings: Settings) -> Observed:
    """Return the observation of the cluster of `settings`. Unavailable when there is none yet.

    A machine that shares the home need not know Prometheus: a home at a URL has journals only, and a folder without a
    recording can have one.
    """
    places = settings.places
    live = settings.prometheus.url is not None
    if not live and places.given_recording is None:
        recording, journal = places.recording(live=False), places.recording(live=True)
        live = is_url(journal) or (not (Path(recording) / META).exists() and JournalFiles(journal).meta() is not None)
    return observed_at(places.recording(live=live))


def observed_at(place: str) -> Observed:
    """Return the observation in the journal or recording at `place`. Unavailable when there is none yet."""
    if JournalFiles(place).meta() is None and "://" not in place:
        if not (Path(place) / META).exists():
            raise Unavailable(
                f"no journal and no recording at {place} yet: see what its collector logs, `podpower collect watch "
                f"--journal {place}`"
            )
        meta = read_meta(Path(place))
        return Observed(cluster=meta.cluster, reached_s=meta.end_s)
    journal = JournalReader(place)
    reached_s = journal.reached_s()
    gaps = merged(
        Gap(start_s=gap.start_s, end_s=gap.end_s, reason=gap.reason)
        for gap in journal.gaps(start_s=journal.start_s, end_s=reached_s)
    )
    return Observed(cluster=journal.cluster, reached_s=reached_s, gaps=tuple(gaps))


def began_s(place: str) -> float | None:
    """Return when the journal or recording at `place` began, whatever of it was deleted since; None before it is there.
    PodpowerError where the place does not answer or is damaged.
    """
    journal = JournalFiles(place).meta()
    if journal is not None:
        return journal.start_s
    if "://" in place or not (Path(place) / META).exists():
        return None
    return read_meta(Path(place)).start_s


def merged(gaps: Iterable[Gap]) -> list[Gap]:
    """Return gaps, oldest first, of which those that overlap for one reason are one: each stream of a cluster has its
    own.
    """
    found: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: (gap.reason, gap.start_s, gap.end_s)):
        last = found[-1] if found else None
        if last and last.reason == gap.reason and gap.start_s <= last.end_s:
            found[-1] = Gap(start_s=last.start_s, end_s=max(gap.end_s, last.end_s), reason=gap.reason)
        else:
            found.append(gap)
    return sorted(found, key=lambda gap: (gap.start_s, gap.end_s))
