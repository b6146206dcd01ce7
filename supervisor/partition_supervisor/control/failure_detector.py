"""Which owners on other hosts are dead, and who passes their locks on.

The first witness comes as an event when a host refuses connections, and is looked for on every tick when one is
silent. The second, etcd, is asked in the background, again and again while a suspicion lasts. What follows from both
is decided by `cluster/peer_evidence.py`, for each lock apart.

A host that refused and is alive all the same is found out, by its own lease or because it answers again. Its refusals
count no more in this life of it: whatever refuses in its name once will do so again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from sched import scheduler

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster.peer_evidence import (
    LATE,
    RESOLUTION,
    LeaseAge,
    Verdict,
    contradicted_by,
    judge,
    may_be_contradicted,
    suspects_itself,
)
from partition_supervisor.cluster.peer_monitor import PeerMonitor
from partition_supervisor.cluster_state import ClusterState, Locks
from partition_supervisor.control.dirty import Dirty
from partition_supervisor.control.failover import Failover
from partition_supervisor.suspicion import Suspicion
from partition_workers.clock import Clock
from partition_workers.errors import PartitionSupervisorError
from partition_workers.etcd.store import LeaseTime, Store
from partition_workers.log_events import event
from partition_workers.model import Partition, Token

log = logging.getLogger(__name__)

#: An owner renews its lease so many times while it lasts; a host renews its own so many times.
OWNER_RENEWALS, HOST_RENEWALS = 5, 3
#: Seconds between two complaints that most of the others cannot be reached.
COMPLAIN_EVERY = 60.0


class FailureDetector:
    def __init__(
        self,
        lease_ttl: float,
        cluster: ClusterState,
        peers: PeerMonitor,
        store: Store,
        background: BackgroundCalls,
        timers: scheduler,
        failover: Failover,
        dirty: Dirty,
        clock: Clock,
    ) -> None:
        self._ttl = lease_ttl
        self._cluster, self._peers, self._store = cluster, peers, store
        self._background, self._timers, self._failover = background, timers, failover
        self._dirty, self._clock = dirty, clock
        self._ages: dict[str, dict[int, LeaseAge]] = {}
        self._asking: set[str] = set()
        self._refused: set[tuple[str, str]] = set()
        self._disbelieved: set[tuple[str, str]] = set()
        self._passed_on: set[tuple[Partition, Token]] = set()
        self._left: Locks = {}
        self._complained = -COMPLAIN_EVERY

    def refused(self, suspicion: Suspicion) -> None:
        """A host refuses connections at an address where it answered before."""
        if not self._is_open(suspicion):
            return
        if may_be_contradicted(suspicion.witness) or not self._believes(suspicion):
            self._ask_etcd(suspicion)
        elif judge(suspicion.witness, None, self._ttl / OWNER_RENEWALS) is Verdict.DEAD:
            self._give_up(suspicion, self._locks_of(suspicion.host))
        else:
            self._complain(suspicion)

    def tick(self) -> None:
        """Who is silent? And is anybody ready by now for what a dead host has left?"""
        self._pass_on_rest()
        unheard = self._peers.silent()
        self._cluster.silent = frozenset(each.host for each in unheard)
        silent = [each for each in unheard if self._is_open(each)]
        for name in self._ages.keys() - {each.host for each in silent}:
            del self._ages[name]
        if not silent:
            self._passed_on.clear()
        for suspicion in silent:
            if suspects_itself(suspicion.witness.others, suspicion.witness.answering):
                self._complain(suspicion)
            else:
                self._ask_etcd(suspicion)

    def lives(self, host: str, link: str) -> None:
        """It says hello again."""
        if self._cluster.presume_alive(host, link):
            log.warning("%s was taken for dead, and is not", host, extra=event("host-was-alive"))
            if (host, link) in self._refused:
                self._disbelieved.add((host, link))
            self._dirty.mark_workers()

    def _is_open(self, suspicion: Suspicion) -> bool:
        """Whether it concerns a host in its present life that does not count as dead yet."""
        host = self._cluster.hosts.get(suspicion.host)
        return host is not None and host.link == suspicion.link and not self._cluster.is_dead(suspicion.host)

    def _believes(self, suspicion: Suspicion) -> bool:
        return (suspicion.host, suspicion.link) not in self._disbelieved

    def _locks_of(self, host: str) -> Locks:
        return {partition: held for partition, held in self._cluster.locks.items() if held.lock.host == host}

    # --- the second witness

    def _ask_etcd(self, suspicion: Suspicion) -> None:
        name = suspicion.host
        locks = self._locks_of(name)
        if name in self._asking or not (locks or suspicion.witness.refused):
            return
        self._asking.add(name)
        leases = [self._cluster.hosts[name].lease_id, *dict.fromkeys(held.lock.lease_id for held in locks.values())]

        def heard(answers: list[Answer]) -> None:
            # A supervisor that stands still, with owners that live, may be silent for ever.
            pause = 0.0 if suspicion.witness.seconds < self._ttl else self._ttl / OWNER_RENEWALS
            self._timers.enter(pause, 0, lambda: self._asking.discard(name))
            if self._is_open(suspicion):
                self._weigh(suspicion, locks, leases[0], answers)

        self._background.run(
            lambda: ask(self._store, leases, contradicted_by(suspicion.witness), self._clock),
            heard,
            failed=lambda: self._asking.discard(name),
        )

    def _weigh(self, suspicion: Suspicion, locks: Locks, own: int, answers: list[Answer]) -> None:
        ages, believed = self._ages.setdefault(suspicion.host, {}), self._believes(suspicion)
        said = {
            each.lease: ages.setdefault(each.lease, LeaseAge()).hear(each.asked, each.answered, each.time)
            for each in answers
        }
        of_host = judge(suspicion.witness, said.get(own), self._ttl / HOST_RENEWALS, believed)
        if of_host is Verdict.LIVES:
            return
        dead = {
            partition: held
            for partition, held in locks.items()
            if judge(suspicion.witness, said.get(held.lock.lease_id), self._ttl / OWNER_RENEWALS, believed)
            is Verdict.DEAD
        }
        if len(dead) == len(locks) and (dead or of_host is Verdict.DEAD):
            self._give_up(suspicion, dead)
        elif dead:
            self._pass_on(suspicion, dead)

    # --- the verdict

    def _give_up(self, suspicion: Suspicion, locks: Locks) -> None:
        """The whole host is dead."""
        self._cluster.presume_dead(suspicion.host, suspicion.link)
        self._dirty.mark_workers()
        self._pass_on(suspicion, locks)
        if suspicion.witness.refused:
            since, link = self._clock(), (suspicion.host, suspicion.link)
            self._refused.add(link)
            later = LATE * self._ttl / HOST_RENEWALS + RESOLUTION
            self._timers.enter(later, 0, lambda: self._look_again(link, since))

    def _pass_on(self, suspicion: Suspicion, locks: Locks) -> None:
        why = "nobody is left there" if suspicion.witness.refused else "it is silent, and late with its leases"
        new = {partition: held for partition, held in locks.items() if (partition, held.token) not in self._passed_on}
        if new:
            log.warning("%s: %s; passing on what it owned", suspicion.host, why, extra=event("host-dead"))
            left = self._failover.take_over_from(new)
            self._left |= left
            self._passed_on |= {(partition, held.token) for partition, held in new.items() if partition not in left}
        elif not locks:
            log.info("%s: %s", suspicion.host, why)

    def _pass_on_rest(self) -> None:
        waiting = {
            partition: held
            for partition, held in self._left.items()
            if self._cluster.locks.get(partition) == held and self._cluster.is_dead(held.lock.host)
        }
        self._left = self._failover.take_over_from(waiting) if waiting else {}

    def _look_again(self, link: tuple[str, str], since: float) -> None:
        """Was it right? Its own lease knows by now."""
        host = self._cluster.hosts.get(link[0])
        if host is None or host.link != link[1] or not self._cluster.is_dead(link[0]):
            return

        def heard(answers: list[Answer]) -> None:
            for each in answers:
                if each.time.granted > 0 and each.time.granted - each.time.left < each.answered - since:
                    self.lives(*link)

        self._background.run(lambda: ask(self._store, [host.lease_id], 0.0, self._clock), heard)

    def _complain(self, suspicion: Suspicion) -> None:
        if self._clock() - self._complained >= COMPLAIN_EVERY:
            self._complained = self._clock()
            witness = suspicion.witness
            log.warning("only %d of %d other hosts answer: it may be this one that is cut off; what they own is left"
                        " to their leases", witness.answering, witness.others,
                        extra=event("host-cut-off"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What etcd said of a lease, and when, in seconds of our clock."""

    lease: int
    asked: float
    answered: float
    time: LeaseTime


def ask(store: Store, leases: Iterable[int], seconds: float, clock: Clock) -> list[Answer]:
    """How much is left of each lease, 0 being none; fewer answers when etcd does not give them. Blocks.

    If the first one, the host's own, was renewed less than `seconds` ago, the others do not matter.
    """
    answers: list[Answer] = []
    for number, lease in enumerate(leases):
        if not lease:
            continue
        asked = clock()
        try:
            found = store.time_to_live(lease)
        except PartitionSupervisorError as error:
            log.info("etcd does not say how old a lease is: %s", error)
            return answers
        answers.append(Answer(lease, asked, clock(), found))
        if number == 0 and found.granted > 0 and found.granted - found.left < seconds:
            return answers
    return answers
