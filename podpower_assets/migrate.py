"""Prepare Dagster's history for this version: `python -m` waits for the database and migrates its tables.

It runs before everything else that uses the history; a history of this version is left as it is.
"""

import sys
import time

import dagster as dg
import sqlalchemy.exc
from dagster_postgres.utils import DagsterPostgresException

WAIT_SECONDS = 120.0
_POLL_SECONDS = 1.0


def migrate(*, wait_s: float) -> None:
    """Migrate the history as soon as its database answers. DagsterPostgresException or sqlalchemy's OperationalError
    where it does not in time.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            with dg.DagsterInstance.get() as instance:
                instance.upgrade(print_fn=lambda message: sys.stderr.write(f"{message}\n"))
                return
        except (DagsterPostgresException, sqlalchemy.exc.OperationalError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def main() -> None:
    """Migrate, or exit with one line."""
    try:
        migrate(wait_s=WAIT_SECONDS)
    except (DagsterPostgresException, sqlalchemy.exc.OperationalError):
        sys.exit(f"error: the database of PODPOWER_POSTGRES_URL does not answer within {WAIT_SECONDS:g} s")


if __name__ == "__main__":
    main()
