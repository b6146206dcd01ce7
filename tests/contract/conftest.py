"""Where the contract suite finds its stores."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator

import pytest

from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.status import SilentServer
from tests.contract.group import AnyStore, Group
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd


@pytest.fixture(params=["fake", "real"])
def store(request: pytest.FixtureRequest) -> Iterator[AnyStore]:
    """An open store, fake and real in turn."""
    made = FakeEtcd() if request.param == "fake" else _real(request)
    yield made
    made.close()


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"/contract/{uuid.uuid4().hex}/"


@pytest.fixture
def group(store: AnyStore, prefix: str) -> Group:
    """A group of its own in that store."""
    return Group(store, prefix)


@pytest.fixture(params=["alone", "beside a stream"])
def beside(request: pytest.FixtureRequest, store: AnyStore, prefix: str) -> Iterator[None]:
    """What nobody waits for goes another way while a stream is open."""
    stream = store.watch((f"{prefix}elsewhere/",), 0) if request.param == "beside a stream" else None
    yield
    if stream is not None:
        stream.cancel()


@pytest.fixture
def elapse(store: AnyStore) -> Callable[[float], None]:
    """Let so many seconds pass for a store with a clock of its own; a real one takes its time by itself."""

    def pass_time(seconds: float) -> None:
        if isinstance(store, FakeEtcd) and isinstance(store.clock, FakeClock):
            store.clock.advance(seconds)

    return pass_time


@pytest.fixture
def dead_endpoint() -> str:
    """An address where nobody listens."""
    return f"127.0.0.1:{free_port()}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _real(request: pytest.FixtureRequest) -> Etcd:
    return Etcd(EtcdOptions(request.getfixturevalue("etcd_endpoints")))


def _answers(endpoints: tuple[str, ...]) -> bool:
    etcd = Etcd(EtcdOptions(endpoints))
    try:
        return not any(isinstance(each, SilentServer) for each in etcd.status())
    finally:
        etcd.close()
