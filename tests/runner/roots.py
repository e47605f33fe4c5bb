"""Processes in namespaces: the sandbox that holds those of a pod, and the shell lines that close a container in."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.runner.images import Image

_TOOLS = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
_DEVICES = ("null", "zero", "full", "random", "urandom")


def sandbox_command(name: str) -> list[str]:
    """A process that does nothing, with a network, a hostname and process ids of its own; it reaps orphans.

    Everything in its namespaces ends with it, and it ends with the thread that started it.
    """
    namespaces = ["--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
    rest = f"hostname {shlex.quote(name)}; exec env --ignore-signal=CHLD sleep infinity"
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "sh", "-c", rest]


def container_command(
    sandbox: int, shares_processes: bool, root: Path, image: Image, mounts: Sequence[tuple[str, Path, bool]],
    hosts: Path, security: Mapping[str, object], command: Sequence[str], workdir: str,
) -> list[str]:  # fmt: skip
    """The command of a container in the namespaces of its pod; its variables are those of the process."""
    enter = ["nsenter", f"--target={sandbox}", "--net", "--ipc", "--uts", "--pid"]
    apart = ["unshare", "--mount", "--propagation=private", *([] if shares_processes else ["--pid"])]
    lines = [f"image_path=$PATH; {_TOOLS}", *_root(root, image, mounts, hosts, security), "PATH=$image_path"]
    lines += [f"cd {shlex.quote(workdir)}", f'exec {shlex.join(_as_user(security))} "$@"']
    body = "set -eu; umask 022; " + "\n".join(lines)
    # The first process after `unshare --pid` is number 1 in there; what these tools print is none of the container's.
    script = f"exec 2>&1; {body}" if shares_processes else f"( exec 2>&1; {body}\n) & wait $!"
    return ["setpriv", "--pdeathsig", "KILL", *enter, *apart, "/bin/sh", "-c", script, "container", *command]


def inside(pid: int, security: Mapping[str, object], command: Sequence[str]) -> list[str]:
    """A command in the namespaces of a process, as its user: `kubectl exec`, and probes."""
    enter = ["nsenter", f"--target={pid}", "--mount", "--net", "--ipc", "--uts", "--pid", "--root", "--wd"]
    return [*enter, *_as_user(security), *command]


def _root(
    root: Path, image: Image, mounts: Sequence[tuple[str, Path, bool]], hosts: Path, security: Mapping[str, object]
) -> list[str]:
    """Lines that build the root of a container from an empty folder, and make it the only one."""
    user = security["user"]
    read_only = [("/usr", Path("/usr"), True), ("/etc/hosts", hosts, True), ("/etc/ssl", Path("/etc/ssl"), True)]
    read_only += [("/etc/ld.so.cache", Path("/etc/ld.so.cache"), True), ("/sys", Path("/sys"), True)]
    read_only += [(inside, place, True) for inside, place in image.mounts.items()]
    devices = [(f"/dev/{name}", Path(f"/dev/{name}"), False) for name in _DEVICES]
    to = shlex.quote(str(root))
    return [
        f"mount -t tmpfs -o mode=755,size=16m image {to}",
        f"cd {to}",
        "mkdir -p proc dev etc tmp run var/tmp data; ln -s ../run var/run",
        "for name in bin sbin lib lib64; do [ ! -L /$name ] || ln -s usr/$name $name; done",
        f"echo root:x:0:0::/root:/bin/sh > etc/passwd; echo image:x:{user}:{user}::/tmp:/bin/sh >> etc/passwd",
        f"echo root:x:0: > etc/group; echo image:x:{user}: >> etc/group; echo hosts: files > etc/nsswitch.conf",
        ": > etc/resolv.conf",
        "for name in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do ln -s /proc/self/${name#*:} dev/${name%:*}; done",
        "mount -t proc proc proc; mkdir dev/shm; mount -t tmpfs -o mode=1777,size=64m shm dev/shm",
        *(line for mount in [*read_only, *devices, *mounts] for line in _mount(*mount)),
        *(["mount -o remount,ro ."] if security["read_only"] else []),
        "cd .; pivot_root . .; umount -l .; cd /",
    ]


def _mount(path: str, place: Path, read_only: bool) -> list[str]:
    to, here = shlex.quote(f".{path}"), shlex.quote(str(place))
    made = f"mkdir -p {to}" if place.is_dir() else f"mkdir -p $(dirname {to}); : > {to}"
    return [made, f"mount --bind {here} {to}", *([f"mount -o remount,ro,bind {to}"] if read_only else [])]


def _as_user(security: Mapping[str, object]) -> list[str]:
    groups = security["groups"]
    words = ["setpriv", f"--reuid={security['user']}", f"--regid={security['group']}"]
    words += [f"--groups={groups}"] if groups else ["--clear-groups"]
    words += ["--bounding-set=-all", "--inh-caps=-all"] if security["drops_capabilities"] else []
    return [*words, *([] if security["escalates"] else ["--no-new-privs"]), "--"]
