"""Asks a running podpower service (`make up` or `podpower serve`) what the workloads of a manifest will draw.

    python examples/client.py examples/deployment.yaml [http://127.0.0.1:8000]

Needs httpx: pip install 'podpower[serving]'
"""

import sys
from pathlib import Path

import httpx


def main() -> None:
    manifest = Path(sys.argv[1] if len(sys.argv) > 1 else "examples/deployment.yaml")
    url = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000"
    if not manifest.is_file():
        sys.exit(f"error: no such file: {manifest}")
    try:
        answer = httpx.post(
            f"{url}/predict/batch",
            content=manifest.read_bytes(),
            headers={"Content-Type": "application/yaml"},
            timeout=30,
        )
    except httpx.HTTPError as error:
        sys.exit(f"error: {url} does not answer ({error}): start it with `make up` or `podpower serve`")
    if answer.is_error:
        # problem+json: `detail` contains what is wrong and what would be right
        sys.exit(f"error: {answer.json()['detail']}")
    for prediction in answer.json()["predictions"]:
        low, high = prediction["interval"]["avg_power_w"]
        print(
            f"{prediction['namespace']}/{prediction['workload_name']}: {prediction['pred_avg_power_w']:.2f} W a pod "
            f"({low:.2f} to {high:.2f}, {prediction['basis']}), replicas: {prediction['replicas']}"
        )
    for error in answer.json()["errors"]:
        print(f"document {error['index']}: {error['detail']}", file=sys.stderr)


if __name__ == "__main__":
    main()
