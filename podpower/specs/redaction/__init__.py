"""Removal of credentials from everything that is kept: arguments, environment, labels, annotations, images.

A credential is found by its name (`names`: `DB_PASSWORD`, `--token`), by its form (`forms`: a JWT, a key of a cloud),
or as the value of a short option (`program_arguments`: `mysql -pSECRET`); `texts` applies the three.
docs/explanation/security.md lists the rules; changing one changes hashes (`podpower.datasets.hash_versions`).
"""

from podpower.specs.redaction.names import REDACTED, is_secret_name
from podpower.specs.redaction.texts import (
    KEPT_CHARS,
    MAX_CHARS,
    redact_command,
    redact_image,
    redact_mapping,
    redact_request,
    redact_text,
    redact_value,
    redact_words,
)

__all__ = [
    "KEPT_CHARS",
    "MAX_CHARS",
    "REDACTED",
    "is_secret_name",
    "redact_command",
    "redact_image",
    "redact_mapping",
    "redact_request",
    "redact_text",
    "redact_value",
    "redact_words",
]
