"""Which workers this host runs, and which of them give their place to another: the plan carried out.

Workers that are missing are started, those that are too many leave, and owners that the plan wants elsewhere hand
over, one after the other, once the membership has been quiet, and only to a standby that is ready. A worker that has
to be replaced (it grew too fat, its time is over, its code is old) is *retired*: its replacement comes first.
"""

from __future__ import annotations

import logging
import os
import random
from collections import defaultdict, deque
from collections.abc import Callable
from sched import scheduler

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.failover import Failover
from partition_supervisor.control.placement import Plan, is_a_landslide, plan
from partition_supervisor.control.restart_policy import next_restart
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.processes.child_state import ChildState
from partition_supervisor.processes.children import Child, Children
from partition_supervisor.processes.exit_reason import how_it_ended
from partition_workers.clock import Clock
from partition_workers.errors import ExitCode
from partition_workers.layout.documents import Standby
from partition_workers.model import Partition
from partition_workers.protocol import GaveUp

log = logging.getLogger(__name__)

#: So many workers start at one time. All at once, hundreds would starve each other until their leases end.
STARTING_AT_ONCE = 8 * (os.cpu_count() or 1)
#: Seconds without a change of plan after which standbys that are too many are ended.
CALM = 1.0
#: So many seconds a move waits for workers that are starting, here or where it goes: they want the processor too.
SETTLING = 5.0
#: An owner leaves, and somebody waits for the next record: its replacement starts so many seconds later.
YIELD_SECONDS = 0.2
#: After most hosts vanished together, so many seconds without balancing.
LANDSLIDE_REST = 60.0


class Reconciler:
    """`fail(code, reason)` is called when no worker can be started, and none ever could."""

    def __init__(
        self,
        config: Config,
        children: Children,
        cluster: ClusterState,
        failover: Failover,
        topic_ids: dict[Partition, str],
        timers: scheduler,
        stopping: Stopping,
        fail: Callable[[ExitCode, str], None],
        clock: Clock,
    ) -> None:
        self.places = config.workers
        self.topic_ids = topic_ids
        self._config, self._children, self._cluster, self._failover = config, children, cluster, failover
        self._timers, self._stopping, self._fail, self._clock = timers, stopping, fail, clock
        self._plan = Plan({}, {}, ())
        self._crashes: dict[Partition, list[float]] = defaultdict(list)
        self._not_before: dict[Partition, float] = {}
        self._left_out: tuple[Partition, ...] = ()
        self._hosts: dict[str, int] = {}
        self._crowd: list[tuple[float, int]] = []
        self._quiet_since = self._unsettled_since = clock()
        self._no_moves_before = 0.0
        self._has_worked = self._held_back = False
        self._moves_held = True
        self._wanted: dict[Partition, int] = {}
        self._wanted_since = clock()
        self._retiring: deque[tuple[str, str]] = deque()

    # --- who should be here -------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Start what is missing here, end what is too much."""
        if self._stopping.begun:
            return
        self._make_plan()
        wanted = self._plan.workers_on(self._config.host_id)
        self._want(wanted)
        is_calm = self._is_calm
        spare = is_calm or bool(self._retiring)  # a replacement comes before the one that it replaces goes
        room = self._places() + spare - sum(not child.is_leaving for child in self._children)
        starting = STARTING_AT_ONCE - sum(child.state is ChildState.STARTING for child in self._children)
        for partition in self.topic_ids:
            present = [child for child in self._children.of(partition) if not child.is_leaving]
            missing = wanted.get(partition, 0) + self._is_being_replaced(partition) - len(present)
            for _ in range(min(missing, max(0, room + self._is_bare(partition)), starting)):
                self._start(partition)
                room -= 1
                starting -= 1
            idle = [child for child in present if child.is_idle]
            for child in sorted(idle, key=lambda each: each.is_ready)[: max(0, -missing)]:
                if room < 0 or (is_calm and not self._is_somebody_leaving and not self._is_the_last(child)):
                    self._failover.leave(child, ())
                    room += 1
                else:
                    self._held_back = True
            if partition in self._plan.left_out and self._config.host_id not in self._cluster.drained:
                for child in present:
                    if child.is_owner:
                        self._failover.leave(child)

    @property
    def _is_somebody_leaving(self) -> bool:
        """Then the next one waits, be it to end or to hand over: two at once take the processor from each other."""
        return any(child.is_leaving for child in self._children)

    def _is_the_last(self, child: Child) -> bool:
        """Whether nobody else is ready for its partition, and somebody is going to be."""
        ready = self._cluster.ready_standbys(child.partition, (child.worker,))
        others = [each for each in ready if self._failover.is_staying(each)]
        return child.is_ready and not others and bool(self._plan.standbys.get(child.partition))

    def _is_bare(self, partition: Partition) -> bool:
        """Whether it has neither owner nor standby: then a full host starts one more, and ends another after that."""
        return partition not in self._cluster.locks and not self._cluster.standbys.get(partition)

    def _want(self, wanted: dict[Partition, int]) -> None:
        if wanted != self._wanted:
            self._wanted, self._wanted_since = wanted, self._clock()
        self._held_back = False

    @property
    def _is_calm(self) -> bool:
        """Whether the plan has been the same for a while: while hosts and workers come, what is too much now may be
        right in a moment, and would be started again."""
        return self._clock() - self._wanted_since >= CALM

    def _places(self) -> int:
        return self.places or len(self.topic_ids)

    def know(self, topic_ids: dict[Partition, str]) -> None:
        """More partitions may have been found."""
        new = topic_ids.keys() - self.topic_ids.keys()
        if new:
            log.info("new partitions: %s", ", ".join(map(str, sorted(new))))
            self.topic_ids |= {partition: topic_ids[partition] for partition in new}
            self.reconcile()

    def has_progressed(self, child: Child) -> None:
        self._has_worked = True
        self._crashes.pop(child.partition, None)

    def on_end(self, child: Child, code: int) -> None:
        """Why did it end, and when does the next one start?"""
        partition, words = child.partition, how_it_ended(code, child)
        if isinstance(child.last_word, GaveUp) and code == ExitCode.MISCONFIGURED and not self._has_worked:
            self._fail(ExitCode.MISCONFIGURED, child.last_word.reason)
            return
        if child.is_leaving or code in (ExitCode.HANDLER_GAVE_UP, ExitCode.LOCK_LOST):
            log.info("%s: worker %d %s", partition, child.pid, words)
            self.reconcile()
            return
        moment = self._clock()
        self._crashes[partition].append(moment)
        restart = next_restart(self._crashes[partition], moment, random.random())
        self._not_before[partition] = moment + restart.delay
        what_next = (
            f"crashed too often, next try in {restart.delay:.0f} s" if restart.resting
            else "starting another" if restart.delay == 0 else f"starting another in {restart.delay:.1f} s"
        )  # fmt: skip
        log.warning("%s: worker %d %s; %s", partition, child.pid, words, what_next)
        self._timers.enter(restart.delay, 0, self.reconcile)

    def _make_plan(self) -> None:
        partitions = list(self.topic_ids)
        hosts = {
            host: each.workers or len(partitions)
            for host, each in self._cluster.living_hosts.items()
            if not each.draining and host not in self._cluster.drained
        }
        if self._config.host_id not in self._cluster.drained:
            hosts[self._config.host_id] = self._places()
        self._notice(hosts)
        self._count(len({*self._cluster.living_hosts, self._config.host_id}))
        owners = {partition: held.lock.host for partition, held in self._cluster.locks.items()}
        standbys = {p: [each.host for each in ready.values()] for p, ready in self._cluster.standbys.items()}
        self._moves_held = not self._may_move
        self._plan = self._failover.plan = plan(
            hosts, partitions, owners, standbys, self._cluster.moves, self._moves_held
        )
        if self._plan.left_out != self._left_out:
            self._left_out = self._plan.left_out
            self._tell_left_out(len(partitions), sum(hosts.values()))

    def _tell_left_out(self, partitions: int, places: int) -> None:
        if self._left_out:
            log.warning(
                "%d places for %d partitions: nobody serves %s. Add %d with --workers, or another host",
                places, partitions, ", ".join(map(str, self._left_out)), partitions - places,
            )  # fmt: skip

    def _notice(self, hosts: dict[str, int]) -> None:
        if hosts != self._hosts:
            self._hosts, self._quiet_since = hosts, self._clock()
            self._unsettled_since = self._quiet_since + self._config.rebalance_delay

    def _count(self, present: int) -> None:
        """`present`: how many hosts are there, drained or not. Is it far less than a moment ago?"""
        moment = self._clock()
        self._crowd = [(at, count) for at, count in self._crowd if moment - at < LANDSLIDE_REST]
        before = max((count for _, count in self._crowd), default=0)
        if not self._crowd or self._crowd[-1][1] != present:
            self._crowd.append((moment, present))
            if is_a_landslide(before, present):
                log.warning("%d of %d hosts are gone: no balancing for a while", before - present, before)
                self._no_moves_before = moment + LANDSLIDE_REST

    def _start(self, partition: Partition) -> None:
        if self._clock() < self._not_before.get(partition, 0.0):
            return
        readers = self._places()
        topic_id = self.topic_ids[partition]
        self._children.start(
            lambda worker, lease: self._config.for_worker(partition, worker, lease, topic_id, readers)
        )

    # --- who gives way --------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Moves and retirements go on, a little at a time."""
        if not self._stopping.begun:
            if (self._held_back and self._is_calm) or (self._moves_held and self._may_move):
                self.reconcile()
            self._retire_next()
            self._move_some()

    def retire(self, child: Child, reason: str) -> None:
        """Replace it: the replacement first, then it hands over and ends."""
        if child.worker not in (worker for worker, _ in self._retiring) and not child.is_leaving:
            self._retiring.append((child.worker, reason))

    def give_way(self, child: Child, successors: tuple[Standby, ...] | None = None) -> None:
        """It leaves; where somebody is to follow, its replacement waits a moment."""
        if self._failover.leave(child, successors):
            later = self._clock() + YIELD_SECONDS
            self._not_before[child.partition] = max(later, self._not_before.get(child.partition, 0.0))
            self._timers.enter(YIELD_SECONDS, 0, self.reconcile)

    def _retire_next(self) -> None:
        while self._retiring:
            worker, reason = self._retiring[0]
            child = self._children.get(worker)
            if child is None:
                self._retiring.popleft()
                continue
            if not child.is_leaving and self._successor_is_ready(child):
                log.info("%s: worker %d is replaced: %s", child.partition, child.pid, reason)
                self._failover.leave(child)
            self.reconcile()  # one at a time: the others wait until this one is gone
            return

    def _successor_is_ready(self, child: Child) -> bool:
        """An owner needs a ready standby anywhere, a standby one here."""
        if child.is_owner:
            return bool(self._failover.candidates(child.partition, child.worker))
        return any(each.is_ready for each in self._children.of(child.partition) if each is not child)

    def _is_being_replaced(self, partition: Partition) -> int:
        """One more worker than planned, for as long as one of them is to be retired."""
        child = self._children.get(self._retiring[0][0]) if self._retiring else None
        return int(child is not None and not child.is_leaving and child.partition == partition)

    @property
    def _may_move(self) -> bool:
        """Whether the membership has been quiet for long enough, and no landslide was seen."""
        moment = self._clock()
        return moment >= self._no_moves_before and moment - self._quiet_since >= self._config.rebalance_delay

    def _move_some(self) -> None:
        if not self._may_move or self._is_somebody_leaving:
            return
        moment = self._clock()
        for partition, host in self._plan.owners.items():
            for child in self._children.of(partition):
                if not child.is_owner or host == self._config.host_id:
                    continue
                if moment - self._unsettled_since < SETTLING and not self._are_complete(host, self._config.host_id):
                    return
                successors = self._failover.candidates(partition, child.worker)
                planned = [each for each in successors if each.host == host]
                if planned:
                    log.info("%s: moving to %s", partition, host)
                    others = [each for each in successors if each.host != host]
                    self.give_way(child, (*planned, *others))
                    self._unsettled_since = moment
                    return

    def _are_complete(self, *hosts: str) -> bool:
        """Whether every worker that the plan wants there is an owner or a ready standby."""
        locks, standbys = self._cluster.locks, self._cluster.standbys
        return all(
            (partition in locks and locks[partition].lock.host == host)
            or any(each.host == host for each in standbys.get(partition, {}).values())
            for host in hosts
            for partition in self._plan.workers_on(host)
        )
