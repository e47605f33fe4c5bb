"""States of an asset's checks as a process remembers them, and as Dagster's database keeps them for the next one."""

from dataclasses import dataclass, field
from typing import NamedTuple

import dagster as dg
import msgspec
from dagster._core.asset_graph_view.serializable_entity_subset import SerializableEntitySubset
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus
from dagster._core.storage.asset_check_state import AssetCheckState
from dagster._serdes import deserialize_value, serialize_value
from dagster_shared.serdes.errors import DeserializationError

MOST_BYTES = 1 << 20  # of one asset: a year of hours that fail in turns has less


class Recent(NamedTuple):
    """A recent event of a partition: its materialization, or the last event of a check's execution."""

    event: int
    partition: str


@dataclass
class Memory:
    """States of the checks of an asset, the last event that they contain, when the whole history was read, the mark of
    the last time that it was wiped before ("": never), and the recent events that this process saw.
    """

    event: int
    at_s: float
    wiped: str = ""
    states: dict[dg.AssetCheckKey, AssetCheckState] = field(default_factory=dict)
    recent: frozenset[Recent] = frozenset()


class _State(msgspec.Struct):
    """Subsets of partitions as Dagster writes them, by status and by run in progress."""

    subsets: dict[str, str]
    runs: dict[str, str]


class _Stored(msgspec.Struct):
    event: int
    at_s: float
    states: dict[str, _State]  # by the name of the check
    wiped: str = ""


def place_of(asset: dg.AssetKey) -> str:
    """Return the key of an asset's memory in the database."""
    return f"podpower/check_states/{asset.to_user_string()}"


def mark_of(asset: dg.AssetKey) -> str:
    """Return the key of the mark that a process leaves when it wipes the history of an asset."""
    return f"podpower/check_states_wiped/{asset.to_user_string()}"


def text_of(memory: Memory) -> str:
    """Return a memory as text; "" where it is too large to be kept."""
    states = {key.name: _stored(state) for key, state in memory.states.items()}
    text = msgspec.json.encode(
        _Stored(event=memory.event, at_s=memory.at_s, states=states, wiped=memory.wiped)
    ).decode()
    return text if len(text) <= MOST_BYTES else ""


def memory_in(text: str | None, asset: dg.AssetKey) -> Memory | None:
    """Return the memory in a text; None where there is none, or one that another release wrote."""
    if not text:
        return None
    try:
        stored = msgspec.json.decode(text, type=_Stored)
        states = {dg.AssetCheckKey(asset, name): _read(state) for name, state in stored.states.items()}
    except (ValueError, DeserializationError):  # the states are computed from the history again
        return None
    return Memory(event=stored.event, at_s=stored.at_s, states=states, wiped=stored.wiped)


def _stored(state: AssetCheckState) -> _State:
    return _State(
        subsets={status.value: serialize_value(one) for status, one in state.subsets.items() if not one.is_empty},
        runs={run: serialize_value(one) for run, one in state.in_progress_runs.items()},
    )


def _read(stored: _State) -> AssetCheckState:
    return AssetCheckState(
        latest_storage_id=0,
        subsets={AssetCheckExecutionResolvedStatus(name): _subset(text) for name, text in stored.subsets.items()},
        in_progress_runs={run: _subset(text) for run, text in stored.runs.items()},
    )


def _subset(text: str) -> SerializableEntitySubset[dg.AssetCheckKey]:
    return deserialize_value(text, SerializableEntitySubset)
