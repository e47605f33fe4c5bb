"""A runner for rendered charts: every container of a pod is a process of this machine, closed in as in a cluster.

It takes what Helm renders. A pod has an address, a hostname and process ids of its own; a container has a read-only
root with what its image holds, its user, no capabilities, its volumes and its environment. Probes decide readiness,
Services lead to ready pods, and a pod is asked to end before it is killed. It leaves out the scheduler, limits of
memory and CPU, seccomp and NetworkPolicies; RBAC is that of the fake API server (`tests.runner.rbac`).
"""

from tests.runner.pods import Pod
from tests.runner.requirements import need_namespaces
from tests.runner.runner import Runner

__all__ = ["Pod", "Runner", "need_namespaces"]
