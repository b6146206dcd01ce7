"""The supervisor: one loop, one wait.

It never waits on the network (errands do) and never touches a record (workers do). Every fact arrives as an event;
what follows from it is decided here, by asking pure functions: `plan` where workers belong, `next_restart` when they
come back.
"""

from __future__ import annotations

import logging
import random
import signal
from collections import defaultdict
from typing import assert_never

from supervisor import takeover
from supervisor.children import Child, Children
from supervisor.cluster import Cluster
from supervisor.config import Config
from supervisor.errands import Errands
from supervisor.events import (
    ChildExited,
    ChildReported,
    ClusterChanged,
    ClusterListed,
    ErrandDone,
    Event,
    Inbox,
    LeaseGone,
    PartitionsChanged,
    SignalArrived,
)
from supervisor.plan import Plan, plan
from supervisor.presence import Presence
from supervisor.restarts import next_restart
from supervisor.stopping import Stopping
from supervisor.takeover import Named
from supervisor.timers import Timers
from supervisor.vigil import Vigil
from supervisor.words import how_it_ended
from workers.clock import Clock
from workers.documents import Cause, Standby, now
from workers.errors import ExitCode
from workers.kv import Store
from workers.model import Partition
from workers.protocol import (
    AnsweredPing,
    BecameReady,
    BecomeOwner,
    Compete,
    GaveUp,
    GotStuck,
    Leave,
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

#: A successor on another host that has not confirmed after so many seconds may be dead too: name the next.
IMPATIENCE = 0.5
#: A lock that is free: the planned host goes at once, the others after so many seconds for each place in the queue.
QUEUE_STEP = 0.15


class Supervisor:
    def __init__(
        self,
        config: Config,
        inbox: Inbox,
        children: Children,
        cluster: Cluster,
        store: Store,
        presence: Presence,
        errands: Errands,
        topic_ids: dict[Partition, str],
        clock: Clock,
    ) -> None:
        self._config, self._keys = config, config.keys
        self._inbox, self._children, self._cluster = inbox, children, cluster
        self._store, self._presence, self._errands = store, presence, errands
        self._topic_ids = topic_ids
        self._clock = clock
        self._timers = Timers(clock)
        self._vigil = Vigil(children, presence.keeper, config.lease_ttl)
        self._stopping = Stopping(config.graceful_timeout)
        self._plan = Plan({}, {}, ())
        self._crashes: dict[Partition, list[float]] = defaultdict(list)
        self._not_before: dict[Partition, float] = {}
        self._told_left_out: tuple[Partition, ...] = ()

    def run(self) -> ExitCode:
        """Until everything has ended. The exit code says why."""
        self._timers.every(self._vigil.ping_every, self._vigil.ping)
        self._timers.every(self._vigil.check_every, self._vigil.check)
        self._arrange()
        while not self._stopping.is_done(len(self._children), self._errands.open):
            for event in self._inbox.wait(self._timers.next_at()):
                self._handle(event)
            self._timers.run_due()
        return self._stopping.code

    def _handle(self, event: Event) -> None:
        match event:
            case ChildReported(worker, report):
                if child := self._children.get(worker):
                    self._hear(child, report)
            case ChildExited(worker):
                if child := self._children.get(worker):
                    self._bury(child)
            case ClusterListed(snapshot):
                if self._cluster.list_anew(snapshot):
                    self._arrange()
                    self._attend(*self._topic_ids)
            case ClusterChanged(changes):
                self._attend(*filter(None, [self._cluster.change(change) for change in changes]))
                self._arrange()
            case PartitionsChanged(topic_ids):
                self._know(topic_ids)
            case SignalArrived(number):
                self._obey(number)
            case ErrandDone(then):
                then()
            case LeaseGone(lease):
                self._lose(lease)
            case _:
                assert_never(event)

    # --- what workers say --------------------------------------------------------------------------------------

    def _hear(self, child: Child, report: Report) -> None:
        match report:
            case BecameReady(standby):
                child.standby = standby
                self._crashes.pop(child.partition, None)
                self._vigil.begin(child)
                self._attend(child.partition)
            case TookLock(token, offset):
                child.token, child.offset = token, offset
                self._vigil.end(child)
            case MissedLock():
                child.offered = None
            case MadeProgress(offset):
                child.offset = offset
                self._crashes.pop(child.partition, None)
            case RenewedLease(deadline):
                child.deadline = deadline
            case AnsweredPing(number):
                child.answered_ping = number
            case Suspended():
                child.suspended = True
            case Resumed():
                child.suspended = False
            case GotStuck(seconds, stack):
                log.error("%s: pid %d has been on one record for %.0f s; ending it. It is here:\n%s",
                          child.partition, child.pid, seconds, stack)  # fmt: skip
                self._end(child, patience=1.0)
            case WasToldToLeave():
                self._leave(child)
            case WasParked() | GaveUp():
                child.last_word = report
            case _:
                assert_never(report)

    def _end(self, child: Child, patience: float) -> None:
        """Ask it to end, then make it."""
        child.signal(signal.SIGTERM)

        def kill() -> None:
            if self._children.get(child.worker) is child:
                child.kill()

        self._timers.after(patience, kill)

    # --- a worker's death ----------------------------------------------------------------------------------------

    def _bury(self, child: Child) -> None:
        """First the lock, then everything else: somebody waits for the next record."""
        exit_seen = now()
        self._children.forget(child)
        self._vigil.end(child)
        if child.leaving or child.last_word is not None:
            self._clean_up(child, exit_seen)
        else:
            self._replace(child, exit_seen)

    def _clean_up(self, child: Child, exit_seen: str) -> None:
        """It had announced its end. Its lock is given up, unless it was cut short."""
        code = self._children.reap(child)
        if code in (ExitCode.OK, ExitCode.HANDLER_GAVE_UP):
            self._errands.run(lambda: takeover.forget(self._store, child.settings.lease, child.logs))
            self._judge(child, code)
        else:
            self._replace(child, exit_seen, code)

    def _replace(self, child: Child, exit_seen: str, code: int | None = None) -> None:
        partition, worker, token = child.partition, child.worker, child.token or child.offered
        standbys = self._candidates(partition, worker)

        def replaced(successor: Named | None) -> None:
            if successor is not None:
                self._introduce(partition, successor, exit_seen)
            self._errands.run(lambda: takeover.forget(self._store, child.settings.lease, child.logs))
            self._judge(child, self._children.reap(child) if code is None else code)

        self._errands.run(
            lambda: takeover.take_over(self._store, self._keys, partition, worker, standbys, exit_seen, token),
            replaced,
        )

    def _judge(self, child: Child, code: int) -> None:
        """Why did it end, and when does the next one start?"""
        partition = child.partition
        words = how_it_ended(code, child)
        if isinstance(child.last_word, GaveUp) and code == ExitCode.MISCONFIGURED:
            self._stop(ExitCode.MISCONFIGURED, child.last_word.reason)
            return
        if child.leaving or code in (ExitCode.HANDLER_GAVE_UP, ExitCode.LOCK_LOST):
            log.info("%s: worker %d %s", partition, child.pid, words)
            self._arrange()
            return
        moment = self._clock()
        self._crashes[partition].append(moment)
        restart = next_restart(self._crashes[partition], moment, random.random())
        self._not_before[partition] = moment + restart.delay
        log.warning(
            "%s: worker %d %s; %s", partition, child.pid, words,
            f"crashed too often, next try in {restart.delay:.0f} s" if restart.resting
            else "starting another" if restart.delay == 0 else f"starting another in {restart.delay:.1f} s",
        )  # fmt: skip
        self._timers.after(restart.delay, self._arrange)

    def _introduce(self, partition: Partition, named: Named, exit_seen: str) -> None:
        """A successor was named: tell it, if it is ours; otherwise make sure that it is alive."""
        log.info("%s: the lock goes to %s on %s, token %d", partition, named.standby.worker[:8],
                 named.standby.host, named.token)  # fmt: skip
        if child := self._children.get(named.standby.worker):
            self._offer(child, named.token, Cause.TAKEN_OVER)
            return

        def look_again() -> None:
            others = self._candidates(partition, named.standby.worker)
            if others:
                self._errands.run(
                    lambda: takeover.pass_on(self._store, self._keys, partition, named, others, exit_seen),
                    lambda next_one: self._introduce(partition, next_one, exit_seen) if next_one else None,
                )

        self._timers.after(IMPATIENCE, look_again)

    def _candidates(self, partition: Partition, besides: str) -> list[Standby]:
        """Ready standbys, those on the least burdened host first."""
        burden: dict[str, int] = defaultdict(int)
        for held in self._cluster.locks.values():
            burden[held.lock.host] += 1
        ready = self._cluster.ready_standbys(partition, besides=(besides,))
        if self._stopping.begun:
            ready = [each for each in ready if each.host != self._config.host_id]
        return sorted(ready, key=lambda each: burden[each.host])

    # --- locks --------------------------------------------------------------------------------------------------

    def _attend(self, *partitions: Partition) -> None:
        """For each of our standbys: is the lock its own, or free?"""
        for partition in partitions:
            held = self._cluster.locks.get(partition)
            for child in self._children.of(partition):
                if not child.is_ready or child.standby is None:
                    continue
                if held is None:
                    if partition not in self._cluster.parked and not self._stopping.begun:
                        delay = self._place_in_queue(partition, child.standby)
                        child.tell(Compete(delay, self._vigil.deadline(child)))
                elif held.lock.worker == child.worker:
                    self._offer(child, held.token, held.lock.cause)

    def _offer(self, child: Child, token: int, cause: str) -> None:
        if child.offered != token and child.token is None:
            child.offered = token
            child.tell(BecomeOwner(token, cause, self._vigil.deadline(child)))

    def _place_in_queue(self, partition: Partition, me: Standby) -> float:
        """Seconds to wait before competing, so that a crowd does not ask for one lock at one instant."""
        planned = self._plan.owners.get(partition)
        queue = sorted(
            {me.worker: me, **self._cluster.standbys.get(partition, {})}.values(),
            key=lambda each: (each.host != planned, each.host, each.worker),
        )
        place = [each.worker for each in queue].index(me.worker)
        return place * QUEUE_STEP * random.uniform(1.0, 1.3)

    def _lose(self, lease: int) -> None:
        if self._presence.is_mine(lease):
            if not self._stopping.begun:
                log.warning("etcd says that this host's lease has ended; entering anew")
                self._errands.run(self._presence.enter_anew)
            return
        for child in self._children:
            if child.settings.lease == lease and child.is_ready:
                log.warning("%s: the standby's lease has ended; starting another", child.partition)
                self._leave(child)

    # --- where workers belong --------------------------------------------------------------------------------------

    def _know(self, topic_ids: dict[Partition, str]) -> None:
        new = topic_ids.keys() - self._topic_ids.keys()
        if new:
            log.info("new partitions: %s", ", ".join(map(str, sorted(new))))
        self._topic_ids |= {partition: topic_ids[partition] for partition in new}
        self._arrange()

    def _arrange(self) -> None:
        """Start what is missing here, end what is too much."""
        if self._stopping.begun:
            return
        partitions = list(self._topic_ids)
        hosts = {
            host: each.workers or len(partitions) for host, each in self._cluster.hosts.items() if not each.draining
        } | {self._config.host_id: self._config.workers or len(partitions)}
        owners = {partition: held.lock.host for partition, held in self._cluster.locks.items()}
        standbys = {p: [each.host for each in ready.values()] for p, ready in self._cluster.standbys.items()}
        self._plan = plan(hosts, partitions, owners, standbys)
        wanted = self._plan.workers_on(self._config.host_id)
        for partition in partitions:
            present = [child for child in self._children.of(partition) if not child.leaving]
            for _ in range(wanted.get(partition, 0) - len(present)):
                self._start(partition)
            surplus = len(present) - wanted.get(partition, 0)
            for child in [each for each in present if each.token is None and each.offered is None][: max(0, surplus)]:
                self._leave(child)
        self._tell_left_out(len(partitions), sum(hosts.values()))

    def _start(self, partition: Partition) -> None:
        if self._clock() >= self._not_before.get(partition, 0.0):
            readers = self._config.workers or len(self._topic_ids)
            topic_id = self._topic_ids[partition]
            self._children.start(
                lambda worker, lease: self._config.for_worker(partition, worker, lease, topic_id, readers)
            )

    def _tell_left_out(self, partitions: int, places: int) -> None:
        if self._plan.left_out != self._told_left_out:
            self._told_left_out = self._plan.left_out
            if self._told_left_out:
                log.warning(
                    "%d places for %d partitions: nobody serves %s. Add %d with --workers, or another host",
                    places, partitions, ", ".join(map(str, self._told_left_out)), partitions - places,
                )  # fmt: skip

    # --- the end ----------------------------------------------------------------------------------------------------

    def _obey(self, number: int) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                if number == signal.SIGINT and self._stopping.begun:
                    log.warning("interrupted again: ending all workers now")
                    self._kill_all()
                else:
                    self._stop(ExitCode.OK, signal.Signals(number).name)
            case signal.SIGUSR1:
                for child in self._children:
                    child.signal(signal.SIGUSR1)
            case _:
                log.info("signal %d means nothing here", number)

    def _stop(self, code: ExitCode, reason: str) -> None:
        if self._stopping.begin(code, reason):
            self._errands.run(self._presence.drain)
            for child in self._children:
                self._leave(child)
            self._timers.after(self._config.graceful_timeout, self._kill_all)

    def _leave(self, child: Child) -> None:
        child.leaving = True
        elsewhere = [
            each for each in self._candidates(child.partition, child.worker) if each.host != self._config.host_id
        ]
        child.tell(Leave(tuple(elsewhere) if child.token is not None or child.offered is not None else ()))

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()
