"""Upper bounds of what one object can have, the same for manifests, requests, the command line and OpenAPI.

They are far above what Kubernetes runs: a larger number is a mistake, and nothing is predicted from it.
"""

from typing import Final

from podpower.errors import InvalidInput

MAX_CPU_MCPU: Final = 1_000_000_000  # a million cores
MAX_MEMORY_MIB: Final = 1_000_000_000  # almost a pebibyte
MAX_DEVICES: Final = 1_000_000
MAX_COUNT: Final = 1_000_000_000  # replicas, parallelism, completions
MAX_NODES: Final = 9_999_999

MAX_CONTAINERS: Final = 256
MAX_WORDS: Final = 4096  # of a command, of its arguments, of environment variables, of volumes
MAX_LABELS: Final = 4096  # and annotations
MAX_TEXTS: Final = 16_384  # of one object
MAX_CHARACTERS: Final = 3 << 19  # of one object: 1.5 MiB, as etcd stores at most


class TextBudget:
    """Counts the texts of one object. InvalidInput when it has more than an object of Kubernetes can have."""

    def __init__(self) -> None:
        self._texts = 0
        self._characters = 0

    def add(self, *texts: str | None) -> None:
        """Count texts."""
        self._texts += len(texts)
        self._characters += sum(len(text) for text in texts if text)
        if self._texts > MAX_TEXTS:
            raise InvalidInput(f"more than {MAX_TEXTS} words, variables, labels and annotations in one object")
        if self._characters > MAX_CHARACTERS:
            raise InvalidInput(f"more than {MAX_CHARACTERS} characters in one object, which Kubernetes does not store")
