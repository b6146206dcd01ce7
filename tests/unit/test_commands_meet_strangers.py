"""Whatever stands below our root in etcd: each command does what it can, names the rest, and prints only text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from partition_supervisor.cli import cli
from partition_supervisor.commands.output import OUTPUTS
from partition_supervisor.kafka.end_offsets import Ends, Extent
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.document import Document
from partition_workers.layout.documents import History, Host, Lock, Move, Parked, Size, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("partition-supervisor", "g")
P = [Partition("events", number) for number in range(5)]
#: Sets a terminal's title and colour, turns the direction of writing round, and is no UTF-8.
EVIL = "\x1b]0;evil\x07\x9b31m\u202e\udcff"
LEASE = 0x5EED

#: Documents that read well, with such words wherever words may be, and times beyond all years.
READABLE: dict[str, Document] = {
    KEYS.lock(P[0]): Lock(EVIL, EVIL, 1, "5eed", EVIL, EVIL),
    KEYS.standby(P[0], EVIL): Standby(EVIL, EVIL, 1, "5eed", EVIL),
    KEYS.standby(P[2], "w"): Standby("w", "host-b", 1, "5eed", now()),
    KEYS.parked(P[1]): Parked(3, EVIL, EVIL, EVIL),
    KEYS.move(P[0]): Move(EVIL, EVIL),
    KEYS.offset(P[0]): StoredOffset(3, 1, 1, EVIL, "2020-01-01", prepared=EVIL),
    KEYS.offset(P[1]): StoredOffset(3, 1, 1, EVIL, EVIL),
    KEYS.size(P[0]): Size(3, 4, EVIL),
    KEYS.host("host-a"): Host(
        3, EVIL, 1, EVIL, "0001-01-01T00:00:00+23:00", link=EVIL, secret=EVIL, able=False, unable_because=EVIL,
        passed_over={EVIL: EVIL}, resting={EVIL: EVIL}, topics={EVIL: 3}, settings={"--output": EVIL, EVIL: EVIL},
    ),
    KEYS.host("host-b"): Host(3, "1", 1, "", now()),
    KEYS.history(P[0], 7): History(
        7, EVIL, EVIL, 1, EVIL, "9999-12-31T23:59:59-23:00", 3, "9999-12-31T00:00:00Z",
        {"exit_seen": -1e18, "first_record": 9e18}, "0001-01-01T00:00:00+23:00", 3, EVIL, EVIL, EVIL,
    ),
    KEYS.history(P[0], 8): History(8, EVIL, EVIL, 1, "taken-over", EVIL, 3, EVIL, {"first_record": 1}, EVIL),
}  # fmt: skip
#: What is none of ours, as a key or as a value.
FOREIGN: dict[str, bytes] = {
    **{f"{prefix}garbage{EVIL}": b"{}" for prefix in (KEYS.locks, KEYS.standbys, KEYS.hosts, KEYS.control)},
    **{f"{prefix}garbage": b"{}" for prefix in (KEYS.every_history, KEYS.offsets, KEYS.sizes, KEYS.moves)},
    f"{KEYS.locks}{EVIL}/00000": READABLE[KEYS.lock(P[0])].encode(),
    f"{KEYS.offset(P[4])}/below": StoredOffset(77, 1, 1, "", now()).encode(),
    f"{KEYS.history(P[0], 7)}0": READABLE[KEYS.history(P[0], 7)].encode(),
    KEYS.offset(P[2]): b"garbage",
    KEYS.lock(P[3]): b"garbage",
    KEYS.offset(P[3]): b"[]",
    KEYS.host("host-c"): b"garbage",
    KEYS.move(P[3]): b"garbage",
    KEYS.parked(P[3]): b"\xff",
}


class Kafka:
    """It has all of these partitions."""

    def __init__(self, _config: object) -> None:
        pass

    def of(self, _topics: object, _timeout: float) -> Ends:
        return Ends(dict.fromkeys(P, 10))

    def at_time(self, partitions: Any, _milliseconds: int, _timeout: float) -> dict[Partition, int]:
        return dict.fromkeys(partitions, 10)

    def extents(self, *_: object) -> dict[Partition, Extent]:
        return dict.fromkeys(P, Extent(0, 10))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEtcd]:
    made = FakeEtcd()
    made.grant(60, LEASE)
    for key, value in {**{key: each.encode() for key, each in READABLE.items()}, **FOREIGN}.items():
        is_leased = key.startswith((KEYS.locks, KEYS.standbys, KEYS.hosts))
        made.transact(Txn((), (Put(key, value, LEASE if is_leased else 0),)))
    monkeypatch.setattr("partition_workers.etcd.client.Etcd", lambda _options: made)
    close = made.close
    monkeypatch.setattr(made, "close", lambda: None)
    for name in ("EndOffsets", "Extents"):
        monkeypatch.setattr(f"partition_supervisor.kafka.end_offsets.{name}", Kafka)
    monkeypatch.setattr("partition_supervisor.kafka.committed_steps.committed_steps", lambda *_: {})
    yield made
    close()


def called(*arguments: str) -> Result:
    """It ends as is documented, without an error of ours, and what it prints does nothing to a terminal."""
    done = CliRunner().invoke(cli, [*arguments, "-g", "g"], catch_exceptions=False)
    assert done.exit_code in (0, 3, 78), done.output
    steering = {each for each in done.stdout + done.stderr if not each.isprintable()} - {"\n", "\t"}
    assert not steering, sorted(map(ascii, steering))
    return done


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("command", ["status", "topology", "history", "offsets show"])
def test_whatever_is_there_is_shown_and_the_rest_is_named(command: str, output: str) -> None:
    done = called(*command.split(), "-o", output)
    assert done.exit_code == 0
    if output in ("json", "yaml"):
        assert json.loads(done.stdout) if output == "json" else yaml.safe_load(done.stdout)
    if command in ("history", "offsets show"):
        assert "garbage is none of ours" in done.stderr
        assert "etcdctl del" in done.stderr
    if command == "offsets show" and output == "json":
        shown = {each["partition"]: each for each in json.loads(done.stdout)["offsets"]}
        assert {number: each["offset"] for number, each in shown.items()} == {0: 3, 1: 3, 2: None, 3: None}
        assert (shown[0]["owner"]["host"], shown[3]["owner"]) == (EVIL, None)


@pytest.mark.usefixtures("store")
def test_what_is_none_of_ours_is_a_complaint_of_status() -> None:
    done = called("status", "--check")
    assert done.exit_code == 3
    for key in FOREIGN:
        if not key.startswith((KEYS.every_history, KEYS.drains)):
            assert (key if key.isprintable() else "garbage") in done.stderr


ORDERS = [
    ("pause", 0, "events[1] was parked already"),
    ("pause events[2]", 0, "events[2] is paused"),
    ("resume events[1]", 0, "events[1] goes on at offset 3"),
    ("resume", 0, "cannot be read"),
    ("move events[0] --to host-b", 0, "events[0] is bound to host-b"),
    ("move events[0] --to host-c", 78, f"etcdctl del {KEYS.host('host-c')}"),
    ("move events[0] --anywhere", 0, "it was bound to"),
    ("move events[3] --anywhere", 0, "what is no name of a host"),
    ("drain host-a", 0, "host-a is being drained"),
    ("drain host-c", 78, f"etcdctl del {KEYS.host('host-c')}"),
    ("drain nobody", 78, "no host 'nobody'"),
    ("offsets forget", 0, "nothing to forget"),
    ("offsets reset events[2] --to-earliest", 0, "nothing was changed"),
    ("offsets reset events[2] --to-earliest --execute", 0, "events[2]"),
    ("offsets reset events[1] --to-earliest --execute", 0, "events[1]"),
    ("offsets reset events[0] --to-earliest --execute", 3, "has an owner"),
    ("offsets reset events[3] --to-earliest --execute", 3, "nobody can read who has the lock of events[3]"),
]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("order", "code", "words"), ORDERS)
def test_orders_are_given_all_the_same(order: str, code: int, words: str) -> None:
    done = called(*order.split())
    assert (done.exit_code, words in done.output) == (code, True), done.output


def test_an_offset_that_nobody_can_read_is_replaced_by_a_reset(store: FakeEtcd) -> None:
    called("offsets", "reset", "events[2]", "--to-offset", "7", "--execute")
    found = store.get(KEYS.offset(P[2]))
    assert found is not None
    assert StoredOffset.decode(found.value).offset == 7


def test_what_stands_below_an_offset_is_not_that_partitions(store: FakeEtcd) -> None:
    """Though it could be read."""
    assert store.get(f"{KEYS.offset(P[4])}/below") is not None
    shown = json.loads(called("status", "-o", "json").stdout)
    assert [each["offset"] for each in shown["partitions"]] == [3, 3, None, 0, None]
    assert any(each["key"].endswith("/below") for each in shown["foreign_keys"])
