"""Soak: hours of the platform's life in a fraction of the time, with an outage of each of its parts.

`podpower up` runs in a temporary home on a wall clock that runs faster (fast_clock.c; needs `cc` and Linux): the
collector, code server, daemon, webserver, API and every run. It has two clusters: `main`, a simulated one with Kepler,
and `edge`, an API server without a meter, whose objects a collector observes. One part after the other is killed,
simulation and collector stop for twenty minutes, and a stored table is damaged; nobody helps. A client predicts once a
second throughout. The verdict is a table; exit code 1: something did not recover, or a limit was passed. With --keep
the home stays for a look at what happened.

    python scripts/soak.py --hours 3 --speed 10 --seed 1

On a busy machine run it as root with `nice -n -10`. Linux gives sessions, of which the platform has several, equal
shares of the processors, so that the soak gives its own priority to the session of each of its processes.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import soak_verdict
from soak_verdict import EDGE, Client, Observed, Outage

from podpower.simulation import change_workload

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from tests.clusters.fake import FakeCluster  # noqa: E402  # needs the path
from tests.clusters.objects import deployment, write_kubeconfig  # noqa: E402

DAY_S: Final = 86_400.0
# Simulated time of the start: three hours from here contain midnight and the daily schedules.
FIRST_S: Final = 21.5 * 3600
HISTORY_HOURS, WORKLOADS = 3, 16
WARM_UP_S: Final = 900.0  # simulated, after the first model
START_REAL_S: Final = 600.0
PAUSE_S: Final = 1200.0  # simulated: how long simulation and collector stop
SAMPLE_S: Final = 300.0  # simulated, between two looks at memory and the served model
BOOKMARK_S: Final = 60.0  # simulated: an API server tells each watch so often how far it is
ROLLOUT_S: Final = 1800.0  # simulated, between two rollouts of a spec that was never seen

# Words of the command of each part.
PARTS: Final = {
    "simulation": ("podpower", "simulate"),
    "collector": ("collect", "watch"),
    "code-server": ("dagster", "api", "grpc"),
    "daemon": ("podpower_assets.daemon",),
    "webserver": ("dagster_webserver",),
    "api": ("podpower", "serve"),
    "run": ("--multiprocessing-fork",),
}


@dataclass(frozen=True)
class Clock:
    """The wall clock of the platform (Unix seconds), which runs `rate` times as fast as the real one."""

    start_s: float
    origin_s: float
    rate: float

    @classmethod
    def starting_now(cls, rate: float) -> "Clock":
        """Return a clock that starts at the next FIRST_S of a day: never behind the real one."""
        now_s = time.time()
        start_s = now_s // DAY_S * DAY_S + FIRST_S
        return cls(start_s if start_s > now_s else start_s + DAY_S, now_s, rate)

    def now_s(self) -> float:
        """Return the time on this clock."""
        return self.start_s + (time.time() - self.origin_s) * self.rate

    def environment(self, library: Path) -> dict[str, str]:
        """Return the variables that make a process, and those that it starts, read this clock."""
        numbers = {"START": self.start_s, "ORIGIN": self.origin_s, "RATE": self.rate}
        return {"LD_PRELOAD": str(library), **{f"FAST_CLOCK_{name}": f"{n:.6f}" for name, n in numbers.items()}}


@dataclass
class Platform:
    """`podpower up` in `home`, the simulation that it reads, and the API server that its collector observes."""

    home: Path
    clock: Clock
    api_url: str
    process: "subprocess.Popen[bytes]"
    edge: FakeCluster
    simulate: "Callable[[], subprocess.Popen[bytes]]"
    simulation: "subprocess.Popen[bytes]"

    def keep_simulation(self) -> None:
        """Start the simulation again where it was killed: it is the world, not a part of the platform."""
        if self.simulation.poll() is not None:
            self.simulation = self.simulate()

    def raise_priority(self) -> None:
        """Give the session of each process the priority of this one, where that is raised."""
        priority = os.nice(0)
        if priority >= 0:
            return
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process().children(recursive=True):
                with suppress(OSError):
                    Path(f"/proc/{process.pid}/autogroup").write_text(str(priority))

    def parts(self, name: str) -> list[psutil.Process]:
        """Return the living processes of a part; of runs there can be none or several."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    command = " ".join(process.cmdline())
                    if all(word in command for word in PARTS[name]) and process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return found

    def kill(self, name: str) -> bool:
        """Kill the processes of a part; return whether there was one."""
        found = self.parts(name)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        return bool(found)

    def model(self) -> dict[str, Any] | None:
        """Return the served model; None while there is none or the API does not answer."""
        with suppress(httpx.TransportError):
            response = httpx.get(f"{self.api_url}/model", timeout=10)
            return response.json() if response.status_code == 200 else None
        return None

    def memory_mib(self) -> dict[str, float]:
        """Return the resident memory of each part that runs all the time."""
        found: dict[str, float] = {}
        for name in PARTS:
            if name != "run":
                for process in self.parts(name):
                    with suppress(psutil.Error):
                        found[name] = max(found.get(name, 0.0), process.memory_info().rss / 2**20)
        return found


@contextmanager
def running(home: Path, clock: Clock, library: Path) -> Iterator[Platform]:
    """Run the platform; stop it at the end."""
    (home / "dagster").mkdir(parents=True)
    # Without its first line `up` leaves the settings alone. A run gets as much real time to start as it always has.
    lines = (ROOT / "dagster.yaml").read_text().splitlines(keepends=True)[1:]
    settings = "".join(lines).replace("start_timeout_seconds: 300", f"start_timeout_seconds: {300 * clock.rate:.0f}")
    (home / "dagster" / "dagster.yaml").write_text(settings)
    dagster_port, api_port = _free_port(), _free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PODPOWER_", "DAGSTER_"))}
    command = [sys.executable, "-m", "podpower", "up", "--home", str(home)]
    command += ["--dagster-port", str(dagster_port), "--api-port", str(api_port)]
    environment |= clock.environment(library) | {"PODPOWER_CLUSTERS": str(home / "clusters.yaml")}

    def start(name: str, *command: str) -> "subprocess.Popen[bytes]":
        with (home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # our own commands
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    sizes = ("--hours", str(HISTORY_HOURS), "--workloads", str(WORKLOADS))
    simulate = (sys.executable, "-m", "podpower", "simulate", "--out", str(home / "recording"), *sizes, "--follow")
    with FakeCluster() as edge:
        for number in range(WORKLOADS):
            edge.add(deployment(f"web-{number}", replicas=2, tier=str(number)))
        config = write_kubeconfig(home / "edge.kubeconfig", edge.url)
        (home / "clusters.yaml").write_text(
            f"clusters:\n- {{name: main, recording: {home}/recording}}\n- {{name: {EDGE}, kubeconfig: {config}}}\n"
        )
        simulation = start("simulation", *simulate)
        while simulation.poll() is None and not (home / "recording" / "recording.json").exists():
            time.sleep(0.5)
        process = start("up", *command)
        platform = Platform(
            home,
            clock,
            f"http://127.0.0.1:{api_port}",
            process,
            edge,
            lambda: start("simulation", *simulate),
            simulation,
        )
        try:
            yield platform
        finally:
            for one in (process, platform.simulation):
                one.send_signal(signal.SIGCONT)
                one.terminate()
                one.wait(timeout=60)


@dataclass
class Soak:
    """One soak: what is about to happen, and what was observed."""

    platform: Platform
    random: random.Random
    begin_s: float
    end_s: float
    seen: Observed = field(init=False)

    def __post_init__(self) -> None:
        self.seen = Observed(self.begin_s, self.end_s, self.platform.clock.rate)

    def live(self) -> None:
        """Let the platform live to the end, with its outages."""
        platform, clock = self.platform, self.platform.clock
        due = self._plan()
        sampled_s = changed_s = marked_s = 0.0
        client = threading.Thread(target=_predict, args=(platform, self.seen.client), daemon=True)
        client.start()
        while (now_s := clock.now_s()) < self.end_s:
            if platform.process.poll() is not None:
                raise SystemExit(f"error: `podpower up` ended: see {platform.home}/up.log")
            platform.keep_simulation()
            platform.raise_priority()
            if due and now_s >= due[0][0]:
                _at, name, act = due[0]
                if act():
                    self._note(name)
                    due.pop(0)
            if now_s - marked_s >= BOOKMARK_S:
                marked_s = now_s
                platform.edge.bookmark()
            if now_s - sampled_s >= SAMPLE_S:
                sampled_s = now_s
                self._sample(now_s)
            if now_s - changed_s >= ROLLOUT_S:
                changed_s = now_s
                self._roll_out(now_s)
            time.sleep(0.2)
        self._sample(clock.now_s())
        self.seen.end_s = clock.now_s()
        self.seen.missed += [name for _at, name, _act in due]
        self.seen.client.stop.set()
        client.join(timeout=30)

    def _plan(self) -> list[tuple[float, str, Callable[[], bool]]]:
        """Return what happens when, in time order; the rest of the soak is for recovery."""
        kill, parts = self.platform.kill, ["daemon", "code-server", "run", "webserver", "api"]
        self.random.shuffle(parts)
        acts: list[tuple[str, Callable[[], bool]]] = [(f"kill {part}", lambda part=part: kill(part)) for part in parts]  # type: ignore[misc]
        acts += [
            ("stop collector", self._stop_collector),
            ("stop simulation", lambda: self._stop("simulation")),
            ("damage a table", self._damage),
        ]
        step_s = (self.end_s - self.begin_s) * 0.75 / (len(acts) + 1)
        planned = [
            (self.begin_s + step_s * (number + self.random.uniform(0.8, 1.0)), *act) for number, act in enumerate(acts)
        ]
        begin_s, _name, _act = planned[parts.index("run")]  # at least one run must live
        for part in ("collector", "simulation"):
            stop_s = next(at for at, name, _ in planned if name == f"stop {part}")
            planned.append((max(stop_s + PAUSE_S, begin_s), f"kill {part}", lambda part=part: kill(part)))  # type: ignore[misc]
        return sorted(planned, key=lambda one: one[0])

    def _stop(self, part: str) -> bool:
        found = self.platform.parts(part)
        for process in found:
            process.send_signal(signal.SIGSTOP)
        return bool(found)

    def _stop_collector(self) -> bool:
        """Stop it, and roll something out that it does not see."""
        stopped = self._stop("collector")
        if stopped:
            self._roll_out_at_edge(f"nginx:8.{len(self.seen.rolled_out)}")
        return stopped

    def _damage(self) -> bool:
        """Change a byte in the middle of the training rows of an hour that is over; False while there are none."""
        folder = self.platform.home / "tables" / "training_rows"
        files = sorted(folder.glob("*.parquet"))[:-2]
        if not files:
            return False
        chosen = self.random.choice(files)
        data = bytearray(chosen.read_bytes())
        data[len(data) // 2] ^= 0xFF
        # In a file of its own: a reader has the whole file, damaged or not.
        damaged = chosen.with_suffix(".damaged")
        damaged.write_bytes(data)
        damaged.replace(chosen)
        return True

    def _roll_out(self, now_s: float) -> None:
        number = int((now_s - self.begin_s) // ROLLOUT_S)
        image = f"nginx:9.{number}"
        change_workload(
            self.platform.home / "recording", namespace="shop", kind="Deployment", name="frontend", image=image
        )
        self._roll_out_at_edge(image)

    def _roll_out_at_edge(self, image: str) -> None:
        self.platform.edge.update(deployment("web-0", replicas=2, tier="0", image=image))
        self.seen.rolled_out.append((self.platform.clock.now_s(), image))
        self._say(f"roll out {image}")

    def _sample(self, now_s: float) -> None:
        self.seen.memory_mib.append((now_s, self.platform.memory_mib()))
        self.seen.disk.append((now_s, soak_verdict.sizes(self.platform.home)))
        model = self.platform.model()
        if model is not None:
            trained_s = datetime.fromisoformat(model["trained_at"]).timestamp()
            self.seen.models.append((now_s, model["version"], trained_s))

    def _note(self, name: str) -> None:
        self.seen.outages.append(Outage(name, self.platform.clock.now_s()))
        self._say(name)

    def _say(self, line: str) -> None:
        now = datetime.fromtimestamp(self.platform.clock.now_s(), UTC)
        print(f"{now:%H:%M} {line}", file=sys.stderr, flush=True)


def _predict(platform: Platform, client: Client) -> None:
    """Predict one workload once a second, until `client` is stopped."""
    body = (ROOT / "examples" / "deployment.yaml").read_bytes()
    with httpx.Client(base_url=platform.api_url, timeout=10) as http:
        while not client.stop.wait(1.0):
            began_s, now_s = time.monotonic(), platform.clock.now_s()
            try:
                response = http.post(
                    "/predict/batch", content=body, headers={"Content-Type": "application/yaml"}
                ).raise_for_status()
                wrong = "" if response.json()["predictions"] else "no prediction"
            except httpx.HTTPError as error:
                wrong = str(error) or type(error).__name__
            client.answered(now_s, time.monotonic() - began_s, wrong)


def _built(folder: Path) -> Path:
    """Compile the fast clock."""
    compiler, library = shutil.which("cc"), folder / "fast_clock.so"
    if compiler is None or sys.platform != "linux":
        raise SystemExit("error: the fast clock needs Linux and a C compiler (Debian, Ubuntu: apt install gcc)")
    source = str(Path(__file__).with_name("fast_clock.c"))
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), source, "-ldl"], check=True)  # noqa: S603
    return library


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _first_model(platform: Platform) -> None:
    deadline = time.monotonic() + START_REAL_S
    while platform.model() is None:
        platform.raise_priority()
        if platform.process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"error: no first model: see {platform.home}/up.log and {platform.home}/logs")
        time.sleep(1.0)


def main() -> int:
    """Run the soak and print its verdict; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0, help="simulated hours (default %(default)s)")
    parser.add_argument("--speed", type=float, default=10.0, help="simulated seconds a second (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the order and times of outages (default %(default)s)")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="new folder for the home, which stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        home = (arguments.keep or Path(temporary) / "home").resolve()
        clock, library = Clock.starting_now(arguments.speed), _built(Path(temporary))
        with running(home, clock, library) as platform:
            print(f"waiting for the first model; logs in {home}", file=sys.stderr)
            _first_model(platform)
            begin_s = clock.now_s() + WARM_UP_S
            time.sleep(WARM_UP_S / clock.rate)
            soak = Soak(platform, random.Random(arguments.seed), begin_s, begin_s + arguments.hours * 3600)  # noqa: S311
            soak.live()
        return soak_verdict.show(home, soak.seen)


if __name__ == "__main__":
    sys.exit(main())
