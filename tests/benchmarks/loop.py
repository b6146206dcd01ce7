"""How long a round of the supervisor's loop takes at size, and how long exits and reports wait for it.

One real supervisor, `a`, on the fakes of the unit tests, with 1,000 partitions and ten hosts; neither a process nor a
network. What happens outside is played at its own pace: the longer a round takes, the more has come until the next.
What the fakes cost is not counted, nor what other processes take of the processor.
"""

from __future__ import annotations

import gc
import heapq
import logging
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from statistics import median

from partition_supervisor.control.placement import plan
from partition_supervisor.events import ChildExited, ChildReported, ClusterChanged, ClusterListed, Event
from partition_supervisor.listing import prefixes
from partition_workers.etcd.store import Delete
from partition_workers.model import Partition
from partition_workers.ownership.lock import PartitionLock
from partition_workers.protocol import Leave, RenewedLease
from tests.benchmarks.trials import Bench, Trial, quantile
from tests.fakes.children import FakeChild
from tests.fakes.clock import FakeClock
from tests.fakes.host import Elsewhere, FakeHost

PARTITIONS, HOSTS = 1000, 10
#: So many workers come or go in a second, in the whole cluster.
PACE = 1000.0
#: Seconds between two reports of workers here, and between two of them that die.
REPORTS, EXITS = 0.005, 0.1
#: Seconds that a worker here takes to be ready, and that etcd and a pipe take.
WARM_UP, WAY = 0.03, 0.002
#: Seconds between two listings of the whole group.
LIST_EVERY = 1.0
#: Seconds until everything must have come to rest.
AT_MOST = 30.0


def measure(bench: Bench) -> Iterator[Trial]:
    until = time.monotonic() + bench.seconds
    logging.getLogger("partition_supervisor").setLevel(logging.CRITICAL)  # a line for each worker that dies
    for number in count():
        if number and time.monotonic() > until:
            return
        for what, rounds in _lives(random.Random(number)):
            system = f"ours, {PARTITIONS:,} partitions, {HOSTS} hosts"
            facts: dict[str, float | int | str] = {
                "rounds": len(rounds.took), "p99": round(quantile(rounds.took, 0.99), 2),
                "longest": round(max(rounds.took), 2), "with a plan": len(rounds.plans),
                "with a plan, median": round(median(rounds.plans), 2), "waits": len(rounds.waits),
            }  # fmt: skip
            yield Trial("loop", system, f"round, {what}", median(rounds.took), "ms", facts)
            yield Trial("loop", system, f"longest wait, {what}", max(rounds.waits), "ms", facts)


def _lives(dice: random.Random) -> Iterator[tuple[str, Rounds]]:
    cluster = Cluster(dice)
    try:
        cluster.start()
        yield "all start", cluster.rounds
        cluster.rounds = Rounds()
        cluster.lose("host-3")
        yield "a host dies", cluster.rounds
        cluster.rounds = Rounds()
        cluster.rest(3.0)
        yield "nothing moves", cluster.rounds
    finally:
        cluster.host.close()


class Rounds:
    """Milliseconds: `took`, of rounds in which something was done; `plans`, of those in which a plan was made;
    `waits`, of exits and reports until they were handled."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.plans: list[float] = []
        self.waits: list[float] = []


class RoundClock(FakeClock):
    """A clock that goes on by itself in a round."""

    _began: float | None = None

    def __call__(self) -> float:
        return super().__call__() + (0.0 if self._began is None else time.thread_time() - self._began)

    def begin(self) -> float:
        """When, in seconds of `time.thread_time()`."""
        self._began = time.thread_time()
        return self._began

    def end(self) -> float:
        """The seconds since it began, which have passed."""
        took = time.thread_time() - (self._began or 0.0)
        self._began = None
        self.advance(took)
        return took


class Cluster:
    """Our host and what happens around it. `now` is in seconds; rounds take as long as they take."""

    def __init__(self, dice: random.Random) -> None:
        names = ["a", *(f"host-{number}" for number in range(1, HOSTS))]
        self.places = dict.fromkeys(names, 2 * PARTITIONS // HOSTS)
        self.host = FakeHost(PARTITIONS, "a", workers=self.places["a"])
        self._clock = self.host.clock = RoundClock(1_000.0)
        self.rounds = Rounds()
        self.now = 0.0
        self._dice = dice
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._told = 0
        self._obeyed: dict[str, int] = {}
        self._moment = self._began = 0.0
        self._said: dict[int, tuple[Event, float]] = {}
        self._standbys: dict[Partition, list[Elsewhere]] = {each: [] for each in self.host.partitions}

    # --- what happens

    def start(self) -> None:
        """All hosts are there, and none of their workers."""
        for name in self.places.keys() - {"a"}:
            self.host.join(name, self.places[name])
        self.host.open()
        self._told = len(self.host.store._history)
        self._measure_waits()
        for every, action in ((REPORTS, self._report), (EXITS, self._kill_one), (LIST_EVERY, self._list)):
            self._again(every, action)
        wanted = plan(self.places, self.host.partitions, {}, {})
        workers = [(p, host) for p, host in wanted.owners.items()]
        workers += [(p, host) for p, hosts in wanted.standbys.items() for host in hosts]
        self._dice.shuffle(workers)
        self._begin([(p, host) for p, host in workers if host != "a"])
        self._go_on_until(lambda: len(self.host.cluster.locks) == PARTITIONS)

    def lose(self, name: str) -> None:
        """Its leases end at once; where others have standbys, those take the locks, and new ones come."""
        host, owned = self.host, []
        cluster = host.cluster
        for partition, held in list(cluster.locks.items()):
            if held.lock.host == name:
                owned.append(partition)
        keys = [host.keys.host(name)]
        keys += [host.keys.lock(partition) for partition in owned]
        for partition, there in self._standbys.items():
            keys += [host.keys.standby(partition, e.worker) for e in there if e.standby.host == name]
            self._standbys[partition] = [each for each in there if each.standby.host != name]
        del self.places[name]
        host.put(Delete(keys[0]))
        for number, key in enumerate(keys[1:]):
            self._at(number / (4 * PACE), partial(self.host.put, Delete(key)))
        self._at(len(keys) / (4 * PACE), lambda: self._restore(owned))
        until = self.now + 1.0  # new standbys everywhere, and some moves
        self._go_on_until(lambda: self.now > until and len(cluster.locks) == PARTITIONS)

    def rest(self, seconds: float) -> None:
        until = self.now + seconds
        self._go_on_until(lambda: self.now >= until)

    def _restore(self, owned: list[Partition]) -> None:
        """Others take the locks that are theirs to take, and start what is missing there."""
        for number, partition in enumerate(owned):
            self._at(number / (2 * PACE), partial(self._own, partition))
        locks, standbys = self.host.cluster.locks, self.host.cluster.standbys
        owners = {partition: held.lock.host for partition, held in locks.items()}
        ready = {p: [each.host for each in found.values()] for p, found in standbys.items()}
        wanted = plan(self.places, self.host.partitions, owners, ready, held=True)
        there = {p: {each.standby.host for each in found} for p, found in self._standbys.items()}
        missing = [(p, host) for p, hosts in wanted.standbys.items() for host in hosts if host not in there[p]]
        self._begin([(p, host) for p, host in missing if host != "a"])

    def _begin(self, workers: list[tuple[Partition, str]]) -> None:
        """Workers of others, each with a standby's document and then, where nobody has it, the lock."""
        for number, (partition, host) in enumerate(workers):
            self._at(number / PACE, partial(self._stand_by, host, partition))

    def _stand_by(self, name: str, partition: Partition) -> None:
        if name in self.places:
            self._standbys[partition].append(self.host.standby_on(name, partition))
            self._at(WAY, partial(self._own, partition))

    def _own(self, partition: Partition) -> None:
        if self._standbys[partition] and self.host.lock_of(partition) is None:
            there, host = self._standbys[partition].pop(0), self.host
            PartitionLock(host.store, host.keys, partition, there.standby, lambda: False).acquire()

    def _report(self) -> None:
        owners = [child for child in self.host.children.living if child.is_owner]
        if owners:
            child = self._dice.choice(owners)
            self._hear(ChildReported(child.worker, RenewedLease(self.host.boottime() + 5.0)))

    def _kill_one(self) -> None:
        owners = [child for child in self.host.children.living if child.is_owner and not child.orders(Leave)]
        if owners:
            child = self._dice.choice(owners)
            child.exit_code = -9
            self._hear(ChildExited(child.worker))

    def _list(self) -> None:
        self.host.inbox.post(ClusterListed(self.host.look()))

    # --- how it is played

    def _at(self, delay: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._due, (self.now + delay, next(self._numbers), action))

    def _again(self, seconds: float, action: Callable[[], object]) -> None:
        def again() -> None:
            action()
            self._at(seconds, again)

        self._at(seconds, again)

    def _hear(self, event: ChildReported | ChildExited) -> None:
        self._said[id(event)] = (event, self._moment)
        self.host.inbox.hear(event)

    def _measure_waits(self) -> None:
        handle = self.host.supervisor._handle

        def measured(event: Event) -> None:
            handle(event)
            _, said_at = self._said.pop(id(event), (None, None))
            if said_at is not None:
                self.rounds.waits.append((self.now + time.thread_time() - self._began - said_at) * 1000)

        self.host.supervisor._handle = measured  # type: ignore[method-assign]

    def _go_on_until(self, done: Callable[[], bool]) -> None:
        until = self.now + AT_MOST
        gc.collect()
        gc.freeze()  # what the fakes remember
        try:
            while not done():
                assert self.now < until, f"not at rest after {AT_MOST:g} s"
                self._turn()
        finally:
            gc.unfreeze()

    def _turn(self) -> None:
        host = self.host
        while self._due and self._due[0][0] <= self.now:
            self._moment, _, action = heapq.heappop(self._due)
            action()
        self._tell()
        while host.background.do_one():
            pass
        plan_before, host.inbox.happened = host.supervisor._planner.plan, 0
        self._began = self._clock.begin()
        host.supervisor._turn()
        took = self._clock.end()
        has_planned = host.supervisor._planner.plan is not plan_before
        if host.inbox.happened or has_planned:
            self.rounds.took.append(took * 1000)
        if has_planned:
            self.rounds.plans.append(took * 1000)
        self.now += took
        host.boottime.advance(took)
        self._obey()
        if not (host.inbox._posted or host.background._waiting):
            seconds = max(0.0, min(self._due[0][0] - self.now, host.supervisor._idle or 0.0))
            self.now += seconds
            host.jump(seconds)

    def _tell(self) -> None:
        """What the watch tells of what was written since."""
        history = self.host.store._history
        for change in history[self._told :]:
            if change.item.key.startswith(prefixes(self.host.keys)):
                self.host.inbox.post(ClusterChanged((change,)))
        self._told = len(history)

    def _obey(self) -> None:
        """Workers here do what they were told; new ones get ready."""
        for child in self.host.children.living:
            known = self._obeyed.get(child.worker)
            if known is None:
                self._at(WARM_UP, partial(self._warm_up, child))
            elif known == len(child.told):
                continue
            else:
                self._at(WAY, partial(self.host.obey, child))
            self._obeyed[child.worker] = len(child.told)

    def _warm_up(self, child: FakeChild) -> None:
        if child.exit_code is None:
            self.host.warm_up(child)
