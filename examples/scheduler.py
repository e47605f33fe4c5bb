"""Chooses a node for each pod of a manifest by predicted watts: a scheduler in a hundred lines.

    python examples/scheduler.py examples/deployment.yaml --node a=200 --node b=400 [--url http://127.0.0.1:8000]

Every node has a budget in watts. A pod goes where its expected watts fit best: onto the node with the least watts left
that still takes it. Pods that nothing is known of (basis "prior") count with the upper end of their interval. Exit code
1 when a pod fits nowhere.

Needs the client: pip install 'podpower[client]'
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path

import podpower


@dataclass
class Node:
    """A node, its budget in watts, and the pods on it."""

    name: str
    budget_w: float
    pods: list[tuple[str, float]] = field(default_factory=list)

    @property
    def left_w(self) -> float:
        return self.budget_w - sum(watts for _, watts in self.pods)


def cautious_watts(prediction: podpower.Prediction) -> float:
    """Return the watts to reserve for one pod."""
    if prediction.basis == "prior":
        return prediction.interval.avg_power_w[1]
    return prediction.expected_avg_power_w


def place(predictions: list[podpower.Prediction], nodes: list[Node]) -> list[str]:
    """Put every pod on a node, the largest first; return the pods that fit nowhere."""
    pods = [
        (f"{one.namespace}/{one.workload_name}-{number}", cautious_watts(one))
        for one in predictions
        for number in range(one.replicas)
    ]
    homeless = []
    for name, watts in sorted(pods, key=lambda pod: -pod[1]):
        fitting = [node for node in nodes if node.left_w >= watts]
        if fitting:
            min(fitting, key=lambda node: node.left_w).pods.append((name, watts))
        else:
            homeless.append(name)
    return homeless


async def predictions_of(manifest: Path, url: str | None) -> list[podpower.Prediction]:
    """Ask for all workloads at the same time, as a scheduler would for the pods in its queue."""
    async with podpower.AsyncClient(url, timeout_seconds=2, most_wait_seconds=5) as client:
        requests = await client.infer(manifest)
        return list(await asyncio.gather(*(client.predict(request) for request in requests)))


def main() -> int:
    parser = argparse.ArgumentParser(description="Choose a node for each pod by predicted watts.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--node", action="append", required=True, metavar="NAME=WATTS")
    parser.add_argument("--url", help="address of the service (PODPOWER_API_URL by default)")
    arguments = parser.parse_args()
    nodes = [Node(name, float(watts)) for name, _, watts in (text.partition("=") for text in arguments.node)]
    try:
        predictions = asyncio.run(predictions_of(arguments.manifest, arguments.url))
    except podpower.PodpowerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    homeless = place(predictions, nodes)
    for node in nodes:
        print(f"{node.name}: {node.budget_w - node.left_w:.2f} of {node.budget_w:g} W")
        for name, watts in node.pods:
            print(f"  {name} {watts:.2f} W")
    for name in homeless:
        print(f"no node has the watts for {name}", file=sys.stderr)
    return 1 if homeless else 0


if __name__ == "__main__":
    sys.exit(main())
