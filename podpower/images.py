"""Image references."""

from functools import lru_cache


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
    # As the reference grammar has it, by splitting: patterns would take quadratic time on a line of colons.
    folder, slash, name = image.strip().partition("@")[0].rpartition("/")
    key = folder + slash + name.partition(":")[0]
    first, slash, rest = key.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        key = rest
    return key.removeprefix("library/").lower() or None
