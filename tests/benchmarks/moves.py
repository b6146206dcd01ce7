"""A partition moves because somebody wants it to, and a rolling restart of everything.

Ours: `move` orders, from one host to the other and back. A group has no such order: its way to move a partition is
that the member who has it closes, and an idle one gets it; then a new member joins in the place of the one that left.
The gap of the moved partition is from the last record that the old owner handled to the first of the new one. The gap
of the partition that stays is its longest silence meanwhile, beside its longest silence while nothing moves at all.

A rolling restart replaces every worker or member, its replacement first: ours by SIGHUP to one supervisor after the
other, a group's member by member, each once the group is at rest again.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from partition_supervisor.admin.control_keys import Orders
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.dev.demo.judge import wait_for
from partition_workers.layout.documents import Lock, Standby
from tests.benchmarks import etcd_load, groups
from tests.benchmarks.feeding import Feeding
from tests.benchmarks.groups import Group, Kind
from tests.benchmarks.ours import Ours, fresh_topic
from tests.benchmarks.probe import Probe, handover, silence, silences
from tests.benchmarks.trials import Bench, Trial

#: Records a second in each partition.
RATE = 500.0
#: Nanoseconds after a move in which the partition that stays may still suffer from it.
AFTERWARDS = 300_000_000
#: A silence of more milliseconds than this counts as a time without service.
SILENT = 20.0

MOVED, STAYED = 0, 1
"""The partition that is moved to and fro, and the one that stays where it is."""

Facts = dict[str, float | int | str]


def _named(kind: Kind, name: str) -> Kind:
    return dataclasses.replace(kind, name=name)


_SLOWLY = {"heartbeat.interval.ms": 3000}

FAST = (
    _named(groups.COOPERATIVE, "group, cooperative-sticky"),
    _named(groups.RANGE, "group, classic range"),
    _named(groups.KIP_848, "group, KIP-848, 0.5 s heartbeat"),
    dataclasses.replace(
        groups.COOPERATIVE, name="group, cooperative-sticky, 3 s heartbeat (default)",
        config=groups.COOPERATIVE.config | _SLOWLY,
    ),
)  # fmt: skip
SLOW = (_named(groups.KIP_848_DEFAULTS, "group, KIP-848, 5 s heartbeat (default)"),)


def measure(bench: Bench) -> Iterator[Trial]:
    rounds, moves, closes, closes_of_main = (1, 8, 2, 5) if bench.quick else (4, 26, 2, 2)
    until = time.monotonic() + bench.seconds
    with Feeding(bench.bootstrap_servers) as feeding, ExitStack() as stack:
        ours = _Ours(stack, bench, feeding)
        kinds = () if bench.only_ours else FAST[:2] if bench.quick else (*FAST, *SLOW)
        rivals = [
            stack.enter_context(Group(kind, bench.bootstrap_servers, feeding, fresh_topic(bench.bootstrap_servers)))
            for kind in kinds
        ]
        ours.wait_until_complete()
        for number in range(rounds):
            if number and time.monotonic() > until - 45:
                bench.say(f"moves: {number} of {rounds} rounds, the time is over")
                break
            bench.say(f"moves: round {number + 1} of {rounds}")
            yield from etcd_load.writes("moves", bench.etcd_endpoints, 10)
            yield from ours.block(moves)
            yield from etcd_load.writes("moves", bench.etcd_endpoints, 10)
            for group in rivals:
                several = closes_of_main if group.kind is FAST[0] else closes
                yield from _close_and_join(group, 1 if group.kind is SLOW[0] else several)
        bench.say("moves: rolling restarts")
        yield from ours.rolling_restart()
        for group in rivals[-1:] if bench.quick else rivals:
            yield from _rolling_restart(group)


# --- ours ------------------------------------------------------------------------------------------------------


class _Ours:
    """Two hosts; partition STAYED is pinned to one of them, MOVED goes to and fro."""

    def __init__(self, stack: ExitStack, bench: Bench, feeding: Feeding) -> None:
        self.cluster = stack.enter_context(
            Ours(
                "ours", bench.bootstrap_servers, bench.etcd_endpoints, feeding,
                fresh_topic(bench.bootstrap_servers), options=("--rebalance-delay", "0.2"),
            )
        )  # fmt: skip
        self.probe = self.cluster.probe
        store = self.cluster.cluster.store
        self._orders = Orders(RetryingStore(store, 10.0, "the etcd of this benchmark"), self.cluster.cluster.keys)
        self._took = 100_000_000

    def wait_until_complete(self) -> None:
        self.cluster.wait_until_complete()

    def block(self, count: int) -> Iterator[Trial]:
        self.cluster.feed(RATE)
        self._move(STAYED, "b")
        self._move(MOVED, "a")
        trials = [trial for _ in range(count) for trial in (*self._nothing(), *self._there_and_back())]
        whole = self.cluster.facts(self.cluster.rest())
        for each in trials:
            yield dataclasses.replace(each, facts=each.facts | whole)

    def _move(self, number: int, host: str) -> None:
        self._orders.move(self.cluster.partition(number), host)
        wait_for(f"partition {number} is on {host}", lambda: self.cluster.owners()[number][0].host == host, 20.0)
        self.cluster.wait_until_read()
        self.wait_until_complete()

    def _nothing(self) -> Iterator[Trial]:
        """As long as the last move took: in a longer time a longer silence may be found."""
        time.sleep(random.uniform(0.2, 0.4))
        self.probe.forget()
        start = time.monotonic_ns()
        time.sleep((self._took + AFTERWARDS) / 1e9 + 0.1)
        value = silence(self.probe.look(), STAYED, start, start + self._took + AFTERWARDS)
        yield Trial("moves", "ours, nothing moves", "gap, stayed", value, "ms")

    def _there_and_back(self) -> Iterator[Trial]:
        lock, token = self.cluster.owners()[MOVED]
        to = "b" if lock.host == "a" else "a"
        self.probe.forget()
        start = time.monotonic_ns()
        self._orders.move(self.cluster.partition(MOVED), to)
        time.sleep(0.4)  # whoever looks now takes the processor from those who are measured
        moved, stayed = _moved("ours", self.probe, lock.pid, start)
        self.wait_until_complete()
        order_took = float(moved.facts["the order took"])
        self._took = int((order_took + moved.value) * 1e6)
        last_at = time.time() - (time.monotonic_ns() - start) / 1e9 + order_took / 1e3
        yield dataclasses.replace(moved, facts=moved.facts | self.cluster.phases(MOVED, token, last_at))
        yield stayed

    def rolling_restart(self) -> Iterator[Trial]:
        self.cluster.feed(RATE)
        self.wait_until_complete()
        self.cluster.wait_until_read()
        self.probe.forget()
        start = time.monotonic_ns()
        for host in self.cluster.cluster.hosts.values():
            before = self._workers(host.name)
            os.kill(host.pid, signal.SIGHUP)
            replaced = partial(self._is_replaced, host.name, before)
            wait_for(f"every worker of {host.name} is a new one", replaced, 40.0)
            self.wait_until_complete()
        end = time.monotonic_ns()
        yield from _restarted("ours", self.probe, start, end, self.cluster.facts(self.cluster.rest()))

    def _workers(self, host: str) -> set[str]:
        judge = self.cluster.judge
        present: list[Lock | Standby] = [*judge.owners().values(), *judge.standby_documents()]
        return {each.worker for each in present if each.host == host}

    def _is_replaced(self, host: str, before: set[str]) -> bool:
        return not before & self._workers(host)


# --- groups ----------------------------------------------------------------------------------------------------


def _close_and_join(group: Group, count: int) -> Iterator[Trial]:
    group.feed(RATE)
    group.wait_until_complete()
    trials: list[Trial] = []
    for _ in range(count):
        time.sleep(random.uniform(0.5, 1.0))
        number = random.randrange(groups.PARTITIONS)
        victim = group.owners()[number]
        group.probe.forget()
        start = time.monotonic_ns()
        os.kill(victim, signal.SIGTERM)
        group.probe.await_takeover(group.kind.name, number, start, victim, 40.0)
        time.sleep(0.2)
        trials += _moved(group.kind.name, group.probe, victim, start, number)
        group.wait_until_complete(groups.MEMBERS - 1)
        group.probe.forget()
        start = time.monotonic_ns()
        group.replace(victim)
        group.wait_until_complete()
        notes, end = group.probe.look(), time.monotonic_ns()
        value = max(silence(notes, number, start, end) for number in range(groups.PARTITIONS))
        trials.append(Trial("moves", group.kind.name, "gap, a member joins", value, "ms"))
    whole = group.facts(group.rest())
    for each in trials:
        yield dataclasses.replace(each, facts=each.facts | whole)


def _rolling_restart(group: Group) -> Iterator[Trial]:
    group.feed(RATE)
    group.wait_until_complete()
    group.probe.forget()
    start = time.monotonic_ns()
    for pid in group.members():
        group.add()
        group.wait_until_complete(groups.MEMBERS + 1)
        os.kill(pid, signal.SIGTERM)
        group.wait_until_complete()
    end = time.monotonic_ns()
    yield from _restarted(group.kind.name, group.probe, start, end, group.facts(group.rest()))


# --- both ------------------------------------------------------------------------------------------------------


def _moved(system: str, probe: Probe, before: int, start: int, number: int = MOVED) -> tuple[Trial, Trial]:
    """The partition that has moved, and the other one. "the order took": until the old owner's last record, ms."""
    probe.await_takeover(system, number, start, before, 40.0)
    found = handover(probe.look(), number, before)
    assert found is not None
    took = (found.first_at - start) / 1e6 - found.gap
    stayed = silence(probe.recent, 1 - number, start, found.first_at + AFTERWARDS)
    return (
        Trial("moves", system, "gap, moved", found.gap, "ms",
              {"replayed": found.replayed, "the order took": round(took, 1)}),
        Trial("moves", system, "gap, stayed", stayed, "ms"),
    )  # fmt: skip


def _restarted(system: str, probe: Probe, start: int, end: int, whole: Facts) -> Iterator[Trial]:
    notes = probe.look()
    for number in range(groups.PARTITIONS):
        silent = [each for each in silences(notes, number, start, end) if each > SILENT]
        facts: Facts = {"silent in all": round(sum(silent), 1), "silences": len(silent)}
        value = silence(notes, number, start, end)
        yield Trial("moves", system, "rolling restart, longest gap", value, "ms", facts | whole)
