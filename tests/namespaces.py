"""Hosts with a network of their own on one machine: a namespace for each, a bridge between them, faults to order.

Kafka and etcd are reached at the same loopback addresses as everywhere else, through forwarders that listen inside of
each namespace. So a host can be cut off from the others while Kafka and etcd work, and the reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

CLONE_NEWNET = 0x40000000
PORT = 7400


def why_not() -> str | None:
    """Why no namespaces can be made here; None: they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    return None if shutil.which("ip") else "network namespaces need iproute2"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Network:
    """A namespace for each name, with the address `address(name)`; they reach each other and, through forwarders,
    the `services`, which are host:port on the loopback interface."""

    def __init__(self, names: Sequence[str], services: Sequence[str]) -> None:
        self._id = secrets.token_hex(2)
        self._numbers = {name: number for number, name in enumerate(names, 1)}
        self._switch = f"ps-{self._id}"
        ip("netns", "add", self._switch)
        ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self._switch, "link", "set", "bridge", "up")
        for name in names:
            self._add(name)
        self.forwarders = Forwarders()
        for name in names:
            for each in services:
                host, _, port = each.rpartition(":")
                with inside(self.namespace(name)):
                    listening = socket.create_server((host, int(port)))
                self.forwarders.add(listening, host, int(port))

    def _add(self, name: str) -> None:
        namespace, port = self.namespace(name), f"to{self._numbers[name]}"
        ip("netns", "add", namespace)
        ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
        ip("-n", namespace, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", namespace, "link", "set", "eth0", "up")

    def namespace(self, name: str) -> str:
        return f"ps-{self._id}-{self._numbers[name]}"

    def address(self, name: str) -> str:
        return f"10.99.0.{self._numbers[name]}"

    def unplug(self, name: str) -> None:
        """What it sends to other hosts is lost, and so is what they send to it."""
        ip("-n", self._switch, "link", "set", f"to{self._numbers[name]}", "down")

    def plug(self, name: str) -> None:
        ip("-n", self._switch, "link", "set", f"to{self._numbers[name]}", "up")

    def reject(self, name: str, *others: str) -> None:
        """What it sends to these is answered by its own kernel, which knows nothing of them: with a reset."""
        for other in others:
            ip("-n", self.namespace(name), "route", "add", "local", self.address(other), "dev", "lo")

    def accept(self, name: str, *others: str) -> None:
        for other in others:
            ip("-n", self.namespace(name), "route", "del", "local", self.address(other), "dev", "lo")

    def close(self) -> None:
        self.forwarders.close()
        for name in (*map(self.namespace, self._numbers), self._switch):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread is in that network namespace; sockets that it makes stay there. (os.setns: Python 3.12.)"""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{namespace}") as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(here.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


class Forwarders:
    """From listening sockets to addresses in this process' own network; a thread serves all."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forwarders", daemon=True)
        self._thread.start()

    def add(
        self, listening: socket.socket, host: str, port: int, change: Callable[[bytes], bytes] | None = None
    ) -> None:
        """`change`: what is done to that which comes back."""

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there_reader, there_writer = await asyncio.open_connection(host, port)
            except OSError:
                writer.transport.abort()
                return
            self._open |= {writer, there_writer}
            both = copy(reader, there_writer), copy(there_reader, writer, change)
            await asyncio.gather(*both, return_exceptions=True)
            self._open -= {writer, there_writer}

        self._do(asyncio.start_server(forward, sock=listening))

    def reset(self) -> None:
        """All connections at once."""

        async def abort() -> None:
            for writer in tuple(self._open):
                with contextlib.suppress(OSError):  # it has ended already
                    found = writer.transport.get_extra_info("socket")
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

        self._do(abort())

    def close(self) -> None:
        self.reset()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)

    def _do(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)  # type: ignore[arg-type]


async def copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes] | None = None
) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(change(data) if change else data)
            await writer.drain()
    finally:
        writer.close()
