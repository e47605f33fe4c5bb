"""Versions of `spec_hash`, kept beside the hashes in every table and model.

A version is that of the rules that the hashed texts are redacted by (podpower.specs.redaction). Equal hashes of two
versions are of equal specs, so older hashes stay comparable; only a spec whose redacted text changed has two.
"""

from typing import Final

HASH_VERSION: Final = 3
FIRST_VERSION: Final = 1  # of what was written before versions were kept
VERSION_COLUMN: Final = "spec_hash_version"


def older_hashes(count: int, total: int, *, command: str) -> str:
    """Return a message about spec hashes of an older version."""
    return (
        f"{count} of {total} spec hashes are of a version before {HASH_VERSION}: specs whose redacted text differs "
        f"since are not recognized as the same; make them again with `{command}`"
    )
