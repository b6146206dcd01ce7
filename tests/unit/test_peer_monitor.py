"""Who learns of a host's death: on real sockets and real processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import pytest

from partition_supervisor.cluster import peer_connection, peer_monitor
from partition_supervisor.cluster.peer_listener import PeerListener
from partition_supervisor.cluster.peer_monitor import accepting
from partition_supervisor.cluster.peer_protocol import SILENCE, hello
from tests.eventually import eventually
from tests.fakes.peers import LOCAL, Listen, MakeWatcher, Watcher

FORK = multiprocessing.get_context("forkserver")


class OtherHost:
    """A listener in a process of its own, and another process that only has its socket, as a worker has."""

    def __init__(self) -> None:
        ours, theirs = FORK.Pipe()
        self.supervisor: BaseProcess = FORK.Process(target=_supervise, args=(theirs,))
        self.supervisor.start()
        theirs.close()
        self.link, self.secret, self.worker = ours.recv()

    def signal(self, pid: int | None, number: int = signal.SIGKILL) -> None:
        os.kill(pid or 0, number)

    def end(self) -> None:
        for pid in (self.supervisor.pid, self.worker):
            with contextlib.suppress(ProcessLookupError):
                self.signal(pid)
        self.supervisor.join()


def _supervise(parent: multiprocessing.connection.Connection) -> None:
    listener = PeerListener(LOCAL, 0, "b")
    worker = FORK.Process(target=_work, args=(listener.socket,))
    worker.start()
    parent.send((listener.link, listener.secret, worker.pid))
    signal.pause()


def _work(_listening: socket.socket) -> None:
    signal.pause()


@pytest.fixture
def other() -> Iterator[OtherHost]:
    made = OtherHost()
    yield made
    made.end()


def test_a_host_refuses_when_its_last_process_is_gone(watcher: Watcher, other: OtherHost) -> None:
    """Not with its supervisor: the workers may be about to give their locks away. But that one is silent by then."""
    watcher.watch(b=(other.link, other.secret))
    assert watcher.next() == "b"

    other.signal(other.supervisor.pid)
    eventually("it is silent", watcher.silent)
    assert watcher.heard.empty()
    other.signal(other.worker)

    refusal = watcher.refusal()
    assert (refusal.host, refusal.link) == ("b", other.link)
    assert refusal.witness.refused
    assert (refusal.witness.others, refusal.witness.answering) == (1, 0)


def test_it_takes_milliseconds(watcher: Watcher, listen: Listen) -> None:
    """The refusal is told within the second in which etcd could not contradict it."""
    b, c = listen("b"), listen("c")
    watcher.follow(b=b, c=c)
    b.close()
    refusal = watcher.refusal()
    assert refusal.witness.seconds < 0.5
    assert (refusal.witness.others, refusal.witness.answering) == (2, 1)


def test_a_host_that_is_stopped_is_silent_and_answers_again(watcher: Watcher, other: OtherHost) -> None:
    """Its kernel goes on accepting."""
    watcher.watch(b=(other.link, other.secret))
    assert watcher.next() == "b"
    assert watcher.silent() == []

    for pid in (other.supervisor.pid, other.worker):
        other.signal(pid, signal.SIGSTOP)
    (suspicion,) = eventually("it is silent", watcher.silent)
    assert suspicion.witness.seconds >= SILENCE
    assert not suspicion.witness.refused
    assert watcher.heard.empty()
    for pid in (other.supervisor.pid, other.worker):
        other.signal(pid, signal.SIGCONT)

    assert watcher.next() == "b"
    assert watcher.silent() == []


def test_a_host_that_closes_a_connection_and_is_there_is_reached_again(watcher: Watcher, listen: Listen) -> None:
    """Whatever stands between may cut it; somebody answers the next."""
    b = listen("b")
    watcher.follow(b=b)
    for _ in range(5):
        b._peers["me"].connection.shutdown(socket.SHUT_RDWR)
        assert watcher.next() == "b"
    b.close()
    assert watcher.refusal().host == "b"


def test_a_host_that_speaks_to_us_is_neither_refused_nor_silent(listen: Listen, make_watcher: MakeWatcher) -> None:
    """Something refuses our connections to it, and etcd has nothing to do with that."""
    ours, theirs = listen("me"), listen("b")
    watcher, their_watcher = make_watcher("me", ours), make_watcher("b", theirs)
    watcher.follow(b=theirs)
    their_watcher.follow(me=ours)
    theirs.close()
    assert watcher.hears_nothing(2 * SILENCE)
    assert watcher.silent() == []

    their_watcher.close()
    assert watcher.refusal().host == "b"
    eventually("it is silent", watcher.silent)


def test_who_is_cut_off_from_most_says_so(watcher: Watcher, listen: Listen) -> None:
    """The others are asked for as soon as one refuses."""
    three = {name: listen(name) for name in "bcd"}
    watcher.follow(**three)
    for each in three.values():
        each.close()
    found = {watcher.refusal().host: watcher.refusal().witness for _ in range(20)}
    assert found
    assert all(each.others == 3 for each in found.values())
    assert min(each.answering for each in found.values()) == 0


def test_who_leaves_the_group_is_not_followed_any_more(watcher: Watcher, listen: Listen) -> None:
    """A host that stops leaves first."""
    b = listen("b")
    watcher.follow(b=b)
    watcher.watch()
    b.close()
    assert watcher.hears_nothing(0.3)


def test_an_ipv6_address_stands_in_brackets(watcher: Watcher) -> None:
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    listener = PeerListener("::1", 0, "b")
    assert listener.link.startswith("[::1]:")
    watcher.follow(b=listener)
    listener.close()
    assert watcher.refusal().host == "b"


def test_a_connection_that_was_forgotten_in_between_is_made_anew(
    watcher: Watcher, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes back on it, and nobody says that it has ended."""
    monkeypatch.setattr(peer_connection, "GIVEN_UP", 0.6)
    b = listen("b")
    server = socket.create_server((LOCAL, 0))
    server.settimeout(10.0)
    b.link = "{}:{}".format(*server.getsockname())
    watcher.watch(b=(b.link, b.secret))
    first, _ = server.accept()
    first.sendall(hello("b", b.link))
    assert watcher.next() == "b"
    second, _ = server.accept()
    second.sendall(hello("b", b.link))
    eventually("it is heard", lambda: watcher.silent() == [])
    for each in (first, second, server):
        each.close()


def test_who_accepts_is_counted_and_nobody_is_waited_for() -> None:
    """Among addresses that refuse, that drop, and that are none."""
    with socket.create_server((LOCAL, 0)) as server, socket.create_server((LOCAL, 0), backlog=0) as full:
        closed = socket.create_server((LOCAL, 0))
        nobody = closed.getsockname()
        closed.close()
        fill = [socket.socket() for _ in range(4)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        here = server.getsockname()
        assert accepting([here, here], 5, 0.1) == 2
        assert accepting([nobody, nobody, (LOCAL, 0)], 1, 5.0) == 0
        begun = time.monotonic()
        assert accepting([nobody, full.getsockname(), here], 1, 5.0) == 1
        assert accepting([], 1, 5.0) == 0
        assert accepting([nobody, full.getsockname()], 2, 0.1) == 0
        assert time.monotonic() - begun < 5.0
        for each in fill:
            each.close()
    assert peer_monitor.PROBE < 1.0
