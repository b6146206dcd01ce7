"""What became of it: the stored state of each partition beside what was produced, and the gap of each takeover."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import TypeVar

from partition_supervisor.dev.demo.checking import expected_sum
from partition_workers.etcd.store import Listing, Store
from partition_workers.layout.documents import History, Lock, Standby, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership.stored_state import stored_state
from partition_workers.retry import time_is_up, until_answered

PHASES = {
    "exit_seen": "exit seen",
    "lock_taken": "lock taken",
    "state_loaded": "state loaded",
    "first_record": "first record",
}

_T = TypeVar("_T")

#: Seconds that etcd may be silent.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Records of one partition that are missing, were handled twice, or came in another order."""

    partition: Partition
    produced: int
    counted: int
    lost: int
    doubled: int
    in_order: bool

    @property
    def is_good(self) -> bool:
        return self.in_order and not self.lost and not self.doubled and self.produced == self.counted


@dataclass(frozen=True, slots=True)
class Gap:
    """Milliseconds from a fault to each phase of what followed; `token` is the new owner's."""

    partition: Partition
    token: int
    host: str
    phases: dict[str, float]


def patiently(ask: Callable[[], _T]) -> _T:
    """As soon as etcd answers: faults of etcd's own are among those that are judged."""
    return until_answered(ask, repeat(0.05), time_is_up(PATIENCE))


class Judge:
    """Reads etcd, and believes nothing else."""

    def __init__(self, store: Store, keys: Keys, topic: str, partitions: int) -> None:
        self._store, self._keys = store, keys
        self.partitions = [Partition(topic, number) for number in range(partitions)]

    def _list(self, prefix: str) -> Listing:
        return patiently(lambda: self._store.list(prefix))

    def owners(self) -> dict[Partition, Lock]:
        return self.owners_and_tokens()[0]

    def tokens(self) -> dict[Partition, int]:
        return self.owners_and_tokens()[1]

    def owners_and_tokens(self) -> tuple[dict[Partition, Lock], dict[Partition, int]]:
        """Of one moment: between two questions a partition may move."""
        items = {self._keys.partition_of(each.key): each for each in self._list(self._keys.locks).items}
        owners = {partition: Lock.decode(each.value) for partition, each in items.items()}
        return owners, {partition: each.mod_revision for partition, each in items.items()}

    def standbys(self) -> dict[Partition, int]:
        """How many are ready, for each partition; who was named but has not confirmed yet is none any more."""
        found = dict.fromkeys(self.partitions, 0)
        named = {lock.worker for lock in self.owners().values()}
        for each in self._list(self._keys.standbys).items:
            found[self._keys.partition_of(each.key)] += Standby.decode(each.value).worker not in named
        return found

    def standby_documents(self) -> list[Standby]:
        return [Standby.decode(each.value) for each in self._list(self._keys.standbys).items]

    def offsets(self) -> dict[Partition, int]:
        items = self._list(self._keys.offsets).items
        return {self._keys.partition_of(each.key): StoredOffset.decode(each.value).offset for each in items}

    def offset(self, partition: Partition) -> StoredOffset:
        found = self._store.get(self._keys.offset(partition))
        return StoredOffset.decode(found.value) if found else StoredOffset(0, 0, 0, "", "")

    def caught_up(self, produced: list[int]) -> bool:
        offsets = self.offsets()
        return all(offsets.get(p, 0) >= produced[p.number] for p in self.partitions)

    def state(self, partition: Partition) -> dict[str, int]:
        found = patiently(lambda: stored_state(self._store, self._keys, partition))
        return {key: json.loads(value) for key, value in found.items()}

    def verdicts(self, produced: list[int]) -> list[Verdict]:
        found = []
        for partition in self.partitions:
            state, wanted = self.state(partition), produced[partition.number]
            missing = max(0, wanted - state.get("next", 0))
            in_order = state.get("sum", 0) == expected_sum(wanted)
            lost, doubled = state.get("lost", 0) + missing, state.get("doubled", 0)
            found.append(Verdict(partition, wanted, state.get("count", 0), lost, doubled, in_order))
        return found

    def history(self, partition: Partition) -> list[History]:
        return [History.decode(e.value) for e in self._list(self._keys.histories(partition)).items]

    def gap(self, partition: Partition, after: int, fault_at: float) -> Gap | None:
        """Of the first ownership that came after token `after` and has handled a record; None: there is none yet.

        Counted from `fault_at` (seconds, time.time()), not from the last commit, which was up to 100 ms earlier.
        """
        for record in self.history(partition):
            if record.token > after and record.last_commit and "first_record" in record.gap:
                since_fault = (datetime.fromisoformat(record.last_commit).timestamp() - fault_at) * 1000
                phases = {PHASES[name]: at + since_fault for name, at in record.gap.items() if name in PHASES}
                return Gap(partition, record.token, record.host, phases)
        return None


def wait_for(what: str, check: Callable[[], bool], deadline: float) -> None:
    """Wait until `check()` is true. Raises TimeoutError, naming `what`, after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline:g} s: {what}")
        time.sleep(0.05)  # it is etcd's state that is waited for; a watch would tell no sooner than we need to know
