"""What the runner needs of a machine."""

import os
import shutil
import subprocess

import pytest

_PROGRAMS = ("ip", "mount", "nsenter", "pivot_root", "setpriv", "unshare")


def need_namespaces() -> None:
    """Skip, or fail where services are required, where no namespaces can be made.

    Pods listen on 0.0.0.0 with the same ports, which distinct loopback addresses do not keep apart: there is no
    second best.
    """
    reason = _obstacle()
    if reason is None:
        return
    if os.environ.get("PODPOWER_REQUIRE_SERVICES") == "1":
        pytest.fail(f"PODPOWER_REQUIRE_SERVICES=1, but {reason}")
    pytest.skip(reason)


def _obstacle() -> str | None:
    """Return why there are no namespaces here; None where there are."""
    if os.geteuid() != 0:
        return "only root can run the containers of a pod as other users in namespaces of their own"
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"no {' and no '.join(missing)} on the PATH"
    link = ["ip", "link", "add", "podpower", "type", "veth", "peer", "name", "podpower1"]
    tried = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", *link]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    return f"this machine has no namespaces: {done.stderr.strip()}" if done.returncode else None
