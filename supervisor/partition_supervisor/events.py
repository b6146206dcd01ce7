"""What can happen to a supervisor, as past-tense facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from partition_supervisor.listing import Snapshot
from partition_supervisor.suspicion import Suspicion
from partition_workers.errors import ExitCode
from partition_workers.etcd.store import Change
from partition_workers.model import Partition
from partition_workers.protocol import Report


@dataclass(frozen=True, slots=True)
class ChildReported:
    worker: str
    report: Report


@dataclass(frozen=True, slots=True)
class ChildExited:
    worker: str


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A worker that was to be started was not."""

    partition: Partition
    error: Exception


@dataclass(frozen=True, slots=True)
class SignalArrived:
    number: int


@dataclass(frozen=True, slots=True)
class ClusterListed:
    """All of what etcd knows of the group, as of one revision."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class ClusterChanged:
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class PartitionsChanged:
    """The partitions of our topics, each with its topic's id."""

    topic_ids: dict[Partition, str]


@dataclass(frozen=True, slots=True)
class KafkaAnswers:
    """Kafka has not answered this host for some seconds, or does so again."""

    answers: bool


@dataclass(frozen=True, slots=True)
class BackgroundCallDone:
    """What was to be done over the network is done, or has failed; `then` is what follows in the loop."""

    then: Callable[[], None]


@dataclass(frozen=True, slots=True)
class LeaseGone:
    """etcd says that a lease we renew has ended: a standby's, or our host's."""

    lease: int


@dataclass(frozen=True, slots=True)
class BecameImpossible:
    """This host cannot go on, for a reason outside of it: it hands over and ends with `code`."""

    code: ExitCode
    reason: str


@dataclass(frozen=True, slots=True)
class HostRefused:
    """A host refuses connections, as if nobody were left there, neither supervisor nor worker."""

    suspicion: Suspicion


@dataclass(frozen=True, slots=True)
class HostAnswered:
    """It was reached, for the first time or again; `link` tells which of several lives it was."""

    host: str
    link: str


Event = (
    ChildReported
    | ChildExited
    | StartFailed
    | SignalArrived
    | ClusterListed
    | ClusterChanged
    | PartitionsChanged
    | KafkaAnswers
    | BackgroundCallDone
    | LeaseGone
    | HostRefused
    | HostAnswered
    | BecameImpossible
)
