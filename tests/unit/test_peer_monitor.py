"""Who learns of a host's death, and who must not: on real sockets and real processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import socket
import threading
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import pytest

from partition_supervisor.cluster.peer_monitor import Listener, PeerMonitor, address_towards, hello
from partition_workers.errors import Misconfigured
from partition_workers.layout.documents import Host
from tests.eventually import eventually

FORK = multiprocessing.get_context("forkserver")
LOCAL = "127.0.0.1"


class Watcher(PeerMonitor):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[str, str]] = queue.Queue()
        super().__init__("me", lambda host, _: self.heard.put(("died", host)),
                         lambda host, _: self.heard.put(("lives", host)))  # fmt: skip

    def watch(self, **links: str) -> None:
        self.know({name: Host(1, "1", 1, "", "", link=link) for name, link in links.items()})

    def next(self, timeout: float = 10.0) -> tuple[str, str]:
        return self.heard.get(timeout=timeout)


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    made.close()
    eventually("no thread is left", lambda: not any(t.name.startswith("neighbour") for t in threading.enumerate()))


class OtherHost:
    """A listener in a process of its own, and another process that only has its socket, as a worker has."""

    def __init__(self) -> None:
        ours, theirs = FORK.Pipe()
        self.supervisor: BaseProcess = FORK.Process(target=_supervise, args=(theirs,))
        self.supervisor.start()
        theirs.close()
        self.link, self.worker = ours.recv()

    def kill(self, pid: int | None) -> None:
        os.kill(pid or 0, signal.SIGKILL)

    def end(self) -> None:
        for pid in (self.supervisor.pid, self.worker):
            with contextlib.suppress(ProcessLookupError):
                self.kill(pid)
        self.supervisor.join()


def _supervise(parent: multiprocessing.connection.Connection) -> None:
    listener = Listener(LOCAL, "b")
    worker = FORK.Process(target=_work, args=(listener.socket,))
    worker.start()
    parent.send((listener.link, worker.pid))
    signal.pause()


def _work(_listening: socket.socket) -> None:
    signal.pause()


@pytest.fixture
def other() -> Iterator[OtherHost]:
    made = OtherHost()
    yield made
    made.end()


def is_reached(listener: Listener) -> bool:
    return bool(listener._guests)


def test_a_host_is_dead_when_its_last_process_is(watcher: Watcher, other: OtherHost) -> None:
    """Not with its supervisor: the workers may be about to give their locks away."""
    watcher.watch(b=other.link)
    eventually("it is reached", lambda: watcher._followed["b"]._is_met)

    other.kill(other.supervisor.pid)
    with pytest.raises(queue.Empty):
        watcher.next(timeout=0.5)
    other.kill(other.worker)

    assert watcher.next() == ("died", "b")


def test_a_host_that_closes_a_connection_and_is_there_is_not_dead(watcher: Watcher) -> None:
    """Whatever stands between may cut it; somebody answers the next."""
    listener = Listener(LOCAL, "b")
    watcher.watch(b=listener.link)
    for _ in range(5):
        eventually("it is reached", lambda: is_reached(listener))
        guests, listener._guests = listener._guests, []
        for guest in guests:
            guest.shutdown(socket.SHUT_RDWR)
            guest.close()
    eventually("it is reached again", lambda: is_reached(listener))
    assert watcher.heard.empty()
    listener.close()
    assert watcher.next() == ("died", "b")


def test_who_is_reached_again_lives(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a firewall that refused for a while."""
    monkeypatch.setattr("partition_supervisor.cluster.peer_monitor.PATIENCE", 0.05)
    listener = Listener(LOCAL, "b")
    watcher.watch(b=listener.link)
    eventually("it is reached", lambda: is_reached(listener))
    listener.close()
    assert watcher.next() == ("died", "b")

    again = socket.create_server((LOCAL, int(listener.link.rpartition(":")[2])))
    guest, _ = again.accept()
    guest.sendall(hello("b", listener.link))
    assert watcher.next() == ("lives", "b")
    guest.close()
    again.close()
    assert watcher.next() == ("died", "b")


@pytest.mark.parametrize("said", [b"", b"c 127.0.0.1:1\n", b"HTTP/1.0 400 Bad Request\r\n\r\n"])
def test_the_death_of_somebody_else_is_not_that_of_the_host(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """At an address that leads to another host, or to another program."""
    monkeypatch.setattr("partition_supervisor.cluster.peer_monitor.PATIENCE", 0.05)
    server = socket.create_server((LOCAL, 0))
    watcher.watch(b="{}:{}".format(*server.getsockname()))
    for _ in range(3):
        guest, _ = server.accept()
        guest.sendall(said)
        guest.close()
    server.close()
    with pytest.raises(queue.Empty):
        watcher.next(timeout=0.3)


def test_a_host_that_was_never_reached_is_not_dead(watcher: Watcher) -> None:
    server = socket.create_server((LOCAL, 0))
    link = "{}:{}".format(*server.getsockname())
    server.close()
    watcher.watch(b=link)
    with pytest.raises(queue.Empty):
        watcher.next(timeout=0.3)


def test_who_leaves_the_group_is_not_followed_any_more(watcher: Watcher) -> None:
    """A host that stops leaves first."""
    listener = Listener(LOCAL, "b")
    watcher.watch(b=listener.link)
    eventually("it is reached", lambda: is_reached(listener))
    watcher.watch()
    listener.close()
    with pytest.raises(queue.Empty):
        watcher.next(timeout=0.3)


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"--listen 192\.0\.2\.1: .* or none"):
        Listener("192.0.2.1", "a")


def test_an_ipv6_address_stands_in_brackets(watcher: Watcher) -> None:
    try:
        listener = Listener("::1", "b")
    except Misconfigured:
        pytest.skip("this machine has no IPv6")
    assert listener.link.startswith("[::1]:")
    watcher.watch(b=listener.link)
    eventually("it is reached", lambda: is_reached(listener))
    listener.close()
    assert watcher.next() == ("died", "b")


def test_the_address_that_leads_to_a_server() -> None:
    assert address_towards("127.0.0.1:2379") == LOCAL
    assert address_towards("no.such.host.invalid:2379") is None


def test_links_that_nobody_follows_are_dropped() -> None:
    """Guests that went are forgotten when the next one comes."""
    listener = Listener(LOCAL, "b")
    where = (LOCAL, int(listener.link.rpartition(":")[2]))
    for _ in range(20):
        with socket.create_connection(where) as guest:
            assert guest.makefile("rb").readline() == hello("b", listener.link)
    eventually("at most the last ones are left", lambda: len(listener._guests) <= 2)
    listener.close()
