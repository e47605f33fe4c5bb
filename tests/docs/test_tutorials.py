"""The commands of the tutorials run, in their order, on a cluster and a Prometheus that answer."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.living import Living, living
from tests.clusters.prometheus import need_prometheus

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    need_prometheus()
    with living(tmp_path_factory.mktemp("tutorials"), hours=2) as running:
        yield running


@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda page: page.stem)
def test_commands_of_the_tutorial_run(page: Path, cluster: Living, tmp_path: Path) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert blocks
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PODPOWER_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.kubeconfig),
        "PODPOWER_PROMETHEUS_URL": cluster.prometheus_url,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
