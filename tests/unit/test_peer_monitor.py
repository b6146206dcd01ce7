"""Who learns of a host's death, and who must not: on real sockets and real processes."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import queue
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from partition_supervisor.cluster import peer_connection, peer_monitor
from partition_supervisor.cluster.peer_listener import PeerListener
from partition_supervisor.cluster.peer_monitor import PeerMonitor, accepting
from partition_supervisor.cluster.peer_protocol import GOODBYE, SILENCE, greeting, hello
from partition_supervisor.suspicion import Suspicion
from partition_workers.layout.documents import Host
from tests.eventually import eventually

FORK = multiprocessing.get_context("forkserver")
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


@pytest.fixture
def make_watcher() -> Iterator[MakeWatcher]:
    made: list[Watcher] = []

    def make(*arguments: Any) -> Watcher:
        made.append(Watcher(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()
        assert not each.failures
    eventually("no thread is left", lambda: not any(t.name.startswith("peer ") for t in threading.enumerate()))


@pytest.fixture
def watcher(make_watcher: MakeWatcher) -> Watcher:
    return make_watcher()


@pytest.fixture
def listen() -> Iterator[Callable[[str], PeerListener]]:
    made = []

    def make(host_id: str) -> PeerListener:
        made.append(PeerListener(LOCAL, 0, host_id))
        return made[-1]

    yield make
    for each in made:
        each.close()


Listen = Callable[[str], PeerListener]


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


@pytest.mark.parametrize("said", [b"", b"c 127.0.0.1:1\n", b"HTTP/1.0 400 Bad Request\r\n\r\n"])
def test_the_end_of_somebody_else_is_not_that_of_the_host(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """At an address that leads to another host, or to another program."""
    monkeypatch.setattr(peer_connection, "PATIENCE", 0.05)
    server = socket.create_server((LOCAL, 0))
    watcher.watch(b=("{}:{}".format(*server.getsockname()), "secret"))
    for _ in range(3):
        guest, _ = server.accept()
        guest.sendall(said)
        guest.close()
    server.close()
    assert watcher.hears_nothing(0.3)
    assert watcher.silent() == []


def test_when_somebody_else_is_there_by_now_a_refusal_counts_no_more(watcher: Watcher, listen: Listen) -> None:
    """Another program has got the port: it may refuse as it likes. The host is silent, which etcd may confirm."""
    b = listen("b")
    watcher.follow(b=b)
    host, port = b.socket.getsockname()
    b.close()
    assert watcher.refusal().host == "b"
    with socket.create_server((host, port)) as stranger:
        stranger.settimeout(10.0)
        guest, _ = stranger.accept()
        guest.sendall(hello("c", b.link))
        assert guest.recv(4096)
        guest.close()
        eventually("it was recognised", lambda: not watcher._followed["b"]._is_right)
        while not watcher.heard.empty():
            watcher.heard.get()
    assert watcher.hears_nothing(1.0)
    eventually("it is silent", watcher.silent)


@pytest.mark.parametrize(
    "number",
    [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EMFILE, errno.EPERM, errno.EACCES,
     errno.ETIMEDOUT, errno.ENOBUFS, errno.ECONNRESET],
)  # fmt: skip
def test_an_error_of_our_own_is_no_refusal(
    watcher: Watcher, listen: Listen, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    b = listen("b")
    watcher.follow(b=b)

    def fail(*_: Any) -> socket.socket:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(socket, "create_connection", fail)
        b._peers["me"].connection.shutdown(socket.SHUT_RDWR)
        eventually("it is silent", watcher.silent)
        assert watcher.heard.empty()
    assert watcher.next() == "b"


@pytest.mark.parametrize(
    ("error", "ours", "theirs", "counts"),
    [
        (TimeoutError(), "exit", "exit", True),
        (OSError(errno.EHOSTUNREACH, ""), "exit", "exit", True),
        (OSError(errno.ENETUNREACH, ""), "exit", "exit", False),
        (OSError(errno.EMFILE, ""), "exit", "exit", False),
        (TimeoutError(), "exit", "goodbye", False),
        (TimeoutError(), "goodbye", "exit", False),
        (TimeoutError(), "exit", "reset", False),
        (TimeoutError(), "reset", "exit", False),
        (TimeoutError(), "exit", "never", False),
        (TimeoutError(), "exit", "stays", False),
    ],
)
def test_where_a_kernel_has_ended_all_nobody_has_to_refuse(
    listen: Listen,
    make_watcher: MakeWatcher,
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    ours: str,
    theirs: str,
    counts: bool,
) -> None:
    """A container that is killed takes its address along. What resets, or says goodbye before, has not died."""
    me, b = listen("me"), listen("b")
    watcher = make_watcher("me", me)
    watcher.follow(b=b)
    their_end = socket.create_connection(me.socket.getsockname(), 10.0)
    if theirs != "never":
        their_end.sendall(greeting(me.secret, "b"))
        assert their_end.recv(4096)

    def fail(*_: Any) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    if theirs != "stays":
        end(their_end, theirs)
        assert me.wait_until_gone("b", 10.0)
    end(b._peers["me"].connection, ours)
    if counts:
        assert watcher.refusal().witness.refused
    else:
        assert watcher.hears_nothing(0.6)


def end(connection: socket.socket, how: str) -> None:
    if how == "goodbye":
        connection.sendall(GOODBYE)
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    else:
        connection.shutdown(socket.SHUT_WR)


def test_a_host_that_was_never_reached_is_not_suspected(watcher: Watcher) -> None:
    server = socket.create_server((LOCAL, 0))
    link = "{}:{}".format(*server.getsockname())
    server.close()
    watcher.watch(b=(link, "secret"))
    assert watcher.hears_nothing(0.3)
    assert watcher.silent() == []


@pytest.mark.parametrize(
    "link", ["nonsense", "host:port", "127.0.0.1:99999", ":1", "[::1", "\udcff:1", "a\nb:1", 7, None, ["x"]]
)
def test_a_link_that_is_no_address_harms_nobody(watcher: Watcher, link: Any) -> None:
    """Anybody can write into etcd."""
    watcher.watch(b=(link, "secret"))
    assert watcher.hears_nothing(0.2)


def test_a_wrong_secret_is_never_met(watcher: Watcher, listen: Listen) -> None:
    """The document of an earlier life, or somebody else's."""
    b = listen("b")
    watcher.watch(b=(b.link, "wrong"))
    assert watcher.hears_nothing(0.3)
    b.close()
    assert watcher.hears_nothing(0.3)
    assert watcher.silent() == []


def test_a_host_of_an_earlier_version_is_not_followed(watcher: Watcher, listen: Listen) -> None:
    """It has no secret: its leases alone tell."""
    watcher.watch(b=(listen("b").link, ""))
    assert watcher._followed == {}


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
