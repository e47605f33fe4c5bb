"""Memory of `podpower label` for 10,000 pods and a day. What answers is no Prometheus: it makes up counters.

Exits with 1 above 300 MB, which are 286 MiB.
"""

import argparse
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import psutil
import pyarrow.parquet as pq

START_S = 1767225600
SCRAPE_S = 30
GOAL_MIB = 300e6 / 2**20
HEAD = b'{"status":"success","data":{"resultType":"matrix","result":['
NAMES = b'{"status":"success","data":["kepler_pod_cpu_joules_total"]}'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=24)
    arguments = parser.parse_args()
    port = multiprocessing.Value("i", 0)
    server = multiprocessing.Process(target=serve, args=(arguments.pods, port), daemon=True)
    server.start()
    while not port.value:
        time.sleep(0.05)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "labels.parquet"
        command = [
            sys.executable, "-m", "podpower", "label", "--prom", f"http://127.0.0.1:{port.value}", "--out", str(out),
            "--start", str(START_S), "--end", str(START_S + 3600 * arguments.hours),
        ]  # fmt: skip
        seconds, peak_mib = watched(command)
        rows, mib = pq.read_metadata(out).num_rows, out.stat().st_size / 2**20
    server.terminate()
    size = {"pods": arguments.pods, "hours": arguments.hours, "labels": rows, "file_mib": round(mib)}
    print(json.dumps({**size, "s": round(seconds), "peak_mib": round(peak_mib)}))
    print(f"peak memory: {peak_mib:.0f} MiB (goal: {GOAL_MIB:.0f} MiB)")
    return 0 if peak_mib <= GOAL_MIB else 1


def watched(command: list[str]) -> tuple[float, float]:
    """Seconds of a command, and the most memory it was seen to have."""
    began, peak = time.perf_counter(), 0
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    process = psutil.Process(child.pid)
    while child.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    if child.wait() != 0:
        raise SystemExit("podpower label failed")
    return time.perf_counter() - began, peak / 2**20


def serve(pods: int, port) -> None:  # type: ignore[no-untyped-def]
    heads = [
        b'{"metric":{"__name__":"kepler_pod_cpu_joules_total","node_name":"n%d","pod_namespace":"team-%d","pod_id":"%032d",'
        b'"pod_name":"app-%d-7d9c5b6f48-%05d","state":"running","zone":"package"},"values":['
        % (pod % 200, pod % 20, pod, pod % 400, pod)
        for pod in range(pods)
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply([NAMES])

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            span = re.search(r"\[(\d+)ms\]$", form["query"][0])
            if span is None:  # how many there are
                self.reply([HEAD, b'{"metric":{},"value":[0,"%d"]}' % (pods * 300 // SCRAPE_S), b"]}}"])
                return
            end_s = float(form["time"][0])
            begin_s = max(end_s - int(span[1]) / 1000, START_S - 600)
            ts = np.arange(-(-begin_s // SCRAPE_S) * SCRAPE_S, end_s + 1e-6, SCRAPE_S)
            times = [b'[%d,"' % t for t in ts]
            joules = (ts - START_S + 600) * 2.5
            parts: list[bytes] = [HEAD]
            for pod, head in enumerate(heads):
                values = (joules * (1 + pod % 7)).astype(int).tolist()
                parts += (
                    b"," if pod else b"",
                    head,
                    b",".join([a + b'%d.5"]' % v for a, v in zip(times, values, strict=True)]),
                    b"]}",
                )
            self.reply([*parts, b"]}}"])

        def reply(self, parts: list[bytes]) -> None:
            body = b"".join(parts)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        port.value = listening.server_port
        listening.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
