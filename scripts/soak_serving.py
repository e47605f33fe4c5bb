"""Soak of the prediction service: full load for an hour, while models are promoted, keys replaced and workers killed.

`make soak-serving`; SOAK="--minutes 10" shortens it. A request that a killed worker had begun is sent again, as every
client does that predicts; a request fails when it is answered by anything but 200, or not at all after three attempts.
The verdict: no failed request, and flat memory of the worker that lives all the time.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psutil

from podpower.cli.ports import free_port
from podpower.io.api_keys import line_of, new_key
from podpower.model.knn import KnnModel
from podpower.registry.artifacts import load_encoder, load_model
from podpower.registry.store import ModelStore

CONNECTIONS: Final = 16
WORKERS: Final = 2
ATTEMPTS: Final = 3
PROMOTE_S, REPLACE_KEYS_S, KILL_S, SAMPLE_S, BATCH_S = 20.0, 30.0, 60.0, 5.0, 10.0
START_S: Final = 600.0  # beside much other work
MOST_GROWTH: Final = 1.03  # of memory from the first to the last third of what follows the warm-up
MOST_GROWTH_MIB: Final = 4.0
BODIES: Final = 2000
# Answers until the worker that lives has seen all bodies, of which there are more than its caches hold.
WARM: Final = 2 * CONNECTIONS * BODIES
LEAST_SAMPLES: Final = 12


@dataclass
class Observed:
    """Counts of a soak, and samples of memory in MiB by process."""

    answered: int = 0
    rows: int = 0
    sent_again: int = 0
    failed: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    versions: set[str] = field(default_factory=set)
    promoted: int = 0
    killed: int = 0
    memory_mib: dict[int, list[float]] = field(default_factory=dict)
    files: list[int] = field(default_factory=list)
    cold: dict[int, int] = field(default_factory=dict)  # samples of each process before WARM answers

    def fail(self, why: str) -> None:
        """Note a failed request."""
        self.failed.append(why)


@dataclass
class Soak:
    """A running service under load."""

    process: subprocess.Popen[bytes]
    port: int
    store: ModelStore
    versions: list[str]
    keys: Path
    key: str
    end_s: float
    seen: Observed = field(default_factory=Observed)

    @property
    def goes_on(self) -> bool:
        """True until the end."""
        return time.monotonic() < self.end_s

    async def run(self) -> None:
        """Load the service, and disturb it."""
        await asyncio.gather(
            *(self._predict(number) for number in range(CONNECTIONS)),
            self._every(PROMOTE_S, self._promote),
            self._every(REPLACE_KEYS_S, self._replace_keys),
            self._every(KILL_S, self._kill),
            self._every(SAMPLE_S, self._sample),
            self._every(BATCH_S, self._batch),
        )

    async def _every(self, seconds: float, act: object) -> None:
        while self.goes_on:
            await asyncio.sleep(min(seconds, max(0.0, self.end_s - time.monotonic())))
            if self.goes_on:
                await asyncio.to_thread(act)  # type: ignore[arg-type]

    async def _predict(self, number: int) -> None:
        """Send requests one after another over one connection."""
        bodies = [_request(_body(number * BODIES + place), self.key) for place in range(BODIES)]
        connection: _Connection | None = None
        for request in itertools.cycle(bodies):
            if not self.goes_on:
                break
            began_s = time.monotonic()
            for attempt in range(ATTEMPTS):
                try:
                    if connection is None:
                        connection = await _Connection.opened(self.port)
                    status, stays = await asyncio.wait_for(connection.ask(request), timeout=30)
                except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                    connection = _closed(connection)
                    self.seen.sent_again += 1
                    if attempt == ATTEMPTS - 1:
                        self.seen.fail(repr(error))
                    continue
                self.seen.answered += 1
                if status != 200:
                    self.seen.fail(f"status {status}")
                if not stays:
                    connection = _closed(connection)
                break
            self.seen.slowest_s = max(self.seen.slowest_s, time.monotonic() - began_s)
        _closed(connection)

    def _promote(self) -> None:
        self.seen.promoted += 1
        self.store.promote(self.versions[self.seen.promoted % len(self.versions)])

    def _replace_keys(self) -> None:
        other = line_of(f"other-{random.getrandbits(32)}", new_key())
        new = self.keys.with_suffix(".new")
        new.write_text(f"{line_of('soak', self.key)}\n{other}\n")
        new.replace(self.keys)

    def _kill(self) -> None:
        """Kill the youngest worker: the oldest one lives from beginning to end."""
        workers = self._workers()
        if len(workers) == WORKERS:
            workers[-1].send_signal(signal.SIGKILL)
            self.seen.killed += 1

    def _workers(self) -> list[psutil.Process]:
        return sorted(psutil.Process(self.process.pid).children(), key=lambda child: (child.create_time(), child.pid))

    def _sample(self) -> None:
        for process in [psutil.Process(self.process.pid), *self._workers()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                samples = self.seen.memory_mib.setdefault(process.pid, [])
                samples.append(process.memory_info().rss / 2**20)
                if self.seen.answered < WARM:
                    self.seen.cold[process.pid] = len(samples)
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen.files.append(self._workers()[0].num_fds())

    def _batch(self) -> None:
        """Predict a batch as NDJSON, and read the metrics and the model."""
        rows = "\n".join(_body(number) for number in range(1000))
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60) as client:
                client.headers["Authorization"] = f"Bearer {self.key}"
                lines = {"Accept": "application/x-ndjson", "Content-Type": "application/x-ndjson"}
                answer = client.post("/predict/batch", content=rows, headers=lines).raise_for_status()
                self.seen.rows += json.loads(answer.text.splitlines()[-1])["total"]["workloads"]
                client.get("/metrics").raise_for_status()
                self.seen.versions.add(client.get("/model").raise_for_status().json()["version"])
        except httpx.TransportError:  # its worker was killed
            self.seen.sent_again += 1
        except (httpx.HTTPStatusError, KeyError, ValueError) as error:
            self.seen.fail(f"batch: {error!r}")


class _Connection:
    """A connection over which requests are sent one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    @classmethod
    async def opened(cls, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> tuple[int, bool]:
        """Return the status of the answer, and whether the connection stays open."""
        self.writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        await self._reader.readexactly(length)
        return int(head[9:12]), b"connection: close" not in head


def _closed(connection: _Connection | None) -> None:
    if connection is not None:
        connection.writer.close()


def _request(body: str, key: str) -> bytes:
    head = (
        f"POST /predict HTTP/1.1\r\nHost: soak\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def _body(number: int) -> str:
    image = f"acme/{('search', 'cart', 'mail', 'web')[number % 4]}-{number % 997}:1.{number}"
    return json.dumps(
        {
            "namespace": f"team-{number % 40}",
            "workload_kind": ("Deployment", "StatefulSet", "Job")[number % 3],
            "workload_name": f"workload-{number}",
            "replicas": 1 + number % 7,
            "containers": [{"name": "main", "image": image, "req_cpu_mcpu": 50 + number % 1977}],
        }
    )


@contextlib.contextmanager
def _service(folder: Path, store: ModelStore, keys: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    environment = os.environ | {
        "PODPOWER_MODEL_STORE": str(store.root),
        "PODPOWER_API_KEYS_FILE": str(keys),
        "PODPOWER_RELOAD_SECONDS": "1",
    }
    command = [sys.executable, "-m", "podpower", "serve", "--port", str(port), "--workers", str(WORKERS)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, env=environment, stderr=log) as process:  # noqa: S603
        try:
            _wait(port, process)
            yield process, port
        finally:
            process.terminate()
            process.wait(timeout=60)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code == 200:
                time.sleep(10)  # the other worker
                return
        time.sleep(0.2)
    raise SystemExit("error: the service did not start")


def _versions(store: ModelStore, encoder: Path, model: Path) -> list[str]:
    """Add the model twice, as two versions."""
    loaded = load_model(model)
    state = loaded.state()
    other = KnnModel.from_state(state | {"notes": [*state["notes"], "the second version of a soak"]})
    return [store.add(load_encoder(encoder), one) for one in (loaded, other)]


def _trained(folder: Path) -> tuple[Path, Path]:
    """Train a model on a simulated cluster."""
    at = {name: str(folder / name) for name in ("rec", "in", "encoder", "features", "labels", "rows", "model")}
    steps = [
        ["simulate", "--out", at["rec"], "--hours", "2"],
        ["label", "--recording", at["rec"], "--out", at["labels"]],
        ["encode", "fit", "--input", at["in"], "--out", at["encoder"]],
        ["encode", "transform", "--input", at["in"], "--encoder", at["encoder"], "--out", at["features"]],
        ["join", "--features", at["features"], "--labels", at["labels"], "--out", at["rows"]],
        ["train", "--train", at["rows"], "--out", at["model"], "--json"],
    ]
    for step in steps:
        if step[:2] == ["encode", "fit"]:
            done = _podpower("collect", "from-file", at["rec"])
            Path(at["in"]).write_bytes(done)
        _podpower(*step)
    return Path(at["encoder"]), Path(at["model"])


def _podpower(*words: str) -> bytes:
    command = [sys.executable, "-m", "podpower", *words]
    return subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603


def _verdict(seen: Observed, *, oldest: int, parent: int, minutes: float) -> bool:
    """Print what was observed; return True if nothing is wrong."""
    print(f"{minutes:.0f} minutes, {seen.answered:,} predictions and {seen.rows:,} rows of batches answered")
    print(f"{seen.promoted} promotions (versions answered: {len(seen.versions)}), {seen.killed} killed workers")
    print(f"slowest request: {seen.slowest_s * 1000:,.0f} ms; sent again after a kill: {seen.sent_again}")
    print(f"failed requests: {len(seen.failed)} {sorted(set(seen.failed))[:5]}")
    good = not seen.failed and seen.sent_again <= (CONNECTIONS + 1) * seen.killed
    for name, pid in (("the worker that was never killed", oldest), ("the process that starts workers", parent)):
        samples = seen.memory_mib.get(pid, [])
        cold = seen.cold.get(pid, 0)
        warm = samples[cold:]
        if len(warm) < LEAST_SAMPLES:
            print(f"memory of {name}: unknown, its caches filled too late ({WARM:,} answers); give it more minutes")
            good = False
            continue
        if cold:
            print(f"memory of {name} while its caches filled: {samples[0]:.1f} to {warm[0]:.1f} MiB")
        parts = [warm[len(warm) * n // 6 : len(warm) * (n + 1) // 6] for n in range(6)]
        print(f"memory of {name}, medians of sixths: {', '.join(f'{statistics.median(p):.1f}' for p in parts)} MiB")
        third = len(warm) // 3
        before, after = statistics.median(warm[:third]), statistics.median(warm[-third:])
        flat = after <= max(before * MOST_GROWTH, before + MOST_GROWTH_MIB)
        good = good and flat
        print(f"memory of {name}: {before:.1f} to {after:.1f} MiB {'(flat)' if flat else '(GROWS)'}")
    print(f"open files of it: {min(seen.files)} to {max(seen.files)}")
    print("soak passed" if good else "soak FAILED")
    return good


def main() -> int:
    """Run the soak; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes of load (default %(default)s)")
    parser.add_argument(
        "--artifacts", nargs=2, type=Path, metavar=("ENCODER", "MODEL"), help="serve these; by default, trained ones"
    )
    arguments = parser.parse_args()
    minutes = arguments.minutes
    with tempfile.TemporaryDirectory(prefix="soak-serving-") as temporary:
        folder = Path(temporary)
        if arguments.artifacts is None:
            print("training a model on a simulated cluster", file=sys.stderr)
        encoder, model = arguments.artifacts or _trained(folder)
        store = ModelStore(folder / "models")
        versions = _versions(store, encoder, model)
        store.promote(versions[0])
        key, keys = new_key(), folder / "keys"
        keys.write_text(line_of("soak", key))
        with _service(folder, store, keys) as (process, port):
            soak = Soak(process, port, store, versions, keys, key, time.monotonic() + minutes * 60)
            oldest = soak._workers()[0].pid
            print(f"{minutes:g} minutes of load", file=sys.stderr)
            asyncio.run(soak.run())
        if process.returncode != 0:
            soak.seen.fail(f"the service ended with exit code {process.returncode}")
        return 0 if _verdict(soak.seen, oldest=oldest, parent=process.pid, minutes=minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
