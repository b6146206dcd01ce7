"""The picture of a group: who owns which partition, how far it is, and who stands by.

Made from what etcd holds at one revision and where Kafka says the partitions end; drawn by `status` and read by
machines as JSON, whose form is public.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from partition_supervisor.group_settings import outputs_of
from partition_workers.layout.document import Document
from partition_workers.layout.documents import Host, Lock, Size, Standby
from partition_workers.layout.foreign import ForeignKey
from partition_workers.model import JSON, Partition, Token

AnyDocument = TypeVar("AnyDocument", bound=Document)

SCHEMA_VERSION = 1


class PartitionState(StrEnum):
    """`parked`: nobody may own it until a person says so; `unowned`: nobody does at the moment."""

    OWNED = "owned"
    UNOWNED = "unowned"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process; `pid` is its own, the one to kill."""

    host: str
    pid: int
    worker: str

    @classmethod
    def named_in(cls, document: Lock | Standby) -> Worker:
        return cls(document.host, document.pid, document.worker)

    def as_json(self) -> JSON:
        return {"host": self.host, "pid": self.pid, "worker": self.worker}


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One partition. None stands for what is not known."""

    partition: Partition
    state: PartitionState
    owner: Worker | None = None
    token: Token | None = None
    offset: int | None = None
    end_offset: int | None = None
    standbys: tuple[Worker, ...] = ()
    reason: str | None = None
    since: str | None = None
    size: Size | None = None
    #: A step with outputs that is not applied yet, by its number, and since when.
    step: tuple[str, str] | None = None

    @property
    def lag(self) -> int | None:
        """How many records are still to be processed. Never negative: the two numbers are not read at once."""
        if self.offset is None or self.end_offset is None:
            return None
        return max(0, self.end_offset - self.offset)

    def as_json(self) -> JSON:
        return {
            "topic": self.partition.topic,
            "partition": self.partition.number,
            "owner": self.owner.as_json() if self.owner else None,
            "token": self.token,
            "offset": self.offset,
            "end_offset": self.end_offset,
            "lag": self.lag,
            "standbys": [standby.as_json() for standby in self.standbys],
            "state": self.state.value,
            "reason": self.reason,
            "since": self.since,
            "state_keys": self.size.keys if self.size else None,
            "state_bytes": self.size.bytes if self.size else None,
            "prepared": self.prepared,
        }

    @property
    def prepared(self) -> JSON:
        return {"step": self.step[0], "since": self.step[1]} if self.step else None


@dataclass(frozen=True, slots=True)
class HostView:
    """One running supervisor. `workers`: how many it may run; 0: one for each partition. `able`: whether it may be
    given partitions; `passed_over`: hosts that did not take what this one had offered them, and why."""

    host: str
    pid: int
    workers: int
    version: str
    started: str
    draining: bool
    #: Of its HTTP port; empty: it has none.
    address: str = ""
    able: bool = True
    unable_because: str = ""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    #: Topics that its handlers may produce to.
    outputs: tuple[str, ...] = ()

    @classmethod
    def of(cls, host: str, document: Host, drained: bool) -> HostView:
        """`drained`: somebody ordered it; the host's own word is that it stops."""
        draining = document.draining or drained
        return cls(
            host, document.pid, document.workers, document.version, document.started, draining, document.address,
            document.able, document.unable_because, document.passed_over, outputs_of(document.settings),
        )  # fmt: skip

    def as_json(self) -> JSON:
        return {
            "host": self.host,
            "pid": self.pid,
            "workers": self.workers,
            "version": self.version,
            "started": self.started,
            "draining": self.draining,
            "address": self.address,
            "able": self.able,
            "unable_because": self.unable_because or None,
            "passed_over": {**self.passed_over},
            "outputs": [*self.outputs],
        }


@dataclass(frozen=True, slots=True)
class GroupView:
    partitions: tuple[PartitionView, ...] = ()
    hosts: tuple[HostView, ...] = ()
    foreign: tuple[ForeignKey, ...] = ()
    #: Of etcd: NOSPACE, CORRUPT.
    alarms: tuple[str, ...] = ()
    #: Of how hosts were started.
    differences: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.partitions and not self.hosts

    @property
    def complaints(self) -> tuple[PartitionView, ...]:
        """The partitions that nobody processes, or that do not advance."""
        return tuple(each for each in self.partitions if each.state is not PartitionState.OWNED or each.reason)

    def confirmed_by(self, later: GroupView) -> GroupView:
        """`later`, without complaints about partitions that stood still here and have advanced since."""
        before = {each.partition: each.offset for each in self.partitions}
        return dataclasses.replace(
            later,
            partitions=tuple(
                dataclasses.replace(each, reason=None)
                if each.state is PartitionState.OWNED and each.offset != before.get(each.partition)
                else each
                for each in later.partitions
            ),
        )

    def as_json(self) -> dict[str, JSON]:
        return {
            "schema_version": SCHEMA_VERSION,
            "partitions": [each.as_json() for each in self.partitions],
            "hosts": [each.as_json() for each in self.hosts],
            "foreign_keys": [{"key": e.key, "why": e.why, "command": e.command} for e in self.foreign],
            "alarms": [*self.alarms],
            "differences": [*self.differences],
        }
