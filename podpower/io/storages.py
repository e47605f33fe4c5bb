"""The storage at an address: a folder, an object store, or a prediction service that hands its store out."""

import functools

from podpower.errors import Unavailable
from podpower.extras import how_to_install
from podpower.io.object_storage import ObjectStorage
from podpower.io.places import AnyPath
from podpower.setting_values import KeyedAddress


def is_handed_out(root: AnyPath) -> bool:
    """Return True for the address at which a service hands out its store."""
    return str(root).lower().startswith(("http://", "https://"))


def storage_at(root: AnyPath) -> ObjectStorage:
    """Return the storage at a folder, the URL of an object store, or the address of a service that hands one out.

    A KeyedAddress is read with its API key. Unavailable where the package for addresses is not installed.
    """
    key_file = root.key_file if isinstance(root, KeyedAddress) else None
    return _handed_out(str(root), key_file) if is_handed_out(root) else ObjectStorage(root)


@functools.lru_cache(maxsize=8)
def _handed_out(root: str, key_file: str | None) -> ObjectStorage:
    """Return one client for each address: it keeps connections, files and the wait after a failure."""
    try:
        from podpower.io.http_storage import HttpStorage  # noqa: PLC0415  # an extra, and slow to import
    except ImportError as error:
        raise Unavailable(f"{root} needs one more package: {how_to_install('serving')}") from error
    return HttpStorage(root, key_file=key_file)
