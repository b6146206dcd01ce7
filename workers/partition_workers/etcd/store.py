"""The words in which we speak to etcd: values, comparisons, operations, transactions.

Plain frozen values, so that a transaction can be built, shown and tested without any etcd; the real client
(`client.py`) and the fake of the tests both understand exactly these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as etcd holds it. `lease` is 0 when none is attached; the revisions are etcd's own."""

    key: str
    value: bytes
    version: int
    create_revision: int
    mod_revision: int
    lease: int = 0


class Target(Enum):
    """What of a key a comparison looks at. A key that is not there has version 0 and mod_revision 0."""

    VERSION = "version"
    MOD_REVISION = "mod_revision"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Compare:
    """Holds when the target of `key` equals `value` (an int, or bytes for `Target.VALUE`)."""

    key: str
    target: Target
    value: int | bytes


@dataclass(frozen=True, slots=True)
class Put:
    """Write a value. A put without a lease detaches the key from the one it had."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one key; or, with `prefix`, every key that begins with it."""

    key: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Get:
    """Read one key; or, with `prefix`, every key that begins with it, in key order: the first `limit`, 0 for all.
    `names` alone: without their values."""

    key: str
    prefix: bool = False
    limit: int = 0
    names: bool = False


Operation = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class PutMany:
    """Write each of these keys under `prefix`; delete those whose value is None. No leases."""

    prefix: str
    values: Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Txn:
    """If all comparisons hold, `success` is done and `many` is written, otherwise `failure`: atomically, at one
    revision.

    etcd takes 128 operations in a transaction, but an operation may be a transaction; so some 4,000 fit with its
    defaults (see `wire.py`), and there may be so many keys in `many`.

    `serializable`, for one that only reads: the member that is asked answers at once with what it knows, without
    asking the others whether that is the newest.
    """

    compare: tuple[Compare, ...]
    success: tuple[Operation, ...]
    failure: tuple[Operation, ...] = ()
    serializable: bool = False
    many: PutMany | None = None


@dataclass(frozen=True, slots=True)
class TxnResult:
    """`answers` has one entry for each operation of the branch that ran: what a Get found, () for the others.
    Those of `many` have none.

    `revision` is the store's revision after the transaction: that of its own writes, if it made any.
    """

    succeeded: bool
    revision: int
    answers: tuple[tuple[KeyValue, ...], ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys under a prefix, as of one revision: a watch from `revision + 1` misses nothing."""

    revision: int
    items: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some keys with their values, in key order, and whether there are more after them.

    `revision` is the newest that the member knew which answered; they are as of it, unless another was asked for.
    """

    revision: int
    items: tuple[tuple[str, bytes], ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as etcd granted it; `ttl` (seconds) may be more than was asked for."""

    lease: int
    ttl: int


@dataclass(frozen=True, slots=True)
class LeaseTime:
    """Whole seconds: what a lease was granted for, and what is left, rounded down. Both 0 or less: it is gone.

    It was renewed at most `granted - left` seconds ago, and less than a second later than that.
    """

    granted: int
    left: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """An answer to one keepalive. `ttl` (seconds) of 0 or less: the lease is gone."""

    lease: int
    ttl: int


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch. `item.value` is empty for a deletion."""

    item: KeyValue
    deleted: bool


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What one endpoint says of itself. `db_bytes` is the size of its database file; `quota_bytes` its limit, 0 where
    the server does not say (before 3.6); `leader` a member's id, 0: none; `raft_index` how far its log is."""

    endpoint: str
    version: str
    cluster_id: int
    db_bytes: int
    alarms: tuple[str, ...] = ()
    leader: int = 0
    raft_index: int = 0
    is_learner: bool = False
    quota_bytes: int = 0


class KeyRange(NamedTuple):
    """All keys from `first` up to `end`, which is not one of them."""

    first: str
    end: str


#: Leases to be renewed, as many at once as a list names.
Lists: TypeAlias = Iterator[Sequence[int]]


class KeepaliveStream(Protocol):
    """Answers to keepalives, in the order they were asked; `cancel` (from any thread) ends the iteration."""

    def __iter__(self) -> Iterator[Renewal]: ...
    def cancel(self) -> None: ...


class WatchStream(Protocol):
    """Changes under the watched prefixes and ranges, in revision order within each of them.

    Iterating raises Compacted when history is gone and Unavailable when the stream broke or lost its leader:
    in both cases list again. `cancel` (from any thread) ends the iteration without an error.
    """

    def __iter__(self) -> Iterator[Change]: ...
    def cancel(self) -> None: ...


class Store(Protocol):
    """What we need of etcd. Every call has a deadline and raises only the errors of `errors.py`:

    Unavailable (outcome unknown), NoSpace, LeaseGone, Refused (RequestTooLarge among them), Compacted, TooLarge.
    """

    def transact(self, txn: Txn) -> TxnResult: ...
    def transact_soon(self, txn: Txn) -> Future[TxnResult]: ...
    def get(self, key: str) -> KeyValue | None: ...
    def list(self, prefix: str) -> Listing: ...
    def page(
        self, prefix: str, after: str = "", limit: int = 0, revision: int = 0, large: float | None = None
    ) -> Page: ...
    def watch(self, places: tuple[str | KeyRange, ...], start_revision: int) -> WatchStream: ...
    def time_to_live(self, lease: int) -> LeaseTime: ...
    def grant(self, ttl: int, lease: int = 0) -> Grant: ...
    def revoke(self, lease: int) -> None: ...
    def keepalive(self, lists: Lists) -> KeepaliveStream: ...
    def alarms(self) -> tuple[str, ...]: ...
    def close(self) -> None: ...
