"""Steps with outputs that their owners have prepared and left: what Kafka says of each, and what becomes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from partition_supervisor.cluster.retry import RetryingStore
from partition_workers.layout.documents import Prepared, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition


class Fate(Enum):
    COMMITTED = auto()
    NOT_COMMITTED = auto()
    #: Kafka was not asked, or did not answer.
    UNKNOWN = auto()
    #: Kafka shows what tells nothing of it.
    LOST = auto()


@dataclass(frozen=True, slots=True)
class LeftStep:
    partition: Partition
    prepared: Prepared
    #: The number that Kafka shows; "": none, None: it has not answered.
    shown: str | None = None

    @property
    def fate(self) -> Fate:
        """As of now: who has prepared it may still be alive."""
        if self.shown is None:
            return Fate.UNKNOWN
        if self.shown == self.prepared.number:
            return Fate.COMMITTED
        is_before = self.shown == self.prepared.before or not self.prepared.before
        return Fate.NOT_COMMITTED if is_before else Fate.LOST

    def on_reset(self) -> str:
        """What the reader should know who sets the offset."""
        words = {
            Fate.COMMITTED: "and Kafka has committed it: readers have its outputs, and a reset drops its changes"
            " of the state; records that are handled again produce again",
            Fate.NOT_COMMITTED: "and Kafka has not committed it so far: a reset drops it",
            Fate.UNKNOWN: "and Kafka does not say whether it is committed: a reset drops it; look at its outputs",
            Fate.LOST: "and nobody can say whether Kafka has committed it: a reset drops it; look at its outputs",
        }
        return f"{self._named}, {words[self.fate]}"

    def on_resume(self) -> str:
        words = {
            Fate.COMMITTED: f"and Kafka has committed it: the next owner applies it, and goes on at offset"
            f" {self.prepared.offset:,}",
            Fate.NOT_COMMITTED: "and Kafka has not committed it so far: the next owner drops it, and handles its"
            " records again",
            Fate.UNKNOWN: "the next owner asks Kafka whether it is committed",
            Fate.LOST: "and nobody can say whether Kafka has committed it: it will be parked again. Look at its"
            f" outputs, then: partition-supervisor offsets reset {self.partition}",
        }
        return f"{self._named}, {words[self.fate]}"

    @property
    def _named(self) -> str:
        number, offset = self.prepared.number, self.prepared.offset
        return f"{self.partition}: step {number} with outputs was prepared, up to offset {offset:,}"


def left_steps(
    etcd: RetryingStore, keys: Keys, offsets: Mapping[Partition, StoredOffset]
) -> dict[Partition, Prepared]:
    """Those that the offsets name. Raises Unreachable."""
    wanted = [(each, stored.prepared) for each, stored in sorted(offsets.items()) if stored.prepared]
    found: dict[Partition, Prepared] = {}
    items = etcd.get_each([keys.prepared(each) for each, _ in wanted])
    for (partition, number), item in zip(wanted, items, strict=True):
        if item is not None:
            with contextlib.suppress(ValueError):  # none of ours: its owner will say so
                if (prepared := Prepared.decode(item.value)).number == number:
                    found[partition] = prepared
    return found
