"""The JSON documents that we keep in etcd, one class for each kind of key.

How they are written, read and checked stands in `document.py`. Times in documents are wall clock, for people; nothing
is decided by them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from partition_workers.layout.document import Document


def now() -> str:
    """The wall clock as documents show it, UTC with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def milliseconds(start: str, end: str) -> float:
    """From one document time to another, in milliseconds. Raises ValueError for what is no time, or none of ours."""
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() * 1000
    except TypeError as error:  # one with a time zone, one without
        raise ValueError(str(error)) from None


class Cause(StrEnum):
    """How a lock came to its owner."""

    ACQUIRED = "acquired"
    HANDED_OVER = "handed-over"
    TAKEN_OVER = "taken-over"


class Ending(StrEnum):
    """How an ownership ended."""

    STOPPED = "stopped"
    HANDED_OVER = "handed-over"
    PARKED = "parked"
    DIED = "died"
    #: It was given the lock, and never came to own the partition.
    NOT_TAKEN = "not-taken"


@dataclass(frozen=True, slots=True)
class Standby(Document):
    """`standbys/<p>/<worker>`: a warm worker. `lease` in hexadecimal, as etcdctl shows it."""

    worker: str
    host: str
    pid: int
    lease: str
    since: str = ""

    @property
    def lease_id(self) -> int:
        return int(self.lease, 16)


@dataclass(frozen=True, slots=True)
class Lock(Document):
    """`locks/<p>`: the owner. `exit_seen`: when the predecessor's death was seen, if it died; `deaths`: how many
    owners in a row have died without a commit; `offset`: the predecessor's next record, if it handed over."""

    worker: str
    host: str
    pid: int
    lease: str
    cause: str
    since: str
    exit_seen: str | None = None
    deaths: int = 0
    offset: int | None = None

    @property
    def lease_id(self) -> int:
        return _lease_id(self.lease)

    @classmethod
    def naming(
        cls,
        standby: Standby,
        cause: Cause,
        exit_seen: str | None = None,
        deaths: int = 0,
        offset: int | None = None,
    ) -> Lock:
        return cls(
            standby.worker, standby.host, standby.pid, standby.lease, cause, now(), exit_seen, deaths, offset
        )  # fmt: skip


def holder_of(lock: bytes) -> str:
    """The worker that a lock's value names; nobody, the empty text, if it is none of ours."""
    try:
        return Lock.decode(lock).worker
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class StoredOffset(Document):
    """`offsets/<p>`: the next offset, and the token and sequence of the commit that wrote it. `deaths`: how many
    owners in a row have died without getting on, if the one that wrote this is dead; 0: it ended in good order.
    `prepared`: the step with outputs that follows, if one is under way; see `outputs/steps.py`. `reset`: etcd's
    revision when a person set this offset, until an owner's handler has opened there; 0: it has."""

    offset: int
    token: int
    sequence: int
    topic_id: str
    at: str
    deaths: int = 0
    prepared: str = ""
    reset: int = 0


@dataclass(frozen=True, slots=True)
class Prepared(Document):
    """`prepared/<p>`: what a step with outputs will change if Kafka commits it: the JSON of each state key; "": it is
    deleted. It counts only while `offsets/<p>` names its `number`. `before`: what Kafka showed until then."""

    number: str
    before: str
    offset: int
    changes: dict[str, str]
    at: str


@dataclass(frozen=True, slots=True)
class Size(Document):
    """`sizes/<p>`: how large the state about is. Only there while it is more than fits one answer."""

    keys: int
    bytes: int
    at: str


@dataclass(frozen=True, slots=True)
class FirstStart(Document):
    """`topics/<topic>`: where its partitions ended, in their order, at the group's first --start latest."""

    topic_id: str
    offsets: list[int]
    at: str


@dataclass(frozen=True, slots=True)
class Attempt(Document):
    """`attempts/<p>`: a record that is being tried, how many workers it has killed, and where it was tried.
    `under_way`: if its writer is dead by now, it died of it."""

    offset: int
    deaths: int
    hosts: list[str] = field(default_factory=list)
    under_way: bool = True


@dataclass(frozen=True, slots=True)
class Parked(Document):
    """`control/parked/<p>`: nobody may own this partition until a person says so."""

    offset: int
    reason: str
    host: str
    at: str


@dataclass(frozen=True, slots=True)
class Move(Document):
    """`control/moves/<p>`: somebody wants the partition to be on this host, whatever the balance says."""

    to: str
    at: str


@dataclass(frozen=True, slots=True)
class Drain(Document):
    """`control/drains/<host>`: the host gives everything away, as soon as others are ready, and takes nothing."""

    at: str


@dataclass(frozen=True, slots=True)
class Host(Document):
    """`hosts/<id>`: a running supervisor. `workers`: how many it may run; 0: one for each partition. `link`: where
    the others connect to, to notice its death; empty: nowhere. `resting`: why this host does not start a worker of a
    partition for a while, by the partition's name. `secret`: what the others say first at `link`. `lease`: the host's
    own, in hexadecimal. `reads_kafka`: false while Kafka is silent to it. `passed_over`: hosts that did not take what
    this one had offered them, each with the reason, for as long as they are offered nothing more. `able`: whether it
    may be given partitions; if not, why. `topics`: those that it was started with, and how many partitions each has;
    `settings`: what should be alike on all hosts, by its name."""

    workers: int
    version: str
    pid: int
    address: str
    started: str
    draining: bool = False
    link: str = ""
    resting: dict[str, str] = field(default_factory=dict)
    secret: str = ""
    lease: str = ""
    reads_kafka: bool = True
    passed_over: dict[str, str] = field(default_factory=dict)
    able: bool = True
    unable_because: str = ""
    topics: dict[str, int] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def lease_id(self) -> int:
        return _lease_id(self.lease)


@dataclass(frozen=True, slots=True)
class History(Document):
    """`history/<p>/<token>`: one ownership. `gap`: milliseconds from `last_commit`, the last one under the previous
    token, to each phase of the takeover; empty when nobody owned the partition before. `step`: what became of the
    step with outputs that the predecessor had prepared: applied or dropped, and its number."""

    token: int
    worker: str
    host: str
    pid: int
    cause: str
    since: str
    from_offset: int | None = None
    last_commit: str | None = None
    gap: dict[str, float] = field(default_factory=dict)
    until: str | None = None
    to_offset: int | None = None
    ending: str | None = None
    reason: str | None = None
    step: str | None = None

    def closed(
        self, ending: Ending, to_offset: int | None, reason: str | None = None, at: str | None = None
    ) -> History:
        return dataclasses.replace(self, until=at or now(), to_offset=to_offset, ending=ending, reason=reason)


def _lease_id(lease: object) -> int:
    """0 when no lease is named."""
    try:
        return int(str(lease), 16)
    except ValueError:
        return 0
