"""A network of pods: a bridge of this machine, an address for each pod and each Service, and names for Services."""

import os
import subprocess
from pathlib import Path

import psutil

_NETWORKS = 250
_BITS = 22  # 1,000 addresses: the first 250 of Services, the others of pods
_POD_ADDRESSES = range(256, 1022)
_SERVICE_ADDRESSES = range(2, 250)


def _ip(*lines: str, check: bool = True) -> bool:
    done = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False
    )  # fmt: skip
    if check and done.returncode:
        raise OSError(f"ip: {done.stderr.strip()}")
    return done.returncode == 0


class Network:
    """A bridge; it is removed with `close`, or by the next process that finds its owner gone."""

    def __init__(self, folder: Path) -> None:
        self._number = next(number for number in range(_NETWORKS) if self._claimed(number))
        self._bridge = f"podpower{self._number}"
        self._free = {"pod": list(_POD_ADDRESSES), "service": list(_SERVICE_ADDRESSES)}
        self.gateway = self._address(1)
        _ip(f"addr add {self.gateway}/{_BITS} dev {self._bridge}", f"link set {self._bridge} up")
        self._names: dict[str, str] = {}
        self.hosts = folder / "hosts"
        self._write()

    def close(self) -> None:
        _ip(f"link del {self._bridge}")

    def service_address(self) -> str:
        address = self._taken("service")
        _ip(f"addr add {address}/32 dev {self._bridge}")
        return address

    def join(self, pid: int) -> str:
        """Give the network namespace of a process an address, and return it."""
        address = self._taken("pod")
        here = f"pp{self._number}x{address.rpartition('.')[2]}x{address.split('.')[2]}"
        _ip(
            f"link add {here} type veth peer name eth0 netns {pid}",
            f"link set {here} master {self._bridge} up",
        )
        inside = ["nsenter", "--net", f"--target={pid}", "ip", "-batch", "-"]
        lines = f"link set lo up\naddr add {address}/{_BITS} dev eth0\nlink set eth0 up\n"
        subprocess.run(inside, input=lines, text=True, check=True)
        return address

    def leave(self, address: str) -> None:
        """Let another pod have the address, as late as possible."""
        self._free["pod"].append(int(address.split(".")[2]) % 4 * 256 + int(address.rpartition(".")[2]))

    def name(self, address: str | None, service: str, namespace: str) -> None:
        """Resolve the names of a Service to an address, or to nothing; pods see it at once."""
        names = [service, *(f"{service}.{namespace}{suffix}" for suffix in ("", ".svc", ".svc.cluster.local"))]
        for name in names:
            self._names.pop(name, None)
            if address is not None:
                self._names[name] = address
        self._write()

    def _write(self) -> None:
        # The file is mounted in the pods: it must stay the same one.
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self._names.items())]
        self.hosts.write_text("\n".join(lines) + "\n")

    def _taken(self, kind: str) -> str:
        if not self._free[kind]:
            raise RuntimeError(f"no address of a {kind} is left")
        return self._address(self._free[kind].pop(0))

    def _address(self, host: int) -> str:
        return f"10.{200 + self._number // 64}.{self._number % 64 * 4 + host // 256}.{host % 256}"

    def _claimed(self, number: int) -> bool:
        """Make the bridge of this number, unless a living process has it."""
        bridge = f"podpower{number}"
        alias = Path(f"/sys/class/net/{bridge}/ifalias")
        if alias.exists() and (owner := alias.read_text().strip()) and not psutil.pid_exists(int(owner)):
            # Its pods may still be about to end.
            for name in (*(path.name for path in alias.parent.glob("brif/*")), bridge):
                _ip(f"link del {name}", check=False)
        # An address of its own: else it takes one of its ports', and another one as pods come and go, which other pods
        # learn as late as a minute after it.
        return _ip(
            f"link add {bridge} address 02:00:00:00:00:{number:02x} type bridge",
            f"link set {bridge} alias {os.getpid()}",
            check=False,
        )
