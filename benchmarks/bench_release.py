"""Memory and CPU of the chart's default profile while nothing happens: `bench_release.py [--seconds N]`.

Every container is a process of this machine with the chart's own settings; PostgreSQL counts, a Prometheus and a fake
API server beside it do not. Memory is the proportional share (PSS) of all processes, the most of a sample every ten
seconds. CPU is what they, their ended children and probes used. Needs root. Exits with 1 where the profile takes more
than 1.5 GiB or 0.2 cores.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # the runner of the tests
from benchmarks.scale.verdict import Row, show
from tests.runner import Runner
from tests.runner.releases import PROMETHEUS, release

GOAL_MIB, GOAL_CORES = 1536.0, 0.2
SAMPLE_SECONDS = 10.0
MIB = 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=240, help="how long to measure (default %(default)s)")
    parser.add_argument("--settle", type=int, default=60, help="seconds to wait after the first model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, release(Path(folder), {"cluster": PROMETHEUS}) as installed:
        runner = installed.runner
        note("the pods have started")
        runner.until_ready(seconds=3600)
        note("the first model is served")
        time.sleep(arguments.settle)
        start_s, used_s = time.monotonic(), cpu_seconds(runner)
        most: Counter[str] = Counter()
        while (left_s := start_s + arguments.seconds - time.monotonic()) > 0:
            most = max(most, memory_mib(runner), key=lambda sample: sample.total())
            time.sleep(min(SAMPLE_SECONDS, left_s))
        seconds = time.monotonic() - start_s
        cores = {name: (used - used_s.get(name, 0.0)) / seconds for name, used in cpu_seconds(runner).items()}
    for name, used in sorted(cores.items(), key=lambda item: -item[1]):
        print(f"  {name:<28} {most.get(name, 0.0):6.0f} MiB {used:6.3f} cores")
    total, used = most.total(), sum(cores.values())
    return show([
        Row("memory of all processes", f"{total:.0f} MiB", f"{GOAL_MIB:.0f} MiB", total <= GOAL_MIB),
        Row("CPU", f"{used:.3f} cores", f"{GOAL_CORES} cores", used <= GOAL_CORES),
    ])  # fmt: skip


def memory_mib(runner: Runner) -> Counter[str]:
    """PSS by container."""
    found: Counter[str] = Counter()
    for name, process in processes(runner):
        with suppress(psutil.Error):
            found[name] += process.memory_full_info().pss / MIB
    return found


def cpu_seconds(runner: Runner) -> dict[str, float]:
    """CPU by container, of its processes and their ended children; and that of what the runner started and waited for:
    probes that are commands.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = Counter({"probes": ended.ru_utime + ended.ru_stime})
    for name, process in processes(runner):
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[name] += times.user + times.system + times.children_user + times.children_system
    return dict(found)


def processes(runner: Runner) -> Iterator[tuple[str, psutil.Process]]:
    """Yield every process with the name of its container."""
    for pod in runner.pods():
        for container in pod.containers:
            for process in container.processes():
                yield f"{pod.name.split('-')[1]}/{container.name}", process


def note(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
