"""Packages that only some uses need: the extra that installs each, and how to install an extra.

Packages are named as they are imported. The extras themselves, with versions, are in pyproject.toml.
"""

from typing import Final

# Of whole commands. Where several extras have a package, the first one here names it.
OF_COMMANDS: Final = {
    "pipeline": ("polars", "pyarrow", "scipy", "matplotlib", "faiss"),
    "serving": ("litestar", "uvicorn", "swagger_ui", "jinja2"),
    "k8s": ("kubernetes", "prometheus_client", "httpx", "stamina", "cryptography"),
    "assets": ("dagster", "dagster_webserver", "psutil"),
}
# Of a setting or an option.
OF_CHOICES: Final = {
    "postgres": ("dagster_postgres", "sqlalchemy", "psycopg2"),
    "pods": ("dagster_k8s",),
    "pandas": ("pandas",),
    "sbert": ("sentence_transformers",),
    "s3": ("s3fs",),
    "gs": ("gcsfs",),
    "az": ("adlfs",),
}


def extra_of(package: str) -> str | None:
    """Return the extra that installs a package; None for a package of none."""
    for extra, packages in (OF_COMMANDS | OF_CHOICES).items():
        if package in packages:
            return extra
    return None


def how_to_install(extras: str) -> str:
    """Return the command that installs extras, separated by commas. podpower is on no package index yet."""
    return f"pip install '.[{extras}]' in a clone of podpower"
