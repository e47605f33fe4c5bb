import subprocess
import sys

import pytest

_ALLOCATES = """
import sys
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from podpower.io import heap, parquet

def rss_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

if not heap.keep_small():
    sys.exit(3)
parquet.allocate_from_heap()
first = pa.array(np.arange(400_000))
before = rss_mib()
numbers = [pc.add(first, n) for n in range(40)]  # 3 MiB each
held = rss_mib()
del numbers
print(held - before, rss_mib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="settings of glibc")
def test_memory_that_arrow_frees_is_returned_where_it_allocates_from_a_small_heap():
    done = subprocess.run([sys.executable, "-c", _ALLOCATES], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 3:
        pytest.skip("no mallopt")
    assert done.returncode == 0, done.stderr
    held_mib, left_mib = map(int, done.stdout.split())
    assert held_mib > 80
    assert left_mib < 20
