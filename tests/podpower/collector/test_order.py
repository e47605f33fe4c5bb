"""A reordered file of clusters is refused before two histories are mixed."""

from pathlib import Path

import pytest

from podpower.clusters import configured_clusters
from podpower.collector.order import check_first
from podpower.errors import InvalidInput
from podpower.io.files import write_atomically
from podpower.settings import Settings
from podpower.sources.journal.format import JournalMeta, sealed


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["eu-1"], False),
        (["eu-1", "eu-2"], False),
        (["eu-2", "eu-1"], True),
        (["renamed", "eu-2"], False),
        (["eu-3"], True),
    ],
    ids=["alone", "one more", "reordered", "named for the first time", "the first one taken out"],
)
def test_the_first_cluster_stays_the_first(tmp_path: Path, names: list[str], refused: bool) -> None:
    meta = JournalMeta(journal_id="j", cluster="eu-1", start_s=1.0)
    write_atomically(tmp_path / "home" / "journal" / "journal.json", sealed(meta))
    lines = "".join(f"- {{name: {name}, kubeconfig: none}}\n" for name in names)
    (tmp_path / "clusters.yaml").write_text(f"clusters:\n{lines}")
    given = Settings({"PODPOWER_CLUSTERS": f"{tmp_path}/clusters.yaml", "PODPOWER_HOME": f"{tmp_path}/home"})
    clusters = configured_clusters(given)
    further = JournalMeta(journal_id="k", cluster="eu-3", start_s=1.0)
    write_atomically(tmp_path / "home" / "clusters" / "eu-3" / "journal" / "journal.json", sealed(further))
    if refused:
        with pytest.raises(InvalidInput, match="write 'eu-1' first"):
            check_first(clusters)
    else:
        check_first(clusters)
