"""Labels from a real Prometheus: the whole command beside curl downloading the bytes that it downloads, and memory.

The same download by httpx, which the command uses, in a Python process of its own is printed as well.

Needs prometheus, promtool and curl. `--pods` and `--hours` set the size; by default 1,000 pods, 6 h, a sample of both
modes every 30 s. Exits with 1 where the command takes more than twice the time of the download.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.http import Http
from podpower.sources.prometheus.source import Prometheus

sys.path.insert(0, str(Path(__file__).parents[1]))  # the real Prometheus of the tests
from tests.clusters.prometheus import backfill, serving

START_S = 1767225600.0
SCRAPE_S = 30.0
GOAL_RATIO = 2.0
DOWNLOAD = """
import json, sys
import httpx
url, questions, out = sys.argv[1:]
with httpx.Client(headers={"Accept-Encoding": "identity"}, timeout=300) as client, open(out, "wb") as file:
    for question in json.load(open(questions)):
        with client.stream("POST", f"{url}/api/v1/query", data=question) as answer:
            for chunk in answer.iter_bytes():
                file.write(chunk)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--hours", type=int, default=6)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    missing = [name for name in ("prometheus", "promtool", "curl") if shutil.which(name) is None]
    if missing:
        print(json.dumps({"skipped": f"no {', '.join(missing)}"}))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "tsdb"
        write_counters(data.with_suffix(".om"), pods=arguments.pods, hours=arguments.hours)
        backfill(data.with_suffix(".om"), data)
        data.with_suffix(".om").unlink()
        with serving(data) as url:
            found = measured(url, Path(folder), hours=arguments.hours, runs=arguments.runs)
    print(json.dumps(found))
    print(f"ratio to a download: {found['ratio']} (goal: {GOAL_RATIO:g})")
    return 0 if float(str(found["ratio"])) <= GOAL_RATIO else 1


def write_counters(
    path: Path, *, pods: int, hours: int, scrape_s: float = SCRAPE_S, modes: Sequence[str] = ("dynamic", "idle")
) -> None:
    """OpenMetrics text of one counter a pod and mode, and of the pods' owners."""
    ts = START_S + np.arange(0, hours * 3600 + 1, scrape_s)
    rng = np.random.default_rng(1)
    with path.open("wb") as out:
        for mode in modes:
            for pod in range(pods):
                joules = np.cumsum(rng.lognormal(4, 0.3, len(ts))).round(3)
                labels = (
                    f'container_id="{pod:064x}",container_name="app",container_namespace="team-{pod % 20}",'
                    f'instance="10.0.0.{pod % 50}:9102",mode="{mode}",namespace="kepler",pod="kepler-{pod % 50}",'
                    f'pod_name="app-{pod % 200}-7d9c5b6f48-{pod:05d}"'
                )
                write_series(out, f"kepler_container_joules_total{{{labels}}}", ts, joules)
        for pod in range(pods):
            labels = f'namespace="team-{pod % 20}",pod="app-{pod % 200}-7d9c5b6f48-{pod:05d}",uid="{pod:032x}"'
            owner = f'owner_kind="ReplicaSet",owner_name="app-{pod % 200}-7d9c5b6f48",owner_is_controller="true"'
            write_series(out, f"kube_pod_owner{{{labels},{owner}}}", ts[::2], np.ones(len(ts[::2])))
        for namespace in range(20):
            for app in range(200):
                labels = f'namespace="team-{namespace}",replicaset="app-{app}-7d9c5b6f48",owner_is_controller="true"'
                owner = f'owner_kind="Deployment",owner_name="app-{app}"'
                write_series(out, f"kube_replicaset_owner{{{labels},{owner}}}", ts[::10], np.ones(len(ts[::10])))
        out.write(b"# EOF\n")


def write_series(out, series: str, ts: np.ndarray, values: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    table = pl.DataFrame({"series": series, "value": values, "ts": ts})
    table.write_csv(out, include_header=False, separator=" ", quote_style="never")


def measured(url: str, folder: Path, *, hours: int, runs: int) -> dict[str, object]:
    end_s = START_S + hours * 3600
    out = folder / "labels.parquet"
    command = [
        sys.executable, "-m", "podpower", "label", "--prom", url, "--start", f"{START_S:.0f}", "--end", f"{end_s:.0f}",
        "--energy", "total", "--owner-source", "prom", "--out", str(out),
    ]  # fmt: skip
    questions = list(asked(url, end_s=end_s))
    curl = ["curl", "--silent", "--show-error", "--output", str(folder / "bytes")]
    for number, question in enumerate(questions):
        curl += ["--next", "--silent", "--output", str(folder / "bytes")] if number else []
        curl += [part for name, value in question.items() for part in ("--data-urlencode", f"{name}={value}")]
        curl.append(f"{url}/api/v1/query")
    (folder / "questions.json").write_text(json.dumps(questions))
    client = [sys.executable, "-c", DOWNLOAD, url, str(folder / "questions.json"), str(folder / "bytes")]
    timed(command)  # which compiles what is not compiled
    ours, theirs, by_client, peaks, cpu_s = [], [], [], [], []
    for _ in range(runs):
        theirs.append(timed(curl)[0])
        by_client.append(timed(client)[0])
        seconds, peak, cpu = timed(command)
        ours.append(seconds)
        peaks.append(peak)
        cpu_s.append(cpu)
    table = pl.read_parquet(out)
    return {
        "pods": table.select("namespace", "pod").n_unique(),
        "steps": len(table),
        "label_s": round(statistics.median(ours), 2),
        "label_cpu_s": round(statistics.median(cpu_s), 2),
        "curl_s": round(statistics.median(theirs), 2),
        "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2),
        "httpx_s": round(statistics.median(by_client), 2),
        "ratio_to_httpx": round(statistics.median(a / b for a, b in zip(ours, by_client, strict=True)), 2),
        "peak_mib": round(max(peaks)),
    }


def asked(url: str, *, end_s: float) -> Iterator[dict[str, str]]:
    """The questions whose answers have samples, as the command asks them."""
    questions: list[dict[str, str]] = []
    request = Http.request

    def listening(self, path, parameters, take):  # type: ignore[no-untyped-def]
        if path.endswith("/query"):
            questions.append(dict(parameters))
        return request(self, path, parameters, take)

    Http.request = listening  # type: ignore[method-assign]
    try:
        from podpower.labels import LabelRequest, WindowExport  # noqa: PLC0415

        with Prometheus(Endpoint(url=url)) as prometheus:
            wanted = LabelRequest(start_s=START_S, end_s=end_s, energy="total", owner_source="prom")
            for _ in WindowExport(prometheus, None, wanted).pieces():
                pass
    finally:
        Http.request = request  # type: ignore[method-assign]
    yield from questions


def timed(command: list[str]) -> tuple[float, float, float]:
    """Seconds of a process, its peak memory in MiB, and its seconds of CPU."""
    with tempfile.NamedTemporaryFile() as told:
        began = time.perf_counter()
        code = (
            "import resource, subprocess, sys; c = subprocess.run(sys.argv[2:], stderr=subprocess.DEVNULL).returncode;"
            "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
            "open(sys.argv[1], 'w').write(f'{u.ru_maxrss} {u.ru_utime + u.ru_stime}'); sys.exit(c)"
        )
        subprocess.run([sys.executable, "-S", "-c", code, told.name, *command], check=True)
        peak, cpu_s = map(float, Path(told.name).read_text().split())
        return time.perf_counter() - began, peak / 1024, cpu_s


if __name__ == "__main__":
    sys.exit(main())
