"""The daemon of the platform pod with two seconds between its ticks in place of thirty, for tests."""

import runpy

from dagster._daemon import controller

controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2  # type: ignore[misc]

if __name__ == "__main__":
    runpy.run_module("podpower_assets.daemon", run_name="__main__")
