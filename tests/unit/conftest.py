"""What unit tests share: hosts on fakes; and a property may take as long as a busy machine needs, for one example and
for making it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

from partition_supervisor.cluster.peer_listener import PeerListener
from partition_workers import commits as commits_module
from tests.eventually import eventually
from tests.fakes.host import FakeHost, MakeHost
from tests.fakes.peers import LOCAL, Listen, MakeWatcher, Watcher

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture
def make_host() -> Iterator[MakeHost]:
    made: list[FakeHost] = []

    def make(partitions: int = 1, **settings: Any) -> FakeHost:
        made.append(FakeHost(partitions, **settings))
        return made[-1]

    yield make
    for host in made:
        host.close()


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
def listen() -> Iterator[Listen]:
    made = []

    def make(host_id: str) -> PeerListener:
        made.append(PeerListener(LOCAL, 0, host_id))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would sleep between two attempts of a commit fails: nothing goes wrong there unless it is ordered."""
    monkeypatch.setattr(commits_module, "time", mock.Mock(sleep=_must_not_sleep))


def _must_not_sleep(seconds: float) -> None:
    raise AssertionError(f"slept for {seconds} s")
