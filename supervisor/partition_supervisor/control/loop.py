"""The supervisor: one loop, one wait.

It never waits on the network (background calls do) and never touches a record (workers do). Every fact arrives as an
event and goes to whoever it concerns. In a round, deaths and whoever was named in a lock come first, for somebody
waits for the next record; then whatever is due by the clock; and then, once, wanted and present are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from sched import scheduler
from typing import assert_never

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster.membership import Membership
from partition_supervisor.cluster.peer_monitor import PeerMonitor
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.ability import Ability
from partition_supervisor.control.code_reload import CodeReload
from partition_supervisor.control.dirty import Dirty
from partition_supervisor.control.failover import Failover
from partition_supervisor.control.failure_detector import FailureDetector
from partition_supervisor.control.graceful_shutdown import GracefulShutdown
from partition_supervisor.control.handovers import Handovers
from partition_supervisor.control.host_document import HostDocument
from partition_supervisor.control.kafka_access import KafkaAccess
from partition_supervisor.control.lease_monitor import LeaseMonitor
from partition_supervisor.control.listings import Listings
from partition_supervisor.control.lock_offers import LockOffers
from partition_supervisor.control.lost_leases import LostLeases
from partition_supervisor.control.memory_limit import MemoryLimit
from partition_supervisor.control.offset_copies import OffsetCopies
from partition_supervisor.control.planner import Planner
from partition_supervisor.control.rebalance import Rebalancer
from partition_supervisor.control.reconcile import Reconciler
from partition_supervisor.control.reports import Reports
from partition_supervisor.control.restarts import Restarts
from partition_supervisor.control.rolling_restart import RollingRestart
from partition_supervisor.control.service_status import ServiceStatus
from partition_supervisor.control.signals import Signals
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.control.successors import Successors
from partition_supervisor.control.telemetry import Telemetry
from partition_supervisor.control.timers import every
from partition_supervisor.control.topic_changes import TopicChanges
from partition_supervisor.events import (
    BackgroundCallDone,
    BecameImpossible,
    ChildExited,
    ChildReported,
    ClusterChanged,
    ClusterListed,
    Event,
    HostAnswered,
    HostRefused,
    KafkaAnswers,
    LeaseGone,
    PartitionsChanged,
    SignalArrived,
    StartFailed,
)
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.children import Children
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.service_manager import ServiceManager
from partition_workers.clock import Clock
from partition_workers.errors import ExitCode
from partition_workers.etcd.store import Store
from partition_workers.model import Partition

log = logging.getLogger(__name__)

#: Seconds between two looks at what might move or be replaced.
TICK = 0.125
#: Seconds between two copies of the offsets to Kafka's group.
MIRROR_EVERY = 5.0


class Supervisor:
    def __init__(
        self,
        config: Config,
        fork_server: ForkServer,
        inbox: Inbox,
        children: Children,
        cluster: ClusterState,
        store: Store,
        membership: Membership,
        peers: PeerMonitor,
        background: BackgroundCalls,
        topic_ids: dict[Partition, str],
        mirror: Callable[[dict[Partition, int]], None],
        clock: Clock,
        service_manager: ServiceManager | None = None,
    ) -> None:
        self._inbox, self._dirty, self._children, self._cluster = inbox, Dirty(), children, cluster
        self._peers, self._background = peers, background
        document = self._host_document = HostDocument(config, membership, background)
        timers = self._timers = scheduler(clock, delayfunc=lambda _seconds: None)  # here only the inbox waits
        self._listings = Listings(config.host_id, cluster, membership)
        self._idle: float | None = 0.0
        stopping = self._stopping = Stopping(graceful := config.graceful_timeout)
        leases = self._lease_monitor = LeaseMonitor(children, membership.keeper, config.lease_ttl, inbox)
        planner = self._planner = Planner(config, cluster, topic_ids)
        telemetry = self.telemetry = Telemetry(config, children, cluster, planner, stopping, membership, inbox, clock)
        handovers = Handovers(config.host_id, cluster, store, background, timers, document.passed_over)
        self._handovers = handovers
        successors = Successors(config.host_id, children, cluster, planner, handovers, stopping)
        offers = self._offers = LockOffers(children, cluster, successors, leases, self._timers, stopping, graceful)
        self._lost_leases = LostLeases(children, membership, offers, stopping)
        restarts = self._restarts = Restarts(self._timers, self._dirty, self._stop, document.resting)
        rebalancer = self._rebalancer = Rebalancer(
            config, children, cluster, planner, handovers, successors, offers, restarts, clock
        )
        rolling = self._rolling_restart = RollingRestart(children, successors, offers, self._dirty, clock)
        self._reconciler = Reconciler(
            config, children, cluster, planner, successors, offers, rebalancer, rolling, restarts, clock
        )
        failover = self._failover = Failover(
            config, children, cluster, store, background, self._timers, leases, successors, offers, self._on_end
        )
        self._failure_detector = FailureDetector(
            config.lease_ttl, cluster, peers, store, background, self._timers, failover, self._dirty, clock
        )
        access = self._kafka_access = telemetry.kafka_access = KafkaAccess(
            config.host_id, cluster, document.reads_kafka, successors, rebalancer
        )
        self._ability = Ability(config.lease_ttl, inbox, membership, access, document, clock)
        self._copies = OffsetCopies(config.mirror_offsets, mirror, children, background, access, stopping, inbox)
        self._reports = Reports(
            children, self._timers, self._dirty, offers, failover, leases, rebalancer, rolling, restarts, access,
            telemetry.tally,
        )  # fmt: skip
        shutdown = self._graceful_shutdown = GracefulShutdown(children, offers, self._timers, stopping, graceful)
        self._memory_limit = MemoryLimit(config.max_worker_memory, children, background, rolling.add)
        self._topic_changes = TopicChanges(children, planner, offers, document, self._dirty)
        reload = CodeReload(fork_server, background, children, restarts, rolling, stopping, document.new_code)
        self._service = ServiceStatus(service_manager or ServiceManager(), children, stopping, reload, clock)
        self._signals = Signals(children, planner, membership, self._dirty, reload, self._stop, shutdown.kill_all)

    def run(self) -> ExitCode:
        """Until everything has ended. The exit code says why."""
        every(self._timers, self._lease_monitor.ping_every, self._lease_monitor.ping)
        every(self._timers, self._lease_monitor.check_every, self._lease_monitor.check)
        every(self._timers, self._memory_limit.every, self._memory_limit.check)
        every(self._timers, MIRROR_EVERY, self._copies.make)
        every(self._timers, TICK, self._go_on)
        every(self._timers, TICK, self._failure_detector.tick)
        every(self._timers, TICK, self._ability.tick)
        self._dirty.mark_workers()
        while not self._is_done:
            self._turn()
        return self._stopping.code

    @property
    def _is_done(self) -> bool:
        children = len(self._children) + self._failover.pending_exits
        return self._stopping.is_done(children, self._background.open, self._timers.timefunc())

    def _turn(self) -> None:
        """One round: what happened, what is due, and then, once, what is different because of it."""
        for event in self._inbox.wait(self._idle):
            self._handle(event)
        self._idle = self._timers.run(blocking=False)
        if self._dirty:
            self._look_at_changes()
            # What was put off by that is seen in the next round, which looks at the pipes first.
            self._idle = min(self._idle or 0.0, self._reconciler.rest) if self._dirty else 0.0

    def _look_at_changes(self) -> None:
        """Hosts to be followed, workers to be started or ended, and who competes for a lock, as planned now."""
        if self._reconciler.rest <= 0 and self._dirty.take_workers():
            try:
                self._peers.know(self._cluster.hosts)
            except RuntimeError as error:  # there is no thread to be had; the next change asks for it again
                log.error("another host cannot be watched: %s", error)
            if not self._stopping.begun:
                self._reconciler.reconcile()
        self._offers.offer_or_release(*self._dirty.take_locks())

    def _go_on(self) -> None:
        """Moves and replacements go on, a little at a time; and whoever has asked how it goes is answered."""
        self.telemetry.go_on()
        self._service.go_on()
        if not self._stopping.begun:
            if self._reconciler.is_due:
                self._dirty.mark_workers()
            self._rolling_restart.go_on()
            self._rebalancer.move_next()

    def _handle(self, event: Event) -> None:
        match event:
            case ChildReported(worker, report):
                if child := self._children.get(worker):
                    self._reports.hear(child, report)
            case ChildExited(worker):
                if child := self._children.get(worker):
                    self._failover.on_exit(child)
                    self.telemetry.on_exit(child)
                    self._graceful_shutdown.go_on()
            case StartFailed(partition, error):
                self._restarts.could_not_start(partition, error)
                self._graceful_shutdown.go_on()
            case ClusterListed(snapshot):
                if self._listings.take_in(snapshot):
                    self._on_new_picture(self._planner.topic_ids)
            case ClusterChanged(changes):
                self._on_new_picture([each for each in map(self._cluster.change, changes) if each is not None])
            case PartitionsChanged(topic_ids):
                self._topic_changes.hear(topic_ids)
            case KafkaAnswers(answers):
                self._kafka_access.hear(answers)
            case SignalArrived(number):
                self._signals.obey(number)
            case BackgroundCallDone(then):
                then()
            case LeaseGone(lease):
                self._lost_leases.hear(lease)
            case HostRefused(suspicion):
                self._failure_detector.refused(suspicion)
            case HostAnswered(host, link):
                self._failure_detector.lives(host, link)
            case BecameImpossible(code, reason):
                self._stop(code, reason)
            case _:
                assert_never(event)

    def _on_new_picture(self, concerned: Iterable[Partition]) -> None:
        """The cluster has changed. Who was named is told at once: somebody waits for the next record."""
        self._offers.tell_named(*concerned)
        self.telemetry.look(concerned)
        self._handovers.look(concerned)
        self._dirty.mark_locks(*concerned)
        self._dirty.mark_workers()

    def _on_end(self, child: Child, code: int) -> None:
        self.telemetry.tally.ended(child, code)
        self._ability.on_end(child, code)
        self._restarts.on_end(child, code)

    def _stop(self, code: ExitCode, reason: str) -> bool:
        """False when that had begun already."""
        if not self._stopping.begin(code, reason):
            return False
        self._host_document.draining()
        self._graceful_shutdown.begin()
        return True
