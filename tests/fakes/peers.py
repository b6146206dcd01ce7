"""Somebody who follows other hosts, on real sockets, and remembers what he was told."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable

from partition_supervisor.cluster.peer_listener import PeerListener
from partition_supervisor.cluster.peer_monitor import PeerMonitor
from partition_supervisor.suspicion import Suspicion
from partition_workers.layout.documents import Host

LOCAL = "127.0.0.1"
Heard = Suspicion | str


class Watcher(PeerMonitor):
    """Remembers what it was told: who refused, and who answered."""

    def __init__(self, name: str = "me", listener: PeerListener | None = None) -> None:
        self.heard: queue.Queue[Heard] = queue.Queue()
        self.failures: list[BaseException] = []
        super().__init__(
            name, listener, self.heard.put, lambda host, _link: self.heard.put(host), self.failures.append
        )  # fmt: skip

    def watch(self, **links: tuple[str, str]) -> None:
        """Each with its link and secret."""
        self.know({name: Host(1, "1", 1, "", "", link=each[0], secret=each[1]) for name, each in links.items()})

    def follow(self, **listeners: PeerListener) -> None:
        """And wait until each was reached."""
        self.watch(**{name: (each.link, each.secret) for name, each in listeners.items()})
        for _ in listeners:
            assert self.next() in listeners

    def next(self, timeout: float = 10.0) -> Heard:
        return self.heard.get(timeout=timeout)

    def refusal(self) -> Suspicion:
        heard = self.next()
        assert isinstance(heard, Suspicion)
        return heard

    def hears_nothing(self, seconds: float) -> bool:
        with contextlib.suppress(queue.Empty):
            raise AssertionError(f"it heard {self.next(timeout=seconds)}")
        return True


MakeWatcher = Callable[..., Watcher]

Listen = Callable[[str], PeerListener]
