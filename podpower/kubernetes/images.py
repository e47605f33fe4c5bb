"""Image references."""

from functools import lru_cache

_MAX_CHARS = 1024  # twice what registries accept
_CACHED_CHARS = 256
_PARTS = 2  # of a repository that name the software; what stands before them is a project, or a mirror of another place


def image_key(image: str | None) -> str | None:
    """Return the repository of an image without registry, mirror, tag and digest; None without an image.

    >>> image_key("registry.k8s.io/etcd:3.5.16-0@sha256:5b")
    'etcd'
    >>> image_key("docker.io/library/redis"), image_key("harbor.example.org/proxy/quay.io/prometheus/prometheus:v3")
    ('redis', 'prometheus/prometheus')
    """
    if not image:
        return None
    return _key(image) if len(image) <= _CACHED_CHARS else _key.__wrapped__(image[:_MAX_CHARS])


@lru_cache(maxsize=1 << 14)
def _key(image: str) -> str | None:
    # As the reference grammar has it, by splitting: patterns would take quadratic time on a line of colons.
    folder, slash, name = image.strip().partition("@")[0].rpartition("/")
    parts = (folder + slash + name.partition(":")[0]).lower().split("/")
    # A registry, also one that a mirror has in its paths; "library" is Docker Hub's folder of its own images.
    places = [i for i, part in enumerate(parts[:-1]) if part in {"localhost", "library"} or "." in part or ":" in part]
    repository = parts[places[-1] + 1 :] if places else parts
    return "/".join(repository[-_PARTS:]) or None
