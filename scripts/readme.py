"""Write the table and the comment of the README: what `make demo` and `podpower diff` print.

Runs the demo in a temporary folder (some minutes), or takes the home of one that ran: `readme.py --home
.podpower/demo`. The simulated day ends with the last full hour, so that each hour has other figures; their shape is
held by tests/docs/test_readme.py.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
EXAMPLE: Final = "examples/deployment.yaml"
TABLE: Final = re.compile(r"(?<=^```\n)workload .*?(?=^```$)", re.DOTALL | re.MULTILINE)
COMMENT: Final = re.compile(r"^> ### What this change draws\n(?:>.*\n)+", re.MULTILINE)
_CHANGE: Final = ("replicas: 3", "replicas: 5")


def table(environment: dict[str, str]) -> str:
    """Return the table of the predictions of the example, without the lines below it."""
    printed = podpower("predict", "-f", EXAMPLE, environment=environment)
    lines = printed.splitlines()
    end = next(place for place, line in enumerate(lines) if line.startswith("total"))
    return "".join(f"{line.rstrip()}\n" for line in lines[: end + 1])


def comment(environment: dict[str, str]) -> str:
    """Return the beginning of a comment on two replicas more: the sentence and the changed workloads."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "deployment.yaml"
        new.write_text((ROOT / EXAMPLE).read_text().replace(*_CHANGE))
        printed = podpower(
            "diff", EXAMPLE, str(new), "--price", "0.30", "--format", "markdown", environment=environment
        )
    shown = printed.partition("| **total**")[0].rstrip("\n")
    return "".join(f"> {line}".rstrip() + "\n" for line in shown.replace("-\\>", "->").splitlines())


def podpower(*arguments: str, environment: dict[str, str]) -> str:
    """Return what a command prints. Exits with its message where it fails."""
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "podpower", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"error: podpower {arguments[0]}: {done.stderr[-2000:]}")
    return done.stdout


def main() -> int:
    """Write both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", help="home of a demo that ran; without it, the demo runs in a temporary folder")
    home = parser.parse_args().home
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("PODPOWER_", "DAGSTER_"))}
    with tempfile.TemporaryDirectory(prefix="podpower-") as temporary:
        if home is None:
            home = f"{temporary}/demo"
            podpower("demo", "--home", home, environment=clean)
        environment = clean | {"PODPOWER_HOME": str(Path(home).resolve())}
        text = README.read_text()
        for pattern, part in ((TABLE, table(environment)), (COMMENT, comment(environment))):
            text = pattern.sub(lambda _, part=part: part, text, count=1)  # type: ignore[misc]
    README.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
