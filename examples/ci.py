"""Fails a build whose manifests would draw too much.

    python examples/ci.py --most-watts 500 k8s/*.yaml [--url http://127.0.0.1:8000]

Prints one line for each workload and the total. Exit code 3 beyond the limit, 1 when something cannot be predicted: a
build must not pass because a manifest could not be read.

With --store the model is read by this process, and no service is needed:

    python examples/ci.py --most-watts 500 k8s/*.yaml --store s3://models/podpower

Needs the client: pip install 'podpower[client]'
"""

import argparse
import sys
from pathlib import Path

import podpower


def main() -> int:
    parser = argparse.ArgumentParser(description="Fail a build whose manifests would draw too much.")
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--most-watts", type=float, required=True)
    parser.add_argument("--url", help="address of the service (PODPOWER_API_URL by default)")
    parser.add_argument("--store", help="predict in this process, by the model of a store")
    arguments = parser.parse_args()
    try:
        manifests = b"\n---\n".join(path.read_bytes() for path in arguments.manifests)
        asked = podpower.Predictor(arguments.store) if arguments.store else podpower.Client(arguments.url)
        batch = asked.predict_batch(manifests)
    except (OSError, podpower.PodpowerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for one in batch.predictions:
        low, high = one.interval.avg_power_w
        all_pods = "unknown" if one.total_avg_power_w is None else f"{one.total_avg_power_w:.2f} W"
        print(
            f"{one.namespace}/{one.workload_name}: {all_pods}; one pod {one.pred_avg_power_w:.2f} W "
            f"({low:.2f} to {high:.2f}, {one.basis}), replicas: {one.replicas}"
        )
    for problem in batch.errors:
        print(f"error: document {problem.index + 1}: {problem.detail}", file=sys.stderr)
    total = batch.total
    if batch.errors or total.unknown_kinds:
        print("error: the total is incomplete", file=sys.stderr)
        return 1
    if total.unknown_power:  # CronJobs, where no whole run was measured yet
        print(f"not in the total, since their power is unknown: {total.unknown_power}")
    watts = total.total_avg_power_w or 0.0
    print(f"total: {watts:.2f} W of at most {arguments.most_watts:g} W")
    return 3 if watts > arguments.most_watts else 0


if __name__ == "__main__":
    sys.exit(main())
