"""Memory that a batch frees is there for the next one, without a fault for each of its pages."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from podpower_serving.freed_memory import keep_freed
if sys.argv[1] == "kept":
    assert keep_freed()
def work():
    arrays = [np.ones(1 << 17) for _ in range(8)]  # 8 MiB
for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library has no such setting")
def test_arrays_of_the_next_batch_use_the_memory_of_the_last_one() -> None:
    faults = {
        name: int(subprocess.run([sys.executable, "-c", SCRIPT, name], capture_output=True, check=True).stdout)
        for name in ("kept", "returned")
    }
    assert faults["kept"] < 200
    assert faults["returned"] > 10_000
