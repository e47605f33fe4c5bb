"""Image references."""

import re
from functools import lru_cache

# As the reference grammar has it: the first part is a registry when it has a dot, a port, or is "localhost".
_REGISTRY = re.compile(r"^(?:[^/]*[.:][^/]*|localhost)/")
_TAG = re.compile(r":[^/]*$")


@lru_cache(maxsize=1 << 14)
def image_key(image: str | None) -> str | None:
    """The repository of an image without registry, tag and digest; None without an image.

    >>> image_key("registry.k8s.io/etcd:3.5.16-0@sha256:5b")
    'etcd'
    >>> image_key("docker.io/library/redis")
    'redis'
    """
    if not image:
        return None
    key = _REGISTRY.sub("", _TAG.sub("", image.strip().partition("@")[0])).removeprefix("library/").lower()
    return key or None
