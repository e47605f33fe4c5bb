"""Output of steps in an object store."""

import tempfile
from pathlib import Path

import pytest

from podpower_assets.compute_logs import ObjectStorageComputeLogManager


def test_a_process_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process left one below /tmp."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    manager = ObjectStorageComputeLogManager(root=str(tmp_path / "logs"))
    with manager.capture_logs(["run", "compute_logs", "step"]):
        pass
    manager.dispose()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert (tmp_path / "logs" / "run" / "compute_logs" / "step.out").exists()
