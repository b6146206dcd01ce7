"""What looks like the death of a host and is none, and the reverse: on real sockets."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any

import pytest

from partition_supervisor.cluster import peer_connection
from partition_supervisor.cluster.peer_listener import PeerListener
from partition_supervisor.cluster.peer_protocol import GOODBYE, greeting, hello
from partition_supervisor.suspicion import Suspicion
from tests.eventually import eventually
from tests.fakes.peers import LOCAL, Listen, MakeWatcher, Watcher


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


def test_another_supervisor_at_the_address_of_a_dead_one_is_not_that(watcher: Watcher, listen: Listen) -> None:
    """Addresses of containers are given again: it does not know the secret, and is no sign of life."""
    b = listen("b")
    watcher.follow(b=b)
    b.close()
    assert watcher.refusal().host == "b"
    c = PeerListener(LOCAL, int(b.link.rpartition(":")[2]), "c")
    eventually("it is silent", watcher.silent)
    while not watcher.heard.empty():
        assert isinstance(watcher.heard.get(), Suspicion)
    c.close()


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
