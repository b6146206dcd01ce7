"""The page's server from outside: what it answers, to whom, and what a browser that loses it misses (nothing)."""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from partition_supervisor.dev.services import Services
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.document import Document
from partition_workers.layout.documents import Cause, Lock, Parked, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.commands import cli, start_cli
from tests.eventually import eventually

#: What a browser may meet in etcd: markup, terminal escapes, and a lot of it.
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e" + "x" * 100_000


@dataclass
class Group:
    store: Etcd
    services: Services
    topic: str
    keys: Keys = field(default_factory=lambda: Keys.of("partition-supervisor", f"ui-{secrets.token_hex(4)}"))

    def put(self, key: str, document: Document) -> None:
        self.store.transact(Txn((), (Put(key, document.encode()),)))

    def own(self, number: int, host: str) -> None:
        where = self.keys.lock(Partition(self.topic, number))
        self.put(where, Lock("worker", host, 4_194_303, "1f", Cause.TAKEN_OVER, now()))

    def options(self) -> tuple[str, ...]:
        name = self.keys.root.rpartition("/")[2]
        return ("--group", name, "-b", self.services.bootstrap_servers, "-e", self.services.etcd_endpoints)


@pytest.fixture
def group(services: Services, etcd_endpoints: tuple[str, ...], topic: str) -> Iterator[Group]:
    store = Etcd(EtcdOptions(etcd_endpoints))
    yield Group(store, services, topic)
    store.close()


@dataclass
class Page:
    process: subprocess.Popen[str]
    port: int

    def get(self, path: str, host: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        given = {name.replace("_", "-"): value for name, value in headers.items()} | ({"Host": host} if host else {})
        connection.request("GET", path, headers=given)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, dict(answer.headers), body

    @contextmanager
    def events(self, seen: str = "") -> Iterator[Iterator[tuple[str, str, dict[str, Any]]]]:
        """Name, id and data of each event but the readings of offsets."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", "/api/v1/events", headers={"Last-Event-ID": seen} if seen else {})
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")

        def read() -> Iterator[tuple[str, str, dict[str, Any]]]:
            fields: dict[str, str] = {}
            while line := answer.readline().decode():
                name, _, value = line.rstrip("\r\n").partition(": ")
                if name:
                    fields[name] = value
                elif fields:
                    if fields.get("event") in ("snapshot", "change"):
                        yield fields["event"], fields["id"], json.loads(fields["data"])
                    fields = {}

        yield read()
        connection.close()


@contextmanager
def page(group: Group, *arguments: str) -> Iterator[Page]:
    with start_cli("ui", "--http", "127.0.0.1:0", *arguments, *group.options()) as process:
        try:
            assert process.stderr
            said = process.stderr.readline()
            assert said.startswith("http://127.0.0.1:"), said
            threading.Thread(target=process.stderr.read, daemon=True).start()
            made = Page(process, int(said.split("/")[2].rpartition(":")[2]))
            eventually("it answers", lambda: answers(made.port))
            yield made
        finally:
            process.kill()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_page_is_whole_and_takes_nothing_from_elsewhere(group: Group) -> None:
    """All files are there, the policy lets in no script of others, and no file of ours is served besides."""
    with page(group) as server:
        status, headers, body = server.get("/")
        assert status == 200
        for name in ("page.css", "page.js", "model.js", "icon.svg"):
            assert name in body or name == "model.js"
            assert server.get(f"/{name}")[0] == 200
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in body.replace("http-equiv", "")
        assert server.get("/../setup.cfg")[0] == 404
        assert server.get("/static/app.py")[0] == 404


def test_a_name_that_somebody_bound_to_our_address_is_refused(group: Group) -> None:
    """A page of others cannot read this one through a name of theirs."""
    with page(group, "--name", "monitor.example") as server:
        assert server.get("/api/v1/group", host="evil.example")[0] == 400
        assert server.get("/api/v1/group", host="monitor.example")[0] == 200
        assert server.get("/api/v1/group", host=f"localhost:{server.port}")[0] == 200


def test_a_browser_that_loses_a_server_goes_on_at_another(group: Group) -> None:
    """Changes made before, between and after: each once, in order, on both servers together."""
    with page(group) as first, page(group, "--other", f"http://127.0.0.1:{first.port}/") as second:
        assert json.loads(second.get("/api/v1/about")[2])["others"] == [f"http://127.0.0.1:{first.port}"]
        got: list[tuple[int, str]] = []
        with first.events() as events:
            name, seen, _ = next(events)
            assert name == "snapshot"
            for number in range(3):
                group.own(number, f"host-{number}")
            for _ in range(3):
                _, seen, data = next(events)
                got.append((data["partition"], data["value"]["host"]))
            first.process.send_signal(signal.SIGKILL)
        for number in range(3):
            group.own(number, f"again-{number}")
        with page(group) as third:  # it began after all that had happened
            for server in (second, third):
                more: list[tuple[int, str]] = []
                with server.events(seen) as events:
                    group.own(3, "last")
                    while not more or more[-1] != (3, "last"):
                        _, _, data = next(events)
                        more.append((data["partition"], data["value"]["host"]))
                assert more[:3] == [(number, f"again-{number}") for number in range(3)]
                assert set(more[3:]) == {(3, "last")}
        assert got == [(number, f"host-{number}") for number in range(3)]


def test_an_event_that_etcd_has_forgotten_is_answered_with_everything(group: Group) -> None:
    with page(group) as server:
        group.own(0, "host-a")
        eventually("it is seen", lambda: json.loads(server.get("/api/v1/group")[2])["partitions"])
        for unknown in ("1.1", "999999999999.1"):
            with server.events(unknown) as events:
                name, _, data = next(events)
            assert name in ("snapshot", "change")
            if unknown.startswith("9"):
                assert name == "snapshot"
                assert data["partitions"]
        assert server.get("/api/v1/events", Last_Event_ID="nonsense")[0] == 400


def test_hostile_text_comes_as_json_text(group: Group) -> None:
    """Markup and escapes are data: nothing of them is in the page, and all of it is in the answer."""
    partition = Partition(group.topic, 0)
    group.put(group.keys.parked(partition), Parked(0, HOSTILE, "host-a", now()))
    group.put(group.keys.offset(partition), StoredOffset(0, 1, 1, "", now()))
    with page(group) as server:
        _, headers, body = server.get("/api/v1/group")
        assert headers["content-type"] == "application/json"
        (shown,) = (each for each in json.loads(body)["partitions"] if each["partition"] == 0)
        assert shown["reason"] == HOSTILE
        assert HOSTILE not in server.get("/")[2]


def test_it_stops_at_once_with_browsers_connected(group: Group) -> None:
    with page(group) as server, server.events() as events:
        next(events)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=10) in (0, -signal.SIGTERM)


def test_a_port_that_is_taken_is_named(group: Group) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = cli("ui", "--http", where, *group.options())
    assert ended.returncode == 78
    assert where in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("bad", [("--http", "nowhere"), ("--http", "127.0.0.1:x"), ("--other", "127.0.0.1:1")])
def test_what_is_no_address_is_refused(group: Group, bad: tuple[str, str]) -> None:
    ended = cli("ui", *bad, *group.options())
    assert ended.returncode == 78
    assert bad[0] in ended.stderr


def test_an_etcd_that_is_not_there_is_named(group: Group) -> None:
    ended = cli("ui", "--http", "127.0.0.1:0", "-e", "127.0.0.1:1", timeout=30)
    assert ended.returncode == 69
    assert "127.0.0.1:1" in ended.stderr
