"""Where a supervisor listens, and what it says of that at the start."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from partition_supervisor import assembly
from partition_supervisor.cluster.peer_listener import PeerListener
from partition_supervisor.config import Config
from partition_workers.etcd.options import EtcdOptions

ELSEWHERE = "192.0.2.9"  # an address that is kept for documentation


def listening(*endpoints: str, **changes: Any) -> PeerListener | None:
    config = Config("m:h", ("events",), "kafka:9092", EtcdOptions(endpoints or ("127.0.0.1:2379",)), **changes)
    return assembly.listen(config, lambda _error: None)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """This machine's address on the way to each server."""
    ways: dict[str, str | None] = {"127.0.0.1:2379": "127.0.0.1"}
    monkeypatch.setattr(assembly, "address_towards", ways.get)
    return ways


@pytest.mark.parametrize(
    ("changes", "link", "is_said"),
    [
        ({}, "127.0.0.1:", True),
        ({"listen": "127.0.0.1"}, "127.0.0.1:", True),
        ({"listen": "127.0.0.1", "advertise": "node.example"}, "node.example:", False),
        ({"listen": "127.0.0.1", "advertise": "node.example:7"}, "node.example:7", False),
        ({"advertise": "127.0.0.2:7"}, "127.0.0.2:7", True),
        ({"listen": "0.0.0.0"}, "127.0.0.1:", True),
        ({"listen": "0.0.0.0", "advertise": "node.example"}, "node.example:", False),
    ],
)
def test_an_address_that_others_cannot_use_is_said(
    ways: dict[str, str | None],
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, str],
    link: str,
    is_said: bool,
) -> None:
    caplog.set_level(logging.INFO)
    listener = listening(**changes)
    assert listener is not None
    listener.close()
    assert listener.link.startswith(link)
    assembly.say_whether_others_reach(listener.link)
    assert ("cannot be reached from other machines" in caplog.text) is is_said


def test_all_addresses_are_advertised_as_the_one_towards_etcd(ways: dict[str, str | None]) -> None:
    """0.0.0.0 leads each of the others to itself."""
    ways["etcd:2379"] = ELSEWHERE
    listener = listening("etcd:2379", listen="0.0.0.0")
    assert listener is not None
    listener.close()
    assert listener.link == f"{ELSEWHERE}:{listener.link.rpartition(':')[2]}"


def test_a_member_of_etcd_on_each_host_hides_no_way_to_the_others(ways: dict[str, str | None]) -> None:
    """The first endpoint is often this machine's own."""
    ways |= {"etcd-2:2379": None, "etcd-3:2379": "127.0.0.2", "etcd-4:2379": ELSEWHERE}
    config = Config("m:h", ("e",), "k:9092", EtcdOptions(("127.0.0.1:2379", "etcd-2:2379", "etcd-4:2379")))
    assert assembly.way_to_etcd(config) == ELSEWHERE


def test_without_a_way_to_etcd_nobody_listens(ways: dict[str, str | None], caplog: pytest.LogCaptureFixture) -> None:
    assert listening("nowhere:2379") is None
    assert "see --listen" in caplog.text


def test_nobody_listens_who_was_told_not_to(ways: dict[str, str | None]) -> None:
    assert listening(listen="none") is None
