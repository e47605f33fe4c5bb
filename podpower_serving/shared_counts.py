"""Numbers that the workers of one service count into shared memory, each into a slot of its own.

A count is one addition, without a lock between processes and without a file; a reader adds up all slots. A worker that
takes over the slot of one that died goes on with its numbers, so that counters never fall.
"""

import ctypes
import mmap
from collections.abc import Iterator
from typing import ClassVar, Final

import msgspec

Key = tuple[str, ...]

_VALUES: Final = 16_384  # numbers of a slot
_HEAD: Final = 32  # bytes of `Head`
_SLOT_BYTES: Final = 2 << 20  # memory that is not written to takes no space
_KEYS_AT: Final = _HEAD + 8 * _VALUES


class SharedCounts:
    """Memory of `slots` workers. Made before they are forked."""

    def __init__(self, slots: int) -> None:
        self._memory = memoryview(mmap.mmap(-1, slots * _SLOT_BYTES))
        self.slots = slots
        self.heads = [Head.from_buffer(self._of(number)) for number in range(slots)]

    def slot(self, number: int) -> "Slot":
        """Return the slot of a worker, with the numbers that are in it."""
        return Slot(self._of(number))

    def beats(self, number: int) -> int:
        """Return how often a worker has shown that its event loop runs."""
        return self.heads[number].beats

    def read(self) -> Iterator[tuple[Key, list[float]]]:
        """Yield the numbers of each key of each slot."""
        for number in range(self.slots):
            slot = self.slot(number)
            for key, (first, width) in slot.places.items():
                yield key, list(map(float, slot.values[first : first + width]))

    def _of(self, number: int) -> memoryview:
        return self._memory[number * _SLOT_BYTES : (number + 1) * _SLOT_BYTES]


class Head(ctypes.Structure):
    """Numbers that a worker shows to other processes at the beginning of its slot, where they are found without a key:
    bytes used by keys, how often its event loop was seen running, open connections, and accepted ones that are not open
    yet, as during a TLS handshake.
    """

    _fields_: ClassVar = [(name, ctypes.c_int64) for name in ("key_bytes", "beats", "connections", "opening")]
    key_bytes: int
    beats: int
    connections: int
    opening: int

    def beat(self) -> None:
        """Show that the worker's event loop runs."""
        self.beats += 1

    @property
    def load(self) -> int:
        """All accepted connections."""
        return self.connections + self.opening


class Slot:
    """Numbers of one worker. `values` is written by it alone; `places` maps a key to its first number and their count.

    Numbers of a key stay where they are.
    """

    def __init__(self, memory: memoryview) -> None:
        self.head = Head.from_buffer(memory)
        self.values = memory[_HEAD:_KEYS_AT].cast("d")
        self._keys = memory[_KEYS_AT:]
        self.places: dict[Key, tuple[int, int]] = {}
        self._next = 0
        for line in bytes(self._keys[: self.head.key_bytes]).splitlines():
            width, *key = msgspec.json.decode(line)
            self._add(tuple(key), width)

    def place(self, key: Key, width: int = 1) -> int | None:
        """Return where the numbers of a key begin, which are 0 if it is new; None where the slot is full."""
        found = self.places.get(key)
        if found is not None:
            return found[0]
        line = msgspec.json.encode([width, *key]) + b"\n"
        used = self.head.key_bytes
        if self._next + width > _VALUES or used + len(line) > len(self._keys):
            return None
        self._keys[used : used + len(line)] = line
        self._add(key, width)
        self.head.key_bytes = used + len(line)  # readers see the key from here on
        return self.places[key][0]

    def _add(self, key: Key, width: int) -> None:
        self.places[key] = (self._next, width)
        self._next += width
