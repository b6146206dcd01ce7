"""What this host tells of itself, read on the loop when somebody asks for it in another thread.

Nobody who asks can hold up the loop: it reads a few numbers for each partition, twice a second at most, and only when
asked. Nobody who asks is held up by the loop for long: for one that stands still, what it said last is the answer.
"""

from __future__ import annotations

import queue
import time
from collections import Counter, deque
from collections.abc import Iterable

from partition_supervisor.cluster.membership import Membership
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.etcd_view import EtcdView
from partition_supervisor.control.kafka_access import KafkaAccess
from partition_supervisor.control.planner import Planner
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.control.tally import Tally, Unowned
from partition_supervisor.host_metrics import HostMetrics, Owned, PartitionTotals
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.child_state import OWNING, READY, ChildState
from partition_supervisor.processes.children import Children
from partition_workers.clock import Clock
from partition_workers.model import Partition

#: What workers are, for those who only count them.
STATES = {
    ChildState.STARTING: "starting", ChildState.STANDBY: "standby", ChildState.NAMED: "standby",
    ChildState.LOADING: "owner", ChildState.OWNER: "owner", ChildState.SUSPENDED: "suspended",
    ChildState.LEAVING: "leaving", ChildState.LOADING_TO_LEAVE: "leaving", ChildState.HANDING_OVER: "leaving",
    ChildState.HANDING_OVER_LATE: "suspended",
}  # fmt: skip
#: Seconds for which an answer is good enough for the next who asks.
FRESH = 0.5
#: Seconds that who asks waits for the loop, which comes round eight times a second.
PATIENCE = 0.5


class Telemetry:
    def __init__(
        self,
        config: Config,
        children: Children,
        cluster: ClusterState,
        planner: Planner,
        stopping: Stopping,
        membership: Membership,
        inbox: Inbox,
        clock: Clock,
    ) -> None:
        self._view = EtcdView(config.lease_ttl, membership, inbox, clock)
        self.tally, self.unowned = Tally(clock, lambda: inbox.read_at), Unowned(self._view.seconds)
        self._host_id, self._children, self._cluster = config.host_id, children, cluster
        self._planner, self._stopping, self._inbox = planner, stopping, inbox
        self._newest = HostMetrics()
        self._asked: deque[queue.SimpleQueue[HostMetrics]] = deque()
        self._in_vain_at = float("-inf")
        self._has_been_ready = False
        self.kafka_access: KafkaAccess | None = None

    def ask(self) -> HostMetrics:
        """In any thread: how it is now, or was when the loop last said so."""
        now = time.monotonic()
        if now - max(self._newest.at, self._in_vain_at) < FRESH:
            return self._newest
        answer: queue.SimpleQueue[HostMetrics] = queue.SimpleQueue()
        self._asked.append(answer)
        try:
            return answer.get(timeout=PATIENCE)
        except queue.Empty:
            self._in_vain_at = time.monotonic()
            return self._newest

    # --- on the loop

    def go_on(self) -> None:
        self._view.seconds()
        if self._asked:
            self._newest = self._read()
            while self._asked:
                self._asked.popleft().put(self._newest)

    def look(self, concerned: Iterable[Partition]) -> None:
        """Their locks may be other ones, or what is known of them."""
        locks, parked, known = self._cluster.locks, self._cluster.parked, self._planner.topic_ids
        for partition in {*concerned, *self.unowned.lengths()}:  # these may be no partitions any more
            self.unowned.look(partition, locks.get(partition), partition in known and partition not in parked)

    def on_exit(self, child: Child) -> None:
        if child.is_owner and not child.is_leaving and child.last_word is None and child.token is not None:
            self.unowned.owner_died(child.partition, child.token)
            self.look((child.partition,))  # somebody may have taken it before: it was late

    def _read(self) -> HostMetrics:
        tally, planner, now = self.tally, self._planner, self._inbox.read_at
        children = list(self._children)
        states = Counter(child.state for child in children)
        wanted = sum(planner.plan.workers_on(self._host_id).values())
        reason = self._why_not_ready(wanted, sum(states[each] for each in READY | OWNING))
        pids: dict[Partition, tuple[int, ...]] = {}
        for child in children:
            if child.pid:
                pids[child.partition] = (*pids.get(child.partition, ()), child.pid)
        return HostMetrics(
            at=time.monotonic(),
            is_ready=not reason,
            is_stopping=self._stopping.begun,
            reason=reason,
            hosts=len(self._cluster.living_hosts),
            partitions=len(planner.topic_ids),
            uncovered=len(planner.plan.left_out),
            parked=len(self._cluster.parked),
            wanted=wanted,
            workers={word: sum(states[each] for each in STATES if STATES[each] == word) for word in STATES.values()},
            pids=pids,
            owned={child.partition: _owned(child, now) for child in children if child.owns(now) and child.token},
            totals=self._totals(children),
            unowned=self.unowned.lengths() if self._view.is_fresh else None,
            unowned_seconds=self.unowned.seconds,
            ownerships=dict(tally.ownerships),
            exits=dict(tally.exits),
            gap={phase: each.copy() for phase, each in tally.gap.items()},
            commit_seconds=tally.commit_seconds.copy(),
            transaction_seconds=tally.transaction_seconds.copy(),
            lease_left=tally.lease_left.copy(),
            least_lease_left=tally.least_lease_left,
            kafka_answers=self.kafka_access is None or self.kafka_access.answers,
            log_lines_dropped=tally.log_lines_dropped,
        )

    def _totals(self, children: list[Child]) -> dict[Partition, PartitionTotals]:
        """Who is suspended now counts up to now."""
        totals = {partition: each.copy() for partition, each in self.tally.totals.items()}
        for child in children:
            if child.suspended_at is not None and child.partition in totals:
                totals[child.partition].suspended_seconds += self.tally.suspended_for(child)
        return totals

    def _why_not_ready(self, wanted: int, ready: int) -> str:
        """Empty: it is. Once all workers were ready together it stays so while any is: they are killed all day."""
        if self._stopping.begun:
            return "it is stopping"
        if not (self._planner.plan.owners or self._planner.plan.left_out):
            return "no plan is made yet"
        if not self._has_been_ready and ready < wanted:
            return f"{ready} of {wanted} workers are ready"
        self._has_been_ready = True
        return "" if ready or not wanted else f"none of {wanted} workers is ready"


def _owned(child: Child, now: float) -> Owned:
    """`now` on the clock of leases."""
    left = None if child.deadline is None else child.deadline - now
    age = None if child.step_open_since is None else max(0.0, now - child.step_open_since)
    return Owned(child.token or 0, child.offset, child.state_size, left, age)
