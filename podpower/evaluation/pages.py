"""Pages of evaluation reports: HTML that begins with a mark and ends with the digest of its bytes.

Those of days are kept beside the models, where the prediction service finds them.
"""

import hashlib
import re
from typing import Final

from upath import UPath

from podpower.errors import InvalidInput, Refused
from podpower.io.files import read_bounded
from podpower.io.places import AnyPath, place

MAX_BYTES: Final = 64 << 20
MARK: Final = "<!-- podpower-report 2 -->"
FOLDER: Final = "evaluations"  # in the model store
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DIGEST = re.compile(rb"<!-- sha256 (?P<digest>[0-9a-f]{64}) -->\n\Z")
_DIGEST_BYTES = len(b"<!-- sha256  -->\n") + 64
_AGAIN = "make it again with `podpower evaluate --html`, or materialize model_evaluation of its day"


def sealed_page(html: str) -> bytes:
    """Return the page, which contains MARK, with its digest."""
    body = html.encode()
    return body + f"<!-- sha256 {hashlib.sha256(body).hexdigest()} -->\n".encode()


def page_of_day(store: AnyPath, day: str) -> UPath:
    """Return the path of the page of a day. InvalidInput for what is no day."""
    if not _DAY.fullmatch(day):
        raise InvalidInput(f"{day[:40]!r} is no day: write it as 2026-01-31")
    return place(store) / FOLDER / f"{day}.html"


def read_page(path: AnyPath) -> bytes:
    """Return the page at `path`. InvalidInput when there is none, Refused when its bytes are not those that were
    written. A page of an earlier version has neither mark nor digest, and is returned as it is.
    """
    data = read_bounded(path, limit_bytes=MAX_BYTES)
    found = _DIGEST.search(data, max(0, len(data) - _DIGEST_BYTES))
    if found is None and MARK.encode() in data[:100]:
        raise Refused(f"{path} is damaged (its end is missing or was changed): {_AGAIN}")
    if found is not None and hashlib.sha256(data[: found.start()]).hexdigest() != found["digest"].decode():
        raise Refused(f"{path} is damaged (SHA-256 differs): {_AGAIN}")
    return data
