"""All that crosses the boundary between a supervisor and its workers.

Settings go down once, when a worker is made. Orders go down the pipe, reports come up it, in the past tense. Small
frozen values; truth between hosts is only in etcd.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from partition_workers.counts import NOTHING, Counts
from partition_workers.etcd.options import EtcdOptions
from partition_workers.layout.documents import Standby
from partition_workers.layout.keys import Keys
from partition_workers.model import EXACTLY_ONCE, Offset, Partition, Token

#: Signals that are often sent to a whole group of processes. What they mean is for the supervisor to decide.
FOR_THE_SUPERVISOR = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Everything a worker needs to know, for life. Times in seconds.

    `topic_id`: "": not known. `start_at`: where the partition begins if nothing was ever committed; None: at its
    first record. `outputs`: topics that the handler may produce to; `output_guarantee`: what is promised of them.
    """

    partition: Partition
    worker: str
    host: str
    lease: int
    handler: str
    keys: Keys
    etcd: EtcdOptions
    kafka: dict[str, str | int | float | bool]
    topic_id: str
    start_at: Offset | None
    lease_ttl: int
    commit_interval: float
    handler_timeout: float
    read_timeout: float
    max_retries: int
    on_error: str
    dlq_topic: str | None
    max_deaths: int
    max_records: int
    log_level: int
    outputs: tuple[str, ...] = ()
    output_guarantee: str = EXACTLY_ONCE


# --- orders: from the supervisor to a worker ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BecomeOwner:
    """The lock is yours under `token`: confirm it. The lease is good until `deadline` (seconds, CLOCK_BOOTTIME).

    `offset`: where the owner before has ended, if it said so. Only etcd's answer counts; but Kafka can be asked for
    the records from there on while etcd is asked.
    """

    token: Token
    deadline: float
    offset: Offset | None


@dataclass(frozen=True, slots=True)
class Compete:
    """The lock is free: try to take it, after `delay` seconds. The lease is good until `deadline` at least.

    `deaths`: how many owners in a row have died without a commit, as far as is known here.
    """

    delay: float
    deadline: float
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class AnswerPing:
    number: int


@dataclass(frozen=True, slots=True)
class KnowTopic:
    """Kafka says that the topic has this id. An owner whose offset is another one's parks."""

    topic_id: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Finish the record in hand, commit, and end. An owner gives its lock to the first of `successors` that can
    take it; if there is none it releases it."""

    successors: tuple[Standby, ...] = ()


Order = BecomeOwner | Compete | AnswerPing | KnowTopic | Leave


# --- reports: from a worker to its supervisor -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BecameReady:
    """A warm standby; its key is in etcd."""

    standby: Standby


@dataclass(frozen=True, slots=True)
class AnsweredPing:
    number: int


@dataclass(frozen=True, slots=True)
class TookLock:
    """Owner under `token`; from now on it renews its lease itself."""

    token: Token
    offset: Offset
    deaths: int
    cause: str = ""


@dataclass(frozen=True, slots=True)
class LoadsState:
    """The lock is its own under `token`, and it renews its lease itself; it reads a large state, then TookLock.

    No record is handled yet, so nothing of it has to be ended when it is late with its lease.
    """

    token: Token
    deaths: int


@dataclass(frozen=True, slots=True)
class MissedLock:
    """Somebody else was faster; still a standby."""


@dataclass(frozen=True, slots=True)
class RenewedLease:
    """Good until `deadline` (seconds, CLOCK_BOOTTIME)."""

    deadline: float


@dataclass(frozen=True, slots=True)
class Suspended:
    """Late with the lease: no record is started until the lock is known to be ours again."""


@dataclass(frozen=True, slots=True)
class Resumed:
    pass


@dataclass(frozen=True, slots=True)
class GotStuck:
    """The record loop has not come round for `seconds`; the lease is no longer renewed."""

    seconds: float
    stack: str


@dataclass(frozen=True, slots=True)
class MadeProgress:
    """The offset and the number of records (since TookLock) that are committed; at most one a second. `state`: its
    keys and bytes; `gap`: the phases of a takeover, in milliseconds, once."""

    offset: Offset
    records: int
    counts: Counts = NOTHING
    state: tuple[int, int] | None = None
    gap: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CannotCommit:
    """Etcd takes no commit, and why; the lock is kept, and the same is tried again."""

    why: str


@dataclass(frozen=True, slots=True)
class StepIsOpen:
    """A step with outputs was prepared at `since` (seconds, CLOCK_BOOTTIME) and is not applied yet, which is longer
    ago than usual; None: it is over."""

    since: float | None


@dataclass(frozen=True, slots=True)
class HandedOver:
    """`successor` has the lock under `token`, if it is alive, and goes on at `offset` (None: not known)."""

    successor: Standby
    token: Token
    offset: Offset | None


@dataclass(frozen=True, slots=True)
class Starved:
    """Nothing has come for `seconds`, though the partition has more, or Kafka does not say whether it has."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WasParked:
    """The partition is parked: nobody may own it until a person says so."""

    offset: Offset
    reason: str


@dataclass(frozen=True, slots=True)
class WasToldToLeave:
    """Somebody sent it a TERM. It goes on until its supervisor says who comes after it."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The last word of a worker that ends for a reason that has a name."""

    exit_code: int
    reason: str


@dataclass(frozen=True, slots=True)
class IsEnding:
    """It has nothing more to do but to end, and does so within `ending.WITHIN` seconds; nothing more is said.
    `held_up_by`: why it takes that long, if it does; `counts`: all that it counted, if it was an owner."""

    held_up_by: str
    counts: Counts | None = None


Report = (
    BecameReady | AnsweredPing | TookLock | LoadsState | MissedLock | RenewedLease | Suspended | Resumed | GotStuck
    | MadeProgress | CannotCommit | StepIsOpen | HandedOver | Starved | WasParked | WasToldToLeave | GaveUp | IsEnding
)  # fmt: skip
