"""What a service manager is told, on a socket that stands in for systemd's."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from partition_supervisor.control.service_status import TIMES_WITHIN
from partition_supervisor.service_manager import ServiceManager
from partition_workers.errors import Misconfigured
from tests.fakes.host import FakeHost, MakeHost, running, send


class StandIn:
    """The socket of systemd, and what came."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        while True:
            try:
                lines = self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return found
            found.append(dict(line.split("=", 1) for line in lines))


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@notify-{os.getpid()}-{tmp_path.name}"


@pytest.fixture
def systemd(address: str) -> Iterator[StandIn]:
    made = StandIn(f"\0{address[1:]}" if address.startswith("@") else address)
    yield made
    made.socket.close()


def keys(heard: list[dict[str, str]]) -> list[str]:
    """The first word of each message."""
    return [next(iter(each)) for each in heard]


def besides(name: str, heard: list[dict[str, str]]) -> list[dict[str, str]]:
    return [each for each in heard if name not in each]


def with_manager(make_host: MakeHost, address: str, watchdog: float = 0.0) -> FakeHost:
    host = make_host(2)
    host.service_manager = ServiceManager(address, watchdog)
    return running(host)


def test_ready_comes_once_it_has_entered_and_a_status_after_it(
    make_host: MakeHost, address: str, systemd: StandIn
) -> None:
    with_manager(make_host, address).advance(5.0)
    first, *others = systemd.heard()
    assert first == {"READY": "1", "STATUS": "entered the group"}
    assert keys(others) == ["STATUS"] * len(others)
    assert others[-1]["STATUS"] == "2 workers: 2 own a partition, 0 stand by"


def test_the_pulse_comes_from_the_loop_and_stops_with_it(make_host: MakeHost, address: str, systemd: StandIn) -> None:
    host = with_manager(make_host, address, watchdog=8.0)
    systemd.heard()
    beats = 0
    for _ in range(80):
        host.advance(1.0)
        beats += sum("WATCHDOG" in each for each in systemd.heard())
    assert TIMES_WITHIN * 9 <= beats <= TIMES_WITHIN * 11
    host.jump(80.0)
    assert systemd.heard() == [], "the loop is held"


def test_a_reload_is_over_when_all_workers_are_new(make_host: MakeHost, address: str, systemd: StandIn) -> None:
    host = with_manager(make_host, address)
    host.advance(2.0)
    systemd.heard()
    send(host, signal.SIGHUP)
    host.advance(0.2)
    (told,) = systemd.heard()
    assert told["RELOADING"] == "1"
    assert int(told["MONOTONIC_USEC"]) > 0
    for _ in range(10):
        host.warm_up_all()
        host.advance(1.0)
    assert keys(systemd.heard())[0] == "READY"


def test_a_reload_that_was_refused_is_over_too(make_host: MakeHost, address: str, systemd: StandIn) -> None:
    host = with_manager(make_host, address)
    host.advance(2.0)
    systemd.heard()
    host.background.held = True
    host.fork_server.errors.append(Misconfigured("no such module"))
    send(host, signal.SIGHUP)
    host.advance(0.2)
    assert keys(systemd.heard()) == ["RELOADING"]
    host.background.held = False
    host.advance(0.5)
    assert keys(systemd.heard()) == ["READY"]


def test_a_stop_is_told_once(make_host: MakeHost, address: str, systemd: StandIn) -> None:
    host = with_manager(make_host, address)
    send(host, signal.SIGTERM)
    host.advance(1.0)
    assert keys(systemd.heard()).count("STOPPING") == 1


def test_what_it_was_too_busy_to_hear_is_told_again(make_host: MakeHost, address: str, systemd: StandIn) -> None:
    """The kernel keeps ten datagrams, whoever sends them."""
    flood = ServiceManager(address)
    while flood.status("x"):
        pass
    host = with_manager(make_host, address)
    send(host, signal.SIGTERM)
    host.advance(0.3)
    assert keys(systemd.heard()).count("READY") == 0
    host.advance(0.3)
    assert keys(systemd.heard()) == ["READY", "STOPPING"]


# --- the environment


def test_what_it_starts_must_not_speak_for_it() -> None:
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    assert ServiceManager.from_environment(environment).watchdog == 30.0
    assert environment == {"A": "b"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "30000000"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"},
    ],
)
def test_no_watchdog_is_fed_that_is_not_ours(environment: dict[str, str]) -> None:
    assert ServiceManager.from_environment(environment).watchdog == 0.0


@pytest.mark.parametrize("trouble", ["nobody", "full", "too long"])
def test_whatever_is_wrong_with_the_socket_is_said_once_and_harms_nobody(
    trouble: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = str(tmp_path / ("x" * 200 if trouble == "too long" else "notify"))
    if trouble == "full":
        full = StandIn(address)
    manager = ServiceManager(address)
    for _ in range(2000):
        manager.status("x" * 1000)
    assert caplog.text.count("cannot be told anything") == 1
    if trouble == "full":
        full.heard()
        manager.ready("again")
        assert full.heard()[-1]["READY"] == "1"
        full.socket.close()
