"""What a service manager (systemd, or whoever set NOTIFY_SOCKET) is told: ready, reloading, alive, stopping.

The protocol is that of sd_notify(3): a datagram with lines of KEY=VALUE. Without a socket nothing is told. Nobody
waits for whoever reads it, and nothing that goes wrong with it matters to a partition.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)


class ServiceManager:
    """`watchdog`: seconds within which it wants to hear that we are alive; 0: it does not.

    False: it could not be told, as when ten datagrams wait for it to read them, which is as many as the kernel takes.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self.watchdog = watchdog
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._has_failed = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Takes its variables away: what we start must not speak for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        within, whose = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_ours = whose in ("", str(os.getpid())) and within.isascii() and within.isdigit()
        return cls(address, int(within) / 1_000_000 if address and is_ours else 0.0)

    def ready(self, status: str) -> bool:
        """It has begun to work, or goes on after it has loaded its code anew."""
        return self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> bool:
        return self._tell(
            "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=loading its code anew"
        )

    def stopping(self) -> bool:
        return self._tell("STOPPING=1", "STATUS=handing over")

    def status(self, text: str) -> bool:
        return self._tell(f"STATUS={text}")

    def alive(self) -> bool:
        return self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> bool:
        if not self._address:
            return True
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto("\n".join(lines).encode(), self._address)
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                log.warning("the service manager at NOTIFY_SOCKET cannot be told anything: %s", error)
            self._has_failed = True
        return not self._has_failed
