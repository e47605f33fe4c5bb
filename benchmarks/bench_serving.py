"""How quickly the service starts, what memory it takes, how many requests a second it answers.

python benchmarks/bench_serving.py ENCODER MODEL
"""

import os
import subprocess
import sys
import time

import httpx
import psutil

from podpower.cli.processes import free_port
from podpower_serving.openapi import REQUEST_EXAMPLE

REQUESTS = 2000


def main() -> None:
    encoder_path, model_path = sys.argv[1:]
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    service = subprocess.Popen(
        [sys.executable, "-m", "podpower", "serve", "--port", str(port)],
        env={**os.environ, "ENCODER_PATH": encoder_path, "MODEL_PATH": model_path},
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=url) as client:
            while not _is_ready(client):
                assert service.poll() is None, "the service ended"
                time.sleep(0.005)
            print(f"ready after {time.perf_counter() - started:.2f} s")
            started = time.perf_counter()
            for _ in range(REQUESTS):
                client.post("/predict", json=REQUEST_EXAMPLE).raise_for_status()
            print(f"{REQUESTS / (time.perf_counter() - started):.0f} requests/s, one connection")
        print(f"{psutil.Process(service.pid).memory_info().rss / 2**20:.0f} MiB resident")
    finally:
        service.terminate()
        service.wait()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
