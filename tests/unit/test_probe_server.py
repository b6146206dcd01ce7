"""The HTTP port of a supervisor: what it answers, and that nobody can make it stop answering."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import HTTPServer

import pytest

from partition_supervisor.web import probe_server
from partition_supervisor.web.listening import listen
from partition_supervisor.web.probe_server import LOOP_WITHIN, MOST_OPEN, ProbeServer
from partition_workers.errors import Misconfigured
from tests.eventually import eventually

MakeServer = Callable[..., ProbeServer]


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    made: list[ProbeServer] = []

    def make(token: str = "", silence: float = 0.0) -> ProbeServer:
        server = ProbeServer(listen("127.0.0.1:0", "--http"), token, lambda: silence)
        server.metrics = lambda: b"one 1\n"
        server.open()
        made.append(server)
        return server

    yield make
    for server in made:
        server.shutdown()
        server.server_close()


def ask(
    server: ProbeServer, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, str]:
    host, port = server.socket.getsockname()[:2]
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/livez", 200, "ok"),
        ("/livez?verbose=1", 200, "ok"),
        ("/readyz", 503, "it has not entered the group yet"),
        ("/metrics", 200, "one 1"),
        ("/", 200, "/livez /readyz /metrics"),
        ("/metrics/", 404, "there are /livez, /readyz and /metrics"),
        ("/../etc/passwd", 404, "there are /livez, /readyz and /metrics"),
    ],
)
def test_each_path_has_its_answer(make_server: MakeServer, path: str, status: int, text: str) -> None:
    assert ask(make_server(), path) == (status, f"{text}\n")


def test_only_reading_is_understood(make_server: MakeServer) -> None:
    server = make_server()
    assert ask(server, "/livez", "HEAD") == (200, "")
    assert ask(server, "/livez", "POST")[0] == 501


def test_a_loop_that_stands_still_is_not_alive(make_server: MakeServer) -> None:
    """Whatever etcd and Kafka do: they are not asked."""
    assert ask(make_server(silence=LOOP_WITHIN + 2), "/livez") == (
        503, "the supervisor's loop has not come round for 12 s\n",
    )  # fmt: skip


@pytest.mark.parametrize("given", [None, "", "Bearer wrong", "Basic right", "Bearer r\xefght"])
def test_a_wrong_token_gets_one_clear_answer(make_server: MakeServer, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    status, text = ask(make_server("right"), "/metrics", headers=headers)
    assert (status, text.count("\n")) == (401, 1)
    assert "Authorization: Bearer TOKEN" in text
    assert "right" not in text


def test_the_right_token_and_probes_without_one(make_server: MakeServer) -> None:
    server = make_server("räight")
    assert ask(server, "/metrics", headers={"Authorization": "Bearer räight".encode().decode("latin-1")})[0] == 200
    assert ask(server, "/livez")[0] == 200


def test_a_port_that_is_taken_is_said_in_one_sentence() -> None:
    with listen("127.0.0.1:0", "--http") as taken, pytest.raises(Misconfigured, match="port is taken"):
        listen(f"127.0.0.1:{taken.getsockname()[1]}", "--http")


@pytest.mark.parametrize("said", [b"", b"GET /metrics", b"GET / HTTP/1.1\r\nA: b\r\n"])
def test_whoever_dawdles_makes_room_for_the_next(make_server: MakeServer, said: bytes) -> None:
    """And costs neither threads nor descriptors without end."""
    server = make_server()
    before = threading.active_count()
    slow = []
    try:
        for _ in range(3 * MOST_OPEN):
            slow.append(socket.create_connection(server.socket.getsockname()[:2]))
            slow[-1].sendall(said)
        assert ask(server, "/livez")[0] == 200
        eventually("few threads are left", lambda: threading.active_count() <= before + MOST_OPEN)
        assert len(server._open) <= MOST_OPEN
    finally:
        for each in slow:
            each.close()


def test_whoever_takes_too_long_is_cut_off(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not help him."""
    monkeypatch.setattr(probe_server, "DEADLINE", 0.1)
    monkeypatch.setattr(probe_server, "LOOK_EVERY", 0.05)
    server = make_server()
    with socket.create_connection(server.socket.getsockname()[:2], timeout=5) as slow:
        slow.sendall(b"GET /livez HT")
        assert slow.recv(100) == b""
    eventually("nobody is left", lambda: not server._open)


def test_without_descriptors_it_waits_and_goes_on(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The standard library's own server would run in circles: who waits is still there."""
    server = make_server()
    refusals = []

    def refuse(_self: ProbeServer) -> object:
        refusals.append(1)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(HTTPServer, "get_request", refuse)
    with socket.create_connection(server.socket.getsockname()[:2]):
        eventually("it was refused", lambda: refusals)
    monkeypatch.undo()
    assert ask(server, "/livez")[0] == 200
    assert len(refusals) < 5
    assert "Too many open files" in caplog.text


def test_without_threads_the_connection_ends_and_the_server_does_not(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()

    class NoThread:
        def __init__(self, **_settings: object) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Thread", NoThread)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask(server, "/livez")
    monkeypatch.undo()
    assert ask(server, "/livez")[0] == 200


def test_an_answer_that_cannot_be_made_is_that_ones_end(make_server: MakeServer) -> None:
    server = make_server()

    def fail() -> bytes:
        raise ValueError("no such number")

    server.metrics = fail
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask(server, "/metrics")
    assert ask(server, "/livez")[0] == 200
