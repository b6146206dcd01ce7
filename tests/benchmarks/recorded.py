"""A group of many partitions on many hosts as etcd would hold it, without a process of it: for what reads a group."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from partition_supervisor.dev.demo.load import create_topic
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.etcd.store import Delete, Put, Txn
from partition_workers.layout.documents import Cause, Ending, History, Host, Lock, Parked, Standby, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition, Token

PARTITIONS, HOSTS = 1_000, 10
#: Ownerships of each partition: the newest goes on, the others have ended.
OWNERSHIPS = 5
#: Seconds that its leases last, and keys in a transaction.
TTL, AT_ONCE = 900, 100
_GAP = {"exit_seen": 8.1, "lock_taken": 12.9, "state_loaded": 15.2, "first_record": 19.8}


@dataclass(frozen=True, slots=True)
class Recorded:
    """`etcd` is for those who want to change something."""

    etcd: Etcd
    keys: Keys
    group: str
    topic: str
    partitions: int
    hosts: int
    lease: int

    def owner(self, number: int, moved: int = 0) -> tuple[str, Lock]:
        """The key and the value of a lock; `moved` hosts further than it was at first."""
        host = f"host-{(number + moved) % self.hosts}"
        worker = f"{number * 100 + moved:032x}"
        lock = Lock(worker, host, 10_000 + number, f"{self.lease:x}", Cause.TAKEN_OVER, _at(moved), _at(moved))
        return self.keys.lock(Partition(self.topic, number)), lock

    def take_over(self, number: int, moved: int) -> int:
        """The lock goes to another host, and its new owner tells of its first record. Returns the token."""
        key, lock = self.owner(number, moved)
        token = Token(self.etcd.transact(Txn((), (Put(key, lock.encode(), self.lease),))).revision)
        partition = Partition(self.topic, number)
        begun = History(token, lock.worker, lock.host, lock.pid, lock.cause, _at(), 0, _at(0.1), dict(_GAP))
        self.etcd.transact(Txn((), (Put(self.keys.history(partition, token), begun.encode()),)))
        return token


def _at(seconds: float = 0.0) -> str:
    """A time as documents show it, `seconds` ago."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


@contextmanager
def recorded(
    bootstrap_servers: str, etcd_endpoints: str, partitions: int = PARTITIONS, hosts: int = HOSTS
) -> Iterator[Recorded]:
    """One partition is parked, one has no owner. All of it is deleted at the end; the topic stays."""
    group = f"recorded-{secrets.token_hex(4)}"
    topic = f"{group}-events"
    create_topic(bootstrap_servers, topic, partitions)
    etcd = Etcd(EtcdOptions(parse_endpoints(etcd_endpoints), timeout=10.0))
    try:
        lease = etcd.grant(TTL).lease
        made = Recorded(etcd, Keys.of("partition-supervisor", group), group, topic, partitions, hosts, lease)
        for some in (*_some(_puts(made)), *_some(_owners(made))):
            etcd.transact(Txn((), some))
        yield made
        etcd.transact(Txn((), (Delete(f"{made.keys.root}/", prefix=True),)))
        etcd.revoke(lease)
    finally:
        etcd.close()


def _some(puts: Iterable[Put]) -> Iterator[tuple[Put, ...]]:
    left = iter(puts)
    while some := tuple(itertools.islice(left, AT_ONCE)):
        yield some


def _puts(made: Recorded) -> Iterator[Put]:
    keys, lease = made.keys, f"{made.lease:x}"
    for number in range(made.hosts):
        host = Host(
            0, "0.1.0", 9_000 + number, f"127.0.0.1:{9_464 + number}", _at(86_400), lease=lease,
            topics={made.topic: made.partitions}, settings={"--lease-ttl": "5"},
        )  # fmt: skip
        yield Put(keys.host(f"host-{number}"), host.encode(), made.lease)
    for number in range(made.partitions):
        partition = Partition(made.topic, number)
        yield Put(keys.offset(partition), StoredOffset(0, 1_000 + number, 7, "", _at()).encode())
        for step in (1, 2):
            host_id, worker = f"host-{(number + step) % made.hosts}", f"{number:016x}{step:016x}"
            standby = Standby(worker, host_id, 20_000 + 10 * number + step, lease, _at(3_600))
            yield Put(keys.standby(partition, worker), standby.encode(), made.lease)
        if number == 1:
            parked = Parked(0, "ValueError: this record is bad (4 attempts) at offset 0", "host-1", _at(60))
            yield Put(keys.parked(partition), parked.encode())
        elif number != 2:
            key, lock = made.owner(number)
            yield Put(key, lock.encode(), made.lease)
        yield from _histories(made, partition, range(OWNERSHIPS - 1))


def _owners(made: Recorded) -> Iterator[Put]:
    """What the owners have written of themselves, under the tokens that their locks have by now."""
    for item in made.etcd.list(made.keys.locks).items:
        token = Token(item.mod_revision)
        yield from _histories(made, made.keys.partition_of(item.key), [OWNERSHIPS - 1], token)


def _histories(made: Recorded, partition: Partition, numbers: Iterable[int], newest: int = 0) -> Iterator[Put]:
    for number in numbers:
        ago = 600.0 * (OWNERSHIPS - number) - partition.number / 10
        token = Token(newest or number + 1)
        host = f"host-{(partition.number + OWNERSHIPS - 1 - number) % made.hosts}"
        history = History(
            token, f"{number:032x}", host, 10_000 + partition.number, Cause.TAKEN_OVER, _at(ago), 100 * number,
            _at(ago + 0.1), dict(_GAP),
        )  # fmt: skip
        if number < OWNERSHIPS - 1:
            history = history.closed(Ending.DIED, 100 * number + 100, at=_at(ago - 600))
        yield Put(made.keys.history(partition, token), history.encode())
