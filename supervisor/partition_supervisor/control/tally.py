"""What has happened on this host, counted: what workers report is added up here, and outlives them.

Only the loop changes it. Each count is that of a partition, of a cause or of the host, never of a worker: workers are
killed all day, and what is counted for each of them would grow without end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import fields

from partition_supervisor.cluster_state import Held
from partition_supervisor.host_metrics import GAP_BOUNDS, LEASE_BOUNDS, Histogram, PartitionTotals
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.exit_reason import ExitReason, reason_of
from partition_workers.clock import Clock
from partition_workers.counts import COMMIT_BOUNDS, Counts
from partition_workers.layout.documents import Cause
from partition_workers.model import Partition, Token
from partition_workers.protocol import MadeProgress

#: What is counted for each partition by the worker, under the same name in both.
COUNTED = tuple(each.name for each in fields(PartitionTotals) if each.name in Counts.__dataclass_fields__)
#: Phases of a gap, as `history` has them.
PHASES = ("exit_seen", "lock_taken", "state_loaded", "first_record")
#: Seconds for which the least that was left of a lease is remembered at least; at the most it is twice as long.
LEAST_OF = 60.0


class Tally:
    """`clock` in seconds; `read_at()`: when the pipes were last looked at, on the clock of leases."""

    def __init__(self, clock: Clock, read_at: Clock) -> None:
        self._clock, self._read_at = clock, read_at
        self.totals: dict[Partition, PartitionTotals] = defaultdict(PartitionTotals)
        self.ownerships = Counter({str(cause): 0 for cause in Cause})
        self.exits = Counter({str(reason): 0 for reason in ExitReason})
        self.gap = {phase: Histogram(GAP_BOUNDS) for phase in PHASES}
        self.commit_seconds, self.transaction_seconds = Histogram(COMMIT_BOUNDS), Histogram(COMMIT_BOUNDS)
        self.lease_left = Histogram(LEASE_BOUNDS)
        self.log_lines_dropped = 0
        self._least: tuple[float | None, float | None] = (None, None)
        self._least_since = clock()

    def stands_by(self, partition: Partition) -> None:
        """Its counts can be seen from now on, before there is anything to count: who asks how much a counter has
        grown does not see the growth of one that begins with 1."""
        self.totals[partition]  # made by being asked for

    def took_lock(self, cause: str) -> None:
        if cause in self.ownerships:
            self.ownerships[cause] += 1

    def progressed(self, child: Child, report: MadeProgress) -> None:
        child.state_size = report.state
        for phase, milliseconds in report.gap.items():
            if phase in self.gap:
                self.gap[phase].observe(max(0.0, milliseconds / 1000))
        self.add(child, report.counts)

    def add(self, child: Child, counts: Counts) -> None:
        """What is more than at its last report."""
        before, child.counts = child.counts, counts
        totals = self.totals[child.partition]
        for name in COUNTED:
            setattr(totals, name, getattr(totals, name) + getattr(counts, name) - getattr(before, name))
        self.log_lines_dropped += counts.log_lines_dropped - before.log_lines_dropped
        self.commit_seconds.add(
            _more(counts.commit_buckets, before.commit_buckets), counts.commit_seconds - before.commit_seconds
        )
        self.transaction_seconds.add(
            _more(counts.transaction_buckets, before.transaction_buckets),
            counts.transaction_seconds - before.transaction_seconds,
        )

    def renewed(self, child: Child) -> None:
        """Before its new deadline is noted: what was left of the old one."""
        if child.deadline is None:
            return
        left = child.deadline - self._read_at()
        self.lease_left.observe(left)
        before, now = self._lately()
        self._least = before, left if now is None else min(now, left)

    @property
    def least_lease_left(self) -> float | None:
        """Of any owner's lease at its renewal, lately; None: none was renewed."""
        return min((each for each in self._lately() if each is not None), default=None)

    def _lately(self) -> tuple[float | None, float | None]:
        """The least in the LEAST_OF seconds before, and since then. Time alone ends both: a host that owns nothing
        any more renews nothing."""
        passed = self._clock() - self._least_since
        if passed >= LEAST_OF:
            self._least = self._least[1] if passed < 2 * LEAST_OF else None, None
            self._least_since += passed - passed % LEAST_OF
        return self._least

    def suspended(self, child: Child) -> None:
        child.suspended_at = self._clock()

    def resumed(self, child: Child) -> None:
        self.totals[child.partition].suspended_seconds += self.suspended_for(child)
        child.suspended_at = None

    def suspended_for(self, child: Child) -> float:
        return 0.0 if child.suspended_at is None else self._clock() - child.suspended_at

    def ended(self, child: Child, code: int) -> None:
        self.resumed(child)
        self.exits[reason_of(code, child)] += 1


def _more(buckets: Sequence[int], before: Sequence[int]) -> list[int]:
    return [now - then for now, then in zip(buckets, before, strict=True)]


class Unowned:
    """Which partitions nobody owns, and since when. Times in seconds of `clock`.

    A dead owner's lock is still there until a successor is named: the partition has no owner from the moment on at
    which the death was seen.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before = 0.0
        self._since: dict[Partition, float] = {}
        self._dead: dict[Partition, Token] = {}

    def owner_died(self, partition: Partition, token: Token) -> None:
        self._dead[partition] = token
        self._since.setdefault(partition, self._clock())

    def look(self, partition: Partition, held: Held | None, is_wanted: bool) -> None:
        """`is_wanted`: it exists, and is not parked."""
        if held is not None and held.token > self._dead.get(partition, 0):
            self._dead.pop(partition, None)
            is_wanted = False
        if is_wanted:
            self._since.setdefault(partition, self._clock())
        elif partition in self._since:
            self._before += self._clock() - self._since.pop(partition)

    def lengths(self) -> dict[Partition, float]:
        """Those that have no owner now, each with how long."""
        now = self._clock()
        return {partition: now - since for partition, since in self._since.items()}

    @property
    def seconds(self) -> float:
        """Of all partitions together, since the supervisor began."""
        return self._before + sum(self.lengths().values())
