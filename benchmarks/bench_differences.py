"""How good the intervals of differences are: `bench_differences.py [--seeds 4]`.

Of each seed, a model learns 90 synthetic workloads with two specs each, and the CPU request of 120 others changes.
Prints the share of the true differences that the 80 % interval holds, and its width beside that of both sides'
intervals together. Exits with 1 where the mean share is not from 72 to 90 %.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from podpower.cli.output import table

sys.path.insert(0, str(Path(__file__).parents[1]))  # the workloads of the tests

from tests.podpower.difference.revised import coverage_of, held_out

_LEAST, _MOST = 0.72, 0.9


def main() -> int:
    """Print a row for each seed, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    found = [coverage_of(*held_out(seed)) for seed in range(1, parser.parse_args().seeds + 1)]
    rows = [
        (str(seed), str(one.changes), f"{one.share:.1%}", f"{one.width:.2f}") for seed, one in enumerate(found, start=1)
    ]
    table(("seed", "changes", "in 80 % interval", "width, of both beside each other"), rows)
    shares = [one.share for one in found]
    print(f"in the 80 % interval: {min(shares):.0%} to {max(shares):.0%}, mean {np.mean(shares):.1%}")
    print(f"width: {np.mean([one.width for one in found]):.2f} of both intervals beside each other")
    return 0 if _LEAST <= np.mean(shares) <= _MOST else 1


if __name__ == "__main__":
    sys.exit(main())
