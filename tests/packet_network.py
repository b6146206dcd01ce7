"""Hosts with a network of their own on one machine, every packet of which is carried by us: late, or not at all.

Each host has a namespace with a tunnel device, and a thread of ours stands between them. So a way can lose packets or
take its time, in one direction only, without anything that a kernel may lack. Kafka and etcd are reached through the
same device, at addresses of their own, so that their ways are bad or cut as well. Forwarders carry what arrives there
to the loopback interface; Kafka's answers name its address, and there ours stands instead, which is as long.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import secrets
import selectors
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count, product
from types import TracebackType

from tests.namespaces import Forwarders, inside, ip

KAFKA, ETCD = "10.99.0.2", "10.99.0.3"
LOOPBACK = "127.0.0.1"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


@dataclass(frozen=True, slots=True)
class Way:
    """What becomes of the packets from one address to another: `delay` in seconds, `loss` from 0 to 1."""

    delay: float = 0.0
    loss: float = 0.0


class PacketNetwork:
    """A namespace for each name, with the address `address(name)`; `bootstrap_servers` and `etcd_endpoints` are those
    for the hosts."""

    def __init__(self, names: Sequence[str], bootstrap_servers: str, etcd_endpoints: str) -> None:
        self._id = secrets.token_hex(2)
        self._addresses = {name: f"10.99.0.{number}" for number, name in enumerate(names, 11)}
        self._namespaces = {name: f"ps-{self._id}-{number}" for number, name in enumerate(names, 11)}
        self._services = f"ps-{self._id}-0"
        self.forwarders = Forwarders()
        self._switch = Switch()
        for name, namespace in self._namespaces.items():
            self._add(namespace, [self._addresses[name]])
        self._add(self._services, [KAFKA, ETCD])
        self.bootstrap_servers = self._forward(bootstrap_servers, KAFKA, lambda said: said.replace(*_RENAMED))
        self.etcd_endpoints = self._forward(etcd_endpoints.replace("http://", ""), ETCD)
        self._switch.start()

    def address(self, name: str) -> str:
        return self._addresses[name]

    def namespace(self, name: str) -> str:
        return self._namespaces[name]

    def set(self, senders: Iterable[str], receivers: Iterable[str], way: Way) -> None:
        """For each of these addresses to each of those."""
        self._switch.ways.update(dict.fromkeys(product(senders, receivers), way))

    def heal(self) -> None:
        self._switch.ways.clear()

    def reject(self, name: str, addresses: Iterable[str]) -> None:
        """What it sends there is answered by its own kernel, which knows nothing of it: with a reset."""
        for each in addresses:
            ip("-n", self.namespace(name), "route", "add", "local", each, "dev", "lo")

    def accept(self, name: str, addresses: Iterable[str]) -> None:
        for each in addresses:
            ip("-n", self.namespace(name), "route", "del", "local", each, "dev", "lo")

    def close(self) -> None:
        self._switch.close()
        self.forwarders.close()
        for namespace in (*self._namespaces.values(), self._services):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", namespace)

    def __enter__(self) -> PacketNetwork:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, namespace: str, addresses: Sequence[str]) -> None:
        ip("netns", "add", namespace)
        with inside(namespace):
            self._switch.plug(_tunnel("eth0"), addresses)
        for each in addresses:
            ip("-n", namespace, "address", "add", f"{each}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", namespace, "link", "set", "eth0", "up")

    def _forward(self, endpoints: str, address: str, change: Callable[[bytes], bytes] | None = None) -> str:
        """Where the hosts find these services."""
        found = []
        for each in endpoints.split(","):
            host, _, port = each.rpartition(":")
            with inside(self._services):
                listening = socket.create_server((address, int(port)))
            self.forwarders.add(listening, host, int(port), change)
            found.append(f"{address}:{port}")
        return ",".join(found)


#: In Kafka's answers. Of the same length: what is around them counts bytes.
_RENAMED = LOOPBACK.encode(), KAFKA.encode()
assert len(_RENAMED[0]) == len(_RENAMED[1])


def _tunnel(name: str) -> int:
    """The descriptor of a new device that brings and takes whole IP packets."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


class Switch:
    """A thread that carries packets between devices. `ways`: by the addresses of sender and receiver, those on which
    packets are late or lost."""

    def __init__(self) -> None:
        self.ways: dict[tuple[str, str], Way] = {}
        self._device_of: dict[bytes, int] = {}
        self._selector = selectors.DefaultSelector()
        self._late: list[tuple[float, int, bytes]] = []
        self._number = count()
        self._dice = random.Random()
        self._stopped = False
        self._thread = threading.Thread(target=self._carry, name="switch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def plug(self, device: int, addresses: Iterable[str]) -> None:
        self._device_of.update({socket.inet_aton(each): device for each in addresses})
        self._selector.register(device, selectors.EVENT_READ)

    def close(self) -> None:
        self._stopped = True
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._selector.close()
        for device in {*self._device_of.values()}:
            os.close(device)

    def _carry(self) -> None:
        while not self._stopped:
            due = self._late[0][0] - time.monotonic() if self._late else 0.5
            for key, _ in self._selector.select(max(0.0, min(due, 0.5))):
                for _ in range(64):
                    try:
                        self._pass_on(os.read(key.fd, 65536))
                    except BlockingIOError:
                        break
            while self._late and self._late[0][0] <= time.monotonic():
                self._deliver(heapq.heappop(self._late)[2])

    def _pass_on(self, packet: bytes) -> None:
        if packet[0] >> 4 != 4:
            return  # routers of IPv6 are looked for
        way = self.ways.get((socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]))) if self.ways else None
        if way is None:
            self._deliver(packet)
        elif self._dice.random() >= way.loss:
            heapq.heappush(self._late, (time.monotonic() + way.delay, next(self._number), packet))

    def _deliver(self, packet: bytes) -> None:
        device = self._device_of.get(packet[16:20])
        if device is not None:
            with contextlib.suppress(BlockingIOError, OSError):  # a full queue loses packets, as everywhere
                os.write(device, packet)
