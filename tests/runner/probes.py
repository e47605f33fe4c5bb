"""Probes, as the kubelet makes them: each is True, or False with a reason."""

import asyncio
import contextlib
import http.client
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Object = dict[str, Any]
Exec = Callable[[list[str]], Awaitable[int]]


class Probe:
    """A probe of a container at an address; `ports` are those that the container names."""

    def __init__(self, spec: Object, address: str, ports: dict[str, int], run: Exec) -> None:
        self.delay_s = spec.get("initialDelaySeconds", 0)
        self.period_s = spec.get("periodSeconds", 10)
        self.failures = spec.get("failureThreshold", 3)
        self.successes = spec.get("successThreshold", 1)
        self._timeout_s = spec.get("timeoutSeconds", 1)
        self._spec, self._address, self._ports, self._run = spec, address, ports, run

    async def passes(self) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._asked()
        except (TimeoutError, OSError, http.client.HTTPException, grpc.aio.AioRpcError):
            return False

    async def _asked(self) -> bool:
        # In threads, which close what they have opened also when nobody waits for them any more.
        if "httpGet" in self._spec:
            return await asyncio.to_thread(self._http, self._spec["httpGet"])
        if "tcpSocket" in self._spec:
            place = self._address, self._port(self._spec["tcpSocket"]["port"])
            (await asyncio.to_thread(socket.create_connection, place, self._timeout_s)).close()
            return True
        if "grpc" in self._spec:
            return await self._grpc(self._spec["grpc"])
        return await self._run(self._spec["exec"]["command"]) == 0

    def _http(self, get: Object) -> bool:
        place, options = (self._address, self._port(get["port"])), {"timeout": self._timeout_s}
        if get.get("scheme", "HTTP") == "HTTPS":
            # The kubelet checks no certificates.
            connection = http.client.HTTPSConnection(*place, **options, context=ssl._create_unverified_context())
        else:
            connection = http.client.HTTPConnection(*place, **options)
        with contextlib.closing(connection):
            headers = {header["name"]: header["value"] for header in get.get("httpHeaders", [])}
            connection.request("GET", get.get("path", "/"), headers=headers)
            return 200 <= connection.getresponse().status < 400

    async def _grpc(self, asked: Object) -> bool:
        async with grpc.aio.insecure_channel(f"{self._address}:{asked['port']}") as channel:
            request = health_pb2.HealthCheckRequest(service=asked.get("service", ""))
            answer = await health_pb2_grpc.HealthStub(channel).Check(request)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _port(self, port: int | str) -> int:
        return self._ports[port] if isinstance(port, str) else port
