"""Whoever connects to a supervisor: it costs nothing, and who knows the secret is served all the same."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from partition_supervisor.cluster import peer_listener
from partition_supervisor.cluster.peer_listener import PEERS, STRANGERS, PeerListener
from partition_supervisor.cluster.peer_protocol import BEAT, LONGEST_GREETING, greeting, hello
from partition_workers.errors import Misconfigured
from tests.eventually import eventually

LOCAL = "127.0.0.1"
Connect = Callable[..., socket.socket]


@pytest.fixture
def failures() -> list[BaseException]:
    return []


@pytest.fixture
def listener(failures: list[BaseException]) -> Iterator[PeerListener]:
    made = PeerListener(LOCAL, 0, "b", on_failure=failures.append)
    yield made
    made.close()
    assert not failures
    eventually("its thread has ended", lambda: not made._thread.is_alive())


@pytest.fixture
def connect(listener: PeerListener) -> Iterator[Connect]:
    """A connection on which this was said."""
    with contextlib.ExitStack() as stack:

        def make(said: bytes = b"") -> socket.socket:
            connection = stack.enter_context(socket.create_connection(listener.socket.getsockname(), 10.0))
            with contextlib.suppress(ConnectionError):
                connection.sendall(said)
            return connection

        yield make


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_served(listener: PeerListener, connection: socket.socket) -> bool:
    """Whether it is told who is here, and answered."""
    expected = hello("b", listener.link)
    with contextlib.suppress(ConnectionError):
        if connection.recv(len(expected), socket.MSG_WAITALL) != expected:
            return False
        connection.sendall(BEAT)
        return connection.recv(1) == BEAT
    return False


def has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(4096, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def peer(listener: PeerListener, name: str = "a") -> bytes:
    return greeting(listener.secret, name)


def test_who_knows_the_secret_is_told_who_is_here(listener: PeerListener, connect: Connect) -> None:
    connection = connect(peer(listener))
    assert is_served(listener, connection)
    assert (listener.silent_for("a") or 9.0) < 5.0
    assert not listener.wait_until_gone("a", 0.01)
    connection.close()
    assert listener.wait_until_gone("a", 10.0)
    assert listener.silent_for("a") is None


def test_a_greeting_in_pieces_is_one(listener: PeerListener, connect: Connect) -> None:
    connection = connect()
    for byte in peer(listener):
        connection.sendall(bytes([byte]))
        time.sleep(0.001)
    assert is_served(listener, connection)


@pytest.mark.parametrize(
    "said",
    [
        b"\n",
        b" a\n",
        b"wrong a\n",
        b"GET / HTTP/1.1\r\nHost: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\xff\xff\n",
        greeting("", "a"),
        greeting("0" * 32, "a"),
        b"x" * (LONGEST_GREETING + 1),
        b"\xff" * 1_000_000,
    ],
    ids=repr,
)
def test_a_stranger_is_told_nothing(listener: PeerListener, connect: Connect, said: bytes) -> None:
    """And its connection ends at once."""
    stranger = connect(said)
    eventually("the connection has ended", lambda: has_ended(stranger))
    assert listener._peers == {}


def test_the_secret_alone_is_no_greeting(listener: PeerListener, connect: Connect) -> None:
    """Somebody who is nobody would stay for ever."""
    for said in (listener.secret.encode() + b"\n", listener.secret.encode() + b" \n"):
        eventually("the connection has ended", partial(has_ended, connect(said)))
    assert listener._peers == {}


def test_three_thousand_guests_leave_nothing_behind(listener: PeerListener, connect: Connect) -> None:
    """Each says a line and leaves, or says nothing and stays: a supervisor is served at once all the while."""
    first = connect(peer(listener, "first"))
    assert is_served(listener, first)
    before = descriptors()
    staying = []
    for number in range(3000):
        guest = socket.create_connection(listener.socket.getsockname(), 10.0)
        if number % 3 == 0:
            guest.sendall(b"x\n")
        assert len(listener._strangers) <= STRANGERS
        if number % 100 == 0:
            first.sendall(BEAT)
            assert first.recv(1) == BEAT
        if number % 10 == 0:
            staying.append(guest)
        else:
            guest.close()
    eventually("they are bounded", lambda: descriptors() - before - len(staying) <= STRANGERS)
    assert is_served(listener, connect(peer(listener)))
    first.sendall(BEAT)
    assert first.recv(1) == BEAT
    for guest in staying:
        guest.close()
    eventually("nobody is left", lambda: not listener._strangers)


def test_who_says_nothing_is_not_waited_for(
    listener: PeerListener, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a stranger nor a supervisor: a connection that is half open shows no other sign."""
    monkeypatch.setattr(peer_listener, "GREETING", 0.1)
    monkeypatch.setattr(peer_listener, "GIVEN_UP", 0.2)
    monkeypatch.setattr(peer_listener, "LOOK_EVERY", 0.05)
    stranger, half = connect(), connect(listener.secret.encode())
    silent = connect(peer(listener))
    assert is_served(listener, silent)
    for each in (stranger, half, silent):
        eventually("the connection has ended", partial(has_ended, each))


def test_a_supervisor_that_does_not_read_holds_nobody_up(listener: PeerListener, connect: Connect) -> None:
    """What it is told stays in the kernel's buffer, until that is full."""
    flood = connect(peer(listener))
    flood.settimeout(0.2)
    flood.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with contextlib.suppress(TimeoutError, ConnectionError):
        for _ in range(20_000):
            flood.sendall(BEAT)
    assert is_served(listener, connect(peer(listener, "c")))


def test_a_host_has_one_connection(listener: PeerListener, connect: Connect) -> None:
    """The newest: it made it because the other had ended, for all it knows."""
    old = connect(peer(listener))
    assert is_served(listener, old)
    new = connect(peer(listener))
    assert is_served(listener, new)
    eventually("the old one has ended", lambda: has_ended(old))
    new.sendall(BEAT)
    assert new.recv(1) == BEAT
    assert list(listener._peers) == ["a"]


def test_even_who_knows_the_secret_is_bounded(
    listener: PeerListener, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_listener, "PEERS", 3)
    assert PEERS > 3
    guests = [
        connect(peer(listener, name)) for name in "acdefg" if is_served(listener, connect(peer(listener, name)))
    ]
    assert len(guests) == 6
    eventually("the oldest are gone", lambda: len(listener._peers) <= 3)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ECONNABORTED, errno.EPROTO])
def test_the_listener_outlives_what_accepting_fails_with(
    connect: Connect, listener: PeerListener, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Those who are there are answered meanwhile."""
    there = connect(peer(listener, "there"))
    assert is_served(listener, there)
    left, accept = iter(range(3)), socket.socket.accept

    def failing(self: socket.socket) -> tuple[socket.socket, object]:
        if next(left, None) is not None:
            raise OSError(number, os.strerror(number))
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)
    new = connect(peer(listener, "new"))
    there.sendall(BEAT)
    assert there.recv(1) == BEAT
    assert is_served(listener, new)


def test_an_error_that_nobody_expected_is_told(
    listener: PeerListener, connect: Connect, failures: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor must not go on as if others could follow it."""

    def fail(_guest: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(listener, "_read", fail)
    connect(b"x")
    eventually("it was told", lambda: failures)
    assert isinstance(failures.pop(), ZeroDivisionError)


@pytest.mark.parametrize(("address", "port"), [("192.0.2.1", 0), (LOCAL, 99_999), ("no.such.host.invalid", 0)])
def test_where_nobody_can_listen_is_refused(address: str, port: int) -> None:
    where = f"{address}:{port}" if port else address
    with pytest.raises(Misconfigured, match=f"--listen {where}: .* or none"):
        PeerListener(address, port, "a")


def test_a_port_that_is_taken_is_refused(listener: PeerListener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_listener, "PORT_WITHIN", 0.1)
    port = listener.socket.getsockname()[1]
    with pytest.raises(Misconfigured, match=f"--listen {LOCAL}:{port}: .*in use"):
        PeerListener(LOCAL, port, "a")


def test_a_port_that_becomes_free_is_waited_for() -> None:
    """After kill -9 of a supervisor its workers have it for a moment more."""
    before = socket.create_server((LOCAL, 0))
    port = before.getsockname()[1]
    timer = threading.Timer(0.2, before.close)
    timer.start()
    PeerListener(LOCAL, port, "a").close()
    timer.join()


def test_a_port_can_be_taken_again_at_once() -> None:
    """A supervisor that restarts with --listen HOST:PORT finds connections of its former life in TIME_WAIT."""
    first = PeerListener(LOCAL, 0, "b")
    host, port = first.socket.getsockname()
    with socket.create_connection((host, port), 10.0) as connection:
        connection.sendall(peer(first))
        assert is_served(first, connection)
        first.close()
    again = PeerListener(LOCAL, port, "b")
    assert again.link == first.link
    assert again.secret != first.secret
    again.close()


@pytest.mark.parametrize(
    ("advertise", "link"),
    [
        ("", "127.0.0.1:PORT"),
        ("10.1.2.3", "10.1.2.3:PORT"),
        ("10.1.2.3:7", "10.1.2.3:7"),
        ("node.example", "node.example:PORT"),
        ("[2001:db8::1]:7", "[2001:db8::1]:7"),
        ("2001:db8::1", "[2001:db8::1]:PORT"),
    ],
)
def test_what_is_advertised_is_the_link(advertise: str, link: str) -> None:
    listener = PeerListener(LOCAL, 0, "a", advertise)
    assert listener.link == link.replace("PORT", str(listener.socket.getsockname()[1]))
    listener.close()
