"""The supervisor: one loop, one wait.

It never waits on the network (errands do) and never touches a record (workers do). Every fact arrives as an event,
and goes to whoever it concerns: `failover` sees to locks, `reconcile` to workers, `lease_monitor` to leases.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from sched import scheduler
from typing import assert_never

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster.membership import Membership
from partition_supervisor.cluster.peer_monitor import PeerMonitor
from partition_supervisor.cluster.takeover import Named
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.failover import Failover
from partition_supervisor.control.graceful_shutdown import GracefulShutdown
from partition_supervisor.control.lease_monitor import LeaseMonitor
from partition_supervisor.control.memory_limit import MemoryLimit
from partition_supervisor.control.reconcile import Reconciler
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.events import (
    BackgroundCallDone,
    ChildExited,
    ChildReported,
    ClusterChanged,
    ClusterListed,
    Event,
    HostDied,
    HostLives,
    LeaseGone,
    PartitionsChanged,
    SignalArrived,
)
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.child_state import ChildEvent
from partition_supervisor.processes.children import Child, Children
from partition_supervisor.processes.forkserver import ForkServer
from partition_workers.clock import Clock
from partition_workers.errors import ExitCode
from partition_workers.etcd.store import Store
from partition_workers.model import Partition
from partition_workers.protocol import (
    AnsweredPing,
    BecameReady,
    GaveUp,
    GotStuck,
    HandedOver,
    MadeProgress,
    MissedLock,
    RenewedLease,
    Report,
    Resumed,
    Suspended,
    TookLock,
    WasParked,
    WasToldToLeave,
)

log = logging.getLogger(__name__)

#: Seconds between two looks at what might move or be replaced.
TICK = 0.125
#: Seconds between two copies of the offsets to Kafka's group.
MIRROR_EVERY = 5.0
#: Seconds that a stuck worker gets between TERM and KILL.
LAST_CHANCE = 1.0


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
    ) -> None:
        self._config, self._fork_server, self._inbox = config, fork_server, inbox
        self._children, self._cluster = children, cluster
        self._membership, self._background, self._mirror = membership, background, mirror
        self._peers = peers
        self._timers = scheduler(clock, delayfunc=_never_sleeps)
        self._lease_monitor = LeaseMonitor(children, membership.keeper, config.lease_ttl)
        self._stopping = Stopping(config.graceful_timeout)
        self._failover = Failover(
            config,
            children,
            cluster,
            store,
            background,
            self._timers,
            self._lease_monitor,
            self._stopping,
            self._on_end,
        )
        self._reconciler = Reconciler(
            config, children, cluster, self._failover, topic_ids, self._timers, self._stopping, self._stop, clock
        )
        self._graceful_shutdown = GracefulShutdown(children, self._failover, self._timers, config.graceful_timeout)
        self._scales = MemoryLimit(config.max_worker_memory)

    def run(self) -> ExitCode:
        """Until everything has ended. The exit code says why."""
        every(self._timers, self._lease_monitor.ping_every, self._lease_monitor.ping)
        every(self._timers, self._lease_monitor.check_every, self._lease_monitor.check)
        every(self._timers, self._scales.every, self._weigh)
        every(self._timers, MIRROR_EVERY, self._mirror_offsets)
        every(self._timers, TICK, self._reconciler.tick)
        self._follow(())
        while not self._stopping.is_done(len(self._children) + self._failover.pending_exits, self._background.open):
            self._turn()
        return self._stopping.code

    def _turn(self) -> None:
        """One round: what is due, then a wait until the next is, or until something happens."""
        for event in self._inbox.wait(self._timers.run(blocking=False)):
            self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case ChildReported(worker, report):
                if child := self._children.get(worker):
                    self._hear(child, report)
            case ChildExited(worker):
                if child := self._children.get(worker):
                    self._failover.on_exit(child)
                    self._graceful_shutdown.go_on()
            case ClusterListed(snapshot):
                if self._cluster.list_anew(snapshot):
                    self._follow(list(self._reconciler.topic_ids))
            case ClusterChanged(changes):
                self._follow([each for each in map(self._cluster.change, changes) if each is not None])
            case PartitionsChanged(topic_ids):
                self._reconciler.know(topic_ids)
            case SignalArrived(number):
                self._obey(number)
            case BackgroundCallDone(then):
                then()
            case LeaseGone(lease):
                self._lose(lease)
            case HostDied(host, link):
                if self._cluster.presume_dead(host, link):
                    log.warning("%s: nobody is left there; passing on what it owned", host)
                    self._reconciler.reconcile()
                    self._failover.take_over_host(host)
            case HostLives(host, link):
                if self._cluster.presume_alive(host, link):
                    log.warning("%s was taken for dead, and is not", host)
                    self._reconciler.reconcile()
            case _:
                assert_never(event)

    def _follow(self, concerned: Sequence[Partition]) -> None:
        """The picture of the cluster is new. First whoever was named: somebody waits for the next record. Then hosts
        to be followed, workers to be started or ended, and who competes for a lock that is free, as planned now."""
        self._failover.tell_named(*concerned)
        self._peers.know(self._cluster.hosts)
        self._reconciler.reconcile()
        self._failover.offer_or_release(*concerned)

    def _hear(self, child: Child, report: Report) -> None:
        match report:
            case BecameReady(standby):
                child.advance(ChildEvent.BECAME_READY)
                child.standby = standby
                self._reconciler.has_progressed(child)
                self._lease_monitor.begin(child)
                self._failover.offer_or_release(child.partition)
            case TookLock(token, offset, deaths):
                child.advance(ChildEvent.TOOK_LOCK)
                child.token, child.offset, child.deaths = token, offset, deaths
                self._lease_monitor.end(child)
                self._failover.offer_or_release(child.partition)
            case MissedLock():
                child.advance(ChildEvent.MISSED_LOCK)
                child.token = None
            case MadeProgress(offset, records):
                child.offset, child.has_committed = offset, True
                self._reconciler.has_progressed(child)
                if child.max_records and records >= child.max_records:
                    self._reconciler.retire(child, f"it has handled {records:,} records")
            case RenewedLease(deadline):
                child.deadline = deadline
            case AnsweredPing(number):
                child.hear_answer(number)
            case Suspended():
                child.advance(ChildEvent.SUSPENDED)
            case Resumed():
                child.advance(ChildEvent.RESUMED)
            case GotStuck(seconds, stack):
                log.error("%s: pid %d has been on one record for %.0f s; ending it. It is here:\n%s",
                          child.partition, child.pid, seconds, stack)  # fmt: skip
                child.signal(signal.SIGTERM)
                self._timers.enter(LAST_CHANCE, 0, lambda: self._children.kill(child))
            case WasToldToLeave():
                self._reconciler.give_way(child)
            case HandedOver(successor, token, offset):
                self._failover.announce_successor(child.partition, Named(successor, token, offset))
            case WasParked() | GaveUp():
                child.last_word = report
            case _:
                assert_never(report)

    def _on_end(self, child: Child, code: int) -> None:
        self._reconciler.on_end(child, code)

    def _weigh(self) -> None:
        for child in self._scales.too_heavy(self._children):
            self._reconciler.retire(child, f"it uses more than {self._config.max_worker_memory} MB")

    def _mirror_offsets(self) -> None:
        """What is committed here, to Kafka's own group, for tools that measure lag. Nobody reads it back."""
        offsets = {c.partition: c.offset for c in self._children if c.is_owner and c.offset is not None}
        if offsets and self._config.mirror_offsets:
            self._background.run(lambda: self._mirror(offsets))

    def _lose(self, lease: int) -> None:
        if self._membership.is_mine(lease):
            if not self._stopping.begun:
                log.warning("etcd says that this host's lease has ended; entering anew")
                self._background.run(self._membership.enter_anew)
            return
        for child in self._children:
            if child.settings.lease == lease and child.is_ready:
                log.warning("%s: the standby's lease has ended; starting another", child.partition)
                self._failover.leave(child, ())

    def _obey(self, number: int) -> None:
        match number:
            case signal.SIGINT if self._stopping.begun:
                log.warning("interrupted again: ending all workers now")
                self._kill_all()
            case signal.SIGTERM | signal.SIGINT:
                self._stop(ExitCode.OK, signal.Signals(number).name)
            case signal.SIGHUP:
                log.info("SIGHUP: a new fork server, and new workers from it, one after the other")
                self._fork_server.renew()
                for child in self._children:
                    self._reconciler.retire(child, "its code is loaded anew")
            case signal.SIGTTIN | signal.SIGTTOU:
                self._resize(+1 if number == signal.SIGTTIN else -1)
            case signal.SIGUSR1:
                for child in self._children:
                    child.signal(signal.SIGUSR1)

    def _resize(self, change: int) -> None:
        places = max(1, (self._reconciler.places or len(self._reconciler.topic_ids)) + change)
        log.info("%s: %d workers from now on", "TTIN" if change > 0 else "TTOU", places)
        self._reconciler.places = places
        self._background.run(lambda: self._membership.change(workers=places))
        self._reconciler.reconcile()

    def _stop(self, code: ExitCode, reason: str) -> None:
        if self._stopping.begin(code, reason):
            self._background.run(lambda: self._membership.change(draining=True))
            self._graceful_shutdown.begin()
            self._timers.enter(self._config.graceful_timeout, 0, self._kill_all)

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()


def every(timers: scheduler, seconds: float, action: Callable[[], None]) -> None:
    """Do it again and again. A freeze is not made up for: the next time counts from the last."""

    def again() -> None:
        action()
        every(timers, seconds, action)

    timers.enter(seconds, 0, again)


def _never_sleeps(_seconds: float) -> None:
    """The scheduler would give up the processor after each action; here only the inbox waits."""
